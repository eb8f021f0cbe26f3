"""SCRAM-SHA-256 and -PLUS: the example of RFC 7677, both roles, and what each end refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Generator
from typing import Any

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts, Credential, Password
from securestream.drive import Services, respond_blocking
from securestream.errors import (
    BadBindings,
    ErrorKind,
    InvalidToken,
    LogonDenied,
    NoCredentials,
    PeerRefused,
    QualityNotMet,
    SecureStreamError,
    Unsupported,
    UsageError,
)
from securestream.logon import FindVerifier, Found, LogonResult, VerifierLogon
from securestream.options import BindingPolicy, ContextFlags, Options, Role
from securestream.principal import Principal
from securestream.provider import Capability
from securestream.sasl import ScramSha256
from securestream.services.verifiers import scram_verifier
from tests.core.sasl.ends import (
    ALICE,
    BINDINGS,
    END_POINT,
    OTHER_BINDINGS,
    PASSWORD,
    SEAL,
    SIGN,
    Meeting,
    acceptor,
    accounts,
    initiator,
    meet,
    options,
    owed,
    stepped,
)

# RFC 7677 3
USER, PENCIL = "user", "pencil"
CLIENT_NONCE, SERVER_NONCE = "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CLIENT_FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

SCRAM, PLUS = ScramSha256(), ScramSha256(plus=True)
MALLORY = Password("alice", "wrong")
BOUND = options(channel_bindings=BINDINGS)


def scripted_nonce(monkeypatch: pytest.MonkeyPatch, nonce: str) -> None:
    """Have the mechanism draw this nonce."""

    def draw(_: Options) -> str:
        return nonce

    monkeypatch.setattr("securestream.sasl.scram._nonce", draw)


def knowing(password: str, salt: bytes = SALT, iterations: int = 4096) -> Services:
    """Services that know one verifier, whoever asks."""
    services = Services()
    verifier = scram_verifier(password, salt, iterations)

    def find(_: FindVerifier) -> Found:
        return Found(verifier.parameters.pack())

    def verify(logon: VerifierLogon[Any]) -> LogonResult[Any]:
        proof = logon.prove(verifier.pack())
        if proof is None:
            raise LogonDenied("no")
        return LogonResult(Principal(logon.user, logon.package), proof)

    services.register(FindVerifier, blocking=find)
    services.register(VerifierLogon, blocking=verify)
    return services


def test_the_client_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_nonce(monkeypatch, CLIENT_NONCE)
    machine = initiator(SCRAM, Password(USER, PENCIL), options())
    assert stepped(machine) == CLIENT_FIRST
    assert respond_blocking(machine, SERVER_FIRST).token == CLIENT_FINAL
    step = respond_blocking(machine, SERVER_FINAL)
    assert step.established is not None
    assert step.token is None


def test_the_server_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted_nonce(monkeypatch, SERVER_NONCE)
    services = knowing(PENCIL)
    machine = acceptor(SCRAM, accounts(), options())
    assert stepped(machine, CLIENT_FIRST, services=services) == SERVER_FIRST
    step = respond_blocking(machine, CLIENT_FINAL, services)
    assert step.established is not None
    assert step.token == SERVER_FINAL
    assert step.established.peer == Principal(USER, "SCRAM-SHA-256")


def test_both_ends_prove_themselves_and_have_no_layer() -> None:
    found = meet(SCRAM, SCRAM, ALICE, accounts())
    client, server = found.layers
    assert client.flags == server.flags == ContextFlags.MUTUAL
    assert found.outcomes[1].peer.name == "alice"
    assert not found.outcomes[0].peer.is_authenticated
    assert not client.bound
    assert not server.bound
    for layer in (client, server):
        with pytest.raises(Unsupported):
            layer.wrap(b"data")
        with pytest.raises(Unsupported):
            layer.unwrap(b"data")


@pytest.mark.parametrize("bindings", [BINDINGS, END_POINT])
def test_plus_binds_to_the_channel(bindings: ChannelBindings) -> None:
    asked = options(channel_bindings=bindings)
    found = meet(PLUS, PLUS, ALICE, accounts(), mine=asked, theirs=asked)
    assert all(layer.bound for layer in found.layers)
    assert found.tokens[0].startswith(b"p=" + bindings.application_data.split(b":")[0] + b",,")


@pytest.mark.parametrize("name", ["alice", "ALICE", "CORP\\alice"])
def test_the_name_is_found_in_any_case_and_with_a_domain(name: str) -> None:
    found = meet(SCRAM, SCRAM, Password(name, PASSWORD), accounts())
    assert found.outcomes[1].peer.name == "alice"


def test_a_name_with_commas_and_equals_signs_arrives() -> None:
    store = Accounts.memory(**{"a,b=c": PASSWORD})
    found = meet(SCRAM, SCRAM, Password("a,b=c", PASSWORD), store)
    assert b"n=a=2Cb=3Dc," in found.tokens[0]
    assert found.outcomes[1].peer.name == "a,b=c"


def test_name_and_password_are_prepared() -> None:
    # RFC 4013 3: a soft hyphen is mapped to nothing, the ordinal indicator and the Roman numeral to their letters
    assert not meet(SCRAM, SCRAM, Password("\u2168a", "pa"), Accounts.memory(ixa="p\u00aa")).errors
    assert not meet(SCRAM, SCRAM, Password("i\u00ada", "p\u00ad\u00aa"), Accounts.memory(ia="pa")).errors


def test_a_password_that_cannot_be_prepared_is_the_callers_mistake_and_is_not_shown() -> None:
    error = meet(SCRAM, SCRAM, Password("alice", "bell \u0007 secret"), accounts()).error
    assert isinstance(error, UsageError)
    assert "secret" not in str(error)


def test_an_authorisation_identity_of_ones_own_is_granted_and_another_is_not() -> None:
    client = ScramSha256(authzid="alice")
    assert [layer.authzid for layer in meet(client, SCRAM, ALICE, accounts()).layers] == ["alice", "alice"]
    refused = meet(ScramSha256(authzid="root"), SCRAM, ALICE, accounts())
    assert refused.kinds == {Role.ACCEPTOR: "NOT_AUTHORIZED"}
    assert owed(refused.error) == b"e=other-error"


def test_who_may_act_as_whom_is_the_servers_to_say() -> None:
    asked: list[tuple[str, str]] = []

    def authorize(principal: Principal, authzid: str) -> bool:
        asked.append((principal.name, authzid))
        return True

    found = meet(ScramSha256(authzid="bob, the=2nd"), ScramSha256(authorize=authorize), ALICE, accounts())
    assert found.layers[1].authzid == "bob, the=2nd"
    assert asked == [("alice", "bob, the=2nd")]


@pytest.mark.parametrize("credential", [MALLORY, Password("nobody", PASSWORD)])
def test_a_wrong_password_and_an_unknown_name_read_the_same(credential: Password) -> None:
    found = meet(SCRAM, SCRAM, credential, accounts())
    assert found.kinds == {Role.ACCEPTOR: "LOGON_DENIED"}
    assert isinstance(found.error, LogonDenied)
    assert owed(found.error) == b"e=invalid-proof"


def test_a_server_tells_the_client_which_bindings_it_takes() -> None:
    found = meet(PLUS, PLUS, ALICE, accounts(), mine=BOUND, theirs=options(channel_bindings=END_POINT))
    assert isinstance(found.error, BadBindings)
    assert "tls-server-end-point" in str(found.error)
    assert owed(found.error) == b"e=unsupported-channel-binding-type"


def test_a_plus_client_needs_bindings() -> None:
    with pytest.raises(UsageError, match="TLS channel"):
        stepped(initiator(PLUS, ALICE, options()))
    with pytest.raises(UsageError, match="TLS"):
        stepped(initiator(PLUS, ALICE, options(channel_bindings=ChannelBindings(b"anything"))))


def test_a_plus_server_without_bindings_refuses() -> None:
    found = meet(PLUS, PLUS, ALICE, accounts(), mine=BOUND)
    assert isinstance(found.error, BadBindings)


@pytest.mark.parametrize("flag", [b"n,,", b"y,,"])
def test_a_plus_server_refuses_a_client_that_does_not_bind(flag: bytes) -> None:
    machine = acceptor(PLUS, accounts(), BOUND)
    with pytest.raises(InvalidToken, match="go together"):
        stepped(machine, flag + b"n=alice,r=abc")


def test_a_plain_server_refuses_a_client_that_binds() -> None:
    with pytest.raises(InvalidToken, match="go together"):
        stepped(acceptor(SCRAM, accounts(), BOUND), b"p=tls-exporter,,n=alice,r=abc")


def test_bindings_that_are_demanded_must_be_used() -> None:
    always = options(channel_bindings=BINDINGS, binding_policy=BindingPolicy.ALWAYS)
    found = meet(SCRAM, SCRAM, ALICE, accounts(), theirs=always)
    assert isinstance(found.error, BadBindings)
    assert "SCRAM-SHA-256-PLUS" in str(found.error)


def test_a_server_that_binds_never_takes_the_word_of_a_client_that_could_have_bound() -> None:
    never = options(channel_bindings=BINDINGS, binding_policy=BindingPolicy.NEVER)
    assert not meet(SCRAM, SCRAM, ALICE, accounts(), mine=BOUND, theirs=never).errors


@pytest.mark.parametrize("protection", [SIGN, SEAL])
@pytest.mark.parametrize("mechanism", [SCRAM, PLUS])
def test_a_layer_is_refused_before_anything_is_sent(mechanism: ScramSha256, protection: Any) -> None:
    asked = options(protection, channel_bindings=BINDINGS)
    for machine in (initiator(mechanism, ALICE, asked), acceptor(mechanism, accounts(), asked)):
        with pytest.raises(QualityNotMet, match=protection.name):
            stepped(machine)


def test_what_it_needs() -> None:
    assert SCRAM.usable(ALICE, Role.INITIATOR) is None
    assert SCRAM.usable(None, Role.INITIATOR) is not None
    assert SCRAM.usable(accounts(), Role.ACCEPTOR) is None
    assert SCRAM.usable(ALICE, Role.ACCEPTOR) is not None
    for machine in (initiator(SCRAM, None, options()), acceptor(SCRAM, None, options())):
        with pytest.raises(NoCredentials):
            stepped(machine)
    assert Capability.MUTUAL_AUTH in SCRAM.info.capabilities
    assert not SCRAM.info.capabilities & (Capability.INTEGRITY | Capability.PRIVACY)


# --- the client against a server that is none ------------------------------------------------------------------------

Reply = Callable[[bytes], bytes]


def after_first(reply: Reply, mechanism: ScramSha256 = SCRAM, credential: Credential = ALICE) -> SecureStreamError:
    """How a client fails by the server's first message."""
    machine = initiator(mechanism, credential, options())
    first = stepped(machine)
    assert first is not None
    with pytest.raises(SecureStreamError) as failed:
        respond_blocking(machine, reply(first))
    return failed.value


