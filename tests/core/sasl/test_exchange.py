"""The exchange as a profile sees it: what is absent, what comes with success, and that neither end is early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from securestream.credentials import Certificate, Credential
from securestream.drive import respond_blocking
from securestream.errors import InvalidToken, NoCredentials, NotAuthorized, PeerRefused, QualityNotMet, UsageError
from securestream.machine import State
from securestream.options import Options, Role
from securestream.principal import Principal
from securestream.provider import Established, Exchange, Handshake, PackageInfo, TargetName, Unusable
from securestream.sasl import Answer, External, Gssapi, NoLayer, SaslClient, SaslServer, ScramSha256
from securestream.sasl.mechanism import mechanism_info
from tests.core.sasl.ends import (
    ALICE,
    SEAL,
    TARGET,
    Meeting,
    Realm,
    accounts,
    kerberos,
    meet,
    new_services,
    options,
)

SCRAM = ScramSha256()


@dataclass(frozen=True)
class ServerFirst:
    """A mechanism in which the server speaks first, unless the client is bold.

    Args:
        bold: the client sends an initial response all the same.
        last: what the server has to say with success.
        wait: whether the client awaits that.
        protects: what the outcome claims.
    """

    bold: bool = False
    last: bytes | None = None
    wait: bool = False
    roles: frozenset[Role] = frozenset(Role)

    @property
    def info(self) -> PackageInfo:
        return mechanism_info("SERVER-FIRST", "for tests", roles=self.roles)

    @property
    def client_first(self) -> bool:
        return False

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        challenge = yield from Exchange(b"bold" if self.bold else b"")
        response: bytes | None = b"answer to " + challenge
        if self.wait:
            assert (yield from Exchange(response)) == self.last
            response = None
        return Established(NoLayer("SERVER-FIRST", Role.INITIATOR), Principal("server", "SERVER-FIRST"), response)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        initial = yield from Exchange()
        challenge = b"challenge" + (b" after " + initial if initial else b"")
        answer = yield from Exchange(challenge)
        assert answer == b"answer to " + challenge
        return Established(NoLayer("SERVER-FIRST", Role.ACCEPTOR), Principal("client", "SERVER-FIRST"), self.last)


def meet_in(mechanism: ServerFirst, **more: Any) -> Meeting:
    return meet(mechanism, mechanism, None, None, **more)


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("additional_data", [True, False])
def test_where_the_client_speaks_first(initial: bool, additional_data: bool) -> None:
    found = meet(SCRAM, SCRAM, ALICE, accounts(), initial=initial, additional_data=additional_data)
    assert not found.errors
    first = [] if initial else [b""]
    last = [] if additional_data else [b""]
    assert [token[:2] for token in found.tokens] == [*first, b"n,", b"r=", b"c=", b"v=", *last]


@pytest.mark.parametrize("bold", [True, False])
@pytest.mark.parametrize("last", [None, b"", b"goodbye"])
@pytest.mark.parametrize("additional_data", [True, False])
def test_where_the_server_speaks_first(bold: bool, last: bytes | None, additional_data: bool) -> None:
    found = meet_in(ServerFirst(bold=bold, last=last, wait=last is not None), additional_data=additional_data)
    assert found.outcomes[0].peer.name == "server"
    assert found.tokens[0] == (b"bold" if bold else b"challenge")
    assert (b"goodbye" in found.tokens) is (last == b"goodbye")


def test_a_client_without_an_initial_response_sends_none() -> None:
    client = SaslClient(ServerFirst(), options=options())
    assert client.response(respond_blocking(client.machine)) is None
    client = SaslClient(External(), options=options(), credential=Certificate(b"-"))
    assert client.response(respond_blocking(client.machine)) == b""  # which is one, and empty


def outcome_of(end: SaslClient | SaslServer) -> Established:
    return end.established


def begun(mechanism: ServerFirst | ScramSha256 = SCRAM) -> SaslClient:
    client = SaslClient(mechanism, options=options(), credential=ALICE)
    client.response(respond_blocking(client.machine))
    return client


def test_success_before_the_server_is_proved_is_refused() -> None:
    client = begun()
    with pytest.raises(InvalidToken, match="before it has proved"):
        client.succeeded()
    assert client.machine.state is State.FAILED
    assert not client.is_complete
    with pytest.raises(UsageError, match="not complete"):
        outcome_of(client)


def test_success_with_data_that_end_nothing_is_refused() -> None:
    client = begun(ServerFirst(wait=True, last=b"x"))
    token = client.succeeded(b"a challenge")
    assert token == b"a challenge"
    with pytest.raises(InvalidToken, match="still has to answer"):
        client.response(respond_blocking(client.machine, token))


def test_success_with_data_where_the_client_still_has_to_speak_is_refused() -> None:
    client = begun(ServerFirst())
    token = client.succeeded(b"a challenge")
    with pytest.raises(InvalidToken, match="still has to answer"):
        client.response(respond_blocking(client.machine, token))


def test_nothing_comes_after_the_last_response() -> None:
    client = begun(ServerFirst())
    assert client.response(respond_blocking(client.machine, client.challenged(b"c"))) == b"answer to c"
    with pytest.raises(InvalidToken, match="after this end's last response"):
        client.challenged(b"more")
    client = begun(ServerFirst())
    client.response(respond_blocking(client.machine, client.challenged(b"c")))
    with pytest.raises(InvalidToken, match="data with its success"):
        client.succeeded(b"more")


@pytest.mark.parametrize("data", [None, b""])
def test_success_without_data_completes_a_client_that_is_done(data: bytes | None) -> None:
    client = begun(ServerFirst())
    client.response(respond_blocking(client.machine, client.challenged(b"c")))
    assert not client.is_complete  # the server may still refuse
    with pytest.raises(UsageError):
        outcome_of(client)
    assert client.succeeded(data) is None
    assert client.established.peer.name == "server"


def test_a_servers_refusal_ends_the_exchange() -> None:
    client = begun()
    with pytest.raises(PeerRefused, match="SCRAM-SHA-256: invalidCredentials"):
        client.refused("invalidCredentials")
    assert client.machine.state is State.FAILED
    client = begun(ServerFirst())
    client.response(respond_blocking(client.machine, client.challenged(b"c")))
    with pytest.raises(PeerRefused):  # after its last response, too
        client.refused()
    with pytest.raises(UsageError):
        outcome_of(client)


def test_a_server_that_is_done_takes_no_response() -> None:
    mechanism = ServerFirst(last=b"x")
    server = SaslServer(mechanism, options=options(), additional_data=False)
    assert server.received(None) == b""
    assert server.answer(respond_blocking(server.machine, b"")) == Answer(b"challenge", is_challenge=True)
    step = respond_blocking(server.machine, b"answer to challenge")
    assert server.answer(step) == Answer(b"x", is_challenge=True)
    assert not server.is_complete
    with pytest.raises(InvalidToken, match="none is due"):
        server.received(b"hm")
    with pytest.raises(UsageError):
        outcome_of(server)


def test_a_client_must_answer_a_challenge() -> None:
    server = SaslServer(SCRAM, options=options(), credential=accounts())
    assert server.received(None) == Answer(b"", is_challenge=True)
    with pytest.raises(InvalidToken, match="no response"):
        server.received(None)
    server = SaslServer(SCRAM, options=options(), credential=accounts())
    taken = server.received(b"n,,n=alice,r=abc")
    assert isinstance(taken, bytes)
    assert server.answer(respond_blocking(server.machine, taken)).is_challenge
    with pytest.raises(InvalidToken, match="no response"):
        server.received(None)


@pytest.mark.parametrize("role", list(Role))
def test_the_outcome_is_admitted_before_it_is_told(role: Role) -> None:
    def admit(outcome: Established) -> None:
        raise NotAuthorized("not today")

    realm, services = Realm(), new_services()
    gssapi = Gssapi(kerberos())
    mine = admit if role is Role.INITIATOR else None
    theirs = admit if role is Role.ACCEPTOR else None
    client = SaslClient(gssapi, options=options(SEAL, 1), credential=realm.tickets(), target=TARGET, admit=mine)
    server = SaslServer(gssapi, options=options(SEAL, 2), credential=realm.keytab, admit=theirs)

    def exchange() -> None:
        response = client.response(respond_blocking(client.machine))
        while True:
            taken = server.received(response)
            assert isinstance(taken, bytes)
            answer = server.answer(respond_blocking(server.machine, taken, services))
            token = client.challenged(answer.data or b"")
            response = client.response(respond_blocking(client.machine, token))

    with pytest.raises(NotAuthorized):
        exchange()
    assert not client.is_complete
    assert not server.is_complete


def test_an_outcome_that_protects_less_is_refused_by_both_ends() -> None:
    mechanism = ServerFirst()  # which does not look at what is asked, unlike any of ours
    client = SaslClient(mechanism, options=options(SEAL))
    client.response(respond_blocking(client.machine))
    step = respond_blocking(client.machine, client.challenged(b"c"))
    with pytest.raises(QualityNotMet):
        client.response(step)
    server = SaslServer(mechanism, options=options(SEAL))
    respond_blocking(server.machine, b"")
    step = respond_blocking(server.machine, b"answer to challenge")
    with pytest.raises(QualityNotMet):
        server.answer(step)


def test_what_cannot_work_is_said_at_once() -> None:
    with pytest.raises(NoCredentials, match="Password"):
        SaslClient(SCRAM, options=options())
    with pytest.raises(NoCredentials, match="Accounts"):
        SaslServer(SCRAM, options=options(), credential=ALICE)
    with pytest.raises(UsageError, match="plays no initiator"):
        SaslClient(ServerFirst(roles=frozenset([Role.ACCEPTOR])), options=options())


def test_a_repr_shows_the_state_alone() -> None:
    assert repr(begun()) == "<SaslClient SCRAM-SHA-256 exchanging>"
    assert repr(Answer(b"secret", is_challenge=True)) == "Answer(data=<6 octets>, is_challenge=True)"
