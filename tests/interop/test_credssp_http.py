"""CredSSP over HTTP headers with pyspnego, as WinRM's clients carry it: it sends each flight of TLS in a request."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from securestream.ambient import system_options
from securestream.credentials import Accounts, Credentials, Password
from securestream.drive import respond_blocking
from securestream.http.client import HttpClient
from securestream.http.fields import parse_challenges
from securestream.http.performing import authenticate_blocking
from securestream.http.schemes import HttpReply, HttpRequest, Origin, SendRequest
from securestream.http.server import Admitted, HttpConnection, HttpServer
from securestream.http.tokens import TokenScheme
from securestream.options import Protection
from securestream.provider import Established, SecurityContext
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.interop.credssp_ends import ALICE, CA, DOMAIN, LEAF, PASSWORD, USER
from tests.interop.expected_credssp import CREDSSP
from tests.interop.matrix import Filler
from tests.interop.peers import pyspnego
from tests.interop.peers.accounts import ntlm_environment
from tests.interop.peers.foreign import Refused
from tests.interop.peers.pyspnego_credssp import CredSspPeer

pytestmark = pytest.mark.interop

ORIGIN: Final = Origin("http", "localhost", 5985)
OPTIONS: Final = system_options(protection=Protection.NONE)
VERSIONS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
MOST: Final = 20


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of pyspnego."""
    return require(pyspnego)


@pytest.fixture
def accounts(tmp_path: Path, version: str) -> dict[str, str]:
    """Where pyspnego knows our user."""
    return ntlm_environment(tmp_path, {(DOMAIN, USER): PASSWORD})


def our_server() -> HttpServer:
    """A WinRM service's authentication."""
    credential = Credentials(LEAF.credential, Accounts.memory(**{ALICE: PASSWORD}))
    return HttpServer(TokenScheme("CredSSP", CredSsp(Negotiate(Ntlm())), credential, needs_connection=True))


@dataclass
class Conversation:
    """Requests of pyspnego's on one connection to our server."""

    server: HttpServer = field(default_factory=our_server)
    connection: HttpConnection = field(default_factory=HttpConnection)

    def post(self, token: bytes) -> Admitted | bytes:
        """Who the request is from, or the token in the challenge of the response."""
        value = f"CredSSP {base64.b64encode(token).decode()}"
        request = HttpRequest.received("POST", "/wsman", ORIGIN, [value])
        outcome = authenticate_blocking(self.server, request, OPTIONS, self.connection)
        if isinstance(outcome, Admitted):
            return outcome
        assert outcome.status == 401
        (challenge,) = parse_challenges([value for _, value in outcome.fields])
        return challenge.token or b""

    def log_on(self, theirs: CredSspPeer) -> Admitted:
        """Everything up to the request with its credentials."""
        token = theirs.step(None)
        for _ in range(MOST):
            assert token is not None
            answer = self.post(token)
            if isinstance(answer, Admitted):
                assert theirs.complete
                return answer
            token = theirs.step(answer)
        raise AssertionError("it never ends")


@pytest.mark.parametrize("tls", VERSIONS)
def test_a_request_and_its_content(accounts: dict[str, str], tls: str, version: str, matrix: Filler) -> None:
    theirs = CredSspPeer(accounts, tls=VERSIONS[tls])
    theirs.initiate(ALICE, PASSWORD, "HTTP@localhost")
    admitted = Conversation().log_on(theirs)
    assert str(admitted.peer) == ALICE
    assert admitted.established.delegated == Password(ALICE, PASSWORD)
    connection = admitted.established.result
    assert not isinstance(connection, SecurityContext)
    for size in (1, 3000, 16384):
        data = bytes((index * 7 + size) % 256 for index in range(size))
        assert b"".join(connection.receive_plain(theirs.wrap(data))) == data
        connection.send(data)
        assert theirs.unwrap(connection.data_to_send()) == data
    matrix.fill(CREDSSP, pyspnego.NAME, version, "initiator", f"HTTP, {tls}", "password delegated, data both ways")


def test_a_wrong_password_is_told_in_the_challenge(accounts: dict[str, str], version: str, matrix: Filler) -> None:
    theirs = CredSspPeer(accounts, stops=False)
    theirs.initiate(ALICE, "wrong", "HTTP@localhost")
    with pytest.raises(Refused, match="InvalidCredentialError"):
        Conversation().log_on(theirs)  # at a close_notify behind the error it would read on for ever
    matrix.fill(CREDSSP, pyspnego.NAME, version, "initiator", "HTTP, wrong password", "refused and told")


@pytest.mark.parametrize("tls", VERSIONS)
def test_our_client(accounts: dict[str, str], tls: str, version: str, matrix: Filler) -> None:
    theirs = CredSspPeer(accounts, tls=VERSIONS[tls])
    theirs.accept(LEAF)
    established = ask(theirs, Password(ALICE, PASSWORD))
    assert theirs.delegated() == (DOMAIN, USER, PASSWORD)
    connection = established.result
    assert not isinstance(connection, SecurityContext)
    connection.send(b"an envelope")
    assert theirs.unwrap(connection.data_to_send()) == b"an envelope"
    matrix.fill(CREDSSP, pyspnego.NAME, version, "acceptor", f"HTTP, {tls}", "password delegated, data")


def ask(theirs: CredSspPeer, credential: Password) -> Established:
    """A request of our client, which pyspnego answers as a WinRM service does."""
    package = CredSsp(Negotiate(Ntlm()), Schannel(trust=CA.pem), delegation=Delegation("HTTP/localhost"))
    client = HttpClient(ORIGIN, TokenScheme("CredSSP", package, credential, needs_connection=True))
    request = HttpRequest("POST", "/wsman", ORIGIN)
    machine = client.begin(request, HttpReply.received(401, ["CredSSP"]), OPTIONS, keeps_connection=True)
    assert machine is not None
    step = respond_blocking(machine, answers=(SendRequest,))
    while isinstance(step.need, SendRequest):
        token = base64.b64decode(step.need.authorization.removeprefix("CredSSP "), validate=True)
        answer = theirs.step(token)
        challenge = f"CredSSP {base64.b64encode(answer or b'').decode()}"
        reply = HttpReply.received(200) if theirs.complete else HttpReply.received(401, [challenge])
        step = respond_blocking(machine, reply, answers=(SendRequest,))
    assert step.established is not None
    return step.established
