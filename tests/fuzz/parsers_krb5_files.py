"""Keytabs, credential caches and krb5.conf."""

from __future__ import annotations

from dataclasses import replace

from securestream.errors import MalformedMessage
from securestream_providers.krb5.ccache import read_ccache, write_ccache
from securestream_providers.krb5.config_parser import parse_config
from securestream_providers.krb5.keytab import read_keytab, write_keytab
from tests.fuzz.harness import Parser
from tests.providers.krb5.files import CACHE, CONFIGURATION, ENTRIES, old_cache, old_keytab


def _parse_config(octets: bytes) -> None:
    parse_config(octets.decode("utf-8", "surrogateescape"))


def _read_and_write_cache(octets: bytes) -> None:
    cache = read_ccache(octets)
    assert read_ccache(write_ccache(cache)).tickets == cache.tickets


PARSERS = [
    Parser("krb5.keytab", read_keytab, (write_keytab(ENTRIES), write_keytab(ENTRIES[:1]), old_keytab("little"))),
    Parser(
        "krb5.ccache",
        _read_and_write_cache,
        (
            write_ccache(CACHE),
            write_ccache(replace(CACHE, tickets=CACHE.tickets[:1])),
            old_cache(1),
            old_cache(2),
            old_cache(3),
        ),
    ),
    Parser("krb5.conf", _parse_config, (CONFIGURATION.encode(),), allowed=(MalformedMessage,)),
]
