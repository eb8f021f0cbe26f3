"""Whatever is written to a keytab or a credential cache is read again; whatever is damaged is refused in one way."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import MalformedMessage
from securestream.redaction import Secret
from securestream_providers.krb5.ccache import read_ccache, write_ccache
from securestream_providers.krb5.config_parser import parse_config
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.keytab import read_keytab, write_keytab
from securestream_providers.krb5.messages import AuthorizationElement, HostAddress
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import TicketFlags
from securestream_providers.krb5.tickets import CachedTicket, KeytabEntry, TicketCache
from tests.providers.krb5.files import CACHE, CONFIGURATION, ENTRIES

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = st.builds(
    KerberosName,
    texts.filter(lambda realm: not realm.startswith("X-")),
    st.lists(texts, min_size=1, max_size=4).map(tuple),
    st.integers(-(1 << 31), (1 << 31) - 1),
)
keys = st.builds(Key, st.integers(100, 65535), st.binary(min_size=1, max_size=40).map(Secret))
times = st.integers(1, 0xFFFFFFFE).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
entries = st.builds(KeytabEntry, names, st.integers(0, 0xFFFFFFFF), keys, times)
tickets = st.builds(
    CachedTicket,
    names,
    names,
    keys,
    st.binary(max_size=40),
    st.integers(0, 0xFFFFFFFF).map(TicketFlags),
    times,
    st.none() | times,
    times,
    st.none() | times,
    st.booleans(),
    st.lists(st.builds(HostAddress, st.integers(0, 65535), st.binary(max_size=16)), max_size=3).map(tuple),
    st.lists(st.builds(AuthorizationElement, st.integers(0, 65535), st.binary(max_size=16)), max_size=3).map(tuple),
    st.binary(max_size=40),
)
caches = st.builds(
    TicketCache,
    names,
    st.lists(tickets, max_size=4).map(tuple),
    st.lists(st.tuples(texts, st.none(), st.binary(max_size=8)), max_size=3).map(tuple),
    st.integers(-(1 << 31), (1 << 31) - 1).map(float),
)

WHOLE_KEYTAB = write_keytab(ENTRIES)
WHOLE_CACHE = write_ccache(CACHE)


@given(st.lists(entries, max_size=5).map(tuple))
def test_a_keytab_is_read_as_it_was_written(written: tuple[KeytabEntry, ...]) -> None:
    octets = write_keytab(written)
    assert read_keytab(octets) == written
    assert write_keytab(read_keytab(octets)) == octets


@given(caches)
def test_a_cache_is_read_as_it_was_written(written: TicketCache) -> None:
    octets = write_ccache(written)
    assert read_ccache(octets) == written
    assert write_ccache(read_ccache(octets)) == octets


@given(st.binary(max_size=200), st.sampled_from((b"", b"\5\1", b"\5\2", b"\5\3", b"\5\4\0\0")))
def test_any_octets_are_read_or_refused_in_one_way(octets: bytes, start: bytes) -> None:
    for read in (read_keytab, read_ccache):
        with contextlib.suppress(MalformedMessage):
            read(start + octets)


@given(st.data())
def test_damage_is_located_or_changes_values_only(data: st.DataObject) -> None:
    for whole, read in ((WHOLE_KEYTAB, read_keytab), (WHOLE_CACHE, read_ccache)):
        damaged = bytearray(whole)
        damaged[data.draw(st.integers(2, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        message = ""
        try:
            read(bytes(damaged))
        except MalformedMessage as error:
            message = str(error)
        assert not message or ("record " in message and " at offset " in message)


@given(st.integers(0, len(CONFIGURATION)), st.integers(0, 20), st.text(max_size=10))
def test_a_damaged_configuration_names_the_line_or_is_read(at: int, gone: int, instead: str) -> None:
    message = "krb5.conf, line "
    try:
        parse_config(CONFIGURATION[:at] + instead + CONFIGURATION[at + gone :])
    except MalformedMessage as error:
        message = str(error)
    assert message.startswith("krb5.conf, line ")
