"""SECURITY 16: a PAC is believed only where the KDC put it, signed with the service's own key, for this very ticket.

Every forged PAC here is made by hand from a good one, as an attacker would who has everything but the keys.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from hashlib import md5, sha1

import pytest

from securestream.errors import InvalidToken, MalformedMessage
from securestream.options import Role
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.gss_checksum import GssChecksum
from securestream_providers.krb5.keys import Key, hmac_md5_checksum
from securestream_providers.krb5.messages import (
    ApReqToSend,
    Authenticator,
    AuthorizationData,
    AuthorizationElement,
    Checksum,
    EncryptedData,
    EncTicketPart,
    KrbError,
)
from securestream_providers.krb5.numbers import AdType, ChecksumType, ErrorCode, KeyUsage
from securestream_providers.krb5.numbers import NameType as KerberosNameType
from securestream_providers.krb5.pac import Pac, PacBuffer, PacRefused, PacType
from securestream_providers.krb5.pac_buffers import ClientInfo, Signature
from securestream_providers.krb5.pac_principal import principal_of
from securestream_providers.krb5.pac_signing import sign_pac, sign_ticket, verify_pac, verify_ticket, with_pac
from tests.providers.kerberos.ends import NOW, Meeting, Realm, meet, options
from tests.providers.krb5.pacs import (
    ALICE,
    AUTH_TIME,
    BUFFERS,
    KDC_KEY,
    LOGON,
    SERVICE_KEY,
    key,
    pac_of,
    renamed,
    signed,
    ticket,
)

GOOD = signed()
ALL = (PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM)


def without(pac: Pac, *kinds: int) -> tuple[PacBuffer, ...]:
    return tuple(buffer for buffer in pac.buffers if buffer.kind not in kinds)


def changed(pac: Pac, kind: int, octets: bytes) -> tuple[PacBuffer, ...]:
    return tuple(PacBuffer(kind, octets) if buffer.kind == kind else buffer for buffer in pac.buffers)


def carrying(buffers: Iterable[PacBuffer]) -> EncTicketPart:
    """The good ticket with these buffers, signatures and all, in place of its PAC."""
    return with_pac(GOOD, Pac(tuple(buffers)).encode())


def refused(held: EncTicketPart, why: str, server_key: Key = SERVICE_KEY, kdc_key: Key | None = None) -> None:
    with pytest.raises(PacRefused, match=why):
        verify_ticket(held, server_key, kdc_key=kdc_key)


def test_good_ticket_is_believed() -> None:
    pac = verify_ticket(GOOD, SERVICE_KEY, kdc_key=KDC_KEY, needed=ALL)
    assert pac is not None
    assert principal_of(pac, ALICE).sid == LOGON.sid
    assert issubclass(PacRefused, InvalidToken)


# --- the signature's type (MS14-068) ---------------------------------------------------------------------------------

UNKEYED: dict[int, Callable[[bytes], bytes]] = {
    ChecksumType.CRC32: lambda data: struct.pack("<I", zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF),
    ChecksumType.RSA_MD5: lambda data: md5(data).digest(),
    ChecksumType.SHA1: lambda data: sha1(data).digest(),
}


def forged(kind: int, make: Callable[[bytes], bytes]) -> EncTicketPart:
    """A PAC whose server signature is of a type that needs no key of the service, over what the type really gives."""
    pac = pac_of(GOOD)
    size = len(make(b""))
    blank = Pac(changed(pac, PacType.SERVER_CHECKSUM, Signature(kind, bytes(size)).pack()))
    kdc = pac.signature(PacType.KDC_CHECKSUM)
    assert kdc is not None
    empty = Pac(changed(blank, PacType.KDC_CHECKSUM, replace(kdc, value=bytes(len(kdc.value))).pack()))
    return carrying(changed(blank, PacType.SERVER_CHECKSUM, Signature(kind, make(empty.encode())).pack()))


@pytest.mark.parametrize("kind", UNKEYED)
def test_unkeyed_signature_is_refused(kind: int) -> None:
    refused(forged(kind, UNKEYED[kind]), "not keyed")


def test_keyed_signature_of_another_type_is_refused() -> None:
    """-138 with the octets of the AES key is a keyed checksum, and not one that belongs to that key."""
    held = forged(
        ChecksumType.HMAC_MD5, lambda data: hmac_md5_checksum(SERVICE_KEY, KeyUsage.NON_KERB_CHECKSUM_SALT, data)
    )
    refused(held, "does not belong")


@pytest.mark.parametrize("other", [17, 19, 20, 23, 25, 26])
def test_signature_of_another_key_is_refused(other: int) -> None:
    stranger = key(other, b"x")
    made = sign_ticket(ticket(), BUFFERS, stranger, KDC_KEY)
    refused(made, "does not belong" if stranger.checksum_type != SERVICE_KEY.checksum_type else "altered")
    with pytest.raises(PacRefused):
        verify_ticket(sign_ticket(ticket(), BUFFERS, key(18, b"x"), KDC_KEY), SERVICE_KEY)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (PacType.SERVER_CHECKSUM, "no server checksum"),
        (PacType.KDC_CHECKSUM, "no kdc checksum"),
        (PacType.CLIENT_INFO, "whose it is"),
    ],
)
def test_what_must_be_there_is_missed(kind: PacType, why: str) -> None:
    bare = without(pac_of(GOOD), kind)
    refused(carrying(bare) if kind == PacType.SERVER_CHECKSUM else _service_signs(bare), why, kdc_key=KDC_KEY)


def test_a_service_refuses_a_pac_without_its_signature() -> None:
    stripped = without(pac_of(GOOD), PacType.SERVER_CHECKSUM)
    refused(carrying(stripped), "no server checksum")


@pytest.mark.parametrize("kind", ALL)
def test_stripped_signature_of_the_kdc_is_missed_where_it_must_be(kind: PacType) -> None:
    """A PAC signed without it, by whoever has the service's key only, or issued before such signatures."""
    bare = without(pac_of(GOOD), kind)
    made = with_pac(GOOD, _signed_again(bare))
    with pytest.raises(PacRefused, match=f"lacks what must be there: {kind.name}"):
        verify_ticket(made, SERVICE_KEY, kdc_key=KDC_KEY, needed=ALL)


