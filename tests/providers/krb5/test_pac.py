"""PACs: table, buffers, claims and their compression, and the principal that they tell of."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.principal import MEMBER, GroupAttributes, Membership, MembershipOrigin, NameType
from securestream_providers.krb5.messages import AuthorizationData, AuthorizationElement
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType as KerberosNameType
from securestream_providers.krb5.pac import MOST_BUFFERS, MOST_NESTED, Pac, PacBuffer, PacRefused, PacType, find_pac
from securestream_providers.krb5.pac_buffers import ClientInfo, PacAttributes, Signature, UpnDnsInfo, UpnFlags
from securestream_providers.krb5.pac_claims import MOST_OCTETS, Claim, Claims, ClaimsArray, ClaimType, Compression
from securestream_providers.krb5.pac_compression import decompress_xpress_huffman
from securestream_providers.krb5.pac_logon import DelegationInfo, DeviceInfo, LogonInfo, UserFlags
from securestream_providers.krb5.pac_principal import (
    DELEGATED_BY,
    DEVICE_GROUP,
    DEVICE_SID,
    DNS_DOMAIN,
    FULL_NAME,
    LOGON_DOMAIN,
    LOGON_SERVER,
    REQUESTOR_SID,
    SAM_NAME,
    principal_of,
)
from tests.providers.krb5.pacs import (
    ALICE,
    AUTH_TIME,
    BUFFERS,
    CLAIMS,
    DELEGATION,
    DEVICE,
    DOMAIN,
    LOGON,
    OTHER_DOMAIN,
    TGT_BUFFERS,
    UNKNOWN,
    UPN,
)
from tests.providers.krb5.xpress import compressed_claims, literals

PAC = Pac(BUFFERS)


def test_what_is_written_is_read() -> None:
    found = Pac.decode(PAC.encode())
    assert found == PAC
    assert found.encode() == PAC.encode()
    assert found.logon_info == LOGON
    assert (found.upn_dns_info, found.delegation_info) == (UPN, DELEGATION)
    assert (found.client_claims, found.device_info, found.device_claims) == (CLAIMS, DEVICE, CLAIMS)
    assert found.get(UNKNOWN.kind) == UNKNOWN.octets
    assert (found.client_info, found.attributes, found.requestor_sid, found.signature(6)) == (None, None, None, None)


def test_every_buffer_begins_at_a_boundary_of_eight() -> None:
    assert all(place % 8 == 0 for place in Pac.decode(PAC.encode()).places)


def test_ticket_granting_tickets_say_who_asked() -> None:
    pac = Pac(TGT_BUFFERS)
    assert (pac.attributes, pac.requestor_sid) == (PacAttributes.WAS_REQUESTED, "S-1-5-18")


def table(*entries: tuple[int, int, int], count: int | None = None, version: int = 0, size: int = 64) -> bytes:
    head = struct.pack("<II", len(entries) if count is None else count, version)
    return (head + b"".join(struct.pack("<IIQ", *entry) for entry in entries)).ljust(size, b"\0")


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        bytes(7),
        table((1, 8, 40), (1, 8, 48)),
        table((1, 8, 40), version=1),
        table((1, 8, 40), count=3, size=40),
        table(*((kind, 0, 2048) for kind in range(MOST_BUFFERS + 1)), size=2048),
        table(count=(1 << 32) - 1),
        table((1, 9, 56)),
        table((1, 8, 1 << 63)),
        table((1, (1 << 32) - 1, 40)),
        table((1, 8, 16)),
        table((1, 8, 42)),
        table((1, 16, 40), (2, 8, 48)),
    ],
    ids=[
        *("empty", "short", "two of a type", "version", "table", "too many", "count", "end", "outside", "size"),
        *("over the table", "boundary", "over another"),
    ],
)
def test_wrong_tables_are_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Pac.decode(octets)


def test_an_empty_buffer_is_no_error() -> None:
    assert Pac.decode(table((99, 0, 64))).get(99) == b""


# --- where a PAC may stand -------------------------------------------------------------------------------------------


def relevant(*inner: AuthorizationElement) -> AuthorizationElement:
    return AuthorizationElement(1, AuthorizationData(inner).encode())


HELD = AuthorizationElement(128, b"the PAC")


def test_pac_is_found_inside_if_relevant_only() -> None:
    other = AuthorizationElement(141, b"restrictions")
    assert find_pac(AuthorizationData((relevant(other, HELD), other))) == b"the PAC"
    assert find_pac(AuthorizationData((HELD, relevant(other)))) is None
    assert find_pac(AuthorizationData((AuthorizationElement(4, AuthorizationData((HELD,)).encode()),))) is None
    assert find_pac(None) is None


@pytest.mark.parametrize("data", [(relevant(HELD, HELD),), (relevant(HELD), relevant(HELD))])
def test_two_pacs_are_refused(data: tuple[AuthorizationElement, ...]) -> None:
    with pytest.raises(PacRefused, match="two PACs"):
        find_pac(AuthorizationData(data))


def test_a_pac_that_is_nested_deeper_does_not_count_as_none() -> None:
    for element in (relevant(relevant(HELD)), relevant(relevant(relevant(relevant(HELD))))):
        with pytest.raises(PacRefused, match="deeper"):
            find_pac(AuthorizationData((element,)))
    for other in (relevant(relevant(HELD)), relevant(relevant(HELD), HELD)):
        with pytest.raises(PacRefused, match="two PACs"):
            find_pac(AuthorizationData((relevant(HELD), other)))
    deepest = relevant(HELD)
    for _ in range(MOST_NESTED):
        deepest = relevant(deepest)
    with pytest.raises(MalformedMessage, match="too deep"):
        find_pac(AuthorizationData((deepest,)))


# --- small buffers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        UPN,
        UpnDnsInfo("a@b", "B", UpnFlags.CONSTRUCTED),
        UpnDnsInfo("", ""),
        UpnDnsInfo("a", "b", UpnFlags(0x80), "a", "S-1-5-18"),
    ],
)
def test_names(value: UpnDnsInfo) -> None:
    assert UpnDnsInfo.unpack(value.pack()) == value


def test_names_outside_of_their_buffer_are_refused() -> None:
    octets = UPN.pack()
    for at, size in ((0, 2), (2, 2), (4, 2), (6, 2), (12, 2), (14, 2), (16, 2), (18, 2)):
        with pytest.raises(MalformedMessage):
            UpnDnsInfo.unpack(octets[:at] + b"\xff" * size + octets[at + size :])
    with pytest.raises(UsageError, match="both a SAM name and a SID"):
        UpnDnsInfo("a", "b", sam_name="a").pack()


def test_client_info_is_in_whole_seconds() -> None:
    info = ClientInfo.of("alice", AUTH_TIME.replace(microsecond=999_999))
    assert info.moment == AUTH_TIME
    assert ClientInfo.unpack(info.pack()) == info
    assert ClientInfo((1 << 64) - 1, "").moment is None


def test_signature_with_the_identifier_of_a_read_only_kdc() -> None:
    octets = (16).to_bytes(4, "little") + bytes(12) + b"\x34\x12"
    assert Signature.unpack(octets) == Signature(16, bytes(12), 0x1234)
    assert Signature.unpack(octets).pack() == octets
    for bad in (octets[:15], octets[:-1], octets + b"x", b""):
        with pytest.raises(MalformedMessage):
            Signature.unpack(bad)
    assert Signature.unpack(b"\x63\0\0\0anything") == Signature(99, b"anything")


def test_attributes_of_another_length() -> None:
    assert PacAttributes.unpack(bytes.fromhex("0200000002000000")) == PacAttributes.WAS_GIVEN_IMPLICITLY
    assert PacAttributes.unpack(bytes.fromhex("ffffffff01000000 00000000")) == PacAttributes.WAS_REQUESTED
    with pytest.raises(MalformedMessage):
        PacAttributes.unpack(bytes(7))


@pytest.mark.parametrize("value", [LOGON, LogonInfo(), replace(LOGON, groups=(), extra_sids=(), resource_domain=None)])
def test_logon(value: LogonInfo) -> None:
    assert LogonInfo.unpack(value.pack()) == value


def test_delegation_and_device() -> None:
    assert DelegationInfo.unpack(DELEGATION.pack()) == DELEGATION
    assert DeviceInfo.unpack(DEVICE.pack()) == DEVICE


# --- claims ----------------------------------------------------------------------------------------------------------


def test_compressed_claims_are_decompressed() -> None:
    found = Claims.unpack(compressed_claims(CLAIMS))
    assert (found.arrays, found.compression) == (CLAIMS.arrays, Compression.XPRESS_HUFFMAN)
    assert Claims.unpack(found.pack()).arrays == CLAIMS.arrays


@pytest.mark.parametrize("kind", [Compression.LZNT1, Compression.XPRESS, 9])
def test_claims_in_other_formats_are_kept(kind: int) -> None:
    octets = Claims((), b"compressed", kind, 100).pack()
    assert Claims.unpack(octets) == Claims((), b"compressed", kind, 100)
    assert Claims.unpack(octets).pack() == octets


def test_claims_that_would_grow_too_large_are_kept() -> None:
    octets = Claims((), literals(b"abc"), Compression.XPRESS_HUFFMAN, MOST_OCTETS + 1).pack()
    assert Claims.unpack(octets).all == ()
    assert Claims.unpack(octets).pack() == octets


def test_no_claims() -> None:
    assert Claims.unpack(b"") == Claims.unpack(Claims((), b"", 4, 0).pack()) == Claims()


def test_texts_of_claims() -> None:
    assert [claim.texts for claim in CLAIMS.all][1:4] == [
        ("-7", str(1 << 40)),
        (str((1 << 64) - 1),),
        ("true", "false"),
    ]
    with pytest.raises(UsageError, match="no arm 5"):
        Claims((ClaimsArray(1, (Claim("x", 5, ()),)),)).pack()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 257, 65_535])
def test_literals(size: int) -> None:
    plain = bytes(number * 7 % 256 for number in range(size))
    assert decompress_xpress_huffman(literals(plain), size) == plain


def test_matches_short_long_and_overlapping() -> None:
    parts: list[int | tuple[int, int]] = [*b"abc", (3, 6), (1, 3), *b"xyz", (9, 17), (1, 18), (1, 300), (5, 4000)]
    plain = bytearray()
    for part in parts:
        if isinstance(part, int):
            plain.append(part)
        else:
            for _ in range(part[1]):
                plain.append(plain[-part[0]])
    assert decompress_xpress_huffman(literals(parts), len(plain)) == plain


@pytest.mark.parametrize(
    ("octets", "size"),
    [
        (b"", 1),
        (bytes(256), 1),
        (b"\x11" * 256, 1),
        (b"\x99" * 256, 1),
        (literals([65, (2, 3)]), 4),
        (literals([65, (1, 30)]), 20),
        (literals(b"abcdefgh")[:-4], 8),
        (literals(b"abc"), 40),
    ],
    ids=["nothing", "no code", "overlapping codes", "no bits", "before the first", "too long", "cut", "too little"],
)
def test_wrong_streams_are_refused(octets: bytes, size: int) -> None:
    with pytest.raises(MalformedMessage):
        decompress_xpress_huffman(octets, size)


def test_overlapping_codes_cost_nothing() -> None:
    """512 codes of one bit would be a table of eight million entries (SECURITY 2)."""
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage, match="overlap"):
            decompress_xpress_huffman(b"\x11" * 256 + bytes(64), 8)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 16


# --- principals ------------------------------------------------------------------------------------------------------


def test_principal_with_everything() -> None:
    alice = principal_of(PAC, ALICE)
    assert (alice.name, alice.package, alice.authority, alice.name_type) == (
        *("alice", "Kerberos", "CORP.EXAMPLE"),
        NameType.USER,
    )
    assert (alice.sid, alice.upn) == (f"{DOMAIN}-1105", "alice@corp.example")
    assert alice.groups == (
        *(f"{DOMAIN}-513", f"{DOMAIN}-1200"),
        *("S-1-18-1", f"{OTHER_DOMAIN}-1300", f"{DOMAIN}-1400"),
    )
    denied = Membership(f"{DOMAIN}-1201", GroupAttributes.USE_FOR_DENY_ONLY)
    assert denied in alice.memberships
    assert Membership(f"{OTHER_DOMAIN}-1300", MEMBER, MembershipOrigin.EXTRA) in alice.memberships
    assert Membership(f"{DOMAIN}-1400", GroupAttributes(0x20000007), MembershipOrigin.RESOURCE) in alice.memberships
    facts = {
        LOGON_SERVER: ("DC1",),
        LOGON_DOMAIN: ("CORP",),
        FULL_NAME: ("Alice Ä. Example",),
        SAM_NAME: ("alice",),
        DNS_DOMAIN: ("CORP.EXAMPLE",),
        DELEGATED_BY: ("http/web.corp.example", "http/proxy.corp.example"),
        DEVICE_SID: (f"{DOMAIN}-1106",),
        DEVICE_GROUP: (f"{DOMAIN}-515", "S-1-5-21-1-2-3-4", f"{OTHER_DOMAIN}-1", f"{OTHER_DOMAIN}-2"),
        "ad://ext/department:88d5": ("Sales", "Marketing"),
        "device:ad://ext/manager:88d8": ("true", "false"),
        REQUESTOR_SID: (),
    }
    assert {name: alice.claimed(name) for name in facts} == facts


def test_flags_say_which_groups_count() -> None:
    """[MS-PAC] 2.5: without its flag a list is not valid."""
    bare = replace(LOGON, user_flags=UserFlags.NONE)
    alice = principal_of(Pac((PacBuffer(PacType.LOGON_INFO, bare.pack()),)), ALICE)
    assert alice.groups == (f"{DOMAIN}-513", f"{DOMAIN}-1200")


def test_account_of_another_domain_is_the_first_extra_sid() -> None:
    """[MS-PAC] 2.5, UserId: 0 says that the first extra SID is the account's, which is then no group."""
    logon = replace(LOGON, user_id=0, user_flags=UserFlags.EXTRA_SIDS)
    alice = principal_of(Pac((PacBuffer(PacType.LOGON_INFO, logon.pack()),)), ALICE)
    assert alice.sid == "S-1-18-1"
    assert "S-1-18-1" not in alice.groups


