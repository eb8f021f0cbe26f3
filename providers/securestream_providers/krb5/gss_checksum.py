"""The checksum of an initiator's authenticator, which is none: flags, bindings, delegation (RFC 4121 4.1.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final

from securestream.errors import MalformedMessage
from securestream.redaction import Redacted
from securestream.values import made_quickly
from securestream.wire.cursor import Cursor

_DELEGATION_OPTION: Final = 1
_FIXED: Final = struct.Struct("<I16sI")
_UNBOUND: Final = bytes(16)


class GssFlag(IntFlag):
    """Flags of the context, as the checksum carries them (RFC 4121 4.1.1.1, RFC 4757 7.1)."""

    DELEGATION = 1
    MUTUAL = 2
    REPLAY = 4
    SEQUENCE = 8
    CONFIDENTIALITY = 0x10
    INTEGRITY = 0x20
    DCE_STYLE = 0x1000
    IDENTIFY = 0x2000
    EXTENDED_ERROR = 0x4000


@made_quickly
@dataclass(frozen=True, repr=False)
class GssChecksum(Redacted):
    """What the initiator asks for and binds (RFC 4121 4.1.1).

    Args:
        flags: `GssFlag`, with bits that have no name.
        bindings: MD5 of the channel bindings, zeros for none.
        delegation: a KRB-CRED, or `None`.
        extensions: what follows, as received (RFC 4121 4.1.1.3: type and length u32 BE before each).
    """

    flags: int
    bindings: bytes = _UNBOUND
    delegation: bytes | None = field(default=None, repr=False)
    extensions: bytes = b""

    def pack(self) -> bytes:
        """The octets of a checksum of type 0x8003."""
        packed = _FIXED.pack(16, self.bindings, self.flags)
        if self.delegation is not None:
            size = len(self.delegation)
            packed = b"".join((packed, struct.pack("<HH", _DELEGATION_OPTION, size), self.delegation))
        return packed + self.extensions

    @classmethod
    def unpack(cls, octets: bytes) -> GssChecksum:
        """Read it.

        Raises:
            MalformedMessage: it is cut short, or its option is not delegation.
        """
        if len(octets) < _FIXED.size:
            raise MalformedMessage("the authenticator's GSS checksum is cut short")
        size, bindings, flags = _FIXED.unpack_from(octets)
        if size != 16:
            raise MalformedMessage("channel bindings are hashed to 16 octets")
        if len(octets) == _FIXED.size:
            return cls(flags, bindings)
        cursor = Cursor(octets, "GSS checksum")
        cursor.skip(_FIXED.size)
        delegation = None
        if flags & GssFlag.DELEGATION:
            option = cursor.u16_le()
            if option != _DELEGATION_OPTION:
                raise MalformedMessage(f"the GSS checksum's option {option} is not delegation")
            delegation = cursor.take(cursor.u16_le())
        return cls(flags, bindings, delegation, cursor.take(cursor.remaining))
