"""The PAC: what Windows-like KDCs state of a client, in a ticket's authorisation data ([MS-PAC] 2.3).

`find_pac` takes it from where it may stand, `Pac.decode` reads it, `pac_signing.verify_pac` and
`pac_signing.verify_ticket` prove it, `pac_principal.principal_of` says who it is. Nothing that `Pac` shows may be
believed before it was verified.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from securestream.errors import InvalidToken, MalformedMessage
from securestream.redaction import Redacted
from securestream.wire.cursor import Buffer
from securestream.wire.sids import sid_from_octets
from securestream_providers.krb5.messages import AuthorizationData
from securestream_providers.krb5.numbers import AdType
from securestream_providers.krb5.pac_buffers import ClientInfo, PacAttributes, Signature, UpnDnsInfo
from securestream_providers.krb5.pac_claims import Claims
from securestream_providers.krb5.pac_logon import DelegationInfo, DeviceInfo, LogonInfo

MOST_BUFFERS: Final = 64
"""How many buffers a PAC may have; some twenty types exist."""

MOST_NESTED: Final = 4
"""How many AD-IF-RELEVANT may stand in one another."""

_HEADER: Final = struct.Struct("<II")
_ENTRY: Final = struct.Struct("<IIQ")
_ALIGNMENT: Final = 8


class PacRefused(InvalidToken):
    """A PAC is not what its ticket's KDC made: a signature, the client's name or the time is wrong or missing."""


class PacType(IntEnum):
    """Types of buffers ([MS-PAC] 2.4)."""

    LOGON_INFO = 1
    CREDENTIALS_INFO = 2
    SERVER_CHECKSUM = 6
    KDC_CHECKSUM = 7
    CLIENT_INFO = 10
    DELEGATION_INFO = 11
    UPN_DNS_INFO = 12
    CLIENT_CLAIMS = 13
    DEVICE_INFO = 14
    DEVICE_CLAIMS = 15
    TICKET_CHECKSUM = 16
    ATTRIBUTES = 17
    REQUESTOR_SID = 18
    FULL_CHECKSUM = 19


SIGNATURES: Final = frozenset(
    {PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM, PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM}
)
"""The buffers that are signatures."""


@dataclass(frozen=True, repr=False)
class PacBuffer(Redacted):
    """One buffer.

    Args:
        kind: a `PacType`, or a number that is none.
        octets: its content.
    """

    kind: int
    octets: bytes


@dataclass(frozen=True, repr=False)
class Pac(Redacted):
    """A PAC: its buffers in order, one of each type, unknown ones too.

    Args:
        buffers: in the order of its table.
        received: the octets that it was read from, over which its signatures go; empty for one that was made here.
        places: where each buffer stands in `received`.
    """

    buffers: tuple[PacBuffer, ...]
    received: bytes = field(default=b"", compare=False, repr=False)
    places: tuple[int, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def decode(cls, octets: Buffer) -> Pac:
        """Read the table and the buffers; what they hold is read when it is asked for.

        Args:
            octets: the content of an AD-WIN2K-PAC.

        Raises:
            MalformedMessage: the table is wrong: a buffer outside, over another one or off a boundary of eight
                octets, two of one type, or more than `MOST_BUFFERS`.
        """
        whole = bytes(octets)
        if len(whole) < _HEADER.size:
            raise MalformedMessage(f"PAC: {len(whole)} octets are too few")
        count, version = _HEADER.unpack_from(whole)
        if version or count > MOST_BUFFERS:
            raise MalformedMessage(f"PAC: version {version} with {count} buffers")
        table_end = _HEADER.size + count * _ENTRY.size
        if table_end > len(whole):
            raise MalformedMessage(f"PAC: {len(whole)} octets are too few for {count} buffers")
        entries = list(_ENTRY.iter_unpack(whole[_HEADER.size : table_end]))
        if len({kind for kind, _, _ in entries}) != count:
            raise MalformedMessage("PAC: two buffers of one type")
        free = table_end
        for offset, size in sorted((offset, size) for _, size, offset in entries):
            if offset % _ALIGNMENT or offset < free or size > len(whole) - offset:
                raise MalformedMessage(f"PAC: a buffer of {size} octets at offset {offset} lies where it must not")
            free = offset + size
        buffers = tuple(PacBuffer(kind, whole[offset : offset + size]) for kind, size, offset in entries)
        return cls(buffers, whole, tuple(offset for _, _, offset in entries))

    def encode(self) -> bytes:
        """Write it: the octets it was read from, or the buffers in order at boundaries of eight octets."""
        return self.received or _laid_out(self.buffers)[0]

    def get(self, kind: int) -> bytes | None:
        """The content of the buffer of a type, or `None`."""
        return next((buffer.octets for buffer in self.buffers if buffer.kind == kind), None)

    def zeroed(self, kinds: Iterable[int], *, whole: bool = False) -> bytes:
        """The PAC with the values of some signatures as zeros, which is what signatures are made over ([MS-PAC] 2.8).

        Args:
            kinds: the types of the buffers.
            whole: whether the identifier of a read-only KDC after the value counts as its part.

        Raises:
            MalformedMessage: such a buffer is no signature.
        """
        octets, places = (self.received, self.places) if self.received else _laid_out(self.buffers)
        found = bytearray(octets)
        for place, buffer in zip(places, self.buffers, strict=True):
            if buffer.kind in kinds:
                size = len(buffer.octets) - 4 if whole else len(Signature.unpack(buffer.octets).value)
                found[place + 4 : place + 4 + size] = bytes(size)
        return bytes(found)

    def signature(self, kind: int) -> Signature | None:
        """A signature, or `None`.

        Raises:
            MalformedMessage: it is malformed; so for all of the following.
        """
        octets = self.get(kind)
        return None if octets is None else Signature.unpack(octets)

    @property
    def logon_info(self) -> LogonInfo | None:
        """The logon: account, groups, server; MIT's KDC sends none."""
        octets = self.get(PacType.LOGON_INFO)
        return None if octets is None else LogonInfo.unpack(octets)

    @property
    def client_info(self) -> ClientInfo | None:
        """For whom and when it was made."""
        octets = self.get(PacType.CLIENT_INFO)
        return None if octets is None else ClientInfo.unpack(octets)

    @property
    def upn_dns_info(self) -> UpnDnsInfo | None:
        """The user principal name and the domain's DNS name."""
        octets = self.get(PacType.UPN_DNS_INFO)
        return None if octets is None else UpnDnsInfo.unpack(octets)

    @property
    def delegation_info(self) -> DelegationInfo | None:
        """The services that delegated."""
        octets = self.get(PacType.DELEGATION_INFO)
        return None if octets is None else DelegationInfo.unpack(octets)

    @property
    def client_claims(self) -> Claims | None:
        """The claims of the client."""
        octets = self.get(PacType.CLIENT_CLAIMS)
        return None if octets is None else Claims.unpack(octets)

    @property
    def device_info(self) -> DeviceInfo | None:
        """The machine whose ticket armored the request."""
        octets = self.get(PacType.DEVICE_INFO)
        return None if octets is None else DeviceInfo.unpack(octets)

    @property
    def device_claims(self) -> Claims | None:
        """The claims of that machine."""
        octets = self.get(PacType.DEVICE_CLAIMS)
        return None if octets is None else Claims.unpack(octets)

    @property
    def attributes(self) -> PacAttributes | None:
        """Why there is a PAC; in ticket-granting tickets only."""
        octets = self.get(PacType.ATTRIBUTES)
        return None if octets is None else PacAttributes.unpack(octets)

    @property
    def requestor_sid(self) -> str | None:
        """The SID of the account that asked; in ticket-granting tickets only (CVE-2021-42287)."""
        octets = self.get(PacType.REQUESTOR_SID)
        return None if octets is None else sid_from_octets(octets)


