"""Parsers of PACs: the table, every buffer, claims and their compression, verification, and plain NDR."""

from __future__ import annotations

from securestream.errors import MalformedMessage
from securestream.wire.sids import sid_from_octets, sid_to_octets
from securestream_providers.krb5.pac import Pac, PacRefused, find_pac
from securestream_providers.krb5.pac_buffers import ClientInfo, PacAttributes, Signature, UpnDnsInfo
from securestream_providers.krb5.pac_claims import Claims
from securestream_providers.krb5.pac_compression import decompress_xpress_huffman
from securestream_providers.krb5.pac_logon import DelegationInfo, DeviceInfo, LogonInfo
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.krb5.pac_signing import verify_pac, with_pac
from tests.fuzz.harness import Parser
from tests.providers.krb5.pacs import (
    ALICE,
    AUTH_TIME,
    BUFFERS,
    CLAIMS,
    DELEGATION,
    DEVICE,
    KDC_KEY,
    LOGON,
    SERVICE_KEY,
    TGT_BUFFERS,
    UPN,
    signed,
    ticket,
)
from tests.providers.krb5.xpress import compressed_claims, literals

_TICKET = signed()
_PAC = find_pac(_TICKET.authorization_data) or b""
_PLAIN = b"claims of claims of claims of a user"
_STREAM = literals([*b"claims of ", (10, 20), *b"a user"])
_COMPRESSED = compressed_claims(CLAIMS)


def _principal(octets: bytes) -> object:
    """All typed buffers of a PAC, which a service reads only once the PAC is verified."""
    return principal_of(Pac.decode(octets), ALICE)


def _verified(octets: bytes) -> object:
    pac = Pac.decode(octets)
    verify_pac(pac, SERVICE_KEY, ALICE, AUTH_TIME, kdc_key=KDC_KEY, ticket=with_pac(ticket(), octets))
    return pac


PARSERS = [
    Parser("pac.table", Pac.decode, (_PAC, Pac(TGT_BUFFERS).encode())),
    Parser("pac.principal", _principal, (Pac(BUFFERS).encode(), Pac(TGT_BUFFERS).encode()), seconds=0.2),
    Parser("pac.verified", _verified, (_PAC,), (MalformedMessage, PacRefused)),
    Parser("pac.logon_info", LogonInfo.unpack, (LOGON.pack(), LogonInfo().pack())),
    Parser("pac.delegation", DelegationInfo.unpack, (DELEGATION.pack(),)),
    Parser("pac.device", DeviceInfo.unpack, (DEVICE.pack(),)),
    Parser("pac.claims", Claims.unpack, (CLAIMS.pack(), _COMPRESSED), seconds=0.2),
    Parser("pac.xpress", lambda octets: decompress_xpress_huffman(octets, len(_PLAIN)), (_STREAM,)),
    Parser("pac.upn", UpnDnsInfo.unpack, (UPN.pack(), UpnDnsInfo("a@b", "B").pack())),
    Parser("pac.client", ClientInfo.unpack, (ClientInfo.of("alice", AUTH_TIME).pack(),)),
    Parser("pac.signature", Signature.unpack, (Signature(16, bytes(12), 7).pack(), Signature(-138, bytes(16)).pack())),
    Parser("pac.attributes", PacAttributes.unpack, (PacAttributes.WAS_REQUESTED.pack(),)),
    Parser("pac.sid", sid_from_octets, (sid_to_octets("S-1-5-21-1-2-3-500"),)),
]