def own_nonce(first: bytes) -> bytes:
    return first.rpartition(b"r=")[2]


SALTED = b",s=c2FsdHNhbHRzYWx0c2FsdA==,i="


WRONG_ANSWERS: list[tuple[Reply, type[SecureStreamError]]] = [
    (lambda nonce: b"r=" + nonce + SALTED + b"4096", InvalidToken),  # the server added nothing
    (lambda nonce: b"r=x" + nonce + SALTED + b"4096", InvalidToken),
    (lambda nonce: b"r=" + nonce[:-1] + b"zz" + SALTED + b"4096", InvalidToken),
    (lambda nonce: b"r=" + nonce + b"z" + SALTED + b"4095", Unsupported),
    (lambda nonce: b"r=" + nonce + b"z" + SALTED + b"1000001", Unsupported),
    (lambda nonce: b"r=" + nonce + b"z" + SALTED + b"04096", InvalidToken),
    (lambda nonce: b"r=" + nonce + b"z" + SALTED + b"4096000000", InvalidToken),
    (lambda nonce: b"r=" + nonce + b"z" + SALTED + b"-1", InvalidToken),
    (lambda nonce: b"r=" + nonce + b"z,s=,i=4096", InvalidToken),
    (lambda nonce: b"r=" + nonce + b"z,s=c2Fs dA==,i=4096", InvalidToken),
    (lambda nonce: b"r=" + nonce + b"z,i=4096,s=c2FsdA==", InvalidToken),
    (lambda nonce: b"m=ext,r=" + nonce + b"z" + SALTED + b"4096", Unsupported),
    (lambda nonce: b"r=" + nonce + b"z" + b"y" * 300 + SALTED + b"4096", InvalidToken),
    (lambda nonce: b"r=" + nonce + b"z,s=" + b"QUFB" * 342 + b",i=4096", InvalidToken),
    (lambda nonce: b"", InvalidToken),
    (lambda nonce: b"\xff", InvalidToken),
]


