"""krb5.conf(5) to a `Krb5Config`: what the relations mean. Texts come in; nothing is found or read here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from securestream.errors import MalformedMessage
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.config_syntax import ConfigText, IncludeReader, Section, Value, parse_tree
from securestream_providers.krb5.numbers import EncryptionType

T = TypeVar("T")

__all__ = [
    "ConfigText",
    "IncludeReader",
    "parse_address",
    "parse_config",
    "parse_duration",
    "parse_etypes",
    "parse_lifetime",
]

KPASSWD_PORT: Final = 464
KDC_PORT: Final = 88
HTTPS_PORT: Final = 443

DEFAULT_ETYPES: Final = Krb5Config().permitted_etypes

_TRUE: Final = frozenset(("y", "yes", "true", "t", "1", "on"))
_FALSE: Final = frozenset(("n", "no", "false", "nil", "0", "off"))
_LONGEST: Final = (1 << 31) - 1
_CLOCK: Final = re.compile(r"(?:(\d{1,9})-)?(\d{1,9}):(\d{1,2})(?::(\d{1,2}))?")
_AMOUNTS: Final = re.compile(r"(?:(\d{1,9})\s*d\s*)?(?:(\d{1,9})\s*h\s*)?(?:(\d{1,9})\s*m\s*)?(?:(\d{1,10})\s*s?)?")

_E = EncryptionType
_NAMES: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(("des3-cbc-sha1", "des3-hmac-sha1", "des3-cbc-sha1-kd", "des3"), (_E.DES3_CBC_SHA1_KD,)),
    **dict.fromkeys(("arcfour-hmac", "rc4-hmac", "arcfour-hmac-md5", "rc4"), (_E.RC4_HMAC,)),
    **dict.fromkeys(("aes128-cts-hmac-sha1-96", "aes128-cts", "aes128-sha1"), (_E.AES128_CTS_HMAC_SHA1_96,)),
    **dict.fromkeys(("aes256-cts-hmac-sha1-96", "aes256-cts", "aes256-sha1"), (_E.AES256_CTS_HMAC_SHA1_96,)),
    **dict.fromkeys(("aes128-cts-hmac-sha256-128", "aes128-sha2"), (_E.AES128_CTS_HMAC_SHA256_128,)),
    **dict.fromkeys(("aes256-cts-hmac-sha384-192", "aes256-sha2"), (_E.AES256_CTS_HMAC_SHA384_192,)),
    **dict.fromkeys(("camellia128-cts-cmac", "camellia128-cts"), (_E.CAMELLIA128_CTS_CMAC,)),
    **dict.fromkeys(("camellia256-cts-cmac", "camellia256-cts"), (_E.CAMELLIA256_CTS_CMAC,)),
    "aes": (
        *(_E.AES256_CTS_HMAC_SHA1_96, _E.AES128_CTS_HMAC_SHA1_96),
        *(_E.AES256_CTS_HMAC_SHA384_192, _E.AES128_CTS_HMAC_SHA256_128),
    ),
    "camellia": (_E.CAMELLIA256_CTS_CMAC, _E.CAMELLIA128_CTS_CMAC),
    "default": DEFAULT_ETYPES,
}
"""Names and families of encryption types; others, single DES among them, are passed over as MIT does."""


def parse_config(texts: str | Sequence[ConfigText], read: IncludeReader | None = None) -> Krb5Config:
    """The configuration that files hold. Where a relation comes twice, the first one counts, as in MIT's library.

    Args:
        texts: the files, of which an earlier one has precedence; or the text of one.
        read: gives the files that ``include`` and ``includedir`` name.

    Raises:
        MalformedMessage: a line or a value cannot be understood; the message gives the file and the line.
    """
    tree = parse_tree((ConfigText("krb5.conf", texts),) if isinstance(texts, str) else texts, read)
    defaults = tree.section("libdefaults")
    made: dict[str, Any] = {
        "realms": {name: _realm(section) for name, section in tree.section("realms").sections.items()},
        "domain_realm": {name.lower(): values[0].text for name, values in tree.section("domain_realm").values.items()},
        "capaths": {client: _paths(section) for client, section in tree.section("capaths").sections.items()},
        "settings": {name: values[0].text for name, values in defaults.values.items() if name not in _LIBDEFAULTS},
    }
    for name, (attribute, convert) in _LIBDEFAULTS.items():
        value = defaults.first(name)
        if value is not None:
            made[attribute] = _converted(convert, name, value)
            if name == "default_realm":
                made["default_realm_from"] = f"{name} of {value.where}"
    return Krb5Config(**made)


def _converted(convert: Callable[[str], T], name: str, value: Value) -> T:
    try:
        return convert(value.text)
    except ValueError as error:
        raise MalformedMessage(f"{value.where}: {name} = {value.text!r}: {error}") from None


def _realm(section: Section) -> RealmConfig:
    def addresses(name: str, port: int) -> tuple[KdcAddress, ...]:
        found = (_converted(lambda text: parse_address(text, port), name, v) for v in section.values.get(name, ()))
        return tuple(found)

    kpasswd = addresses("kpasswd_server", KPASSWD_PORT)
    if not kpasswd:  # MIT asks the administration server's host then, at the port of kpasswd
        hosts = (address.host for address in addresses("admin_server", 749))
        kpasswd = tuple(KdcAddress(host, KPASSWD_PORT) for host in hosts)
    known = ("kdc", "kpasswd_server", "http_anchors", "auth_to_local")
    return RealmConfig(
        addresses("kdc", KDC_PORT),
        kpasswd,
        tuple(value.text.removeprefix("FILE:") for value in section.values.get("http_anchors", ())),
        {name: values[0].text for name, values in section.values.items() if name not in known},
        tuple(value.text for value in section.values.get("auth_to_local", ())),
    )


def _paths(section: Section) -> Mapping[str, tuple[str, ...]]:
    return {
        server: tuple(realm for value in values for realm in value.text.split() if realm != ".")
        for server, values in section.values.items()
    }


def parse_address(text: str, port: int = KDC_PORT) -> KdcAddress:
    """Where a server listens: ``host``, ``host:port``, ``[v6]:port``, ``tcp/host``, ``udp/host``, ``https://host/path``.

    Args:
        text: what the configuration, or a user, says.
        port: where it says none.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip()
    transport, path = "any", ""
    if text[:8].lower() == "https://":
        transport, port = "https", HTTPS_PORT
        text, slash, path = text[8:].partition("/")
        path = slash + path
    elif text[:4].lower() in ("tcp/", "udp/"):
        transport, text = text[:3].lower(), text[4:]
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address with a port is written [address]:port")
        number = rest[1:]
    elif text.count(":") > 1:
        host, number = text, ""
    else:
        host, _, number = text.partition(":")
    if not host or any(character.isspace() or character in "/@?#" for character in host):
        raise ValueError("a server is written host, host:port, or https://host/path")
    if number:
        if not (number.isascii() and number.isdigit() and len(number) <= 5 and 0 < int(number) < 1 << 16):
            raise ValueError("a port is a number from 1 to 65535")
        port = int(number)
    return KdcAddress(host, port, transport, path)