def test_claim_of_a_directory_never_passes_for_a_fact() -> None:
    forged = Claims(
        (ClaimsArray(1, (Claim(LOGON_SERVER, 3, ("EVIL",)), Claim("device:x", 3, ("y",)), Claim(None, 3, ("z",)))),)
    )
    pac = Pac((PacBuffer(PacType.CLIENT_CLAIMS, forged.pack()),))
    assert principal_of(pac, ALICE).claims == ()


@pytest.mark.parametrize(
    ("client", "name", "kind"),
    [
        (KerberosName("R", ("alice",)), "alice", NameType.USER),
        (KerberosName("R", ("host", "a.example")), "host/a.example", NameType.HOST),
        (KerberosName("R", ("http", "a.example")), "http/a.example", NameType.SERVICE),
        (KerberosName("R", ("a@b",), KerberosNameType.ENTERPRISE), "a@b", NameType.USER),
        (KerberosName("R", ("WELLKNOWN", "ANONYMOUS")), "WELLKNOWN/ANONYMOUS", NameType.ANONYMOUS),
    ],
)
def test_principal_without_a_pac(client: KerberosName, name: str, kind: NameType) -> None:
    found = principal_of(None, client)
    assert (found.name, found.authority, found.name_type, found.sid, found.groups) == (name, "R", kind, None, ())


def test_names_without_a_logon() -> None:
    """MIT's KDC sends no LOGON_INFO; the SID then comes from UPN_DNS_INFO, or from who asked."""
    assert principal_of(Pac(BUFFERS[1:2]), ALICE).sid == f"{DOMAIN}-1105"
    assert principal_of(Pac(TGT_BUFFERS[2:]), ALICE).sid == "S-1-5-18"
    assert principal_of(Pac(()), ALICE) == principal_of(None, ALICE)


def test_claim_type_of_the_octets() -> None:
    assert ClaimType(CLAIMS.all[0].kind) is ClaimType.STRING
