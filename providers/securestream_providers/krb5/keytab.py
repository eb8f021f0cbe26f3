"""Keytab files (MIT's file format, versions 0x501 and 0x502): octets to entries and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from securestream.errors import MalformedMessage, UsageError
from securestream_providers.krb5.files import FileReader, FileWriter, moment, native_order, seconds_of
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType
from securestream_providers.krb5.tickets import KeytabEntry

LARGEST_KEYTAB: Final = 8 << 20
"""Octets of a keytab that are read."""

_NATIVE, _CURRENT = 0x501, 0x502
_NO_SIZE: Final = -(1 << 31)


def read_keytab(octets: bytes) -> tuple[KeytabEntry, ...]:
    """The entries of a keytab, in their order; holes that deletions left are passed over.

    A record of size zero ends the file, whatever follows. Version 0x501 is in the byte order of whoever wrote it.

    Raises:
        MalformedMessage: the file is damaged; the message gives the number and the offset of the record.
    """
    if len(octets) > LARGEST_KEYTAB:
        raise MalformedMessage(f"keytab: more than {LARGEST_KEYTAB} octets: is it the right file?")
    version = int.from_bytes(octets[:2], "big")
    if len(octets) < 2 or version not in (_NATIVE, _CURRENT):
        raise MalformedMessage("keytab: the file does not begin with 05 01 or 05 02, so it is no keytab")
    if version == _CURRENT:
        return _read(octets, "big", current=True)
    return _read(octets, native_order(octets[2:6]), current=False)


def _read(octets: bytes, order: str, *, current: bool) -> tuple[KeytabEntry, ...]:
    reader = FileReader(octets, "keytab", order)
    reader.skip(2)
    entries: list[KeytabEntry] = []
    number = 0
    while not reader.at_end():
        number += 1
        offset = reader.at
        try:
            size = reader.i32()
            if size in (0, _NO_SIZE):
                break
            if size < 0:
                reader.skip(-size)
                continue
            record = FileReader(reader.take(size), "keytab record", order)
            entries.append(_read_entry(record, current=current))
        except MalformedMessage as error:
            raise MalformedMessage(f"keytab: record {number} at offset {offset}: {error}") from None
    return tuple(entries)


def _read_entry(record: FileReader, *, current: bool) -> KeytabEntry:
    components = record.u16()
    if not current:
        components -= 1  # version 0x501 counts the realm
    if components < 0:
        raise MalformedMessage("it has a principal without a realm")
    realm = record.text(record.u16())
    name = tuple(record.text(record.u16()) for _ in range(components))
    name_type = record.i32() if current else NameType.PRINCIPAL
    written = moment(record.u32())
    kvno = record.u8()
    etype = record.u16()
    key = make_key(etype, record.take(record.u16()))
    # An older writer leaves padding, or nothing, where later ones put the version of more than eight bits.
    if record.remaining >= 4:
        kvno = record.u32() or kvno
    return KeytabEntry(KerberosName(realm, name, name_type), kvno, key, written)


def write_keytab(entries: Iterable[KeytabEntry]) -> bytes:
    """A keytab of version 0x502 with these entries, as MIT writes one.

    Raises:
        UsageError: a name, key or number does not fit the format.
    """
    writer = FileWriter()
    writer.u16(_CURRENT)
    for entry in entries:
        record = _entry(entry)
        writer.u32(len(record))
        writer.put(record)
    return writer.getvalue()


def _entry(entry: KeytabEntry) -> bytes:
    record = FileWriter()
    name = entry.principal
    record.u16(len(name.components))
    for text in (name.realm, *name.components):
        octets = text.encode("utf-8")
        record.u16(len(octets))
        record.put(octets)
    record.u32(name.name_type & 0xFFFFFFFF)
    record.u32(seconds_of(entry.timestamp))
    record.u8(entry.kvno & 0xFF)
    record.u16(entry.key.etype)
    record.u16(len(entry.key.contents.reveal()))
    record.put(entry.key.contents.reveal())
    record.u32(entry.kvno)
    return record.getvalue()


def merged(entries: Iterable[KeytabEntry], added: Iterable[KeytabEntry]) -> tuple[KeytabEntry, ...]:
    """`entries` with `added` behind them, which replace what has their principal, version and encryption type.

    Raises:
        UsageError: nothing is added.
    """
    new = tuple(added)
    if not new:
        raise UsageError("there is no key to add")
    replaced = {(entry.principal, entry.kvno, entry.key.etype) for entry in new}
    kept = (entry for entry in entries if (entry.principal, entry.kvno, entry.key.etype) not in replaced)
    return (*kept, *new)