@pytest.mark.parametrize(("message", "kind"), WRONG_ANSWERS)
def test_a_servers_first_message_is_refused(message: Reply, kind: type[SecureStreamError]) -> None:
    error = after_first(lambda first: message(own_nonce(first)))
    assert isinstance(error, kind), error


def test_optional_extensions_are_ignored() -> None:
    client = initiator(SCRAM, ALICE, options())
    first = stepped(client)
    assert first is not None
    reply = b"r=" + own_nonce(first) + b"z" + SALTED + b"4096,x=whatever,y=more=less"
    assert respond_blocking(client, reply).token is not None


def test_the_limits_of_the_work_are_the_callers_to_move() -> None:
    services = knowing(PASSWORD, iterations=1000)
    client = ScramSha256(least_iterations=1000)
    assert not meet(client, SCRAM, ALICE, accounts(), services=services).errors
    assert isinstance(meet(SCRAM, SCRAM, ALICE, accounts(), services=services).error, Unsupported)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("invalid-proof", ErrorKind.LOGON_DENIED),
        ("unknown-user", ErrorKind.LOGON_DENIED),
        ("other-error", ErrorKind.LOGON_DENIED),
        ("something <b>new</b>", ErrorKind.LOGON_DENIED),
        ("channel-bindings-dont-match", ErrorKind.BAD_BINDINGS),
        ("server-does-support-channel-binding", ErrorKind.DOWNGRADE),
        ("no-resources", ErrorKind.LIMIT_EXCEEDED),
    ],
)
@pytest.mark.parametrize("leg", [1, 3])
def test_what_a_server_tells_of_its_refusal_is_reported(told: str, kind: ErrorKind, leg: int) -> None:
    def alter(number: int, token: bytes) -> bytes:
        return f"e={told}".encode() if number == leg else token

    error = meet(SCRAM, SCRAM, ALICE, accounts(), alter=alter).errors[Role.INITIATOR]
    assert isinstance(error, PeerRefused)
    assert error.kind is kind
    assert "<b>" not in str(error)  # a peer's words are not repeated


