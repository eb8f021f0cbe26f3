"""NegotiateStream three ways: a client and a server, each .NET or ours, and what came of it in terms that compare."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import anyio

import securestream as ss
from securestream.streams._wrap import SecureStream
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.interop.nns_recording import Recording, Way, recording
from tests.interop.peers.mit_kdc import MitKdc
from tests.interop.peers.process import Event, JsonPeer

End: TypeAlias = Literal[".NET", "ours"]
Level: TypeAlias = Literal["EncryptAndSign", "Sign", "None"]
Impersonation: TypeAlias = Literal["Identification", "Impersonation", "Delegation"]
Who: TypeAlias = Literal["Kerberos", "NTLM by fallback", "NTLM only", "tickets", "tickets, unknown target"]

PASSWORD: Final = "alice's password"
USER: Final = "alice"
DOMAIN: Final = "CORP"
TARGET: Final = "HOST/localhost"
UNKNOWN_TARGET: Final = "HOST/absent"
PATIENCE: Final = 30.0
_LIMIT: Final = 64512
_WAYS: Final[tuple[Way, Way]] = ("c", "s")
_NOWHERE: Final = ("NTLM by fallback", "tickets, unknown target")

_PROTECTION: Final[Mapping[Level, ss.Protection]] = {
    "EncryptAndSign": ss.Protection.ENCRYPT_AND_SIGN,
    "Sign": ss.Protection.SIGN,
    "None": ss.Protection.NONE,
}


@dataclass(frozen=True)
class Case:
    """What a client and a server are to do.

    Args:
        who: the client's credential and target.
        level: the protection that the client asks for.
        demanded: the protection that the server demands; `None`: the same.
        allowed: the impersonation level that the client allows.
        required: the one that the server requires.
        wrong: whether the password is wrong.
        again: whether the first attempt is made with a wrong password, and a second one over the same connection.
        sizes: octets sent and echoed, one after the other.
        half_close: octets after which the client ends its side, to be echoed all the same.
        drip: whether every octet travels by itself.
    """

    who: Who
    level: Level = "EncryptAndSign"
    demanded: Level | None = None
    allowed: Impersonation = "Identification"
    required: Impersonation = "Identification"
    wrong: bool = False
    again: bool = False
    sizes: tuple[int, ...] = (0, 1, 1000)
    half_close: int = 0
    drip: bool = False

    @property
    def server_level(self) -> Level:
        """The protection that the server demands."""
        return self.demanded or self.level


@dataclass(frozen=True)
class Observed:
    """What came of a case between two ends, in terms that are the same for .NET and ours.

    Args:
        client: "sealed, mutual, Identification" of an established end, or its AuthenticationException: whose failure it
            was, with the native code; "credential refused" is the InvalidCredentialException.
        server: the same, with the client's name.
        frames: those of the handshake.
        overhead: what each end adds to the data of a frame; `None` where data travels without frames.
        total: octets of data each way.
        ends: who ended its side, in their order; nothing after a refusal, when both hang up at once.
    """

    client: str
    server: str
    frames: tuple[str, ...]
    overhead: tuple[int | None, int | None] = (None, None)
    total: tuple[int, int] = (0, 0)
    ends: tuple[Way, ...] = ()

    @property
    def established(self) -> bool:
        """Whether the handshake succeeded at the client."""
        return self.client.startswith(("sealed", "signed", "bare"))

    def differences(self, other: Observed) -> dict[str, object]:
        """What of `other` differs from this, by name."""
        return {name: value for name, value in vars(other).items() if value != getattr(self, name)}


class _Listener(ss.SecureListener):
    """Tells what became of a handshake that failed."""

    failed: Callable[[Exception], None]

    async def handle_handshake_error(self, error: Exception, source: str) -> None:
        self.failed(error)


class Ends:
    """Makes ends of both kinds in one realm.

    Args:
        kdc: the realm.
        commander: .NET, as a commander, with the tickets of a cache and the accounts of NTLM.
        ticketed: another one, with the tickets alone: the other one takes an account of NTLM for its default, too.
    """

    def __init__(self, kdc: MitKdc, commander: JsonPeer, ticketed: JsonPeer) -> None:
        self._kdc = kdc
        self._peers = (commander, ticketed)
        self._references: dict[Case, Observed] = {}
        self._numbers = itertools.count()
        self._kerberos = Kerberos(config=kdc.krb5_config(), delegation="always")

    async def run(self, case: Case, client: End, server: End) -> Observed:
        """Run a case between a client and a server."""
        serve = self._serve_theirs if server == ".NET" else self._serve_ours
        call = self._call_theirs if client == ".NET" else self._call_ours
        with anyio.fail_after(2 * PATIENCE):
            async with serve(case) as (port, served), recording(port, drip=case.drip) as recorder:
                called = await call(case, recorder.port)
                return _observed(case, called, await served(), await recorder.ended())

    async def reference(self, case: Case) -> Observed:
        """What .NET comes to with itself; run once."""
        if case not in self._references:
            self._references[case] = await self.run(case, ".NET", ".NET")
        return self._references[case]

    # --- .NET -------------------------------------------------------------------------------------------------------

    def _tell(self, peer: JsonPeer, case: Case, **more: object) -> str:
        name = f"case {next(self._numbers)}"
        attempts = 2 if case.again else 1
        peer.tell({"case": name, "protocol": "negotiate", "attempts": attempts, **more})
        return name

    def _events(self, case: str) -> list[Event]:
        return [event for peer in self._peers for event in tuple(peer.events) if event.get("case") == case]

    async def _said(self, case: str, *names: str) -> Event:
        """The first event of a case with one of these names, but for failures of attempts that are not the last."""
        while True:
            for event in self._events(case):
                if event["event"] in names and event.get("during") != "attempt":
                    return event
            await anyio.sleep(0.002)

    async def _outcome(self, name: str) -> str:
        end = await self._said(name, "closed", "failed")
        if end["event"] == "failed":
            return _their_failure(end)
        seen = await self._said(name, "authenticated")
        return _success(
            encrypted=seen["encrypted"],
            signed=seen["signed"],
            mutual=seen["mutual"],
            impersonation=seen["impersonation"],
            peer=seen["peer"],
        )

    @asynccontextmanager
    async def _serve_theirs(self, case: Case) -> AsyncGenerator[tuple[int, Served]]:
        name = self._tell(self._peers[0], case, role="server", level=case.server_level, impersonation=case.required)
        yield (await self._said(name, "listening"))["port"], functools.partial(self._outcome, name)

    async def _call_theirs(self, case: Case, port: int) -> str:
        settings: dict[str, object] = {"role": "client", "port": port, "level": case.level}
        settings |= {"impersonation": case.allowed, "sizes": case.sizes, "halfClose": case.half_close}
        settings |= {"target": UNKNOWN_TARGET if case.who in _NOWHERE else TARGET}
        if not case.who.startswith("tickets"):
            domain = DOMAIN if case.who == "NTLM only" else self._kdc.realm
            settings |= {"user": USER, "domain": domain, "password": "wrong" if case.wrong else PASSWORD}
        name = self._tell(self._peers[case.who.startswith("tickets")], case, **settings)
        outcome = await self._outcome(name)
        said = self._events(name)
        if any(event["event"] == "closed" for event in said):
            echoed = [(event["size"], event["right"]) for event in said if event["event"] == "echoed"]
            assert echoed == [(size, True) for size in case.sizes]
            assert [event["received"] for event in said if event["event"] == "half closed"] == _rest(case)
        return outcome

    # --- ours ---------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _serve_ours(self, case: Case) -> AsyncGenerator[tuple[int, Served]]:
        outcomes: list[str] = []
        over = anyio.Event()

        def failed(error: Exception) -> None:
            outcomes.append(_our_failure(error))
            over.set()

        async def handle(stream: SecureStream) -> None:
            async for data in stream:
                await stream.send(data)
            outcomes.append(_our_success(stream, server=True))
            over.set()

        async def served() -> str:
            await over.wait()
            return outcomes[0]

        def listener(*arguments: Any, **more: Any) -> ss.SecureListener:
            made = _Listener(*arguments, **more)
            made.failed = failed
            return made

        names = (f"{DOMAIN}\\{USER}", f"{self._kdc.realm}\\{USER}")
        listening = await ss.listen(
            "127.0.0.1",
            0,
            package=Negotiate(self._kerberos, Ntlm(mic="optional")),  # bare NTLM of gss-ntlmssp has none
            credential=ss.Credentials(
                ss.Keytab(str(self._kdc.default_keytab)), ss.Accounts.memory(**dict.fromkeys(names, PASSWORD))
            ),
            protection=_PROTECTION[case.server_level],
            impersonation=_impersonation(case.required),
            attempts=2 if case.again else 1,
            listener=listener,
        )
        async with listening, anyio.create_task_group() as tasks:
            tasks.start_soon(listening.serve, handle)
            yield listening.port, served
            tasks.cancel_scope.cancel()

    def _identity(self, case: Case) -> tuple[Negotiate, list[ss.Credential]]:
        """The package of our client, and as whom it comes."""
        ntlm = Ntlm()
        if case.who.startswith("tickets"):
            return Negotiate(self._kerberos, ntlm), [ss.CredentialCache(str(self._kdc.default_cache))]
        alone = case.who == "NTLM only"
        user = f"{DOMAIN}\\{USER}" if alone else f"{USER}@{self._kdc.realm}"
        passwords = ["wrong", PASSWORD] if case.again else ["wrong" if case.wrong else PASSWORD]
        package = Negotiate(ntlm) if alone else Negotiate(self._kerberos, ntlm, ntlm="always")
        return package, [ss.Password(user, password) for password in passwords]

    async def _call_ours(self, case: Case, port: int) -> str:
        package, credentials = self._identity(case)
        try:
            stream = await ss.connect(
                "127.0.0.1",
                port,
                package=package,
                credential=credentials,
                target=UNKNOWN_TARGET if case.who in _NOWHERE else TARGET,
                protection=_PROTECTION[case.level],
                impersonation=_impersonation(case.allowed),
            )
        except (ss.HandshakeError, ss.PeerRefused) as error:
            return _our_failure(error)
        async with stream:
            for size in case.sizes:
                await _echo(stream, os.urandom(size))
            if case.half_close:
                assert [await _half_close(stream, case.half_close)] == _rest(case)
            return _our_success(stream, server=False)


Served: TypeAlias = Callable[[], Awaitable[str]]
"""Waits for what a server came to."""


async def _echo(stream: SecureStream, data: bytes) -> None:
    received = bytearray()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, data)
        while len(received) < len(data):
            received += await stream.receive()
    assert bytes(received) == data


async def _half_close(stream: SecureStream, size: int) -> int:
    """Send `size` octets and end this side; how many still come."""

    async def send() -> None:
        await stream.send(bytes(size))
        await stream.send_eof()

    received = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        async for data in stream:
            received += len(data)
    return received


# --- in terms that compare -------------------------------------------------------------------------------------------


def _rest(case: Case) -> list[int]:
    return [case.half_close] if case.half_close else []


def _impersonation(level: Impersonation) -> ss.ImpersonationLevel:
    return ss.ImpersonationLevel[level.upper()]


def _success(*, encrypted: bool, signed: bool, mutual: bool, impersonation: str, peer: str | None) -> str:
    cover = "sealed" if encrypted else "signed" if signed else "bare"
    return ", ".join(word for word in (cover, "mutual" if mutual else "", impersonation, peer or "") if word)


def _our_success(stream: SecureStream, *, server: bool) -> str:
    protection = stream.extra(ss.SecurityAttribute.protection)
    peer = stream.extra(ss.SecurityAttribute.peer)
    kerberos = stream.extra(ss.SecurityAttribute.package) == "Kerberos"
    name = f"{peer.name}@{peer.authority}" if kerberos else str(peer)
    return _success(
        encrypted=protection is ss.Protection.ENCRYPT_AND_SIGN,
        signed=protection is not ss.Protection.NONE,
        mutual=ss.ContextFlags.MUTUAL in stream.extra(ss.SecurityAttribute.flags),
        impersonation=stream.extra(ss.SecurityAttribute.impersonation).name.capitalize(),
        peer=name if server else None,
    )


def _failure(whose: str, code: int | None) -> str:
    return whose if code is None else f"{whose}: {code:#x}"


def _our_failure(error: Exception) -> str:
    if isinstance(error, ss.PeerRefused):
        denied = error.code == ss.ErrorKind.LOGON_DENIED.hresult
        return _failure("credential refused by the peer" if denied else "refused by the peer", error.code)
    assert isinstance(error, ss.HandshakeError), repr(error)
    return _failure("failed here", None if isinstance(error, ss.QualityNotMet) else error.kind.hresult)


def _their_failure(event: Event) -> str:
    chain = event["chain"]
    assert event["during"] == "handshake", event
    codes = [link["native"] for link in chain if link["native"] is not None]
    code = codes[0] if codes else None
    if chain[0]["type"] == "InvalidCredentialException":
        return _failure("credential refused by the peer", code)
    assert chain[0]["type"] == "AuthenticationException", event
    return _failure("refused by the peer" if "remote side" in chain[0]["message"] else "failed here", code)


def _observed(case: Case, client: str, server: str, seen: Recording) -> Observed:
    assert not any(seen.unread.values()), seen.unread
    frames = tuple(str(frame) for frame in seen.frames)
    observed = Observed(client, server, frames)
    if not observed.established:
        assert not any(seen.data.values())
        return observed
    ends = tuple(seen.ends)
    if not seen.sealed:
        return Observed(client, server, frames, total=(sum(seen.data["c"]), sum(seen.data["s"])), ends=ends)
    own, peer = (seen.data[way][0] - 1 for way in _WAYS)  # the first frame each way has one octet
    cut = [size - own for size in seen.data["c"]]
    assert cut == list(_cut(*case.sizes, case.half_close)), cut
    total = sum(cut), sum(seen.data["s"]) - peer * len(seen.data["s"])  # an echo is cut as it was read
    return Observed(client, server, frames, (own, peer), total, ends)


def _cut(*sizes: int) -> Iterator[int]:
    """How writes of these sizes are cut into frames."""
    for size in sizes:
        yield from (min(_LIMIT, size - start) for start in range(0, size, _LIMIT))