def parse_etypes(text: str) -> tuple[int, ...]:
    """A list of encryption types: names and families, ``DEFAULT``, each added, or removed if a ``-`` stands before it.

    Raises:
        ValueError: no known one is left.
    """
    found: list[int] = []
    for word in text.replace(",", " ").split():
        known = _NAMES.get(word.lstrip("+-").lower(), ())
        if word.startswith("-"):
            found = [etype for etype in found if etype not in known]
        else:
            found += [int(etype) for etype in known if etype not in found]
    if not found:
        raise ValueError("no known encryption type is named")
    return tuple(found)


def parse_lifetime(text: str) -> timedelta:
    """A time span: ``36000``, ``10h``, ``1d 2h 3m 4s``, ``h:m``, ``h:m:s``, ``d-h:m:s``.

    Raises:
        ValueError: it is none of these, or too long.
    """
    text = text.strip().lower()
    clock = _CLOCK.fullmatch(text)
    amounts = _AMOUNTS.fullmatch(text) if text else None
    found = clock or amounts
    if found is None:
        raise ValueError("a time span is written as 10h, 1d 2h, h:m:s, or a number of seconds")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds
    if total > _LONGEST:
        raise ValueError("the time span is longer than 68 years")
    return timedelta(seconds=total)


def parse_duration(text: str) -> timedelta | None:
    """The time span of `parse_lifetime`, or `None` where the text is none."""
    try:
        return parse_lifetime(text)
    except ValueError:
        return None


def _lifetime(text: str) -> timedelta | None:
    return parse_lifetime(text) or None


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("it is true or false")
    return word in _TRUE


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError("it is a number")
    return int(text)


def _as_it_is(text: str) -> str:
    return text


_LIBDEFAULTS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "default_realm": ("default_realm", _as_it_is),
    "permitted_enctypes": ("permitted_etypes", parse_etypes),
    "default_tkt_enctypes": ("tkt_etypes", parse_etypes),
    "default_tgs_enctypes": ("tgs_etypes", parse_etypes),
    "allow_weak_crypto": ("allow_weak_crypto", _boolean),
    "allow_rc4": ("allow_rc4", _boolean),
    "allow_des3": ("allow_des3", _boolean),
    "forwardable": ("forwardable", _boolean),
    "proxiable": ("proxiable", _boolean),
    "canonicalize": ("canonicalize", _boolean),
    "ticket_lifetime": ("ticket_lifetime", _lifetime),
    "renew_lifetime": ("renew_lifetime", _lifetime),
    "clockskew": ("clock_skew", parse_lifetime),
    "dns_lookup_kdc": ("dns_lookup_kdc", _boolean),
    "udp_preference_limit": ("udp_preference_limit", _number),
    "default_ccache_name": ("default_ccache_name", _as_it_is),
    "default_keytab_name": ("default_keytab_name", _as_it_is),
}
