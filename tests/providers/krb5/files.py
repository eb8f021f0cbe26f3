"""A keytab, a credential cache and a krb5.conf to test with, and writers of the old versions, made by the format."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from securestream.redaction import Secret
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.messages import AuthorizationElement, HostAddress
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import TicketFlags
from securestream_providers.krb5.tickets import CachedTicket, KeytabEntry, TicketCache

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
EVENING = datetime(2026, 1, 2, 22, tzinfo=UTC)
ALICE = KerberosName("EXAMPLE.COM", ("alice",))
SERVICE = KerberosName.parse("HTTP/web.example.com@EXAMPLE.COM")

ENTRIES = (
    KeytabEntry(SERVICE, 1, Key(18, Secret(bytes(range(32)))), NOON),
    KeytabEntry(SERVICE, 258, Key(17, Secret(bytes(range(16)))), EVENING),
    KeytabEntry(KerberosName("ÄÖ.EXAMPLE", ("bär", "", "c/d@e")), 70000, Key(99, Secret(b"unknown")), NOON),
)


def ticket(server: KerberosName, octets: bytes = b"ticket", end: datetime = EVENING) -> CachedTicket:
    """A ticket of Alice's."""
    flags = TicketFlags.FORWARDABLE | TicketFlags.INITIAL
    return CachedTicket(ALICE, server, Key(18, Secret(bytes(range(32)))), octets, flags, NOON, None, end)


CACHE = TicketCache(
    ALICE,
    (
        ticket(tgs_name("EXAMPLE.COM")),
        CachedTicket(
            ALICE,
            SERVICE,
            Key(17, Secret(bytes(range(16)))),
            b"service ticket",
            TicketFlags.FORWARDABLE,
            NOON,
            NOON,
            EVENING,
            datetime(2106, 2, 7, tzinfo=UTC),
            True,
            (HostAddress(2, b"\x7f\0\0\1"), HostAddress(24, bytes(15) + b"\1")),
            (AuthorizationElement(1, b"element"),),
            b"second ticket",
        ),
    ),
    (("fast_avail", tgs_name("EXAMPLE.COM"), b"yes"), ("pa_type", tgs_name("EXAMPLE.COM"), b"2"), ("x", None, b"")),
    -3.0,
    ((1, 0), (1, 0), (2, 1)),
)

CONFIGURATION = """\
# a comment
[libdefaults]
    default_realm = EXAMPLE.COM
    permitted_enctypes = aes camellia -camellia128-cts +rc4-hmac DEFAULT
    ticket_lifetime = 1d 2h
    clockskew = 300
    forwardable = yes
    default_ccache_name = "FILE:/tmp/krb5cc_%{uid}"
    EXAMPLE.COM = {
        dns_lookup_kdc = false
    }
[realms]
    EXAMPLE.COM = {
        kdc = kdc1.example.com:8888
        kdc = [2001:db8::1]:88
        kdc = https://proxy.example.com/KdcProxy
        admin_server = kdc1.example.com
        auth_to_local = RULE:[1:$1@$0](.*@EXAMPLE[.]COM)s/@.*//
    }
    B.EXAMPLE =
    {
        kdc = tcp/b.example
    }*
[domain_realm]
    .example.com = EXAMPLE.COM
    Example.com* = EXAMPLE.COM
[capaths]
    A = {
        B = .
        C = B
    }
"""


def old_keytab(order: str) -> bytes:
    """A keytab of version 0x501 with one key of HTTP/web.example.com@EXAMPLE.COM, version 3."""
    mark = "<" if order == "little" else ">"

    def text(value: bytes) -> bytes:
        return struct.pack(mark + "H", len(value)) + value

    record = struct.pack(mark + "H", 3) + text(b"EXAMPLE.COM") + text(b"HTTP") + text(b"web.example.com")
    record += struct.pack(mark + "IBH", int(NOON.timestamp()), 3, 18) + text(bytes(range(32)))
    return b"\5\1" + struct.pack(mark + "i", len(record)) + record


def old_cache(version: int, order: str = "little") -> bytes:
    """A cache of version 1, 2 or 3 with Alice's ticket-granting ticket."""
    mark = ">" if version == 3 or order == "big" else "<"

    def data(value: bytes) -> bytes:
        return struct.pack(mark + "I", len(value)) + value

    def name(kind: int, realm: bytes, *parts: bytes) -> bytes:
        start = struct.pack(mark + "I", kind) if version > 1 else b""
        count = len(parts) + (version == 1)
        return start + struct.pack(mark + "I", count) + data(realm) + b"".join(map(data, parts))

    alice = name(1, b"EXAMPLE.COM", b"alice")
    key = struct.pack(mark + "H", 18) * (2 if version == 3 else 1) + data(bytes(range(32)))
    times = struct.pack(mark + "4I", int(NOON.timestamp()), 0, int(EVENING.timestamp()), 0)
    flags = TicketFlags.FORWARDABLE | TicketFlags.INITIAL
    rest = struct.pack(mark + "BIII", 0, flags, 0, 0) + data(b"ticket") + data(b"")
    tgs = name(2, b"EXAMPLE.COM", b"krbtgt", b"EXAMPLE.COM")
    return bytes((5, version)) + alice + alice + tgs + key + times + rest
