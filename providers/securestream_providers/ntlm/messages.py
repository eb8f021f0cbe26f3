"""The messages of NTLM ([MS-NLMP] 2.2): NEGOTIATE, CHALLENGE, AUTHENTICATE, AV pairs and the NTLMv2 response."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from securestream.errors import MalformedMessage
from securestream.values import made_quickly
from securestream.wire.packed import PAYLOAD, REST, U8, U16, U32, U64, Octets, Packed, Payload

SIGNATURE: Final = b"NTLMSSP\0"


class Flag:
    """The bits of NegotiateFlags ([MS-NLMP] 2.2.2.5), as plain integers: operators of `enum.IntFlag` cost 1 µs each."""

    UNICODE: Final = 0x1
    OEM: Final = 0x2
    REQUEST_TARGET: Final = 0x4
    SIGN: Final = 0x10
    SEAL: Final = 0x20
    DATAGRAM: Final = 0x40
    LM_KEY: Final = 0x80
    NTLM: Final = 0x200
    ANONYMOUS: Final = 0x800
    OEM_DOMAIN_SUPPLIED: Final = 0x1000
    OEM_WORKSTATION_SUPPLIED: Final = 0x2000
    ALWAYS_SIGN: Final = 0x8000
    TARGET_TYPE_DOMAIN: Final = 0x10000
    TARGET_TYPE_SERVER: Final = 0x20000
    EXTENDED_SESSION_SECURITY: Final = 0x80000
    IDENTIFY: Final = 0x100000
    REQUEST_NON_NT_SESSION_KEY: Final = 0x400000
    TARGET_INFO: Final = 0x800000
    VERSION: Final = 0x2000000
    BITS_128: Final = 0x20000000
    KEY_EXCH: Final = 0x40000000
    BITS_56: Final = 0x80000000


def flag_names(flags: int) -> list[str]:
    """The names of the bits set in `flags`, the unknown ones as numbers."""
    known = {value: name for name, value in vars(Flag).items() if isinstance(value, int)}
    bits = (1 << bit for bit in range(32) if flags >> bit & 1)
    return [known.get(bit, f"{bit:#x}") for bit in bits]


class AvId:
    """The identifiers of AV pairs ([MS-NLMP] 2.2.2.1)."""

    EOL: Final = 0
    NB_COMPUTER_NAME: Final = 1
    NB_DOMAIN_NAME: Final = 2
    DNS_COMPUTER_NAME: Final = 3
    DNS_DOMAIN_NAME: Final = 4
    DNS_TREE_NAME: Final = 5
    FLAGS: Final = 6
    TIMESTAMP: Final = 7
    SINGLE_HOST: Final = 8
    TARGET_NAME: Final = 9
    CHANNEL_BINDINGS: Final = 10


class AvFlag:
    """The bits of the AV pair `AvId.FLAGS`."""

    CONSTRAINED: Final = 0x1
    MIC: Final = 0x2
    UNTRUSTED_TARGET: Final = 0x4


VERSION: Final = struct.pack("<BBHxxxB", 10, 0, 0, 15)
"""The VERSION structure that we send ([MS-NLMP] 2.2.2.10): the revision is what peers look at, the rest is for logs."""


_IGNORED: Final = Payload(lenient=True)
"""Fields that a flag must announce, and that decide nothing here ([MS-NLMP] 2.2.1.1, 2.2.1.2)."""


@dataclass(frozen=True, repr=False)
class Negotiate(Packed, prefix=SIGNATURE + b"\1\0\0\0"):
    """NEGOTIATE_MESSAGE ([MS-NLMP] 2.2.1.1). Old clients end it after the flags.

    Args:
        flags: what the client offers.
        domain: its domain, in the OEM character set whatever was negotiated.
        workstation: its name, likewise.
        version: a VERSION structure.
    """

    flags: Annotated[int, U32]
    domain: Annotated[bytes | None, _IGNORED] = b""
    workstation: Annotated[bytes | None, _IGNORED] = b""
    version: Annotated[bytes | None, Octets(8)] = VERSION


@dataclass(frozen=True, repr=False)
class Challenge(Packed, prefix=SIGNATURE + b"\2\0\0\0"):
    """CHALLENGE_MESSAGE ([MS-NLMP] 2.2.1.2).

    Args:
        target_name: the server's or its domain's name, in the negotiated character set.
        flags: what the server agrees to.
        server_challenge: 8 random octets.
        reserved: zero.
        target_info: AV pairs.
        version: a VERSION structure; gss-ntlmssp misreads what follows when it is agreed and absent.
    """

    target_name: Annotated[bytes, _IGNORED]
    flags: Annotated[int, U32]
    server_challenge: Annotated[bytes, Octets(8)]
    reserved: Annotated[bytes | None, Octets(8)] = bytes(8)
    target_info: Annotated[bytes | None, PAYLOAD] = b""
    version: Annotated[bytes | None, Octets(8)] = VERSION


@made_quickly
@dataclass(frozen=True, repr=False)
class Authenticate(Packed, prefix=SIGNATURE + b"\3\0\0\0"):
    """AUTHENTICATE_MESSAGE ([MS-NLMP] 2.2.1.3). The strings lie first, at even offsets, as Windows has them.

    Args:
        lm_response: the LM, LMv2 or ESS field, or zeros.
        nt_response: the NT response.
        domain: the user's domain, in the negotiated character set.
        user: the user's name.
        workstation: the client's name.
        encrypted_session_key: the session key under RC4, with `Flag.KEY_EXCH`.
        flags: what the session uses.
        version: a VERSION structure.
        mic: the MIC, if the AV pairs of the response say that it is one; `None` where the payload begins before it.
    """

    lm_response: Annotated[bytes, Payload(1)]
    nt_response: Annotated[bytes, Payload(1)]
    domain: Annotated[bytes, PAYLOAD]
    user: Annotated[bytes, PAYLOAD]
    workstation: Annotated[bytes, PAYLOAD]
    encrypted_session_key: Annotated[bytes, Payload(1)]
    flags: Annotated[int, U32]
    version: Annotated[bytes | None, Octets(8)] = VERSION
    mic: Annotated[bytes | None, Octets(16)] = None


MIC_OFFSET: Final = 72
MIC_END: Final = 88


@dataclass(frozen=True, repr=False)
class ClientChallenge(Packed):
    """NTLMv2_CLIENT_CHALLENGE ([MS-NLMP] 2.2.2.7), which follows the proof in an NTLMv2 response.

    Args:
        response_type: 1.
        highest_type: 1.
        reserved1: zero.
        reserved2: zero.
        timestamp: FILETIME.
        client_challenge: 8 random octets.
        reserved3: zero.
        pairs: AV pairs and whatever follows them: FreeRDP and Windows 7 add zeros, which belong to what is proved.
    """

    response_type: Annotated[int, U8]
    highest_type: Annotated[int, U8]
    reserved1: Annotated[int, U16]
    reserved2: Annotated[int, U32]
    timestamp: Annotated[int, U64]
    client_challenge: Annotated[bytes, Octets(8)]
    reserved3: Annotated[int, U32]
    pairs: Annotated[bytes, REST]


_AV_PAIR: Final = struct.Struct("<HH")
_head, _read_head = _AV_PAIR.pack, _AV_PAIR.unpack_from

END_OF_PAIRS: Final = bytes(4)
"""The EOL pair."""

AvPairs: TypeAlias = dict[int, bytes]
"""AV pairs by identifier, in the order in which they stand, without the EOL pair."""


def unpack_pairs(octets: bytes, limit: int) -> AvPairs:
    """Read AV pairs up to the EOL pair; what follows it is ignored (see `ClientChallenge`).

    Args:
        octets: the pairs.
        limit: the most pairs that are read.

    Raises:
        MalformedMessage: there is no EOL pair, a pair overruns the octets, an identifier comes twice, or there are more
            than `limit` pairs.
    """
    pairs: AvPairs = {}
    at, size = 0, len(octets)
    while at + 4 <= size:
        identifier, length = _read_head(octets, at)
        start = at + 4
        at = start + length
        if not identifier:  # AvId.EOL
            return pairs
        if at > size:
            raise MalformedMessage(f"AV pair {identifier} runs over the end")
        if identifier in pairs:
            raise MalformedMessage(f"AV pair {identifier} comes twice")
        if len(pairs) == limit:
            raise MalformedMessage(f"more than {limit} AV pairs")
        pairs[identifier] = octets[start:at]
    raise MalformedMessage("the AV pairs have no end")


def pack_pair(identifier: int, value: bytes) -> bytes:
    """Write one AV pair."""
    return _head(identifier, len(value)) + value


def pack_pairs(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """Write AV pairs with the EOL pair after them."""
    return b"".join([pack_pair(identifier, value) for identifier, value in pairs]) + END_OF_PAIRS


def fixed_pair(pairs: AvPairs, identifier: int, size: int) -> bytes | None:
    """The value of a pair whose length is fixed, or `None` where it is absent.

    Raises:
        MalformedMessage: it has another length.
    """
    value = pairs.get(identifier)
    if value is not None and len(value) != size:
        raise MalformedMessage(f"AV pair {identifier} is {len(value)} octets, not {size}")
    return value


def av_flags(pairs: AvPairs) -> int:
    """The value of the pair `AvId.FLAGS`, 0 where it is absent."""
    return int.from_bytes(fixed_pair(pairs, AvId.FLAGS, 4) or b"", "little")
