"""Credential cache files (MIT's file format, versions 1 to 4): octets to tickets and back."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from securestream.errors import MalformedMessage, UsageError
from securestream.redaction import Secret
from securestream_providers.krb5.files import EPOCH, FileReader, FileWriter, moment, native_order, seconds_of
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import AuthorizationElement, HostAddress
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType, TicketFlags
from securestream_providers.krb5.tickets import CachedTicket, TicketCache

LARGEST_CACHE: Final = 16 << 20
"""Octets of a credential cache that are read."""

_CONFIGURATION_REALM: Final = "X-CACHECONF:"
_REMOVED_REALM: Final = "X-RMED-CONF:"
_CONFIGURATION: Final = "krb5_ccache_conf_data"
_KDC_OFFSET: Final = 1
_REMOVED_TIME: Final = 0xFFFFFFFF
_MICROSECONDS: Final = 1_000_000
_NO_KEY: Final = Secret(b"")


class _Reader(FileReader):
    """A reader that knows the version of the format."""

    __slots__ = ("version",)

    def __init__(self, octets: bytes, order: str) -> None:
        super().__init__(octets, "credential cache", order)
        self.expect(b"\x05")
        self.version = self.u8()


def read_ccache(octets: bytes) -> TicketCache:
    """The content of a credential cache file; entries that MIT's tools removed are left out.

    Versions 1 and 2 are in the byte order of whoever wrote them.

    Raises:
        MalformedMessage: the file is damaged; the message gives the number and the offset of the record, of which 0 is
            the header with the default principal.
    """
    if len(octets) > LARGEST_CACHE:
        raise MalformedMessage(f"credential cache: more than {LARGEST_CACHE} octets: is it the right file?")
    if octets[:1] != b"\x05" or octets[1:2] not in (b"\x01", b"\x02", b"\x03", b"\x04"):
        raise MalformedMessage("credential cache: the file does not begin with 05 01 to 05 04, so it is none")
    return _read(_Reader(octets, "big" if octets[1] >= 3 else native_order(octets[2:6])))


def _read(reader: _Reader) -> TicketCache:
    try:
        offset_to_kdc = _read_header(reader) if reader.version == 4 else 0.0
        client = _read_principal(reader)
    except MalformedMessage as error:
        raise MalformedMessage(f"credential cache: record 0 at offset 0: {error}") from None
    tickets: list[CachedTicket] = []
    configuration: list[tuple[str, KerberosName | None, bytes]] = []
    positions: list[tuple[int, int]] = []
    number = 0
    while not reader.at_end():
        number += 1
        at = reader.at
        try:
            ticket = _read_ticket(reader)
            if ticket is None:
                continue
            setting = _configuration_of(ticket)
        except MalformedMessage as error:
            raise MalformedMessage(f"credential cache: record {number} at offset {at}: {error}") from None
        if setting is None:
            tickets.append(ticket)
        else:
            configuration.append(setting)
            positions.append((len(tickets), ticket.server.name_type))
    return TicketCache(client, tuple(tickets), tuple(configuration), offset_to_kdc, tuple(positions))


def _read_header(reader: _Reader) -> float:
    """The header of version 4: how far the KDC's clock is ahead, in seconds. Unknown fields are passed over."""
    header = FileReader(reader.take(reader.u16()), "header", "big")
    ahead = 0.0
    while not header.at_end():
        tag = header.u16()
        field = FileReader(header.take(header.u16()), "header field", "big")
        if tag == _KDC_OFFSET:
            ahead = field.i32() + field.i32() / _MICROSECONDS
    return ahead


def _read_principal(reader: _Reader) -> KerberosName:
    name_type = reader.i32() if reader.version > 1 else NameType.UNKNOWN
    count = reader.u32()
    if reader.version == 1:
        count -= 1  # it counts the realm
    if count < 0 or count > reader.remaining // 4:
        raise MalformedMessage(f"a principal of {count} components cannot be, with {reader.remaining} octets left")
    realm = reader.text(reader.u32())
    return KerberosName(realm, tuple(reader.text(reader.u32()) for _ in range(count)), name_type)


def _read_key(reader: _Reader) -> Key:
    etype = reader.u16()
    if reader.version == 3:
        reader.skip(2)  # it has the type twice
    octets = reader.take(reader.u32())
    return make_key(etype, octets) if octets else Key(etype, _NO_KEY)