def _laid_out(buffers: tuple[PacBuffer, ...]) -> tuple[bytes, tuple[int, ...]]:
    table = bytearray(_HEADER.pack(len(buffers), 0))
    body = bytearray()
    start = _HEADER.size + len(buffers) * _ENTRY.size  # a multiple of eight
    places: list[int] = []
    for buffer in buffers:
        places.append(start + len(body))
        table += _ENTRY.pack(buffer.kind, len(buffer.octets), places[-1])
        body += buffer.octets + bytes(-len(buffer.octets) % _ALIGNMENT)
    return bytes(table + body), tuple(places)


def find_pac(authorization_data: AuthorizationData | None) -> bytes | None:
    """The PAC of a ticket, or `None`.

    Args:
        authorization_data: of the ticket's encrypted part. Never that of the authenticator, which the client writes.

    Raises:
        PacRefused: there are two, or one stands deeper than in one AD-IF-RELEVANT, where no signature covers it.
        MalformedMessage: an AD-IF-RELEVANT is no authorisation data, or they are nested too deep.
    """
    found = [] if authorization_data is None else list(_pacs(authorization_data, 0))
    if len(found) > 1:
        raise PacRefused("the ticket holds two PACs; whoever issued it is no KDC to trust")
    if found and found[0][1] != 1:
        raise PacRefused("the ticket's PAC is nested deeper than a KDC puts it; whoever issued it is no KDC to trust")
    return found[0][0] if found else None


def _pacs(data: AuthorizationData, depth: int) -> Iterator[tuple[bytes, int]]:
    """What is a PAC inside of AD-IF-RELEVANT, and in how many of them it stands."""
    for element in data.elements:
        if element.ad_type == AdType.IF_RELEVANT:
            if depth == MOST_NESTED:
                raise MalformedMessage("authorisation data is nested too deep")
            yield from _pacs(AuthorizationData.decode(element.ad_data), depth + 1)
        elif element.ad_type == AdType.WIN2K_PAC and depth:
            yield element.ad_data, depth
