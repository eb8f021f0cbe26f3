"""Rule 11: what resumes a TLS session where none may be resumed."""

from __future__ import annotations

import ssl

import pytest

from securestream.ambient import system_options
from securestream.errors import HandshakeError
from securestream.machine import HandshakeMachine
from securestream.records._engine import EngineConnection
from securestream_providers.schannel import Schannel
from tests.certificates import authority

CA = authority("sessions")
LEAF = CA.leaf(["one.example", "two.example"])
CLIENT = CA.leaf(["client.example"], usage=["client"])


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A TLS 1.2 client without tickets: it offers what every old client does, the session's ID."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    context.check_hostname = False
    context.load_verify_locations(cadata=CA.pem.decode())
    context.load_cert_chain(*CLIENT.write(tmp_path_factory.mktemp("client")))
    return context


def _resume(
    stranger: ssl.SSLContext, server: Schannel, name: str, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession]:
    """One connection: whether it was resumed, and the session to try next."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = stranger.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
    machine = HandshakeMachine(server.accept(LEAF.credential, system_options()))
    step = machine.step()
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            step = machine.step(outgoing.read())
            incoming.write(step.token or b"")
    if last := outgoing.read():
        step = machine.step(last)
    assert step.established is not None
    assert isinstance(step.established.result, EngineConnection)
    step.established.result.close()  # OpenSSL forgets the sessions of connections that were not closed
    assert tls.session is not None
    return bool(tls.session_reused), tls.session


def test_where_a_name_has_tickets_of_its_own_its_sessions_are_resumed(stranger: ssl.SSLContext) -> None:
    server = Schannel()
    _, session = _resume(stranger, server, "one.example")
    assert _resume(stranger, server, "one.example", session)[0]
    assert not _resume(stranger, server, "two.example", session)[0]


@pytest.mark.parametrize("highest", ["TLSv1.2", "TLSv1.3"])
def test_resumption_switched_off_resumes_no_session_by_its_id_either(stranger: ssl.SSLContext, highest: str) -> None:
    server = Schannel(resumption=False, maximum_version=highest)  # type: ignore[arg-type]  # one of the names
    _, session = _resume(stranger, server, "one.example")
    assert not _resume(stranger, server, "one.example", session)[0]


def test_a_session_crosses_no_names_that_no_certificate_serves(stranger: ssl.SSLContext) -> None:
    server = Schannel()
    _, session = _resume(stranger, server, "unknown-one.example")
    assert not _resume(stranger, server, "unknown-two.example", session)[0]


def test_a_context_handed_in_takes_no_client_from_a_session_whose_lists_it_cannot_ask_again(
    stranger: ssl.SSLContext, tmp_path_factory: pytest.TempPathFactory
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*LEAF.write(tmp_path_factory.mktemp("server")))
    context.load_verify_locations(cadata=CA.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    server = Schannel(context)
    resumed, session = _resume(stranger, server, "one.example")
    assert not resumed
    with pytest.raises(HandshakeError, match="cannot be asked again"):
        _resume(stranger, server, "one.example", session)