def _signed_again(buffers: tuple[PacBuffer, ...]) -> bytes:
    """With right server and KDC signatures, whatever else is there or not."""
    full = any(buffer.kind == PacType.FULL_CHECKSUM for buffer in buffers)
    bound = any(buffer.kind == PacType.TICKET_CHECKSUM for buffer in buffers)
    return sign_pac(buffers, SERVICE_KEY, KDC_KEY, ticket=GOOD if bound else None, full=full)


def test_needed_signatures_cannot_be_proved_without_the_kdcs_key() -> None:
    with pytest.raises(PacRefused, match="lacks"):
        verify_ticket(GOOD, SERVICE_KEY, needed=ALL)


# --- another's groups ------------------------------------------------------------------------------------------------


def test_two_buffers_of_one_type_are_refused() -> None:
    """The second LOGON_INFO says that its owner is an administrator; which one would count?"""
    admin = PacBuffer(PacType.LOGON_INFO, replace(LOGON, user_id=500).pack())
    twice = Pac((*pac_of(GOOD).buffers, admin)).encode()
    refused(with_pac(GOOD, twice), "two buffers of one type")
    properly_signed = sign_pac((*BUFFERS, _client_info(), admin), SERVICE_KEY, KDC_KEY)
    refused(with_pac(GOOD, properly_signed), "two buffers of one type")


def _client_info(name: str = "alice", seconds: int = 0) -> PacBuffer:
    return PacBuffer(PacType.CLIENT_INFO, ClientInfo.of(name, AUTH_TIME + timedelta(seconds=seconds)).pack())


def test_more_groups_are_refused() -> None:
    admin = replace(LOGON, user_id=500).pack()
    refused(carrying(changed(pac_of(GOOD), PacType.LOGON_INFO, admin)), "altered")


def test_pac_of_another_client_is_refused() -> None:
    """Signed with all the right keys: the administrator's PAC in alice's ticket."""
    theirs = pac_of(signed(client=renamed("administrator"))).received
    refused(with_pac(GOOD, theirs), "another client's")


@pytest.mark.parametrize("seconds", [-1, 1, 3600])
def test_pac_of_another_time_is_refused(seconds: int) -> None:
    made = sign_pac((*BUFFERS, _client_info(seconds=seconds)), SERVICE_KEY, KDC_KEY)
    refused(with_pac(GOOD, made), "another time")


@pytest.mark.parametrize("name", ["ALICE", "alice@CORP.EXAMPLE", "alice ", "", "alice\0"])
def test_nearly_the_same_name_is_another_client(name: str) -> None:
    made = sign_pac((*BUFFERS, _client_info(name)), SERVICE_KEY, KDC_KEY)
    refused(with_pac(GOOD, made), "another client's")


def test_enterprise_name_is_compared_whole() -> None:
    client = renamed("alice@corp.example", name_type=KerberosNameType.ENTERPRISE)
    made = signed(client=client)
    assert verify_ticket(made, SERVICE_KEY) is not None
    info = pac_of(made).client_info
    assert info is not None
    assert info.name == "alice@corp.example"


