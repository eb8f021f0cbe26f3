"""For every value: PACs, their buffers and NDR come back; every damage fails closed; every key signs and proves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import MalformedMessage
from securestream.principal import GroupAttributes
from securestream.wire import ndr
from securestream.wire.sids import sid_from_octets, sid_to_octets
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.pac import SIGNATURES, Pac, PacBuffer, PacRefused, PacType
from securestream_providers.krb5.pac_buffers import ClientInfo, Signature, UpnDnsInfo, UpnFlags
from securestream_providers.krb5.pac_claims import Claim, Claims, ClaimsArray, ClaimType
from securestream_providers.krb5.pac_compression import decompress_xpress_huffman
from securestream_providers.krb5.pac_logon import (
    DelegationInfo,
    DeviceInfo,
    DomainGroups,
    GroupMembership,
    LogonInfo,
    SidAndAttributes,
    UserFlags,
)
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.krb5.pac_signing import sign_ticket, verify_pac, verify_ticket
from tests.providers.krb5.pacs import ALICE, AUTH_TIME, BUFFERS, KDC_KEY, SERVICE_KEY, key, pac_of, signed, ticket
from tests.providers.krb5.xpress import literals

u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))


def _sid_text(authority: int, numbers: list[int]) -> str:
    return "-".join(("S", "1", str(authority), *map(str, numbers)))


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
sid = st.builds(
    _sid_text,
    u32,
    st.lists(u32, min_size=1, max_size=15),
)
attributes = u32.map(GroupAttributes)
groups = st.lists(st.builds(GroupMembership, u32, attributes), max_size=4).map(tuple)
sids = st.lists(st.builds(SidAndAttributes, st.none() | sid, attributes), max_size=3).map(tuple)
logon = st.builds(
    LogonInfo,
    logon_time=u64,
    effective_name=text,
    full_name=text,
    logon_count=u16,
    user_id=u32,
    primary_group_id=u32,
    groups=groups,
    user_flags=u32.map(UserFlags),
    user_session_key=st.binary(min_size=16, max_size=16),
    logon_server=text,
    logon_domain_name=text,
    logon_domain_id=st.none() | sid,
    extra_sids=sids,
    resource_domain=st.none() | sid,
    resource_groups=groups,
)
device = st.builds(
    DeviceInfo,
    u32,
    u32,
    st.none() | sid,
    groups,
    sids,
    st.lists(st.builds(DomainGroups, st.none() | sid, groups), max_size=3).map(tuple),
)
claim = st.one_of(
    *(
        st.builds(Claim, st.none() | text, st.just(int(kind)), st.lists(value, max_size=3).map(tuple))
        for kind, value in (
            (ClaimType.INT64, st.integers(-(1 << 63), (1 << 63) - 1)),
            (ClaimType.UINT64, u64),
            (ClaimType.STRING, st.none() | text),
            (ClaimType.BOOLEAN, st.integers(0, 1)),
        )
    )
)
claims_array = st.builds(ClaimsArray, u16, st.lists(claim, max_size=4).map(tuple))
claims = st.builds(Claims, st.lists(claims_array, max_size=3).map(tuple))
buffers = st.lists(st.builds(PacBuffer, u32, st.binary(max_size=50)), max_size=8, unique_by=lambda held: held.kind).map(
    tuple
)
moment = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001  hypothesis wants naive bounds
SIGNING = (16, 17, 18, 19, 20, 23, 25, 26)


@given(logon)
def test_logon_comes_back(value: LogonInfo) -> None:
    assert LogonInfo.unpack(value.pack()) == value


@given(device)
def test_device_comes_back(value: DeviceInfo) -> None:
    assert DeviceInfo.unpack(value.pack()) == value


@given(claims)
def test_claims_come_back(value: Claims) -> None:
    assert Claims.unpack(value.pack()) == value


@given(text, st.lists(text, max_size=4).map(tuple))
def test_delegation_comes_back(target: str, services: tuple[str, ...]) -> None:
    value = DelegationInfo(target, services)
    assert DelegationInfo.unpack(value.pack()) == value


@given(text, text, st.none() | st.tuples(text, sid), st.booleans())
def test_names_come_back(upn: str, domain: str, extended: tuple[str, str] | None, constructed: bool) -> None:
    flags = UpnFlags.CONSTRUCTED if constructed else UpnFlags.NONE
    value = UpnDnsInfo(upn, domain, flags, *(extended or (None, None)))
    assert UpnDnsInfo.unpack(value.pack()) == value


@given(sid)
def test_sid_comes_back(value: str) -> None:
    assert sid_from_octets(sid_to_octets(value)) == value


@given(buffers)
def test_pac_comes_back(value: tuple[PacBuffer, ...]) -> None:
    pac = Pac(value)
    assert Pac.decode(pac.encode()) == pac
    assert Pac.decode(pac.encode()).encode() == pac.encode()


@given(u64, text)
def test_client_info_comes_back(time: int, name: str) -> None:
    assert ClientInfo.unpack(ClientInfo(time, name).pack()) == ClientInfo(time, name)


@given(st.sampled_from([(-138, 16), (12, 20), (15, 12), (16, 12), (17, 16), (19, 16), (20, 24)]), st.none() | u16)
def test_signature_comes_back(kind: tuple[int, int], rodc: int | None) -> None:
    value = Signature(kind[0], bytes(range(kind[1])), rodc)
    assert Signature.unpack(value.pack()) == value


@given(st.binary(max_size=400))
def test_literals_come_back(plain: bytes) -> None:
    assert decompress_xpress_huffman(literals(plain), len(plain)) == plain


@given(
    buffers,
    st.lists(text.filter(bool), min_size=1, max_size=3).map(tuple),
    moment,
    st.sampled_from(SIGNING),
    st.sampled_from(SIGNING),
    st.booleans(),
)
def test_what_is_signed_is_proved(
    held: tuple[PacBuffer, ...],
    components: tuple[str, ...],
    auth_time: datetime,
    server: int,
    kdc: int,
    with_realm: bool,
) -> None:
    client = KerberosName("R", components)
    keys = key(server, b"s"), key(kdc, b"k")
    made = sign_ticket(ticket(client, auth_time), held, *keys, with_realm=with_realm)
    pac = verify_ticket(made, keys[0], kdc_key=keys[1], needed=tuple(SIGNATURES), with_realm=with_realm)
    assert pac is not None
    ours = {*SIGNATURES, PacType.CLIENT_INFO}
    assert [b for b in pac.buffers if b.kind not in ours] == [b for b in held if b.kind not in ours]
    again = sign_ticket(made, pac.buffers, *keys, with_realm=with_realm)
    assert again.encode() == made.encode()


WHOLE = pac_of(signed()).received
TICKET = signed()


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_every_altered_octet_is_refused(at: int, by: int) -> None:
    """With the KDC's key too, nothing of a PAC is outside of its signatures."""
    altered = bytearray(WHOLE)
    altered[at] ^= by
    with pytest.raises((MalformedMessage, PacRefused)):
        verify_pac(Pac.decode(altered), SERVICE_KEY, ALICE, AUTH_TIME, kdc_key=KDC_KEY, ticket=TICKET)


@given(st.integers(0, len(WHOLE) - 1))
def test_cut_anywhere_is_refused(end: int) -> None:
    with pytest.raises((MalformedMessage, PacRefused)):
        verify_pac(Pac.decode(WHOLE[:end]), SERVICE_KEY, ALICE, AUTH_TIME)


@given(st.sampled_from(BUFFERS), st.binary(max_size=8), st.integers(0, 2000))
def test_damaged_buffers_are_read_or_malformed(held: PacBuffer, damage: bytes, at: int) -> None:
    octets = held.octets[:at] + damage + held.octets[at + len(damage) :]
    try:
        principal_of(Pac((PacBuffer(held.kind, octets),)), ALICE)
    except MalformedMessage:
        pass  # the only error that damage may cause


@given(st.binary(max_size=300), st.sampled_from([LogonInfo, DeviceInfo]))
def test_anything_under_a_header_is_read_or_malformed(body: bytes, kind: type[ndr.Structure]) -> None:
    head = bytes.fromhex("01100800cccccccc") + len(body).to_bytes(4, "little") + bytes(4)
    try:
        kind.unpack(head + body)
    except MalformedMessage:
        pass  # the only error that damage may cause
