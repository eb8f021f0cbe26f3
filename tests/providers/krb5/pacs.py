"""PACs made here, with everything that one may hold, and tickets that carry them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from securestream.principal import GroupAttributes
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.messages import EncryptionKey, EncTicketPart, PrincipalName, TransitedEncoding
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import EncryptionType, TicketFlags
from securestream_providers.krb5.numbers import NameType as KerberosNameType
from securestream_providers.krb5.pac import Pac, PacBuffer, PacType, find_pac
from securestream_providers.krb5.pac_buffers import PacAttributes, UpnDnsInfo
from securestream_providers.krb5.pac_claims import Claim, Claims, ClaimsArray, ClaimsSource, ClaimType
from securestream_providers.krb5.pac_logon import (
    DelegationInfo,
    DeviceInfo,
    DomainGroups,
    GroupMembership,
    LogonInfo,
    SidAndAttributes,
    UserFlags,
)
from securestream_providers.krb5.pac_signing import sign_ticket

DOMAIN = "S-1-5-21-1004336348-1177238915-682003330"
OTHER_DOMAIN = "S-1-5-21-7-8-9"
ALICE = KerberosName("CORP.EXAMPLE", ("alice",))
AUTH_TIME = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

LOGON = LogonInfo(
    logon_time=133_000_000_000_000_000,
    effective_name="alice",
    full_name="Alice Ä. Example",
    logon_count=3,
    user_id=1105,
    primary_group_id=513,
    groups=(GroupMembership(513), GroupMembership(1200), GroupMembership(1201, GroupAttributes.USE_FOR_DENY_ONLY)),
    user_flags=UserFlags.EXTRA_SIDS | UserFlags.RESOURCE_GROUPS,
    logon_server="DC1",
    logon_domain_name="CORP",
    logon_domain_id=DOMAIN,
    extra_sids=(SidAndAttributes("S-1-18-1"), SidAndAttributes(f"{OTHER_DOMAIN}-1300")),
    resource_domain=DOMAIN,
    resource_groups=(GroupMembership(1400, GroupAttributes(0x20000007)),),
)
UPN = UpnDnsInfo("alice@corp.example", "CORP.EXAMPLE", sam_name="alice", sid=f"{DOMAIN}-1105")
DELEGATION = DelegationInfo("cifs/files.corp.example", ("http/web.corp.example", "http/proxy.corp.example"))
CLAIMS = Claims(
    (
        ClaimsArray(
            ClaimsSource.ACTIVE_DIRECTORY,
            (
                Claim("ad://ext/department:88d5", ClaimType.STRING, ("Sales", "Marketing")),
                Claim("ad://ext/level:88d6", ClaimType.INT64, (-7, 1 << 40)),
                Claim("ad://ext/size:88d7", ClaimType.UINT64, ((1 << 64) - 1,)),
                Claim("ad://ext/manager:88d8", ClaimType.BOOLEAN, (1, 0)),
                Claim("ad://ext/nothing:88d9", ClaimType.STRING, ()),
            ),
        ),
        ClaimsArray(ClaimsSource.CERTIFICATE, ()),
    )
)
DEVICE = DeviceInfo(
    1106,
    515,
    DOMAIN,
    (GroupMembership(515),),
    (SidAndAttributes("S-1-5-21-1-2-3-4"),),
    (DomainGroups(OTHER_DOMAIN, (GroupMembership(1), GroupMembership(2))), DomainGroups("S-1-5-32")),
)
UNKNOWN = PacBuffer(0x77, b"kept as it is")
BUFFERS = (
    PacBuffer(PacType.LOGON_INFO, LOGON.pack()),
    PacBuffer(PacType.UPN_DNS_INFO, UPN.pack()),
    PacBuffer(PacType.DELEGATION_INFO, DELEGATION.pack()),
    PacBuffer(PacType.CLIENT_CLAIMS, CLAIMS.pack()),
    PacBuffer(PacType.DEVICE_INFO, DEVICE.pack()),
    PacBuffer(PacType.DEVICE_CLAIMS, CLAIMS.pack()),
    UNKNOWN,
)
TGT_BUFFERS = (
    PacBuffer(PacType.LOGON_INFO, LOGON.pack()),
    PacBuffer(PacType.ATTRIBUTES, PacAttributes.WAS_REQUESTED.pack()),
    PacBuffer(PacType.REQUESTOR_SID, bytes.fromhex("010100000000000512000000")),
)

_SIZES = {16: 24, 17: 16, 18: 32, 19: 16, 20: 32, 23: 16, 25: 16, 26: 32}


def key(etype: int, letter: bytes = b"k") -> Key:
    """A key of a type; DES3's have odd parity."""
    return make_key(etype, (b"\x01\x23\x45\x67\x89\xab\xcd\xef" * 3) if etype == 16 else letter * _SIZES[etype])


SERVICE_KEY = key(EncryptionType.AES256_CTS_HMAC_SHA1_96, b"s")
KDC_KEY = key(EncryptionType.AES256_CTS_HMAC_SHA384_192, b"k")


def ticket(client: KerberosName = ALICE, auth_time: datetime = AUTH_TIME) -> EncTicketPart:
    """What a ticket holds, without authorisation data."""
    return EncTicketPart(
        TicketFlags.FORWARDABLE | TicketFlags.PRE_AUTHENT,
        EncryptionKey(18, bytes(32)),
        client.realm,
        PrincipalName(client.name_type, client.components),
        TransitedEncoding(1, b""),
        auth_time,
        None,
        auth_time.replace(hour=15),
    )


def signed(
    buffers: tuple[PacBuffer, ...] = BUFFERS,
    client: KerberosName = ALICE,
    server_key: Key = SERVICE_KEY,
    kdc_key: Key = KDC_KEY,
) -> EncTicketPart:
    """A ticket with a signed PAC."""
    return sign_ticket(ticket(client), buffers, server_key, kdc_key)


def pac_of(held: EncTicketPart) -> Pac:
    """The PAC of a ticket, unverified."""
    octets = find_pac(held.authorization_data)
    assert octets is not None
    return Pac.decode(octets)


def renamed(name: str, realm: str = "CORP.EXAMPLE", name_type: int = KerberosNameType.PRINCIPAL) -> KerberosName:
    """A client of one component."""
    return replace(ALICE, realm=realm, components=(name,), name_type=name_type)
