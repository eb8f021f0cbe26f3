"""Rule 20, SASL: server proofs, fake salts, -PLUS, the gs2 flag, layers, and EXTERNAL.

The attackers here are hand-made: somebody in between who rewrites lists and messages, or an end that is none.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.credentials import Accounts, Certificate, Password
from securestream.drive import respond_blocking
from securestream.errors import (
    BadBindings,
    Downgrade,
    InvalidToken,
    LogonDenied,
    PeerRefused,
    QualityNotMet,
    SecureStreamError,
)
from securestream.machine import HandshakeMachine, State
from securestream.options import BindingPolicy, Options, Protection, Role
from securestream.provider import Established, Exchange, Handshake
from securestream.sasl import (
    Answer,
    External,
    Gs2Krb5,
    Gssapi,
    GssSpnego,
    SaslClient,
    SaslMechanism,
    SaslServer,
    ScramSha256,
    choose,
    offered,
)
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.sasl import SaslStream
from securestream.streams.tls import TlsStream
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.core.sasl.ends import (
    ALICE,
    BINDINGS,
    END_POINT,
    OTHER_BINDINGS,
    PASSWORD,
    SEAL,
    SIGN,
    TARGET,
    Meeting,
    Realm,
    acceptor,
    accounts,
    initiator,
    kerberos,
    meet,
    new_services,
    options,
    owed,
    stepped,
)
from tests.streams.pairs import both, closing, sasl_over, tcp_pair

SCRAM, SCRAM_PLUS = ScramSha256(), ScramSha256(plus=True)
GS2, GS2_PLUS = Gs2Krb5(kerberos()), Gs2Krb5(kerberos(), plus=True)
BOUND = options(channel_bindings=BINDINGS)

# --- the server's proof ----------------------------------------------------------------------------------------------

Alter = Callable[[bytes], bytes]


def first_octet(token: bytes) -> bytes:
    return b"v=" + base64.b64encode(bytes((token[2] ^ 1,)) + bytes(31))


def other_exchange(token: bytes) -> bytes:
    return meet(SCRAM, SCRAM, ALICE, accounts(), mine=options(seed=98), theirs=options(seed=99)).tokens[-1]


FORGED: list[Alter] = [
    first_octet,
    other_exchange,
    lambda token: token[:-8],
    lambda token: b"v=" + base64.b64encode(bytes(32)),
    lambda token: b"v=",
    lambda token: b"",
    lambda token: b"x=" + token[2:],
    lambda token: b"v=" + token[2:] + b"AAAA",
]


@pytest.mark.parametrize("forge", FORGED)
def test_a_client_is_never_complete_without_the_servers_proof(forge: Alter) -> None:
    found = meet(SCRAM, SCRAM, ALICE, accounts(), alter=lambda leg, token: forge(token) if leg == 3 else token)
    assert found.client is None
    assert isinstance(found.errors[Role.INITIATOR], LogonDenied | InvalidToken)


@pytest.mark.parametrize("after", range(3))
@pytest.mark.parametrize("mechanism", [SCRAM, Gssapi(kerberos()), GS2, GssSpnego(Negotiate(kerberos(), Ntlm()))])
def test_success_that_is_told_early_is_refused(mechanism: SaslMechanism, after: int) -> None:
    realm, services = Realm(), new_services()
    credential: Any = ALICE if mechanism is SCRAM else realm.tickets()
    accepting: Any = accounts() if mechanism is SCRAM else realm.keytab
    wanted = options(SEAL if isinstance(mechanism, Gssapi | GssSpnego) else Protection.NONE, 1)
    client = SaslClient(mechanism, options=wanted, credential=credential, target=TARGET)
    server = SaslServer(mechanism, options=wanted, credential=accepting)
    response = client.response(respond_blocking(client.machine))
    for _ in range(after):
        taken = server.received(response)
        assert isinstance(taken, bytes)
        answer = server.answer(respond_blocking(server.machine, taken, services))
        if not answer.is_challenge:
            return  # it is complete by now
        response = client.response(respond_blocking(client.machine, client.challenged(answer.data or b"")))
    if client.machine.state is State.ESTABLISHED:
        return
    with pytest.raises(InvalidToken, match="before it has proved"):
        client.succeeded()
    assert not client.is_complete
    assert client.machine.state is State.FAILED


def test_a_server_that_knows_another_password_is_found_out() -> None:
    # it takes any proof, and answers as if it knew the password
    found = meet(SCRAM, SCRAM, Password("alice", PASSWORD), accounts())
    genuine = found.tokens[1]
    client = initiator(SCRAM, ALICE, options(seed=1))
    assert stepped(client) == found.tokens[0]
    assert respond_blocking(client, genuine).token is not None
    with pytest.raises(LogonDenied, match="does not prove"):
        respond_blocking(client, b"v=" + base64.b64encode(b"a signature of 32 octets, almost"))


# --- unknown users ---------------------------------------------------------------------------------------------------


def told(store: Any, user: str, seed: int = 0) -> tuple[bytes, int]:
    """The salt and the iterations that a server tells for a name."""
    server = acceptor(SCRAM, Accounts(store), options(seed=seed))
    answer = stepped(server, b"n,,n=" + user.encode() + b",r=abc")
    assert answer is not None
    _, salt, iterations = answer.split(b",")
    return salt, int(iterations[2:])


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made: Any = MemoryAccounts() if request.param == "memory" else SqliteAccounts(tmp_path / "accounts.db")
    made.add("alice", PASSWORD)
    made.add("disabled", PASSWORD)
    made.disable("disabled")
    return made


def test_the_salt_of_an_unknown_name_is_stable_and_looks_like_any(store: Any) -> None:
    names = ("nobody", "NOBODY", "somebody", "alice", "disabled")
    salts = {name: told(store, name) for name in names}
    assert salts == {name: told(store, name, seed=7) for name in names}
    assert salts["nobody"] == salts["NOBODY"]
    assert len({salt for salt, _ in salts.values()}) == 4
    assert len({(len(salt), iterations) for salt, iterations in salts.values()}) == 1


def test_it_stays_the_same_when_the_server_starts_again(tmp_path: Path) -> None:
    first = told(SqliteAccounts(tmp_path / "accounts.db"), "nobody")
    again = SqliteAccounts(tmp_path / "accounts.db")
    assert told(again, "nobody") == first
    again.add("nobody", PASSWORD)
    assert told(again, "nobody") == first  # nor does it tell when an account is made


QUESTIONS = ("find", "find_hashed", "throttled", "verifier", "failed", "succeeded")


def test_unknown_disabled_and_wrong_ask_the_same_and_are_told_the_same(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work: list[str] = []

    def counted(name: str, genuine: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **named: Any) -> Any:
            work.append(name)
            return genuine(*arguments, **named)

        return count

    for name in QUESTIONS:
        monkeypatch.setattr(store, name, counted(name, getattr(store, name)))
    monkeypatch.setattr("securestream.sasl.scram.hmac.digest", counted("hmac", hmac.digest))
    seen: set[tuple[tuple[str, ...], bytes | None]] = set()
    for user, password in (("nobody", PASSWORD), ("disabled", PASSWORD), ("alice", "wrong")):
        client = initiator(SCRAM, Password(user, password), options(seed=1))
        first = stepped(client)
        assert first is not None
        server = acceptor(SCRAM, Accounts(store), options(seed=2))
        work.clear()
        answer = stepped(server, first)
        assert answer is not None
        asked = tuple(work)
        final = respond_blocking(client, answer).token
        assert final is not None
        work.clear()
        with pytest.raises(LogonDenied) as refused:
            respond_blocking(server, final)
        seen.add((asked + tuple(work), owed(refused.value)))
    assert len(seen) == 1, seen
    assert seen.pop()[1] == b"e=invalid-proof"


# --- -PLUS and the gs2 flag ------------------------------------------------------------------------------------------

KNOWN = (SCRAM, SCRAM_PLUS, GS2, GS2_PLUS)


def ends(mechanism: SaslMechanism, asked: Options, served: Options, alter: Any = None) -> Meeting:
    """An exchange by a mechanism that the client has chosen."""
    realm = Realm()
    password = isinstance(mechanism, ScramSha256)
    accepting: Any = accounts() if password else realm.keytab
    server = next(one for one in KNOWN if one.info.name == mechanism.info.name)
    return meet(
        mechanism,
        server,
        ALICE if password else realm.tickets(),
        accepting,
        mine=asked,
        theirs=served,
        alter=alter or (lambda leg, token: token),
    )


@pytest.mark.parametrize("family", ["SCRAM-SHA-256", "GS2-KRB5"])
def test_under_tls_plus_is_chosen(family: str) -> None:
    credential: Any = ALICE if family.startswith("SCRAM") else Realm().tickets()
    accepting: Any = accounts() if family.startswith("SCRAM") else Realm().keytab
    names = [one.info.name for one in offered(KNOWN, accepting, BOUND)]
    assert names == [f"{family}-PLUS", family]
    chosen = choose(reversed(names), credential, BOUND, KNOWN)
    assert chosen.info.name == f"{family}-PLUS"
    found = ends(chosen, BOUND, options(seed=2, channel_bindings=BINDINGS))
    assert all(layer.bound for layer in found.layers)


@pytest.mark.parametrize("family", ["SCRAM-SHA-256", "GS2-KRB5"])
def test_plus_that_somebody_took_out_of_the_list_is_missed(family: str) -> None:
    credential: Any = ALICE if family.startswith("SCRAM") else Realm().tickets()
    chosen = choose([family], credential, BOUND, KNOWN)  # the -PLUS was removed on the way
    assert chosen.info.name == family
    found = ends(chosen, BOUND, options(seed=2, channel_bindings=OTHER_BINDINGS))  # a channel to whoever removed it
    assert found.client is None
    assert isinstance(found.errors[Role.ACCEPTOR], Downgrade)
    assert family + "-PLUS" in str(found.error)


@pytest.mark.parametrize("family", ["SCRAM-SHA-256", "GS2-KRB5"])
def test_the_flag_that_says_so_cannot_be_altered_either(family: str) -> None:
    credential: Any = ALICE if family.startswith("SCRAM") else Realm().tickets()
    chosen = choose([family], credential, BOUND, KNOWN)

    def alter(leg: int, token: bytes) -> bytes:
        return b"n" + token[1:] if leg == 0 else token

    found = ends(chosen, BOUND, options(seed=2, channel_bindings=OTHER_BINDINGS), alter)
    assert found.client is found.server is None
    assert isinstance(found.errors[Role.ACCEPTOR], BadBindings)


@pytest.mark.parametrize("mechanism", [SCRAM_PLUS, GS2_PLUS])
@pytest.mark.parametrize("channel", [OTHER_BINDINGS, END_POINT])
def test_whoever_stands_between_two_channels_is_found_out(mechanism: SaslMechanism, channel: Any) -> None:
    served = options(seed=2, channel_bindings=channel)
    found = ends(mechanism, BOUND, served)
    assert found.client is found.server is None

    def rename(leg: int, token: bytes) -> bytes:
        name = channel.application_data.partition(b":")[0]
        return token.replace(b"p=tls-exporter", b"p=" + name, 1) if leg == 0 else token

    found = ends(mechanism, BOUND, served, rename)
    assert found.client is found.server is None


@pytest.mark.parametrize("mechanism", [SCRAM, GS2])
def test_where_bindings_are_demanded_nothing_else_will_do(mechanism: SaslMechanism) -> None:
    always = options(seed=2, channel_bindings=BINDINGS, binding_policy=BindingPolicy.ALWAYS)
    found = ends(mechanism, options(seed=1), always)
    assert isinstance(found.error, BadBindings)
    assert found.server is None


# --- layers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", [SCRAM, SCRAM_PLUS, GS2, GS2_PLUS, External()])
@pytest.mark.parametrize("level", [SIGN, SEAL])
def test_a_mechanism_without_a_layer_sends_nothing_where_one_is_asked_for(
    mechanism: SaslMechanism, level: Protection
) -> None:
    asked = options(level, channel_bindings=BINDINGS)
    for machine in (initiator(mechanism, ALICE, asked), acceptor(mechanism, accounts(), asked)):
        with pytest.raises(QualityNotMet):
            stepped(machine)


@pytest.mark.parametrize("offer", [b"\1\0\0\0", b"\2\0\1\0", b"\3\0\1\0"])
def test_a_server_that_offers_too_weak_a_layer_gets_no_choice_and_no_data(offer: bytes) -> None:
    realm = Realm()

    def weak() -> Handshake:
        """Kerberos, and then an offer of less than was asked for."""
        outcome = yield from kerberos().accept(realm.keytab, options(SEAL, 2))
        assert (yield from Exchange(outcome.token)) == b""
        context: Any = outcome.result
        yield from Exchange(context.wrap(offer, encrypt=False))
        raise AssertionError("the client chose")

    server, services = HandshakeMachine(weak()), new_services()
    client = SaslClient(Gssapi(kerberos()), options=options(SEAL, 1), credential=realm.tickets(), target=TARGET)
    response = client.response(respond_blocking(client.machine))
    answer = respond_blocking(server, response, services).token
    assert answer is not None
    response = client.response(respond_blocking(client.machine, client.challenged(answer)))
    assert response == b""
    offered_layers = respond_blocking(server, response, services).token
    assert offered_layers is not None
    with pytest.raises(QualityNotMet, match="ENCRYPT_AND_SIGN"):
        respond_blocking(client.machine, client.challenged(offered_layers))


@pytest.mark.parametrize("bit", [0, 1, 2, 3, 5])
def test_an_offer_or_a_choice_that_was_altered_on_its_way_is_refused(bit: int) -> None:
    realm = Realm()

    def alter(leg: int, token: bytes) -> bytes:
        # the octets are signed, not sealed: somebody in between can find them
        return token.replace(b"\4\1\0\0", bytes((bit,)) + b"\1\0\0", 1) if leg in (3, 4) else token

    gssapi = Gssapi(kerberos())
    found = meet(
        gssapi, gssapi, realm.tickets(), realm.keytab, mine=options(SEAL, 1), theirs=options(SEAL, 2), alter=alter
    )
    assert found.errors
    assert found.server is None


def test_a_stream_below_the_level_that_was_asked_for_is_not_made() -> None:
    with pytest.raises(QualityNotMet):
        anyio.run(_weak_stream)


async def _weak_stream() -> None:
    client, server = await tcp_pair()
    async with closing(client, server):
        one, _ = sasl_over(client, server, SIGN)
        SaslStream(client, _established_of(one), protection=SEAL)


def _established_of(stream: SaslStream) -> Any:
    return Established(stream.extra(SecurityAttribute.context), stream.extra(SecurityAttribute.peer))


# --- EXTERNAL --------------------------------------------------------------------------------------------------------

CA = authority("rule 20")
SERVER = CA.leaf(["server.example"])
CLIENT = CA.leaf(["alice.example"], usage=["client"])


async def tls(credential: Certificate | None, asks: Any) -> tuple[TlsStream, TlsStream]:
    """A TLS connection, with or without a client certificate."""
    client, server = await tcp_pair()
    made: tuple[TlsStream, TlsStream] = await both(
        lambda: TlsStream.wrap_client(
            client, package=Schannel(trust=[CA.pem]), credential=credential, target="server.example"
        ),
        lambda: TlsStream.wrap_server(
            server, package=Schannel(trust=[CA.pem], client_certificates=asks), credential=SERVER.credential
        ),
    )
    return made


def external_at(stream: ByteStream) -> External:
    """The mechanism of a server on a TLS connection, as the documentation says."""
    return External(
        connection=stream.extra(SecurityAttribute.record_connection), peer=stream.extra(SecurityAttribute.peer)
    )


@pytest.mark.anyio
async def test_external_is_whom_the_verified_certificate_stands_for() -> None:
    client, server = await tls(CLIENT.credential, "required")
    async with closing(client, server):
        mechanism = external_at(server)
        assert offered([mechanism], None, options()) == (mechanism,)
        outcome = SaslServer(mechanism, options=options())
        answer = outcome.answer(respond_blocking(outcome.machine, outcome_token(outcome, b"")))
        assert answer == Answer(None, is_challenge=False)
        assert outcome.established.peer == server.extra(SecurityAttribute.peer)
        assert outcome.established.peer.name == "alice.example"


def outcome_token(server: SaslServer, response: bytes) -> bytes:
    taken = server.received(response)
    assert isinstance(taken, bytes)
    return taken


@pytest.mark.anyio
async def test_external_without_a_client_certificate_is_neither_offered_nor_accepted() -> None:
    client, server = await tls(None, "optional")
    async with closing(client, server):
        mechanism = external_at(server)
        assert offered([mechanism], None, options()) == ()
        with pytest.raises(LogonDenied):
            stepped(acceptor(mechanism, None, options()), b"alice.example")


@pytest.mark.anyio
async def test_external_never_trusts_the_name_alone() -> None:
    client, server = await tls(CLIENT.credential, "required")
    async with closing(client, server):
        mechanism = external_at(server)
        for authzid in (b"root", b"alice", b"alice.example@other"):
            with pytest.raises(SecureStreamError) as refused:
                stepped(acceptor(mechanism, None, options()), authzid)
            assert not isinstance(refused.value, PeerRefused)
        granted = SaslServer(mechanism, options=options())
        granted.answer(respond_blocking(granted.machine, outcome_token(granted, b"alice.example")))
        assert granted.is_complete
