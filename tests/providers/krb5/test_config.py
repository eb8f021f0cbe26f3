"""krb5.conf: what its relations mean, which of several counts, and where an error is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from securestream.errors import MalformedMessage
from securestream_providers.krb5.config import KdcAddress, Krb5Config
from securestream_providers.krb5.config_parser import (
    ConfigText,
    parse_address,
    parse_config,
    parse_etypes,
    parse_lifetime,
)
from tests.providers.krb5.files import CONFIGURATION


def test_a_usual_file() -> None:
    config = parse_config(CONFIGURATION)
    assert config.default_realm == "EXAMPLE.COM"
    assert config.permitted_etypes == (18, 17, 20, 19, 26, 23, 25)
    assert config.ticket_lifetime == timedelta(hours=26)
    assert config.clock_skew == timedelta(minutes=5)
    assert config.forwardable
    assert not config.proxiable
    assert config.default_ccache_name == "FILE:/tmp/krb5cc_%{uid}"
    realm = config.realms["EXAMPLE.COM"]
    assert realm.kdcs == (
        KdcAddress("kdc1.example.com", 8888),
        KdcAddress("2001:db8::1", 88),
        KdcAddress("proxy.example.com", 443, "https", "/KdcProxy"),
    )
    assert realm.kpasswd_servers == (KdcAddress("kdc1.example.com", 464),)
    assert realm.auth_to_local == ("RULE:[1:$1@$0](.*@EXAMPLE[.]COM)s/@.*//",)
    assert config.realms["B.EXAMPLE"].kdcs == (KdcAddress("b.example", 88, "tcp"),)
    assert config.domain_realm == {".example.com": "EXAMPLE.COM", "example.com": "EXAMPLE.COM"}
    assert config.capaths == {"A": {"B": (), "C": ("B",)}}


def test_an_empty_file_is_the_default() -> None:
    assert parse_config("") == Krb5Config()


def test_the_first_of_several_values_counts_and_the_first_file_of_several() -> None:
    one = ConfigText("one", "[libdefaults]\ndefault_realm = A\ndefault_realm = B\n[realms]\nA = {\nkdc = a1\n}\n")
    other = ConfigText("two", "[libdefaults]\ndefault_realm = C\nforwardable = true\n[realms]\nA = {\nkdc = a2\n}\n")
    config = parse_config([one, other])
    assert config.default_realm == "A"
    assert config.forwardable
    assert [kdc.host for kdc in config.realms["A"].kdcs] == ["a1", "a2"]


def test_where_the_default_realm_stands_is_known() -> None:
    """Errors tell it, where a user wrote no realm."""
    text = ConfigText("/etc/krb5.conf", "[libdefaults]\n# Debian's\ndefault_realm = A\n")
    found = parse_config([text])
    assert found.default_realm_from == "default_realm of /etc/krb5.conf, line 3"
    assert found == parse_config([ConfigText("elsewhere", text.text)])
    included = [ConfigText("/etc/krb5.conf", "include /etc/realm\n")]
    found = parse_config(included, lambda path, _: [replace(text, name=path)])
    assert found.default_realm_from == "default_realm of /etc/realm, line 3"
    assert not parse_config("").default_realm_from


@pytest.mark.parametrize(
    "final",
    [
        "[realms]*\nA = {\nkdc = a1\n}\n",
        "[realms]\nA = {\nkdc = a1\n}*\n",
        "[realms]\nA* = {\nkdc = a1\n}\n",
        "[realms]\nA = {\nkdc* = a1\n}\n",
    ],
)
def test_what_is_final_takes_nothing_from_later_files(final: str) -> None:
    later = ConfigText("later", "[realms]\nA = {\nkdc = evil\n}\n")
    config = parse_config([ConfigText("first", final), later])
    assert [kdc.host for kdc in config.realms["A"].kdcs] == ["a1"]


def test_files_are_included_through_the_reader() -> None:
    def read(path: str, folder: bool) -> Sequence[ConfigText]:
        assert (path, folder) in (("/etc/a b.conf", False), ("/etc/krb5.conf.d/", True))
        return [ConfigText(path, "[realms]\nX = {\nkdc = x\n}\n" if folder else "[libdefaults]\ndefault_realm = X\n")]

    config = parse_config("includedir /etc/krb5.conf.d/\ninclude /etc/a b.conf\n", read)
    assert config.default_realm == "X"
    assert list(config.realms) == ["X"]


def test_a_file_that_includes_itself_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="too much is included"):
        parse_config("include x\n", lambda path, folder: [ConfigText(path, "include x\n")])


def test_quoted_values() -> None:
    config = parse_config('[libdefaults]\nx = "a \\"b\\" \\\\ \\n" behind\n')
    assert config.settings["x"] == 'a "b" \\ \n'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("default_realm = A\n", 1),
        ("[libdefaults\n", 1),
        ("[libdefaults] x\n", 1),
        ("[libdefaults]\nnothing\n", 2),
        ("[libdefaults]\na b = c\n", 2),
        ("[libdefaults]\n}\n", 2),
        ("[realms]\nA = {\nkdc = a\n", 4),
        ("[realms]\nA = {\n[libdefaults]\n", 3),
        ("[realms]\nA = {\nkdc = a:port\n}\n", 3),
        ("[realms]\nA =\nkdc = a\n", 3),
        ("[libdefaults]\n\n# c\nforwardable = maybe\n", 4),
        ("[libdefaults]\nticket_lifetime = soon\n", 2),
        ("[libdefaults]\npermitted_enctypes = des-cbc-crc\n", 2),
        ("module /lib/x.so:y\n", 1),
        ("include /etc/x\n", 1),
        ("[a]\n" + "a = {\n" * 20, 17),
    ],
)
def test_errors_name_file_and_line(text: str, line: int) -> None:
    with pytest.raises(MalformedMessage, match=rf"^file, line {line}: "):
        parse_config([ConfigText("file", text)])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("36000", 36000),
        ("10h", 36000),
        ("1d 2h", 93600),
        ("1d2h3m4s", 93784),
        ("5m", 300),
        ("1:30", 5400),
        ("1:30:15", 5415),
        ("2-1:0:0", 176400),
        ("7d", 604800),
    ],
)
def test_lifetimes(text: str, seconds: int) -> None:
    assert parse_lifetime(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "-1", "1x", "1h1d", "99999999d", "1:2:3:4"])
def test_what_is_no_lifetime(text: str) -> None:
    with pytest.raises(ValueError, match="time span"):
        parse_lifetime(text)


@pytest.mark.parametrize(
    ("text", "etypes"),
    [
        ("aes", (18, 17, 20, 19)),
        ("aes256-cts aes128-cts", (18, 17)),
        ("AES256-SHA2,aes128-sha2", (20, 19)),
        ("DEFAULT -camellia", (18, 17, 20, 19)),
        ("rc4 des3", (23, 16)),
        ("des-cbc-crc arcfour-hmac", (23,)),
        ("DEFAULT +rc4-hmac", (18, 17, 20, 19, 26, 25, 23)),
    ],
)
def test_encryption_types(text: str, etypes: tuple[int, ...]) -> None:
    assert parse_etypes(text) == etypes


def test_weak_types_are_kept_as_written_and_enable_nothing() -> None:
    config = parse_config("[libdefaults]\nallow_weak_crypto = true\nallow_rc4 = true\n")
    assert (config.allow_weak_crypto, config.allow_rc4, config.allow_des3) == (True, True, False)
    assert not {16, 23} & set(config.permitted_etypes)


@pytest.mark.parametrize("text", ["", ":88", "a:0", "a:65536", "a:x", "[::1", "[::1]x", "a b", "https://", "u@h"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"written|port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a", KdcAddress("a")),
        ("::1", KdcAddress("::1")),
        ("[::1]", KdcAddress("::1")),
        ("udp/a:1", KdcAddress("a", 1, "udp")),
        ("https://p:444/x/y", KdcAddress("p", 444, "https", "/x/y")),
    ],
)
def test_addresses(text: str, address: KdcAddress) -> None:
    assert parse_address(text) == address