def test_realm_in_the_name_belongs_to_cross_realm_s4u2self_only() -> None:
    made = sign_ticket(ticket(), BUFFERS, SERVICE_KEY, KDC_KEY, with_realm=True)
    refused(made, "another client's")
    assert verify_ticket(made, SERVICE_KEY, with_realm=True) is not None
    elsewhere = sign_ticket(ticket(renamed("alice", "OTHER.EXAMPLE")), BUFFERS, SERVICE_KEY, KDC_KEY, with_realm=True)
    with pytest.raises(PacRefused, match="another client's"):
        verify_ticket(with_pac(GOOD, pac_of(elsewhere).received), SERVICE_KEY, with_realm=True)


# --- the KDC's own signatures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PacType.KDC_CHECKSUM, *ALL])
def test_altered_signature_of_the_kdc_is_refused(kind: PacType) -> None:
    """Made by whoever has the service's key, who can sign everything but these."""
    pac = pac_of(GOOD)
    found = pac.signature(kind)
    assert found is not None
    wrong = changed(pac, kind, replace(found, value=bytes(len(found.value))).pack())
    again = _service_signs(wrong)
    refused(again, "altered", kdc_key=KDC_KEY)


def _service_signs(buffers: tuple[PacBuffer, ...]) -> EncTicketPart:
    pac = Pac(buffers)
    zeroed = pac.zeroed((PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM))
    value = SERVICE_KEY.checksum(KeyUsage.NON_KERB_CHECKSUM_SALT, zeroed)
    return carrying(changed(pac, PacType.SERVER_CHECKSUM, Signature(SERVICE_KEY.checksum_type, value).pack()))


def test_service_that_signs_more_groups_is_caught_by_the_kdc() -> None:
    """The service has its own key; the evidence ticket that it hands to a KDC is still the KDC's (CVE-2020-17049)."""
    admin = replace(LOGON, user_id=500).pack()
    made = _service_signs(changed(pac_of(GOOD), PacType.LOGON_INFO, admin))
    assert verify_ticket(made, SERVICE_KEY) is not None
    refused(made, "altered", kdc_key=KDC_KEY)


def test_full_signature_covers_what_the_kdcs_does_not() -> None:
    """CVE-2022-37967: the KDC's signature goes over the server's value only; a service can make that value stay."""
    pac = pac_of(GOOD)
    admin = changed(pac, PacType.LOGON_INFO, replace(LOGON, user_id=500).pack())
    value = SERVICE_KEY.checksum(
        KeyUsage.NON_KERB_CHECKSUM_SALT, Pac(admin).zeroed((PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM))
    )
    server = Signature(SERVICE_KEY.checksum_type, value)
    kdc = Signature(KDC_KEY.checksum_type, KDC_KEY.checksum(KeyUsage.NON_KERB_CHECKSUM_SALT, value))
    both = changed(Pac(changed(Pac(admin), PacType.SERVER_CHECKSUM, server.pack())), PacType.KDC_CHECKSUM, kdc.pack())
    assert verify_ticket(carrying(both), SERVICE_KEY) is not None
    refused(carrying(both), "altered", kdc_key=KDC_KEY)


def test_ticket_signature_binds_the_pac_to_its_ticket() -> None:
    """CVE-2020-17049: a service that turns on FORWARDABLE in the ticket it got."""
    forwardable = replace(GOOD, flags=GOOD.flags ^ 0x40000000)
    assert verify_ticket(forwardable, SERVICE_KEY) is not None
    refused(forwardable, "altered", kdc_key=KDC_KEY)


# --- where it stands -------------------------------------------------------------------------------------------------


def _relevant(pac: bytes) -> AuthorizationElement:
    inner = AuthorizationData((AuthorizationElement(AdType.WIN2K_PAC, pac),))
    return AuthorizationElement(AdType.IF_RELEVANT, inner.encode())


def test_pac_outside_of_if_relevant_is_no_pac() -> None:
    bare = AuthorizationData((AuthorizationElement(AdType.WIN2K_PAC, pac_of(GOOD).received),))
    assert verify_ticket(replace(GOOD, authorization_data=bare), SERVICE_KEY) is None