# --- the server against a client that is none ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n,,",
        b"n,n=alice,r=abc",
        b"x,,n=alice,r=abc",
        b"F,n,,n=alice,r=abc",
        b"p=,,n=alice,r=abc",
        b"p=tls unique,,n=alice,r=abc",
        b"n,b=bob,n=alice,r=abc",
        b"n,a=,n=alice,r=abc",
        b"n,a=b=2cb,n=alice,r=abc",
        b"n,a=" + b"b" * 1025 + b",n=alice,r=abc",
        b"n,,n=,r=abc",
        b"n,,n=al=ice,r=abc",
        b"n,,n=ali\0ce,r=abc",
        b"n,,n=ali\xffce,r=abc",
        b"n,,n=alice,r=",
        b"n,,n=alice,r=a b",
        b"n,,n=alice,r=" + b"a" * 300,
        b"n,,r=abc,n=alice",
        b"n,,n=alice,r=abc,nonsense",
        b"n,,n=\xc2\xad,r=abc",
        b"n,,n=\x07bell,r=abc",
    ],
)
def test_a_clients_first_message_is_refused(first: bytes) -> None:
    with pytest.raises(InvalidToken) as refused:
        stepped(acceptor(SCRAM, accounts(), options()), first)
    assert owed(refused.value) == b"e=invalid-encoding"


def test_a_mandatory_extension_is_not_known() -> None:
    with pytest.raises(Unsupported) as refused:
        stepped(acceptor(SCRAM, accounts(), options()), b"n,,m=x,n=alice,r=abc")
    assert owed(refused.value) == b"e=extensions-not-supported"


