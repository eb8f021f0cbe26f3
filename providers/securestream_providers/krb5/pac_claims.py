"""Claims of a user or a device: CLAIMS_SET_METADATA and what it holds ([MS-ADTS] 2.2.18, [MS-PAC] 2.11, 2.13)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from securestream.wire import ndr
from securestream_providers.krb5.pac_compression import decompress_xpress_huffman

MOST_OCTETS: Final = 1 << 16
"""How large a set of claims may be once it is decompressed; a larger one stays as it is."""


class ClaimType(IntEnum):
    """CLAIM_TYPE ([MS-ADTS] 2.2.18.2)."""

    INT64 = 1
    UINT64 = 2
    STRING = 3
    BOOLEAN = 6


class ClaimsSource(IntEnum):
    """CLAIMS_SOURCE_TYPE ([MS-ADTS] 2.2.18.1)."""

    ACTIVE_DIRECTORY = 1
    CERTIFICATE = 2


class Compression(IntEnum):
    """CLAIMS_COMPRESSION_FORMAT ([MS-ADTS] 2.2.18.4)."""

    NONE = 0
    LZNT1 = 2
    XPRESS = 3
    XPRESS_HUFFMAN = 4


@dataclass(frozen=True, repr=False)
class Claim(ndr.Structure):
    """CLAIM_ENTRY ([MS-ADTS] 2.2.18.5).

    Args:
        id: its name, such as ``ad://ext/department:88d5d9085ea5c0c0``.
        kind: a `ClaimType`.
        values: numbers, texts, or 0 and 1 for booleans.
    """

    id: Annotated[str | None, ndr.WIDE_STRING]
    kind: Annotated[int, ndr.U16]
    values: Annotated[
        tuple[int | str | None, ...],
        ndr.Switched(
            "kind",
            {
                ClaimType.INT64: ndr.Counted(ndr.I64),
                ClaimType.UINT64: ndr.Counted(ndr.U64),
                ClaimType.STRING: ndr.Counted(ndr.WIDE_STRING),
                ClaimType.BOOLEAN: ndr.Counted(ndr.U64),
            },
        ),
    ] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as text; booleans as ``true`` and ``false``."""
        if self.kind == ClaimType.BOOLEAN:
            return tuple("true" if value else "false" for value in self.values)
        return tuple(str(value) for value in self.values if value is not None)


@dataclass(frozen=True, repr=False)
class ClaimsArray(ndr.Structure):
    """CLAIMS_ARRAY ([MS-ADTS] 2.2.18.6).

    Args:
        source: a `ClaimsSource`.
        claims: from there.
    """

    source: Annotated[int, ndr.U16]
    claims: Annotated[tuple[Claim, ...], ndr.Counted(Claim)] = ()


@dataclass(frozen=True, repr=False)
class _Set(ndr.Structure):
    """CLAIMS_SET ([MS-ADTS] 2.2.18.7)."""

    arrays: Annotated[tuple[ClaimsArray, ...], ndr.Counted(ClaimsArray)]
    reserved_type: Annotated[int, ndr.U16] = 0
    reserved: Annotated[bytes, ndr.Counted(ndr.OCTET)] = b""


@dataclass(frozen=True, repr=False)
class _Metadata(ndr.Structure):
    """CLAIMS_SET_METADATA ([MS-ADTS] 2.2.18.8)."""

    claims_set: Annotated[bytes, ndr.Counted(ndr.OCTET)]
    compression: Annotated[int, ndr.U16]
    uncompressed_size: Annotated[int, ndr.U32]
    reserved_type: Annotated[int, ndr.U16] = 0
    reserved: Annotated[bytes, ndr.Counted(ndr.OCTET)] = b""


@dataclass(frozen=True)
class Claims:
    """The claims of a user or a device.

    Args:
        arrays: by their source.
        compressed: a set in a format that is not decompressed here (LZNT1, plain XPRESS), or too large for it, as
            received; `arrays` is then empty.
        compression: the format in which the set was received; what is written is never compressed, except that
            `compressed` is written as it is.
        size: of `compressed` once it is decompressed, as its message says.
    """

    arrays: tuple[ClaimsArray, ...] = ()
    compressed: bytes = b""
    compression: int = Compression.NONE
    size: int = 0

    @classmethod
    def unpack(cls, octets: bytes) -> Claims:
        """Read a buffer of claims; an empty one holds none.

        Raises:
            MalformedMessage: it is no CLAIMS_SET_METADATA, or the set in it is malformed.
        """
        if not octets:
            return cls()
        outer = _Metadata.unpack(octets)
        held, kind, size = outer.claims_set, outer.compression, outer.uncompressed_size
        if not held:
            return cls()
        if kind == Compression.NONE:
            return cls(_Set.unpack(held).arrays)
        if kind != Compression.XPRESS_HUFFMAN or size > MOST_OCTETS:
            return cls((), held, kind, size)
        return cls(_Set.unpack(decompress_xpress_huffman(held, size)).arrays, compression=kind)

    def pack(self) -> bytes:
        """Write it."""
        if self.compressed:
            return _Metadata(self.compressed, self.compression, self.size).pack()
        held = _Set(self.arrays).pack()
        return _Metadata(held, Compression.NONE, len(held)).pack()

    @property
    def all(self) -> tuple[Claim, ...]:
        """The claims of all sources."""
        return tuple(claim for array in self.arrays for claim in array.claims)
