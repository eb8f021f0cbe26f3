"""Clients that name a TLS 1.2 session by its ID where none is resumed: no resumption, and few contexts."""

from __future__ import annotations

import ssl

import pytest

from securestream.errors import HandshakeError
from securestream.records import stdlib_endpoints, unresumed
from securestream.records.base import HandshakeCompleted, RecordConnection
from securestream.records.client_hello import HelloReader
from securestream.records.stdlib_endpoints import StdlibServer
from securestream.records.unresumed import UnresumedConnection
from tests.core.records.pairs import CA, LEAF, server_of


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[ssl.SSLContext]:
    """The contexts that servers make."""
    contexts: list[ssl.SSLContext] = []
    make = stdlib_endpoints.make_context

    def counted(*arguments: object, **named: object) -> ssl.SSLContext:
        contexts.append(make(*arguments, **named))  # type: ignore[arg-type]  # passed on as they came
        return contexts[-1]

    monkeypatch.setattr(stdlib_endpoints, "make_context", counted)
    return contexts


@pytest.fixture(scope="module")
def stranger() -> ssl.SSLContext:
    """A TLS 1.2 client without tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET
    context.load_verify_locations(cadata=CA.pem.decode())
    return context


def _hello(
    stranger: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = stranger.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, incoming, outgoing


def _finish(
    server: RecordConnection, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, first: bytes
) -> ssl.SSLSession:
    server.start()
    server.receive_data(first)
    completed = False
    while True:
        completed = completed or isinstance(server.next_event(), HandshakeCompleted)
        incoming.write(server.data_to_send())
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            server.receive_data(outgoing.read())
    if left := outgoing.read():
        server.receive_data(left)
        completed = completed or isinstance(server.next_event(), HandshakeCompleted)
    assert completed
    server.close()  # OpenSSL forgets the sessions of connections that were not closed
    assert tls.session is not None
    return tls.session


def _connect(
    server: StdlibServer, stranger: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession]:
    tls, incoming, outgoing = _hello(stranger, session)
    first = outgoing.read()
    hello = HelloReader().feed(first)
    assert hello is not None
    assert hello.session_id == (b"" if session is None else session.id)
    kept = _finish(server.connection(hello), tls, incoming, outgoing, first)
    return bool(tls.session_reused), kept


def _server(**settings: object) -> StdlibServer:
    server = server_of("stdlib", resumption=False, **settings)
    assert isinstance(server, StdlibServer)
    return server


def test_clients_that_name_sessions_are_served_by_two_contexts(
    stranger: ssl.SSLContext, made: list[ssl.SSLContext]
) -> None:
    server = _server()
    sessions: list[ssl.SSLSession | None] = [None]
    for _ in range(12):
        resumed, session = _connect(server, stranger, sessions[-1])
        assert not resumed
        sessions.append(session)
    for earlier in sessions:
        assert not _connect(server, stranger, earlier)[0]
    assert len(made) == 2


def test_a_context_is_replaced_after_so_many_sessions(
    stranger: ssl.SSLContext, made: list[ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unresumed, "MAX_SESSIONS", 5)
    server = _server()
    for _ in range(20):
        _connect(server, stranger)
    assert len(made) == 4
    assert all(context.session_stats()["number"] <= 5 for context in made)


def test_the_sessions_that_openssl_keeps_for_a_name_are_bounded(
    stranger: ssl.SSLContext, made: list[ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdlib_endpoints, "MAX_CACHED", 5)
    server = server_of("stdlib")
    assert isinstance(server, StdlibServer)
    for _ in range(20):
        _connect(server, stranger)
    assert all(context.session_stats()["number"] <= 6 for context in made)
    _, session = _connect(server, stranger)
    assert _connect(server, stranger, session)[0]


def test_hellos_that_we_cannot_read_share_a_context_until_one_succeeds(
    stranger: ssl.SSLContext, made: list[ssl.SSLContext]
) -> None:
    server = _server()
    unreadable = HelloReader().feed(b"\x16\3\1\0\0")
    assert unreadable is not None
    for _ in range(20):
        connection = server.connection(unreadable)
        connection.start()
        connection.receive_data(b"\x16\3\1\0\5\1\0\0\1\0")
        with pytest.raises(HandshakeError):
            connection.next_event()
    assert len(made) == 2
    tls, incoming, outgoing = _hello(stranger, None)
    session = _finish(server.connection(unreadable), tls, incoming, outgoing, outgoing.read())
    tls, incoming, outgoing = _hello(stranger, session)
    _finish(server.connection(unreadable), tls, incoming, outgoing, outgoing.read())
    assert not tls.session_reused


def test_a_session_resumed_all_the_same_is_refused(stranger: ssl.SSLContext) -> None:
    server = _server()
    _, session = _connect(server, stranger)
    tls, incoming, outgoing = _hello(stranger, session)
    same = server.current().unresumed[0].choose(b"")  # as if the ID had not been known yet
    connection = UnresumedConnection(same, alpn=(), server_name="localhost", own_certificate=LEAF.der)
    with pytest.raises(HandshakeError, match="where none may be"):
        _finish(connection, tls, incoming, outgoing, outgoing.read())


def test_a_client_that_gives_up_after_the_first_flight_leaves_no_session(
    stranger: ssl.SSLContext, made: list[ssl.SSLContext]
) -> None:
    server = _server()
    for _ in range(20):
        _, _, outgoing = _hello(stranger, None)
        first = outgoing.read()
        hello = HelloReader().feed(first)
        assert hello is not None
        connection = server.connection(hello)
        connection.start()
        connection.receive_data(first)
        assert connection.next_event() is None
        assert connection.data_to_send()
    assert [context.session_stats()["number"] for context in made] == [0]
