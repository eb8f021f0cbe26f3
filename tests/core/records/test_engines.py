"""Both engines behave alike: handshake, data, close, truncation, damage, splits, limits of use."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import BadSignature, ErrorKind, HandshakeError, PeerGone, PeerRefused, UsageError
from securestream.records.base import HandshakeCompleted, PeerClosed, PlainData
from securestream.records.endpoints import Engine
from tests.core.records.pairs import CLIENT, ENGINES, LEAF, Pair, client_of, one_by_one, pair, server_of, whole

both = pytest.mark.parametrize("engine", ENGINES)
versions = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])


def opened(engine: Engine, version: str = "TLSv1.3") -> Pair:
    made = pair(client_of(engine, maximum_version=version), server_of(engine))
    made.run()
    assert made.client.error is None
    assert made.server.error is None
    return made


@pytest.mark.parametrize("client", ENGINES)
@pytest.mark.parametrize("server", ENGINES)
@versions
def test_a_handshake_of_any_two_engines(client: Engine, server: Engine, version: str) -> None:
    made = pair(client_of(client, maximum_version=version), server_of(server)).run()
    assert made.client.events == [HandshakeCompleted()]
    assert made.server.events == [HandshakeCompleted()]
    for end in (made.client, made.server):
        assert end.connection.session.version == version
        assert end.connection.session.server_name == "localhost"
        assert not end.connection.session.resumed
    assert made.client.connection.session.cipher == made.server.connection.session.cipher
    assert made.client.connection.session.peer_certificate == LEAF.der
    assert made.server.connection.session.peer_certificate is None


@both
@versions
def test_data_in_both_directions_in_any_amount(engine: Engine, version: str) -> None:
    made = opened(engine, version)
    data = bytes(range(256)) * 1000
    for size in (0, 1, 16384, 16385, len(data)):
        for sender, receiver in ((made.client, made.server), (made.server, made.client)):
            receiver.events.clear()
            sender.connection.send(memoryview(data)[:size])
            receiver.take(sender.connection.data_to_send())
            assert receiver.plain == data[:size]


@both
def test_read_into_drains_all_records_of_one_wake_up(engine: Engine) -> None:
    made = opened(engine)
    data = bytes(range(256)) * 800
    made.client.connection.send(data)
    made.server.connection.receive_data(made.client.connection.data_to_send())
    buffer = bytearray(1 << 18)
    assert made.server.connection.read_into(buffer) == len(data)
    assert buffer[: len(data)] == data
    assert made.server.connection.read_into(buffer) == 0


@both
def test_read_into_a_small_buffer_loses_nothing(engine: Engine) -> None:
    made = opened(engine)
    data = bytes(range(256)) * 200
    made.client.connection.send(data)
    made.server.connection.receive_data(made.client.connection.data_to_send())
    buffer, got = memoryview(bytearray(1000)), bytearray()
    while count := made.server.connection.read_into(buffer):
        got += buffer[:count]
    assert got == data


@both
@versions
def test_records_split_at_every_octet(engine: Engine, version: str) -> None:
    made = pair(client_of(engine, maximum_version=version), server_of(engine)).run(one_by_one)
    made.client.connection.send(b"split" * 10)
    made.client.connection.close()
    made.server.take(made.client.connection.data_to_send(), one_by_one)
    assert made.server.plain == b"split" * 10
    assert made.server.events[-1] == PeerClosed(authenticated=True)


@both
@given(cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=30))
def test_records_split_anywhere(engine: Engine, cuts: list[int]) -> None:
    made = opened(engine)
    made.server.connection.send(b"x" * 40000)
    made.server.connection.close()
    wire = made.server.connection.data_to_send()
    made.client.events.clear()
    at = 0
    for cut in cuts:
        made.client.take(wire[at : at + cut])
        at += cut
    made.client.take(wire[at:])
    assert made.client.plain == b"x" * 40000
    assert made.client.events[-1] == PeerClosed(authenticated=True)


@both
@versions
def test_a_close_is_proved_and_what_follows_belongs_to_the_transport(engine: Engine, version: str) -> None:
    made = opened(engine, version)
    made.client.events.clear()
    made.server.connection.send(b"last")
    made.server.connection.close()
    made.client.take(made.server.connection.data_to_send() + b"plain text again")
    assert made.client.events == [PlainData(b"last"), PeerClosed(authenticated=True)]
    assert made.client.connection.trailing_data() == b"plain text again"
    made.client.connection.close()
    made.server.take(made.client.connection.data_to_send() + b"and back")
    assert made.server.events[-1] == PeerClosed(authenticated=True)
    assert made.server.connection.trailing_data() == b"and back"


@both
@versions
def test_a_cut_is_no_close(engine: Engine, version: str) -> None:
    made = opened(engine, version)
    made.client.connection.receive_eof()
    made.client.run()
    assert made.client.events[-1] == PeerClosed(authenticated=False)
    assert made.client.connection.next_event() is None
    assert made.client.connection.trailing_data() == b""


@both
def test_a_cut_within_the_handshake_is_a_peer_that_went(engine: Engine) -> None:
    made = pair(engine, engine)
    made.client.connection.start()
    made.client.connection.receive_eof()
    made.client.run()
    assert isinstance(made.client.error, PeerGone)


@both
@versions
def test_data_received_before_our_close_is_still_delivered(engine: Engine, version: str) -> None:
    made = opened(engine, version)
    made.server.connection.send(b"y" * 50000)
    made.client.connection.receive_data(made.server.connection.data_to_send())
    made.client.connection.close()
    made.client.run()
    assert made.client.plain == b"y" * 50000
    made.server.connection.send(b"and more")
    made.client.take(made.server.connection.data_to_send())
    assert made.client.plain.endswith(b"and more")


@both
@versions
def test_a_damaged_record_ends_the_connection_with_an_alert(engine: Engine, version: str) -> None:
    made = opened(engine, version)
    made.client.connection.send(b"precious")
    wire = bytearray(made.client.connection.data_to_send())
    wire[-1] ^= 1
    made.server.take(bytes(wire))
    assert isinstance(made.server.error, BadSignature)
    assert made.server.plain == b""
    made.client.take(made.server.connection.data_to_send())
    assert isinstance(made.client.error, PeerRefused)
    assert made.client.error.code == 20
    assert made.client.error.kind is ErrorKind.MESSAGE_ALTERED


@both
def test_data_before_a_damaged_record_is_delivered_and_then_the_error(engine: Engine) -> None:
    made = opened(engine)
    made.client.connection.send(b"whole")
    whole_record = made.client.connection.data_to_send()
    made.client.connection.send(b"broken")
    broken = bytearray(made.client.connection.data_to_send())
    broken[-1] ^= 1
    made.server.connection.receive_data(whole_record + bytes(broken))
    buffer = bytearray(100)
    assert made.server.connection.read_into(buffer) == 5
    with pytest.raises(BadSignature):
        made.server.connection.read_into(buffer)


@both
@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"A" * 70000])
def test_what_is_no_tls_is_refused(engine: Engine, garbage: bytes) -> None:
    made = pair(engine, engine)
    made.server.take(garbage)
    assert isinstance(made.server.error, HandshakeError)
    assert made.server.error.kind in (ErrorKind.ILLEGAL_MESSAGE, ErrorKind.ALGORITHM_MISMATCH)


@both
def test_no_common_version_is_one_kind_at_both_ends(engine: Engine) -> None:
    made = pair(client_of(engine, maximum_version="TLSv1.2"), server_of(engine, minimum_version="TLSv1.3")).run()
    assert made.server.error is not None
    assert made.client.error is not None
    assert made.server.error.kind is ErrorKind.ALGORITHM_MISMATCH  # type: ignore[attr-defined]  # of the family
    assert isinstance(made.client.error, PeerRefused)
    assert made.client.error.kind is ErrorKind.ALGORITHM_MISMATCH
    assert made.client.error.code == 70


@both
def test_calls_in_the_wrong_state(engine: Engine) -> None:
    made = pair(engine, engine)
    with pytest.raises(UsageError):
        made.client.connection.send(b"too early")
    with pytest.raises(UsageError):
        _ = made.client.connection.session
    made.run()
    made.client.connection.close()
    made.client.connection.close()
    with pytest.raises(UsageError):
        made.client.connection.send(b"too late")
    made.client.connection.receive_eof()
    with pytest.raises(UsageError):
        made.client.connection.receive_data(b"after the end")


@both
def test_a_live_connection_is_never_pickled_nor_shown(engine: Engine) -> None:
    made = opened(engine)
    with pytest.raises(TypeError):
        pickle.dumps(made.client.connection)
    assert "open" in repr(made.client.connection)


@both
def test_an_error_is_raised_again_for_whoever_asks_again(engine: Engine) -> None:
    made = pair(engine, engine)
    made.server.take(b"no TLS at all, not even near")
    with pytest.raises(HandshakeError):
        made.server.connection.next_event()
    with pytest.raises(HandshakeError):
        made.server.connection.read_into(bytearray(10))


@both
@versions
def test_a_client_certificate_that_is_missing(engine: Engine, version: str) -> None:
    made = pair(client_of(engine, maximum_version=version), server_of(engine, client_certificates="required")).run()
    assert isinstance(made.server.error, HandshakeError)
    assert made.server.error.kind is ErrorKind.CERTIFICATE_REQUIRED
    assert isinstance(made.client.error, PeerRefused)
    if version == "TLSv1.3":
        assert made.client.error.kind is ErrorKind.CERTIFICATE_REQUIRED
        assert made.client.error.code == 116


@both
@versions
def test_a_client_certificate_that_is_given(engine: Engine, version: str) -> None:
    client = client_of(engine, CLIENT.credential, maximum_version=version)
    made = pair(client, server_of(engine, client_certificates="required")).run(whole)
    assert made.server.connection.session.peer_certificate == CLIENT.der


FAMILY = (HandshakeError, PeerRefused, PeerGone, BadSignature)


@both
@versions
@given(flight=st.integers(0, 3), at=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_damage_anywhere_gives_nothing_but_the_error_family(
    engine: Engine, version: str, flight: int, at: float, mask: int
) -> None:
    """One altered octet in any flight: nobody sees other data than was sent, and only the family is raised."""
    server = server_of(engine, client_certificates="required")
    made = pair(client_of(engine, CLIENT.credential, maximum_version=version), server)
    made.client.run()
    made.server.run()
    sender, receiver = made.client, made.server
    for number in range(6):
        if number == 4 and sender.error is None:
            try:
                sender.connection.send(b"precious")
            except UsageError:  # the damage stopped the handshake
                break
        octets = bytearray(sender.connection.data_to_send())
        if number == flight and octets:
            octets[int(at * len(octets))] ^= mask
        receiver.take(bytes(octets))
        sender, receiver = receiver, sender
    for end in (made.client, made.server):
        assert end.error is None or isinstance(end.error, FAMILY)
        assert end.plain in (b"", b"precious")
