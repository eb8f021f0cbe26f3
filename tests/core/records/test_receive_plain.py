"""The fast form of receiving gives what was sent, however the transport splits it and whatever stands behind it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from securestream.errors import BadSignature, PeerRefused
from securestream.records.base import PeerClosed, RecordConnection
from securestream.records.endpoints import Engine
from tests.core.records.pairs import ENGINES
from tests.core.records.test_engines import opened

both = pytest.mark.parametrize("engine", ENGINES)
versions = pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])

CHUNK = 32768
"""What is given to the engine at once: splits near its multiples matter."""


def received(connection: RecordConnection, parts: list[bytes]) -> bytes:
    """What a stream delivers of `parts` of ciphertext; after each of them nothing is left to be told."""
    plain = b""
    for part in parts:
        plain += b"".join(connection.receive_plain(part))
        assert connection.next_event() is None
        assert connection.receive_plain(b"") == []
    return plain


@both
@versions
def test_splits_near_the_headers_of_records(engine: Engine, version: str) -> None:
    made = opened(engine, version)
    data = random.Random(1).randbytes(100_000)
    for size in (5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3, 200_000):
        for message in (data, data[:16384], data[:16385], data[:700]) if size > 5 else (data[:700], data[:20_000]):
            made.client.connection.send(message)
            sealed = made.client.connection.data_to_send()
            for first in (0, 3):  # the header of a record is cut, or not
                parts = [sealed[:first], *(sealed[at : at + size] for at in range(first, len(sealed), size))]
                assert received(made.server.connection, parts) == message
                made.client.connection.send(message)
                sealed = made.client.connection.data_to_send()
            assert received(made.server.connection, [sealed]) == message


@both
def test_splits_anywhere(engine: Engine) -> None:
    made, chance = opened(engine), random.Random(2)
    for _ in range(40):
        data = chance.randbytes(chance.randrange(1, 150_000))
        for at in range(0, len(data), 20_000):
            made.client.connection.send(data[at : at + 20_000])
        sealed = made.client.connection.data_to_send()
        cuts = sorted({0, len(sealed), *(chance.randrange(len(sealed)) for _ in range(chance.randrange(4)))})
        assert received(made.server.connection, [sealed[a:b] for a, b in pairwise(cuts)]) == data


@both
@versions
@pytest.mark.parametrize("size", [100, 16384, CHUNK, 100_000])
def test_a_close_right_behind_data_is_told_after_it(engine: Engine, version: str, size: int) -> None:
    made = opened(engine, version)
    made.client.connection.send(bytes(size))
    made.client.connection.close()
    server = made.server.connection
    assert sum(map(len, server.receive_plain(made.client.connection.data_to_send() + b"more"))) == size
    assert server.next_event() == PeerClosed(authenticated=True)
    assert server.next_event() is None
    assert server.trailing_data() == b"more"


@both
@versions
@pytest.mark.parametrize("size", [100, 16384, CHUNK, 100_000])
def test_damage_right_behind_data_is_told_after_it(engine: Engine, version: str, size: int) -> None:
    made = opened(engine, version)
    made.client.connection.send(bytes(size))
    good = made.client.connection.data_to_send()
    made.client.connection.send(b"altered")
    bad = bytearray(made.client.connection.data_to_send())
    bad[-1] ^= 1
    server = made.server.connection
    assert sum(map(len, server.receive_plain(good + bad))) == size
    with pytest.raises(BadSignature):
        server.next_event()


@both
@pytest.mark.parametrize(
    "garbage",
    [b"\x17\x03\x03\xff\xff" + bytes(40), b"GET / HTTP/1.0\r\n\r\n", bytes(40)],
    ids=["a record too long", "another protocol", "zeros"],
)
def test_garbage_right_behind_data_is_told_after_it(engine: Engine, garbage: bytes) -> None:
    made = opened(engine)
    made.client.connection.send(bytes(30_000))
    server = made.server.connection
    assert sum(map(len, server.receive_plain(made.client.connection.data_to_send() + garbage))) == 30_000
    with pytest.raises((BadSignature, PeerRefused)):
        server.next_event()


@both
def test_an_end_of_the_transport_after_a_read_at_rest_is_told(engine: Engine) -> None:
    made = opened(engine)
    made.client.connection.send(b"data")
    assert received(made.server.connection, [made.client.connection.data_to_send()]) == b"data"
    made.server.connection.receive_eof()
    assert made.server.connection.next_event() == PeerClosed(authenticated=False)


@both
def test_data_given_in_the_slow_form_after_the_fast_one_is_found(engine: Engine) -> None:
    made = opened(engine)
    for _ in range(2):
        made.client.connection.send(b"fast")
        assert received(made.server.connection, [made.client.connection.data_to_send()]) == b"fast"
        made.client.connection.send(b"slow")
        made.server.events.clear()
        made.server.take(made.client.connection.data_to_send())
        assert made.server.plain == b"slow"
