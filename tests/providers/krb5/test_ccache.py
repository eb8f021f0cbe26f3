"""Credential cache files: all versions, configuration entries, removed entries, and where damage is."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from securestream.errors import MalformedMessage
from securestream_providers.krb5.ccache import LARGEST_CACHE, read_ccache, write_ccache
from securestream_providers.krb5.names import KerberosName, tgs_name
from tests.providers.krb5.files import ALICE, CACHE, old_cache, ticket
from tests.providers.krb5.test_keytab import vectors


@pytest.mark.parametrize("vector", vectors("ccache"))
def test_published_caches_are_read_and_those_of_version_4_written_octet_for_octet(vector: dict[str, Any]) -> None:
    octets = base64.b64decode(vector["data_b64"])
    cache = read_ccache(octets)
    decoded = vector["decoded"]
    assert cache.client.realm == decoded["default"]["realm"]
    assert list(cache.client.components) == decoded["default"]["comps"]
    tickets = [creds for creds in decoded["creds"] if creds["server"]["realm"] != "X-CACHECONF:"]
    for found, expected in zip(cache.tickets, tickets, strict=True):
        assert list(found.server.components) == expected["server"]["comps"]
        assert found.key.etype == expected["etype"]
        assert found.key.contents.reveal().hex() == expected["key"]
        assert f"{int(found.flags):08x}" == expected["flags"]
        assert len(found.ticket) == expected["ticket_len"]
        auth, start, end, renew = (datetime.fromtimestamp(t, UTC) if t else None for t in expected["times"])
        assert (found.auth_time, found.start_time, found.end_time, found.renew_till) == (auth, start, end, renew)
    settings = [creds["server"]["comps"][1] for creds in decoded["creds"] if creds not in tickets]
    assert [name for name, _, _ in cache.configuration] == settings
    if decoded["version"] == 4:
        assert write_ccache(cache) == octets


def test_what_is_written_is_read_again() -> None:
    octets = write_ccache(CACHE)
    read = read_ccache(octets)
    assert read == CACHE
    assert read.positions == CACHE.positions
    assert write_ccache(read) == octets


@pytest.mark.parametrize(("version", "order"), [(1, "little"), (1, "big"), (2, "little"), (2, "big"), (3, "big")])
def test_old_versions_are_read_in_either_byte_order(version: int, order: str) -> None:
    cache = read_ccache(old_cache(version, order))
    assert cache.client == ALICE
    assert cache.tickets == (ticket(tgs_name("EXAMPLE.COM")),)


def test_unknown_fields_of_the_header_are_passed_over() -> None:
    octets = write_ccache(CACHE)
    field = b"\x12\x34\0\3abc"
    changed = octets[:2] + (12 + len(field)).to_bytes(2, "big") + field + octets[4:]
    assert read_ccache(changed) == CACHE


def test_a_header_may_be_empty() -> None:
    octets = write_ccache(CACHE)
    assert read_ccache(octets[:2] + b"\0\0" + octets[16:]).kdc_offset == 0.0


def test_entries_that_were_removed_in_place_are_left_out() -> None:
    octets = write_ccache(CACHE).replace(b"X-CACHECONF:", b"X-RMED-CONF:")
    assert read_ccache(octets).configuration == ()
    dead = ticket(KerberosName.parse("HTTP/dead@EXAMPLE.COM"))
    whole = write_ccache(replace(CACHE, tickets=(dead,), configuration=(), positions=()))
    times = (
        int(dead.auth_time.timestamp()).to_bytes(4, "big")
        + bytes(4)
        + int(dead.end_time.timestamp()).to_bytes(4, "big")
    )
    assert times in whole
    assert read_ccache(whole.replace(times, b"\xff" * 4 + bytes(8))).tickets == ()


def test_configuration_without_positions_stands_behind_the_tickets() -> None:
    read = read_ccache(write_ccache(replace(CACHE, positions=())))
    assert read.positions == ((2, 1),) * 3
    assert read.configuration == CACHE.configuration


@pytest.mark.parametrize("size", range(2, len(write_ccache(CACHE))))
def test_a_file_cut_anywhere_is_read_up_to_a_whole_record_or_refused_with_record_and_offset(size: int) -> None:
    octets = write_ccache(CACHE)
    try:
        cut = read_ccache(octets[:size])
    except MalformedMessage as error:
        message = str(error)
    else:
        assert write_ccache(cut) == octets[:size]
        return
    assert re.search(r"record \d at offset \d+: ", message)


def test_damage_in_a_later_record_is_located() -> None:
    one = replace(CACHE, tickets=CACHE.tickets[:1], configuration=(), positions=())
    at = len(write_ccache(one))
    with pytest.raises(MalformedMessage, match=f"record 2 at offset {at}:"):
        read_ccache(write_ccache(replace(one, tickets=CACHE.tickets))[:-1])


@pytest.mark.parametrize("octets", [b"", b"\5", b"\5\0", b"\5\5", b"\4\4", b"{}"])
def test_what_is_no_cache_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage, match="it is none"):
        read_ccache(octets)


def test_a_count_that_cannot_be_takes_no_memory() -> None:
    with pytest.raises(MalformedMessage, match="record 0"):
        read_ccache(b"\5\4\0\0\0\0\0\1\x7f\xff\xff\xff")


def test_a_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="right file"):
        read_ccache(b"\5\4" + bytes(LARGEST_CACHE))