def _read_ticket(reader: _Reader) -> CachedTicket | None:
    """The next entry, or `None` for one that was removed in place."""
    client = _read_principal(reader)
    server = _read_principal(reader)
    key = _read_key(reader)
    auth, start, end, renew = (reader.u32() for _ in range(4))
    is_session_key = reader.u8() != 0
    flags = TicketFlags(reader.u32())
    addresses = tuple(HostAddress(kind, octets) for kind, octets in _read_tagged(reader, "addresses"))
    authorization = tuple(AuthorizationElement(kind, octets) for kind, octets in _read_tagged(reader, "elements"))
    ticket = reader.take(reader.u32())
    second_ticket = reader.take(reader.u32())
    if server.realm == _REMOVED_REALM or (auth == _REMOVED_TIME and end == 0):
        return None
    return CachedTicket(
        client,
        server,
        key,
        ticket,
        flags,
        moment(auth),
        moment(start) if start else None,
        moment(end),
        moment(renew) if renew else None,
        is_session_key,
        addresses,
        authorization,
        second_ticket,
    )


def _read_tagged(reader: _Reader, what: str) -> list[tuple[int, bytes]]:
    count = reader.u32()
    if count > reader.remaining // 6:
        raise MalformedMessage(f"{count} {what} cannot be, with {reader.remaining} octets left")
    return [(reader.u16(), reader.take(reader.u32())) for _ in range(count)]


def _configuration_of(ticket: CachedTicket) -> tuple[str, KerberosName | None, bytes] | None:
    """What a configuration entry says; `None` for a ticket."""
    server = ticket.server
    if server.realm != _CONFIGURATION_REALM or server.components[:1] != (_CONFIGURATION,):
        return None
    if len(server.components) not in (2, 3):
        raise MalformedMessage("a configuration entry has a name, and a principal at most")
    try:
        about = KerberosName.parse(server.components[2]) if len(server.components) == 3 else None
    except UsageError:
        raise MalformedMessage("a configuration entry is about something that is no principal") from None
    return server.components[1], about, ticket.ticket


def write_ccache(cache: TicketCache) -> bytes:
    """A credential cache file of version 4, as MIT writes it.

    Raises:
        UsageError: something does not fit the format.
    """
    writer = FileWriter()
    writer.put(b"\x05\x04")
    writer.u16(12)
    writer.u16(_KDC_OFFSET)
    writer.u16(8)
    seconds, microseconds = divmod(round(cache.kdc_offset * _MICROSECONDS), _MICROSECONDS)
    writer.u32(seconds & 0xFFFFFFFF)
    writer.u32(microseconds)
    _write_principal(writer, cache.client)
    for entry in _in_order(cache):
        _write_ticket(writer, entry)
    return writer.getvalue()


def _in_order(cache: TicketCache) -> list[CachedTicket]:
    """Tickets and configuration entries as they stand in the file."""
    keyed = [
        (2 * place, _entry_of(cache.client, name_type, *setting))
        for (place, name_type), setting in zip(positions_of(cache), cache.configuration, strict=True)
    ]
    keyed += [(2 * place + 1, ticket) for place, ticket in enumerate(cache.tickets)]
    return [entry for _, entry in sorted(keyed, key=lambda pair: pair[0])]


def positions_of(cache: TicketCache) -> tuple[tuple[int, int], ...]:
    """The positions of a cache's configuration entries: those it has, or behind all tickets."""
    count = len(cache.configuration)
    if len(cache.positions) == count:
        return cache.positions
    return ((len(cache.tickets), int(NameType.PRINCIPAL)),) * count


def _entry_of(
    client: KerberosName, name_type: int, name: str, about: KerberosName | None, value: bytes
) -> CachedTicket:
    components = (_CONFIGURATION, name) if about is None else (_CONFIGURATION, name, str(about))
    server = KerberosName(_CONFIGURATION_REALM, components, name_type)
    return CachedTicket(client, server, Key(0, _NO_KEY), value, TicketFlags(0), EPOCH, None, EPOCH)


def _write_principal(writer: FileWriter, name: KerberosName) -> None:
    writer.u32(name.name_type & 0xFFFFFFFF)
    writer.u32(len(name.components))
    for text in (name.realm, *name.components):
        writer.sized(text.encode("utf-8"))


def _write_ticket(writer: FileWriter, ticket: CachedTicket) -> None:
    _write_principal(writer, ticket.client)
    _write_principal(writer, ticket.server)
    writer.u16(ticket.key.etype)
    writer.sized(ticket.key.contents.reveal())
    for time in (ticket.auth_time, ticket.start_time, ticket.end_time, ticket.renew_till):
        writer.u32(_time(time))
    writer.u8(ticket.is_session_key)
    writer.u32(ticket.flags & 0xFFFFFFFF)
    writer.u32(len(ticket.addresses))
    for address in ticket.addresses:
        writer.u16(address.addr_type & 0xFFFF)
        writer.sized(address.address)
    writer.u32(len(ticket.authorization_data))
    for element in ticket.authorization_data:
        writer.u16(element.ad_type & 0xFFFF)
        writer.sized(element.ad_data)
    writer.sized(ticket.ticket)
    writer.sized(ticket.second_ticket)


def _time(time: datetime | None) -> int:
    return 0 if time is None else seconds_of(time)
