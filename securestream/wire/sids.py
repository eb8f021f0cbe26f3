"""Windows security identifiers: text and octets ([MS-DTYP] 2.4.2)."""

from __future__ import annotations

import re
import struct
from typing import Final

from securestream.errors import MalformedMessage, UsageError
from securestream.wire.cursor import Buffer

MOST_SUB_AUTHORITIES: Final = 15
"""How many numbers may follow the authority ([MS-DTYP] 2.4.2.2)."""

_REVISION: Final = 1
_HEADER: Final = 8
_TEXT: Final = re.compile(r"S-1-(0x[0-9A-Fa-f]{1,12}|[0-9]{1,15})((?:-[0-9]{1,10}){1,15})")


def sid_from_octets(octets: Buffer) -> str:
    """The text of a SID, as ``S-1-5-21-...``.

    Args:
        octets: exactly the SID.

    Raises:
        MalformedMessage: another revision, another length than the count says, or too many numbers.
    """
    view = bytes(octets)
    if len(view) < _HEADER or view[0] != _REVISION or view[1] > MOST_SUB_AUTHORITIES:
        raise MalformedMessage("these octets are no security identifier")
    if len(view) != _HEADER + 4 * view[1]:
        raise MalformedMessage(f"a security identifier of {view[1]} numbers has {len(view)} octets")
    authority = int.from_bytes(view[2:_HEADER], "big")
    numbers = struct.unpack_from(f"<{view[1]}I", view, _HEADER)
    first = str(authority) if authority < 1 << 32 else f"0x{authority:012X}"
    return "-".join(("S", str(_REVISION), first, *map(str, numbers)))


def sid_to_octets(text: str) -> bytes:
    """The octets of a SID.

    Args:
        text: as ``S-1-5-21-...``; an authority of more than 32 bits in hexadecimal.

    Raises:
        UsageError: `text` is no SID, or a number does not fit.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no security identifier: write it as S-1-5-21-1-2-3-1000")
    authority = int(found[1], 16 if found[1].startswith("0x") else 10)
    numbers = [int(number) for number in found[2][1:].split("-")]
    if authority >= 1 << 48 or any(number >= 1 << 32 for number in numbers):
        raise UsageError(f"{text!r} is no security identifier: a number in it is too large")
    return struct.pack(f"<BB6s{len(numbers)}I", _REVISION, len(numbers), authority.to_bytes(6, "big"), *numbers)


def sid_in_domain(domain: str, relative: int) -> str:
    """The SID of an account or group by its domain's SID and its relative identifier ([MS-DTYP] 2.4.2)."""
    return f"{domain}-{relative}"


def domain_of(sid: str) -> tuple[str, int]:
    """The SID of the domain of an account or group, and the relative identifier.

    Raises:
        UsageError: `sid` is no SID with at least two numbers.
    """
    domain, _, relative = sid.rpartition("-")
    sid_to_octets(sid)
    sid_to_octets(domain)
    return domain, int(relative)