def _offered(
    part: Callable[[Realm], EncTicketPart], held: Callable[[Realm], AuthorizationData | None] = lambda realm: None
) -> Meeting:
    """A hand-made AP-REQ given to an acceptor: its ticket, and the authenticator's authorisation data."""
    realm = Realm(client=ALICE)
    assert realm.session is not None
    checksum = Checksum(0x8003, GssChecksum(0x3E).pack())
    sent = Authenticator(
        *(5, ALICE.realm, ALICE.principal_name, checksum, 0, NOW), seq_number=7, authorization_data=held(realm)
    )
    sealed = realm.session.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, sent.encode(), options().random)
    request = ApReqToSend(5, 14, 0x20000000, realm.seal(part(realm)), EncryptedData(18, None, sealed)).encode()
    token = gss_token.frame(gss_token.AP_REQ, request)
    return meet(realm.tickets(), realm.keytab, alter=lambda leg, other: token if leg == 0 else other)


def test_acceptor_believes_the_pac_of_the_ticket() -> None:
    context = _offered(lambda realm: realm.with_pac(BUFFERS)).acceptor
    assert context is not None
    assert context.peer.sid == LOGON.sid


def test_pac_in_the_authenticator_is_never_looked_at() -> None:
    """The client writes the authenticator. The PAC in this one has every right signature, and the ticket has none."""

    def held(realm: Realm) -> AuthorizationData:
        return AuthorizationData((_relevant(pac_of(realm.with_pac(BUFFERS)).received),))

    context = _offered(Realm.part, held).acceptor
    assert context is not None
    peer = context.peer
    assert (peer.sid, peer.groups, peer.memberships) == (None, (), ())


def test_acceptor_refuses_a_forged_pac() -> None:
    admin = replace(LOGON, user_id=500).pack()

    def forged_part(realm: Realm) -> EncTicketPart:
        good = realm.with_pac(BUFFERS)
        return with_pac(good, Pac(changed(pac_of(good), PacType.LOGON_INFO, admin)).encode())

    met = _offered(forged_part)
    assert met.acceptor is None
    error = met.errors[Role.ACCEPTOR]
    assert isinstance(error, PacRefused)
    token = gss_token.unframe(error.token or b"")
    assert KrbError.decode(token.body).error_code == ErrorCode.AP_MODIFIED


def test_two_pacs_are_refused() -> None:
    octets = pac_of(GOOD).received
    data = AuthorizationData((_relevant(octets), _relevant(octets)))
    refused(replace(GOOD, authorization_data=data), "two PACs")


def test_a_pac_that_is_nested_deeper_is_refused_and_not_overlooked() -> None:
    octets = pac_of(GOOD).received
    inner = AuthorizationData((_relevant(octets),)).encode()
    deeper = AuthorizationElement(AdType.IF_RELEVANT, inner)
    refused(replace(GOOD, authorization_data=AuthorizationData((deeper,))), "deeper")
    refused(replace(GOOD, authorization_data=AuthorizationData((_relevant(octets), deeper))), "two PACs")


def test_malformed_pac_is_refused_like_a_forged_one() -> None:
    for octets in (b"", b"\0" * 8, b"\xff" * 40):
        refused(with_pac(GOOD, octets), "refused|whose")
    broken = AuthorizationData((AuthorizationElement(AdType.IF_RELEVANT, b"\x30\x05"),))
    refused(replace(GOOD, authorization_data=broken), "refused")


@pytest.mark.parametrize("kind", [PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM, PacType.FULL_CHECKSUM])
def test_malformed_signature_is_refused(kind: PacType) -> None:
    for octets in (b"", b"\x10\0\0", b"\x10\0\0\0short"):
        made = Pac(changed(pac_of(GOOD), kind, octets))
        with pytest.raises((PacRefused, MalformedMessage)):
            verify_pac(made, SERVICE_KEY, ALICE, AUTH_TIME, kdc_key=KDC_KEY)


def test_without_a_pac_there_is_no_sid() -> None:
    alice = principal_of(verify_ticket(ticket(), SERVICE_KEY), ALICE)
    assert (alice.sid, alice.groups, alice.memberships, alice.upn) == (None, (), (), None)


def test_signature_of_a_read_only_kdc_is_proved_in_both_forms() -> None:
    """Its identifier follows the value; peers disagree whether the server's signature covers it."""
    pac = pac_of(GOOD)
    kdc = pac.signature(PacType.KDC_CHECKSUM)
    assert kdc is not None
    for whole in (False, True):
        held = Pac(changed(pac, PacType.KDC_CHECKSUM, replace(kdc, rodc=0x4321).pack()))
        held = Pac(without(held, PacType.FULL_CHECKSUM))
        zeroed = held.zeroed((PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM), whole=whole)
        value = SERVICE_KEY.checksum(KeyUsage.NON_KERB_CHECKSUM_SALT, zeroed)
        server = Signature(SERVICE_KEY.checksum_type, value).pack()
        assert verify_ticket(carrying(changed(held, PacType.SERVER_CHECKSUM, server)), SERVICE_KEY) is not None
