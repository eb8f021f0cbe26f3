"""CredSSP over HTTP headers, as WinRM carries it: TLS records in base64, content sealed by the connection then."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from securestream.credentials import Credential, Password
from securestream.errors import ErrorKind, NotAuthorized, PeerRefused
from securestream.http.client import HttpClient
from securestream.http.schemes import HttpField, HttpReply, HttpRequest, Origin, SendRequest
from securestream.http.server import HttpServer
from securestream.http.tokens import TokenScheme
from securestream.machine import HandshakeMachine
from securestream.provider import Admit, Established, SecurityContext
from securestream.records.base import PlainData, RecordConnection
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.schannel import Schannel
from tests.core.http.conversations import Conversation
from tests.providers.credssp.ends import ALICE, CA, HOST, MECHANISMS, Mechanism, options

ORIGIN = Origin("http", HOST, 5985)
REQUEST = HttpRequest("POST", "/wsman", ORIGIN)


def conversation(
    mechanism: Mechanism,
    tls: Version,
    engine: Engine = "stdlib",
    initiating: Credential | None = None,
    tickets: bool | None = None,
    admit: Admit | None = None,
) -> Conversation:
    client = CredSsp(
        mechanism.package(),
        Schannel(trust=CA.pem, engine=engine, maximum_version=tls),
        delegation=Delegation(f"TERMSRV/{HOST}"),
    )
    server = CredSsp(mechanism.package(), Schannel(engine=engine, resumption=tickets))
    more: dict[str, Any] = {"service": "TERMSRV", "needs_connection": True}
    return Conversation(
        HttpServer(TokenScheme("CredSSP", server, mechanism.accepting(), **more), admit=admit),
        HttpClient(ORIGIN, TokenScheme("CredSSP", client, initiating or mechanism.initiating(), **more)),
        options=options(),
    )


def connection_of(established: Established) -> RecordConnection:
    assert not isinstance(established.result, SecurityContext)
    return established.result


@pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("engine", ["stdlib", "pyopenssl"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_request_is_authenticated_and_brings_a_credential(mechanism: str, engine: Engine, tls: Version) -> None:
    talk = conversation(MECHANISMS[mechanism], tls, engine)
    established = talk.fetch(REQUEST)
    assert established is not None
    assert talk.admitted is not None
    assert talk.admitted.peer.name == "alice"
    assert talk.admitted.established.delegated == ALICE
    assert talk.statuses == [*[401] * (len(talk.statuses) - 1), 200]
    client, server = connection_of(established), connection_of(talk.admitted.established)
    client.send(b"<s:Envelope/>")  # application/HTTP-CredSSP-session-encrypted
    server.receive_data(client.data_to_send())
    assert server.next_event() == PlainData(b"<s:Envelope/>")
    server.send(b"<s:Envelope>...</s:Envelope>")
    client.receive_data(server.data_to_send())
    assert client.next_event() == PlainData(b"<s:Envelope>...</s:Envelope>")


def test_the_values_are_records_in_base64() -> None:
    talk = conversation(MECHANISMS["NTLM"], "TLSv1.3")
    talk.fetch(REQUEST)
    values = [value for value in talk.sent if value is not None]
    for value in values:
        scheme, _, token = value.partition(" ")
        assert scheme == "CredSSP"
        assert base64.b64decode(token, validate=True)[0] in range(20, 24)


def test_a_wrong_password_is_told_inside_tls() -> None:
    talk = conversation(MECHANISMS["NTLM"], "TLSv1.3", initiating=Password("alice", "wrong"))
    reply = talk.ask(None, REQUEST)
    machine = talk.client.begin(REQUEST, reply, talk.options, keeps_connection=True)
    assert machine is not None
    with pytest.raises(PeerRefused) as refused:
        _drive(talk, machine)
    assert refused.value.code == 0xC000006D
    assert talk.admitted is None


def _drive(talk: Conversation, machine: HandshakeMachine) -> None:
    step = machine.step()
    while isinstance(step.need, SendRequest):
        reply: HttpReply = talk.ask(step.need.authorization, REQUEST)
        step = machine.step(reply)


@pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
def test_a_user_who_is_not_admitted_is_told_inside_tls_and_sends_no_credentials(tls: Version) -> None:
    asked: list[Established] = []

    def refuse(outcome: Established) -> None:
        asked.append(outcome)
        raise NotAuthorized("not today")

    talk = conversation(MECHANISMS["NTLM"], tls, admit=refuse)
    reply = talk.ask(None, REQUEST)
    machine = talk.client.begin(REQUEST, reply, talk.options, keeps_connection=True)
    assert machine is not None
    with pytest.raises(PeerRefused, match="does not admit this user") as refused:
        _drive(talk, machine)
    assert refused.value.kind is ErrorKind.NOT_AUTHORIZED
    assert [(outcome.peer.name, outcome.delegated) for outcome in asked] == [("alice", None)]
    assert talk.statuses[-1] == 403
    assert talk.admitted is None
    assert len([value for value in talk.sent if value is not None]) == 4  # of five; the last has the credentials


def test_a_user_is_judged_once() -> None:
    asked: list[Established] = []
    talk = conversation(MECHANISMS["NTLM"], "TLSv1.3", admit=asked.append)
    assert talk.fetch(REQUEST) is not None
    assert len(asked) == 1


@pytest.mark.parametrize("tickets", [None, False])
@pytest.mark.parametrize("tls", ["TLSv1.2", "TLSv1.3"])
def test_each_flight_of_tls_is_a_request_of_its_own(tls: Version, tickets: bool | None) -> None:
    """WinRM's servers answer it, and those of TLS 1.3 that give no tickets with an empty token."""
    talk = conversation(MECHANISMS["NTLM"], tls, tickets=tickets)
    assert talk.fetch(REQUEST) is not None
    flights = [base64.b64decode(value.partition(" ")[2]) for value in talk.sent if value is not None]
    assert len(flights) == 5  # ClientHello, Finished, NEGOTIATE, AUTHENTICATE with the proof of the key, credentials
    assert [flight[0] for flight in flights[2:]] == [23] * 3
    assert len(flights[2]) > len(b"NTLMSSP\0") + 5


def test_a_bare_challenge_in_place_of_an_answer_is_a_refusal() -> None:
    talk = conversation(MECHANISMS["NTLM"], "TLSv1.3")
    talk.alter = lambda leg, fields: fields if leg < 2 else [HttpField("WWW-Authenticate", "CredSSP")]
    assert talk.fetch(REQUEST) is None
    assert len(talk.sent) <= 5


def test_it_needs_a_connection_of_its_own() -> None:
    talk = conversation(MECHANISMS["NTLM"], "TLSv1.3")
    assert talk.fetch(REQUEST, keeps_connection=False) is None
