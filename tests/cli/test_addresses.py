"""HOST:PORT."""

from __future__ import annotations

import pytest

from securestream.cli.addresses import Address
from securestream.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9000", "127.0.0.1", 9000),
        ("files.example:0", "files.example", 0),
        ("[::1]:443", "::1", 443),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "9000", ":9000", "host:", "host:x", "host:65536", "host:-1", "::1:9000", "[::1]", "[]:1", "[host]:1"]
)
def test_what_is_no_address_is_refused_with_the_form_it_should_have(text: str) -> None:
    with pytest.raises(UsageError, match=r"write"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
        ("files.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_only_what_surely_stays_on_this_machine_is_loopback(host: str, loopback: bool) -> None:
    assert Address(host, 1).is_loopback is loopback
