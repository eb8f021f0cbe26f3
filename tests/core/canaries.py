"""Secrets that are known, ends that hold them, failures of every kind, and the search for them in what is reported."""

from __future__ import annotations

import base64
import hashlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from examples.custom_provider import SharedKey, SharedKeyPackage
from securestream.ambient import system_clock, system_options
from securestream.credentials import Accounts, Certificate, Credential, Credentials, NtHash, Password
from securestream.drive import Performer, Services, respond_blocking
from securestream.errors import PeerGone, SecureStreamError
from securestream.machine import HandshakeMachine, State, owed_token
from securestream.options import Limits, Options
from securestream.provider import Effect, Established, SecurityContext, SecurityPackage, TargetName
from securestream.records.base import RecordConnection
from securestream.records.endpoints import Engine
from securestream.redaction import Secret
from securestream.services.nt_hash import nt_hash
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.digest import Digest
from securestream_providers.digest.sasl import DigestMd5
from securestream_providers.krb5.names import KerberosName
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.certificates import Pair, authority
from tests.providers.kerberos.ends import REALM, Realm
from tests.providers.kerberos.ends import package as kerberos_package

PASSWORD = "Canary-9f2c-Passw0rd"
SHARED = b"canary-key-0123456789-abcdefghij"
CA = authority()
SERVER = CA.leaf(["localhost"])
SERVED = SERVER.credential
CLIENT = CA.leaf(["client.example"], usage=["client"])
HERE = Path(__file__).parents[1]