def final_altered(
    change: Callable[[bytes], bytes], mechanism: ScramSha256 = SCRAM, asked: Options | None = None
) -> Meeting:
    return meet(
        mechanism,
        mechanism,
        ALICE,
        accounts(),
        mine=asked,
        theirs=asked,
        alter=lambda leg, token: change(token) if leg == 2 else token,
    )


WRONG_FINALS: list[Reply] = [
    lambda token: token.replace(b"c=biws", b"c=eSws"),  # "y,,"
    lambda token: token[: token.index(b",p=")],
    lambda token: token[:-8],
    lambda token: token + b",x=1",
    lambda token: token.replace(b",r=", b",r=0"),
    lambda token: token.replace(b",p=", b",x=y,p="),
    lambda token: b"",
]


@pytest.mark.parametrize("change", WRONG_FINALS)
def test_a_clients_last_message_is_refused(change: Callable[[bytes], bytes]) -> None:
    found = final_altered(change)
    assert set(found.kinds) == {Role.ACCEPTOR}
    assert found.kinds[Role.ACCEPTOR] in ("INVALID_TOKEN", "LOGON_DENIED")


def proved(bound: bytes, nonce: bytes | None, first: bytes, answer: bytes) -> bytes:
    """A client's last message with a right proof, whatever it binds to and whatever nonce it repeats."""
    told, salt, iterations = answer.split(b",")
    unproven = b"c=" + base64.b64encode(bound) + b"," + (told if nonce is None else b"r=" + nonce)
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(salt[2:]), int(iterations[2:]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    message = b",".join((first.split(b",", 2)[2], answer, unproven))
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    return unproven + b",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True)))


def refused_by(first: bytes, bound: bytes, nonce: bytes | None = None) -> SecureStreamError:
    """How a server refuses a client that has the right password."""
    plus = first.startswith(b"p")
    machine = acceptor(PLUS if plus else SCRAM, accounts(), BOUND if plus else options())
    answer = stepped(machine, first)
    assert answer is not None
    with pytest.raises(SecureStreamError) as refused:
        respond_blocking(machine, proved(bound, nonce, first, answer))
    return refused.value


OTHER = OTHER_BINDINGS.application_data.partition(b":")[2]


@pytest.mark.parametrize(
    ("first", "bound"),
    [
        (b"p=tls-exporter,,n=alice,r=abc", b"p=tls-exporter,," + OTHER),
        (b"p=tls-exporter,,n=alice,r=abc", b"p=tls-exporter,,"),
        (b"n,,n=alice,r=abc", b"y,,"),
        (b"n,,n=alice,r=abc", b"n,a=alice,"),
    ],
)
def test_a_right_proof_over_another_channel_reads_like_a_wrong_password(first: bytes, bound: bytes) -> None:
    error = refused_by(first, bound)
    assert isinstance(error, BadBindings)
    assert error.told is ErrorKind.LOGON_DENIED
    assert owed(error) == b"e=invalid-proof"


@pytest.mark.parametrize("nonce", [b"abc", b"abcd", b"another"])
def test_a_right_proof_over_another_nonce_is_of_another_exchange(nonce: bytes) -> None:
    error = refused_by(b"n,,n=alice,r=abc", b"n,,", nonce)
    assert isinstance(error, InvalidToken)
    assert "not the one of this exchange" in str(error)


def test_a_verifier_that_was_made_anew_meanwhile_proves_nothing() -> None:
    services = knowing(PASSWORD)
    other = scram_verifier(PASSWORD, bytes(16), 4096)

    def find(_: FindVerifier) -> Found:
        return Found(other.parameters.pack())

    services.register(FindVerifier, blocking=find)
    assert isinstance(meet(SCRAM, SCRAM, ALICE, accounts(), services=services).error, LogonDenied)


def test_a_client_does_the_work_where_there_is_time_for_it() -> None:
    handshake: Generator[Any, Any, Any] = SCRAM.initiate(ALICE, None, options())
    first = next(handshake)
    nonce = own_nonce(first.token)
    work = handshake.send(b"r=" + nonce + b"z" + SALTED + b"4096")
    assert type(work).__name__ == "Compute"
