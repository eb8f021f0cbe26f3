"""Tokens in one readable line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.cli.tokens import describe_records, describe_token, split_records
from tests.cli.fake import FakePackage


def record(content: int, payload: bytes) -> bytes:
    return bytes((content, 3, 3)) + len(payload).to_bytes(2, "big") + payload


def message(kind: int, size: int) -> bytes:
    return bytes((kind,)) + size.to_bytes(3, "big") + bytes(size)


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (record(22, message(1, 300)), "TLS handshake ClientHello (304 octets)"),
        (record(22, message(2, 80) + message(11, 9)), "TLS handshake ServerHello Certificate (97 octets)"),
        (record(22, b"\xee" * 40), "TLS handshake sealed (40 octets)"),
        (record(22, message(11, 900)[:100]), "TLS handshake Certificate (its beginning) (100 octets)"),
        (record(20, b"\1"), "TLS change_cipher_spec (1 octets)"),
        (record(21, b"\2\x28"), "TLS alert fatal 40 (2 octets)"),
        (record(21, bytes(19)), "TLS alert (19 octets)"),
        (record(23, bytes(5)) + record(23, b"")[:3], "TLS sealed (5 octets); 3 octets of a record"),
        (b"", "nothing"),
    ],
)
def test_tls_records_say_what_stands_in_clear(octets: bytes, line: str) -> None:
    assert describe_records(octets) == line


@given(st.binary(max_size=200), st.integers(0, 3))
def test_any_octets_are_described(octets: bytes, start: int) -> None:
    described = describe_records(bytes((20 + start, 3, 3, 0)) + octets)
    assert described.isprintable()


@given(st.lists(st.tuples(st.integers(20, 23), st.binary(max_size=40)), max_size=5), st.binary(max_size=4))
def test_records_are_split_where_they_end(records: list[tuple[int, bytes]], rest: bytes) -> None:
    stream = b"".join(record(content, payload) for content, payload in records)
    found = list(split_records(stream + rest))
    assert b"".join(one.octets for one in found) == stream
    assert [(one.content, one.payload) for one in found] == records


def test_a_package_describes_its_own_tokens() -> None:
    class Telling(FakePackage):
        def describe_token(self, token: bytes) -> str:
            return f"HELLO with {len(token)}"

    assert describe_token(Telling(), b"abc") == "HELLO with 3"
    assert describe_token(FakePackage(), b"abc") == "Fake token (3 octets)"
    assert describe_token(FakePackage(), b"") == "empty token"
    assert describe_token(FakePackage(stream=True), record(20, b"\1")) == "TLS change_cipher_spec (1 octets)"
