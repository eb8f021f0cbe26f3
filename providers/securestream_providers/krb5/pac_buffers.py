"""The small buffers of a PAC: client, names, attributes, requestor, signatures ([MS-PAC] 2.7, 2.8, 2.10, 2.14)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntFlag
from typing import Final

from securestream.errors import MalformedMessage, UsageError
from securestream.redaction import Redacted
from securestream.wire.cursor import Cursor, Writer
from securestream.wire.sids import sid_from_octets, sid_to_octets
from securestream.wire.times import from_filetime, to_filetime
from securestream_providers.krb5.numbers import ChecksumType

SIGNATURE_SIZES: Final[dict[int, int]] = {
    ChecksumType.HMAC_MD5: 16,
    ChecksumType.HMAC_SHA1_DES3_KD: 20,
    ChecksumType.HMAC_SHA1_96_AES128: 12,
    ChecksumType.HMAC_SHA1_96_AES256: 12,
    ChecksumType.CMAC_CAMELLIA128: 16,
    ChecksumType.CMAC_CAMELLIA256: 16,
    ChecksumType.HMAC_SHA256_128_AES128: 16,
    ChecksumType.HMAC_SHA384_192_AES256: 24,
}
"""Octets of a signature by its type ([MS-PAC] 2.8, RFC 8009, RFC 6803)."""

_RODC: Final = 2


@dataclass(frozen=True)
class ClientInfo:
    """PAC_CLIENT_INFO ([MS-PAC] 2.7): for whom, and when, the PAC was made.

    Args:
        auth_time: the ticket's authtime as a FILETIME.
        name: the client's name; with its realm in a cross-realm referral of S4U2self.
    """

    auth_time: int
    name: str

    @classmethod
    def of(cls, name: str, moment: datetime) -> ClientInfo:
        """The client info of a ticket for `name` with the authtime `moment` (aware), in whole seconds."""
        return cls(to_filetime(moment.replace(microsecond=0)), name)

    @property
    def moment(self) -> datetime | None:
        """`auth_time` in whole seconds, as tickets state it; `None` where a `datetime` cannot hold it."""
        found = from_filetime(self.auth_time)
        return None if found is None else found.replace(microsecond=0)

    @classmethod
    def unpack(cls, octets: bytes) -> ClientInfo:
        """Read it.

        Raises:
            MalformedMessage: it is no such structure.
        """
        cursor = Cursor(octets, "PAC_CLIENT_INFO")
        moment = cursor.u64_le()
        return cls(moment, _text(cursor.take(cursor.u16_le()), "PAC_CLIENT_INFO"))

    def pack(self) -> bytes:
        """Write it."""
        name = _utf16(self.name)
        writer = Writer()
        writer.u64_le(self.auth_time)
        writer.u16_le(len(name))
        writer.put(name)
        return writer.getvalue()


class UpnFlags(IntFlag):
    """Flags of `UpnDnsInfo`."""

    NONE = 0
    CONSTRUCTED = 1
    """The account has no userPrincipalName; this one was made of its name and domain."""

    EXTENDED = 2
    """SAM name and SID are there."""


_NOT_EXTENDED: Final = 0xFFFFFFFF & ~int(UpnFlags.EXTENDED)


@dataclass(frozen=True)
class UpnDnsInfo:
    """UPN_DNS_INFO ([MS-PAC] 2.10).

    Args:
        upn: the user principal name.
        dns_domain: of the account, in upper case.
        flags: `UpnFlags.EXTENDED` is set and cleared by what is there.
        sam_name: sAMAccountName, in the extended form.
        sid: the account's SID, in the extended form.
    """

    upn: str
    dns_domain: str
    flags: UpnFlags = UpnFlags.NONE
    sam_name: str | None = None
    sid: str | None = None

    @classmethod
    def unpack(cls, octets: bytes) -> UpnDnsInfo:
        """Read it.

        Raises:
            MalformedMessage: it is no such structure, or something lies outside of it.
        """
        what = "UPN_DNS_INFO"
        cursor = Cursor(octets, what)
        places = [(cursor.u16_le(), cursor.u16_le()) for _ in range(2)]
        flags = UpnFlags(cursor.u32_le())
        if flags & UpnFlags.EXTENDED:
            places += [(cursor.u16_le(), cursor.u16_le()) for _ in range(2)]
        found: list[bytes] = []
        for length, offset in places:
            cursor.seek(offset if length else 0)
            found.append(cursor.take(length))
        sam_name = sid = None
        if flags & UpnFlags.EXTENDED:
            sam_name, sid = _text(found[2], what), sid_from_octets(found[3])
        return cls(_text(found[0], what), _text(found[1], what), UpnFlags(flags & _NOT_EXTENDED), sam_name, sid)

    def pack(self) -> bytes:
        """Write it.

        Raises:
            UsageError: only one of SAM name and SID is given, or it is too long.
        """
        if (self.sam_name is None) != (self.sid is None):
            raise UsageError("UpnDnsInfo: the extended form has both a SAM name and a SID")
        pieces = [_utf16(self.upn), _utf16(self.dns_domain)]
        flags = self.flags & _NOT_EXTENDED
        if self.sam_name is not None and self.sid is not None:
            pieces += [_utf16(self.sam_name), sid_to_octets(self.sid)]
            flags |= int(UpnFlags.EXTENDED)
        head, body = Writer(), bytearray()
        start = 24 if len(pieces) > 2 else 16
        for number, piece in enumerate(pieces):
            if number == 2:
                head.u32_le(flags)
            head.u16_le(len(piece))
            head.u16_le(start + len(body))
            body += piece + bytes(-len(piece) % 8)
        if len(pieces) == 2:
            head.u32_le(flags)
        return head.getvalue() + bytes(4) + bytes(body)


class PacAttributes(IntFlag):
    """PAC_ATTRIBUTES_INFO ([MS-PAC] 2.14): why a ticket-granting ticket has a PAC."""

    WAS_REQUESTED = 1
    WAS_GIVEN_IMPLICITLY = 2

    @classmethod
    def unpack(cls, octets: bytes) -> PacAttributes:
        """Read it.

        Raises:
            MalformedMessage: it is no such structure.
        """
        cursor = Cursor(octets, "PAC_ATTRIBUTES_INFO")
        bits = cursor.u32_le()
        if bits > 32:  # only the first two of them mean something
            bits = 32
        return cls(cursor.u32_le() & ((1 << bits) - 1))

    def pack(self) -> bytes:
        """Write it."""
        writer = Writer()
        writer.u32_le(2)
        writer.u32_le(self & 3)
        return writer.getvalue()


@dataclass(frozen=True, repr=False)
class Signature(Redacted):
    """PAC_SIGNATURE_DATA ([MS-PAC] 2.8).

    Args:
        kind: its checksum type, signed.
        value: the checksum.
        rodc: the identifier of the read-only KDC that made it, or `None`.
    """

    kind: int
    value: bytes
    rodc: int | None = field(default=None)

    @classmethod
    def unpack(cls, octets: bytes) -> Signature:
        """Read it; a signature of an unknown type is all that is there.

        Raises:
            MalformedMessage: its length does not belong to its type.
        """
        usual = int.from_bytes(octets[:4], "little", signed=True)
        if len(octets) == 4 + SIGNATURE_SIZES.get(usual, -5):
            return cls(usual, octets[4:])
        cursor = Cursor(octets, "PAC_SIGNATURE_DATA")
        kind = cursor.i32_le()
        size = SIGNATURE_SIZES.get(kind, cursor.remaining)
        value = cursor.take(size)
        rodc = cursor.u16_le() if cursor.remaining else None
        cursor.finish()
        return cls(kind, value, rodc)

    def pack(self) -> bytes:
        """Write it."""
        rodc = b"" if self.rodc is None else self.rodc.to_bytes(_RODC, "little")
        return self.kind.to_bytes(4, "little", signed=True) + self.value + rodc


def _text(octets: bytes, what: str) -> str:
    try:
        return octets.decode("utf-16-le")
    except UnicodeDecodeError:
        raise MalformedMessage(f"{what}: a name is no UTF-16") from None


def _utf16(text: str) -> bytes:
    try:
        return text.encode("utf-16-le")
    except UnicodeEncodeError:
        raise UsageError("a name for a PAC holds half of a surrogate pair") from None
