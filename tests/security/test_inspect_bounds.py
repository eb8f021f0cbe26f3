"""`inspect` reads what strangers wrote: no file makes it fail, or work out of all proportion to its size."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from securestream._asn1_tree import DEEPEST, MOST_ELEMENTS
from securestream.cli.inspect import MOST_TOKENS
from securestream.credentials import Accounts
from securestream.errors import UsageError
from securestream.wire import der
from securestream_providers.ntlm import Ntlm
from tests.cli.looking import key, look, run
from tests.providers.negotiate.ends import meet, options
from tests.providers.ntlm.ends import ALICE, store

SECONDS = 5.0
"""Far more than it takes, and far less than it took where work grew with the square of the size."""


def in_octet_strings(depth: int) -> bytes:
    """A SEQUENCE in an OCTET STRING in a SEQUENCE in ..."""
    octets = b"\x30\x00"
    for _ in range(depth):
        octets = der.element(0x30, der.element(0x04, octets))
    return octets


@pytest.mark.parametrize("depth", [DEEPEST, 300, 3000])
def test_asn1_in_octet_strings_is_followed_only_so_deep(depth: int) -> None:
    (node,) = look(in_octet_strings(depth))
    assert sum(1 for _ in node.walk()) <= 2 * DEEPEST + 2


def test_the_elements_in_octet_strings_are_counted_with_the_others() -> None:
    damaged = b"\x30\x82\x02\x00" + b"\x30\x00" * 255 + b"\x1f\xff"
    started = time.monotonic()
    (node,) = look(der.element(0x30, der.element(0x04, damaged) * 20_000))
    assert sum(1 for _ in node.walk()) <= MOST_ELEMENTS + 3
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize("arguments", [(), ("--base64",)])
def test_a_long_text_of_base64_is_read_in_time(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A scheme such as ``Negotiate`` is looked for at its beginning alone."""
    file = tmp_path / "token"
    file.write_bytes(b"Q" * 400_000)
    started = time.monotonic()
    assert run("--file", file, *arguments)[0] == 0
    assert time.monotonic() - started < SECONDS


def test_a_long_list_with_something_behind_it_is_read_in_time() -> None:
    started = time.monotonic()
    look(der.element(0x30, b"\x30\x00" * 4_000_000) + b"x")
    assert time.monotonic() - started < SECONDS


def test_tokens_and_records_are_shown_up_to_a_number(tmp_path: Path) -> None:
    """Each is a tree in memory, and may be two octets long."""
    file = tmp_path / "tokens"
    file.write_bytes(b"aa\n\n" * (MOST_TOKENS + 1))
    with pytest.raises(UsageError, match="more than"):
        run("--file", file)
    nodes = look(b"\x17\x03\x03\x00\x00" * 100_000)
    assert nodes[-1].name == "more records"
    assert len(nodes) == 1001


def test_a_logon_that_is_repeated_makes_no_message_dearer() -> None:
    end = Ntlm()
    met = meet(end, end, initiating=ALICE, accepting=Accounts(store()), mine=options(1), theirs=options(2))
    negotiate, challenge, authenticate = met.tokens
    message = b"\1\0\0\0" + bytes(8) + (16_000).to_bytes(4, "little") + b"sealed"
    started = time.monotonic()
    look(negotiate, challenge, *[authenticate] * 400, *[message] * 100, keys=[key("session", bytes(16))])
    assert time.monotonic() - started < SECONDS