class Canaries:
    """Known secrets in every form in which they could be written down."""

    def __init__(self) -> None:
        self._forms: dict[str, str] = {}

    def add(self, name: str, secret: str | bytes) -> None:
        """Look for `secret` from now on."""
        if isinstance(secret, str):
            self._forms[secret.casefold()] = name
            self.add(name, secret.encode())
            self.add(name, secret.encode("utf-16-le"))
            return
        if len(secret) < 8:
            return  # would be found by chance
        forms = {secret.hex(), secret.hex(" "), secret.hex(":"), repr(secret)[2:-1], str(list(secret))[1:-1]}
        forms.add(secret.decode("latin-1"))
        for shift in range(3):  # wherever it stands in what was encoded
            encoded = base64.b64encode(bytes(shift) + secret).decode()
            forms.add(encoded[4 : len(encoded) // 4 * 4 - 4])
        self._forms |= {form.casefold(): name for form in forms if len(form) >= 8}

    def found_in(self, text: str) -> set[str]:
        """Names of the secrets that `text` gives away."""
        folded = text.casefold()
        return {name for form, name in self._forms.items() if form in folded}


@dataclass(repr=False)
class Setup:
    """Two ends of a package that hold canaries."""

    initiator: SecurityPackage
    initiating: Credential
    acceptor: SecurityPackage
    accepting: Credential
    secrets: dict[str, str | bytes]
    wrong: Credential
    """A credential that the acceptor refuses, with canaries too."""


def ntlm() -> Setup:
    package = Ntlm()
    secrets: dict[str, str | bytes] = {"password": PASSWORD, "NT hash": nt_hash(PASSWORD)}
    wrong = Password("alice", PASSWORD[::-1])
    secrets |= {"wrong password": PASSWORD[::-1], "wrong NT hash": nt_hash(PASSWORD[::-1])}
    return Setup(package, Password("alice", PASSWORD), package, Accounts.memory(alice=PASSWORD), secrets, wrong)


def ntlm_with_a_hash() -> Setup:
    return replace(
        ntlm(), initiating=NtHash("alice", nt_hash(PASSWORD)), wrong=NtHash("alice", nt_hash(PASSWORD[::-1]))
    )


def kerberos() -> Setup:
    now = system_clock().replace(microsecond=0)
    realm = Realm(service=KerberosName.parse(f"host/localhost@{REALM}"))
    part = realm.part(authtime=now - timedelta(hours=1), endtime=now + timedelta(hours=9))
    forged = Realm(service=realm.service)
    assert realm.session is not None
    assert forged.session is not None
    secrets: dict[str, str | bytes] = {"service key": realm.key.contents.reveal()}
    secrets |= {"session key": realm.session.contents.reveal(), "wrong key": forged.session.contents.reveal()}
    wrong = replace(part, key=forged.part().key)
    return Setup(
        kerberos_package(),
        realm.tickets(part, end_time=part.endtime),
        kerberos_package(),
        realm.keytab,
        secrets,
        forged.tickets(wrong, end_time=part.endtime),
    )


def key_secrets(name: str, pair: Pair) -> dict[str, str | bytes]:
    """What is secret in a private key."""
    number = pair.key.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr] # P-256
    return {name: number, f"{name} as PEM": pair.key_pem.splitlines()[2]}


def schannel(engine: Engine) -> Setup:
    secrets = {"key password": PASSWORD, **key_secrets("server key", SERVER), **key_secrets("client key", CLIENT)}
    return Setup(
        Schannel(engine=engine, trust=CA.pem),
        Certificate(CLIENT.chain_pem, CLIENT.encrypted_key_pem(PASSWORD), Secret(PASSWORD)),
        Schannel(engine=engine, trust=CA.pem, client_certificates="required"),
        Certificate(SERVER.chain_pem, SERVER.encrypted_key_pem(PASSWORD), Secret(PASSWORD)),
        secrets,
        Certificate(CLIENT.chain_pem, CLIENT.encrypted_key_pem(PASSWORD), Secret(PASSWORD[::-1])),
    )


def digest() -> Setup:
    """SASL's DIGEST-MD5; what Digest does for HTTP is no package's handshake."""
    package = Digest(sasl=DigestMd5(realms=["canary.example"], services=["host/localhost"]))
    secrets: dict[str, str | bytes] = {"password": PASSWORD, "wrong password": PASSWORD[::-1]}
    for name, password in (("verifier", PASSWORD), ("wrong verifier", PASSWORD[::-1])):
        secrets[name] = hashlib.md5(f"alice:canary.example:{password}".encode(), usedforsecurity=False).digest()
    wrong = Password("alice", PASSWORD[::-1])
    return Setup(package, Password("alice", PASSWORD), package, Accounts.memory(alice=PASSWORD), secrets, wrong)


def credssp(inside: Setup, *, verify: Literal["full", "none"] = "full") -> Setup:
    """The negotiation of `inside` within TLS, which delegates the password."""
    secrets = inside.secrets | {"password": PASSWORD, "wrong password": PASSWORD[::-1]}
    secrets |= key_secrets("server key", SERVER)
    delegated, wrong = Password("alice", PASSWORD), Password("alice", PASSWORD[::-1])
    return Setup(
        CredSsp(inside.initiator, Schannel(trust=CA.pem, verify=verify), delegation=Delegation("host/localhost")),
        Credentials(inside.initiating, delegated),
        CredSsp(inside.acceptor, Schannel()),
        Credentials(SERVED, inside.accepting),
        secrets,
        Credentials(inside.wrong, wrong),
    )


def shared_key() -> Setup:
    package, alice, bob = SharedKeyPackage(), SharedKey("alice", SHARED), SharedKey("bob", SHARED[::-1])
    secrets: dict[str, str | bytes] = {"shared key": SHARED, "reversed key": SHARED[::-1]}
    return Setup(package, alice, package, Credentials(alice, bob), secrets, SharedKey("alice", SHARED[::-1]))


def negotiated(setup: Setup, *others: SecurityPackage) -> Setup:
    """The same by Negotiate, which has further mechanisms behind that of `setup`."""
    return replace(setup, initiator=Negotiate(setup.initiator, *others), acceptor=Negotiate(setup.acceptor, *others))


SETUPS: dict[str, dict[str, Callable[[], Setup]]] = {
    "credssp": {
        "kerberos": lambda: credssp(negotiated(kerberos(), Ntlm()), verify="none"),
        "ntlm": lambda: credssp(negotiated(ntlm())),
    },
    "digest": {"sasl": digest},
    "ntlm": {"password": ntlm, "hash": ntlm_with_a_hash},
    "kerberos": {"tickets": kerberos},
    "negotiate": {
        "kerberos": lambda: negotiated(kerberos(), Ntlm()),
        "ntlm": lambda: negotiated(ntlm(), kerberos_package()),
    },
    "schannel": {"stdlib": lambda: schannel("stdlib"), "pyopenssl": lambda: schannel("pyopenssl")},
    "sharedkey": {"key": shared_key},
}
"""How to set up each package; a package that is installed and missing here fails the tests."""

CASES = {f"{package} {form}": make for package, forms in SETUPS.items() for form, make in forms.items()}
RECORDS = {name: make for name, make in CASES.items() if name.startswith(("credssp", "schannel"))}
"""Whose result is a record connection."""
TOKENS = {name: make for name, make in CASES.items() if name not in RECORDS}
"""Whose result is a security context."""
LAYERS = {name: make for name, make in TOKENS.items() if name.startswith("digest")}
"""Of those, whose context is a layer of SASL: what it does was negotiated, and it has no detached signatures."""


class Failing(Services):
    """Performs everything by raising."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def performer_of(self, effect: type[Effect[Any]]) -> Performer:
        found, error = super().performer_of(effect), self._error

        class Raising(Performer):
            def perform_blocking(self, effect: Any) -> Any:
                reply = found.perform_blocking(effect)
                try:
                    raise error
                finally:
                    del reply  # until here there was a secret in this frame and in those below

        return Raising()


@dataclass(repr=False)
class Attempt:
    """One handshake: what was established, what failed, and everything that could be shown."""

    setup: Setup
    services: Services = field(default_factory=Services)
    limits: Limits = field(default_factory=Limits)
    alter: Callable[[int, bytes], bytes] = lambda leg, token: token
    gone_at: int = -1
    break_clock_at: int = -1
    break_random_at: int = -1
    errors: list[Exception] = field(default_factory=list[Exception])
    later: list[Exception] = field(default_factory=list[Exception])
    """Errors of an established connection, whose frames its caller may still hold."""
    established: list[Established] = field(default_factory=list[Established])
    tokens: list[bytes] = field(default_factory=list[bytes])
    shown: list[object] = field(default_factory=list[object])
    canaries: Canaries = field(default_factory=Canaries)
    _results: dict[HandshakeMachine, SecurityContext | RecordConnection] = field(
        default_factory=dict[HandshakeMachine, "SecurityContext | RecordConnection"]
    )
    _readings: int = 0
    _draws: int = 0

    def run(self) -> Attempt:
        """Run it to its end or to its first failure, of which the other end is then told."""
        for name, secret in self.setup.secrets.items():
            self.canaries.add(name, secret)
        mine, theirs = self._options(), self._options()
        setup = self.setup
        made: list[HandshakeMachine] = []
        for handshake, options in (
            (setup.initiator.initiate(setup.initiating, TargetName("host/localhost"), mine), mine),
            (setup.acceptor.accept(setup.accepting, theirs), theirs),
        ):
            made.append(HandshakeMachine(handshake, options.limits))
        self.shown += [mine, theirs, *made, self.services, setup.initiating, setup.accepting]
        self.shown += [setup.initiator, setup.acceptor, setup.initiator.info, vars(setup.initiator)]
        self._exchange(*made)
        return self

    def _exchange(self, initiator: HandshakeMachine, acceptor: HandshakeMachine) -> None:
        if not self._step(acceptor, None)[0]:
            return
        speaking, listening = initiator, acceptor
        token: bytes | None = None
        for leg in range(20):
            if leg == self.gone_at:
                self._fail(speaking)
                return
            goes_on, answer = self._step(speaking, token)
            if not goes_on and answer is not None:
                self._step(listening, answer)
            if not goes_on or answer is None:
                return
            self.canaries.add(f"token {leg}", answer[-16:])
            self.tokens.append(answer)
            token = self.alter(leg, answer)
            speaking, listening = listening, speaking

    def _step(self, machine: HandshakeMachine, token: bytes | None) -> tuple[bool, bytes | None]:
        if machine.state is State.ESTABLISHED:
            self._receive(self._results[machine], token or b"")
            return False, None
        try:
            step = respond_blocking(machine, token, self.services)
        except Exception as error:
            self.errors.append(error)
            return False, owed_token(error)
        self.shown.append(step)
        if step.established is not None:
            self.established.append(step.established)
            self._results[machine] = step.established.result
            self.shown += [step.established, step.established.result, step.established.peer]
        return True, step.token

    def _receive(self, result: SecurityContext | RecordConnection, octets: bytes) -> None:
        """What comes after the end of the handshake: tickets, alerts."""
        if isinstance(result, SecurityContext):
            return
        try:
            result.receive_data(octets)
            while result.next_event() is not None:
                pass
        except SecureStreamError as error:
            self.later.append(error)

    def _fail(self, machine: HandshakeMachine) -> None:
        try:
            machine.fail(PeerGone("the peer is gone"))
        except Exception as error:
            self.errors.append(error)

    def _options(self) -> Options:
        system = system_options(limits=self.limits)

        def clock() -> Any:
            self._readings += 1
            if self._readings - 1 == self.break_clock_at:
                raise RuntimeError("the clock is broken")
            return system.clock()

        def random(size: int) -> bytes:
            self._draws += 1
            if self._draws - 1 == self.break_random_at:
                raise RuntimeError("no randomness")
            octets = system.random(size)
            self.canaries.add(f"draw {self._draws}", octets)
            return octets

        return replace(system, clock=clock, random=random)

    @property
    def draws(self) -> int:
        """Random draws so far."""
        return self._draws

    @property
    def readings(self) -> int:
        """Clock readings so far."""
        return self._readings

    def reports(self) -> Iterator[tuple[str, str]]:
        """What a careless program would write down, each with where it comes from."""
        for error in self.errors + self.later:
            yield "the error", f"{error} {error!r} {error.args!r}"
            yield "the traceback", report(error)
        for thing in self.shown:
            yield f"repr of {type(thing).__name__}", f"{thing!r} {thing}"


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it came from."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            pending += [one.__cause__, one.__context__]


def report(error: BaseException) -> str:
    """A traceback with captured locals of every frame but those of the tests, which hold the secrets."""
    lines: list[str] = []
    for one in chain(error):
        shown = traceback.TracebackException.from_exception(one, capture_locals=True)
        lines += shown.format_exception_only()
        for frame in shown.stack:
            if HERE not in Path(frame.filename).parents:
                lines += [f"{frame.filename}:{frame.lineno} {frame.name}", repr(frame.locals)]
    return "\n".join(lines)


def frames(error: BaseException) -> Iterator[FrameType]:
    """Every frame of `error` and of what it came from."""
    for one in chain(error):
        trace = one.__traceback__
        while trace is not None:
            yield trace.tb_frame
            trace = trace.tb_next


def mutations() -> dict[str, Callable[[bytes], bytes]]:
    """Ways of damaging a token."""

    def flipped(place: float) -> Callable[[bytes], bytes]:
        def flip(token: bytes) -> bytes:
            at = min(int(len(token) * place), len(token) - 1)
            return token[:at] + bytes((token[at] ^ 0x55,)) + token[at + 1 :] if token else b"x"

        return flip

    found: dict[str, Callable[[bytes], bytes]] = {
        "empty": lambda token: b"",
        "first octet": lambda token: token[:1],
        "half": lambda token: token[: len(token) // 2],
        "cut": lambda token: token[:-1],
        "longer": lambda token: token + b"\0",
        "zeros": lambda token: bytes(len(token)),
        "twice": lambda token: token + token,
    }
    return found | {f"flip {place}": flipped(place) for place in (0, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 1)}
