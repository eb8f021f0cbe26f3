"""The GS2 header: its grammar (RFC 5801 4), and how ends judge the flag (RFC 5802 6)."""

from __future__ import annotations

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.errors import BadBindings, MalformedMessage, UsageError
from securestream.options import BindingPolicy
from securestream.sasl.gs2 import Gs2Header, client_header, escape, offers_plus, server_data, split_bindings, unescape
from tests.core.sasl.ends import BINDINGS, options

HEADERS = [
    (Gs2Header("n"), b"n,,"),
    (Gs2Header("y", authzid="alice"), b"y,a=alice,"),
    (Gs2Header("p", "tls-exporter", "a,b=c"), b"p=tls-exporter,a=a=2Cb=3Dc,"),
    (Gs2Header("p", "a" * 64), b"p=" + b"a" * 64 + b",,"),
    (Gs2Header("n", authzid="\u00fc"), b"n,a=\xc3\xbc,"),
]


@pytest.mark.parametrize(("header", "octets"), HEADERS)
def test_a_header_in_octets(header: Gs2Header, octets: bytes) -> None:
    assert header.pack() == octets
    assert Gs2Header.unpack(octets + b"rest") == (header, b"rest")
    marked, rest = Gs2Header.unpack(b"F," + octets + b"rest")
    assert marked.nonstandard
    assert marked.pack() == octets  # bindings are to the header without its mark (RFC 5801 5.1)
    assert rest == b"rest"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"n",
        b"n,",
        b"F,n,",
        b"x,,",
        b"N,,",
        b",,",
        b"p,,",
        b"p=,,",
        b"p=tls_unique,,",
        b"p=" + b"a" * 65 + b",,",
        b"n,alice,",
        b"n,a=,",
        b"n,a=b=2c,",
        b"n,a=b=,",
        b"n,a=\0,",
        b"n,a=\xff,",
        b"\xff,,",
    ],
)
def test_what_is_no_header(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Gs2Header.unpack(octets)


def test_names_have_no_nul() -> None:
    with pytest.raises(UsageError, match="NUL"):
        escape("a\0b")
    with pytest.raises(MalformedMessage):
        unescape("a\0b")
    with pytest.raises(MalformedMessage):
        unescape("a,b")


def test_what_a_client_says() -> None:
    bound = options(channel_bindings=BINDINGS)
    assert client_header("X", options(), "") == (Gs2Header("n"), b"")
    assert client_header("X", bound, "bob") == (Gs2Header("y", authzid="bob"), b"")
    assert client_header("X-PLUS", bound, "") == (Gs2Header("p", "tls-exporter"), bytes(range(32)))
    with pytest.raises(UsageError, match="give its bindings"):
        client_header("X-PLUS", options(), "")


@pytest.mark.parametrize("data", [b"", b"no colon", b"tls-unique:", b"tls unique:x", b":x"])
def test_bindings_of_another_kind_are_the_callers_mistake(data: bytes) -> None:
    with pytest.raises(UsageError, match="TLS"):
        split_bindings(ChannelBindings(data))


@pytest.mark.parametrize("policy", BindingPolicy)
def test_a_server_that_never_looks_at_bindings_offers_and_takes_none(policy: BindingPolicy) -> None:
    asked = options(channel_bindings=BINDINGS, binding_policy=policy)
    assert offers_plus(asked) is (policy is not BindingPolicy.NEVER)
    header = Gs2Header("p", "tls-exporter")
    if policy is BindingPolicy.NEVER:
        with pytest.raises(BadBindings):
            server_data("X-PLUS", header, asked)
    else:
        assert server_data("X-PLUS", header, asked) == bytes(range(32))
    assert not offers_plus(options(binding_policy=policy))
