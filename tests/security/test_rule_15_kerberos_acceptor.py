"""SECURITY 15: what a Kerberos acceptor refuses, each forged by somebody who knows the service's key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securestream.drive import Services
from securestream.errors import (
    HandshakeError,
    InvalidToken,
    LogonDenied,
    NoCredentials,
    NotAuthorized,
    PeerRefused,
    Replay,
    SecureStreamError,
    TargetUnknown,
    TimeSkew,
    Unsupported,
)
from securestream.options import ContextFlags, Options, Role
from securestream.provider import FirstUse, TargetName
from securestream_providers.kerberos import Kerberos, KerberosContext, Tickets
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.gss_checksum import GssChecksum
from securestream_providers.krb5.krb_cred import make_krb_cred
from securestream_providers.krb5.messages import (
    ApRep,
    ApReqToSend,
    Authenticator,
    Checksum,
    EncApRepPart,
    EncryptedData,
    EncTicketPart,
    HostAddress,
    KrbError,
    TransitedEncoding,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import AdType, ApOptions, ErrorCode, KeyUsage, TicketFlags
from securestream_providers.krb5.tickets import TicketCache
from tests.providers.kerberos.ends import (
    ALICE,
    CONFIG,
    NOW,
    REALM,
    SERVICE,
    TARGET,
    Meeting,
    Realm,
    critical,
    if_relevant,
    key_of,
    keytab,
    meet,
    new_services,
    options,
    package,
    ticket_granting,
)

HOUR = timedelta(hours=1)


def code_of(error: SecureStreamError | None) -> int:
    """The error code in the token that an error owes the peer."""
    assert isinstance(error, HandshakeError)
    assert error.token is not None
    token = gss_token.unframe(error.token)
    assert token.kind == gss_token.ERROR
    return KrbError.decode(token.body).error_code


def check_refused(met: Meeting, kind: type[HandshakeError], code: int, match: str = "") -> None:
    """The acceptor refused with this kind and code, and established nothing; the initiator was told."""
    assert met.acceptor is None
    error = met.errors[Role.ACCEPTOR]
    assert isinstance(error, kind), error
    assert code_of(error) == code
    if match:
        assert match in str(error)
    told = met.errors.get(Role.INITIATOR)
    if told is not None:
        assert isinstance(told, PeerRefused)
        assert told.code == code


def authenticator(realm: Realm, **more: Any) -> Authenticator:
    """A good authenticator, or one that is good but for what `more` says."""
    flags = 0x3E
    given: dict[str, Any] = {
        "authenticator_vno": 5,
        "crealm": realm.client.realm,
        "cname": realm.client.principal_name,
        "cksum": Checksum(0x8003, GssChecksum(flags).pack()),
        "cusec": 0,
        "ctime": NOW,
        "seq_number": 7,
    }
    return Authenticator(**(given | more))


def ap_req(
    realm: Realm, part: EncTicketPart | None = None, made: Authenticator | None = None, *, asked: int = 0x20000000
) -> bytes:
    """An AP-REQ of a hand-made client."""
    part = part or realm.part()
    assert realm.session is not None
    octets = (made or authenticator(realm)).encode()
    sealed = EncryptedData(18, None, realm.session.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, octets, options().random))
    message = ApReqToSend(5, 14, asked, realm.seal(part), sealed).encode()
    return gss_token.frame(gss_token.AP_REQ, message)


def offer(realm: Realm, token: bytes, **more: Any) -> Meeting:
    """Give a hand-made AP-REQ to an acceptor."""
    return meet(realm.tickets(), realm.keytab, alter=lambda leg, sent: token if leg == 0 else sent, **more)


# --- times and flags -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"flags": TicketFlags.INVALID}, LogonDenied, ErrorCode.AP_TKT_NYV),
        ({"starttime": NOW + HOUR}, LogonDenied, ErrorCode.AP_TKT_NYV),
        ({"authtime": NOW + HOUR}, LogonDenied, ErrorCode.AP_TKT_NYV),
        ({"endtime": NOW - HOUR}, LogonDenied, ErrorCode.AP_TKT_EXPIRED),
    ],
)
def test_a_ticket_that_is_not_valid_now(change: dict[str, Any], kind: type[HandshakeError], code: int) -> None:
    realm = Realm()
    check_refused(offer(realm, ap_req(realm, realm.part(**change))), kind, code)


def test_a_ticket_within_the_skew_is_accepted() -> None:
    realm = Realm()
    part = realm.part(endtime=NOW - timedelta(minutes=4), starttime=NOW + timedelta(minutes=4))
    assert offer(realm, ap_req(realm, part)).acceptor is not None


@pytest.mark.parametrize("off", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_an_authenticator_of_another_time(off: timedelta) -> None:
    realm = Realm()
    met = offer(realm, ap_req(realm, made=authenticator(realm, ctime=NOW + off)))
    check_refused(met, TimeSkew, ErrorCode.AP_SKEW, f"{off.total_seconds():+.0f} seconds")
    assert "differ by" in str(met.errors[Role.INITIATOR])


# --- names and keys --------------------------------------------------------------------------------------------------


def test_a_service_that_is_not_served() -> None:
    realm = Realm()
    other = replace_service(realm, "HTTP/files.corp.example")
    check_refused(meet(other.tickets(), realm.keytab, target=TargetName("HTTP/files.corp.example")), TargetUnknown, 35)


def replace_service(realm: Realm, name: str) -> Realm:
    """The same with another service, with the same keys."""
    return replace(realm, service=KerberosName.parse(f"{name}@{realm.service.realm}"))


@pytest.mark.parametrize("name", ["krbtgt/CORP.EXAMPLE", "kadmin/changepw", "alice"])
def test_keys_that_are_never_an_applications(name: str) -> None:
    """They are in the keytab, and the ticket opens with them."""
    realm = replace_service(Realm(), name)
    held = realm.tickets(server=SERVICE)
    check_refused(meet(held, realm.keytab), TargetUnknown, ErrorCode.AP_NOT_US)
    check_refused(meet(held, realm.keytab, server=package(served=("host",))), TargetUnknown, ErrorCode.AP_NOT_US)


@pytest.mark.parametrize(
    ("served", "accepted"),
    [
        ((), True),
        (("host",), True),
        (("HOST",), True),
        (("host/Files.Corp.Example",), True),
        ((f"host/files.corp.example@{REALM}",), True),
        (("host/files.corp.example@OTHER.EXAMPLE",), False),
        (("host/other.corp.example",), False),
        (("HTTP", "host/other"), False),
    ],
)
def test_a_listener_answers_to_its_own_names(served: tuple[str, ...], accepted: bool) -> None:
    realm = Realm()
    met = meet(realm.tickets(), realm.keytab, server=package(served=served))
    if accepted:
        assert met.acceptor is not None, met.errors
    else:
        check_refused(met, TargetUnknown, ErrorCode.AP_NOT_US)


def test_case_is_told_apart_where_policy_says_so() -> None:
    """.NET asks for HOST/name."""
    realm = Realm()
    upper = replace_service(realm, "HOST/FILES.corp.example")
    held = upper.tickets(server=SERVICE)
    assert meet(held, realm.keytab).acceptor is not None
    check_refused(meet(held, realm.keytab, server=package(ignore_case=False)), TargetUnknown, ErrorCode.AP_NOT_US)


def test_a_keytab_credential_that_names_a_principal_serves_it_alone() -> None:
    realm = Realm()
    other = KerberosName.parse(f"HTTP/files.corp.example@{REALM}")
    both = keytab((SERVICE, 1, realm.key), (other, 1, realm.key))
    object.__setattr__(both, "principal", str(other))
    check_refused(meet(realm.tickets(), both), TargetUnknown, ErrorCode.AP_NOT_US)


def test_the_version_and_type_choose_the_key() -> None:
    realm = Realm(kvno=2)
    rolled = keytab((SERVICE, 1, key_of()), (SERVICE, 2, realm.key), (SERVICE, 3, key_of()), (SERVICE, 2, key_of(17)))
    assert meet(realm.tickets(), rolled).acceptor is not None
    realm.kvno = None
    assert meet(realm.tickets(), rolled).acceptor is not None


def test_a_version_that_is_gone_is_said_to_be() -> None:
    realm = Realm(kvno=2)
    check_refused(
        meet(realm.tickets(), keytab((SERVICE, 3, key_of()))), NoCredentials, ErrorCode.AP_BADKEYVER, "version 2"
    )


def test_no_more_than_a_few_keys_are_tried() -> None:
    realm = Realm(kvno=99)
    many = keytab(*((SERVICE, number, key_of()) for number in range(10, 40)), (SERVICE, 1, realm.key))
    check_refused(meet(realm.tickets(), many), NoCredentials, ErrorCode.AP_BADKEYVER)


def test_a_ticket_in_another_key_is_forged() -> None:
    realm = Realm()
    check_refused(meet(Realm().tickets(), realm.keytab), LogonDenied, ErrorCode.AP_BAD_INTEGRITY)


def test_an_authenticator_in_another_key() -> None:
    realm = Realm()
    stolen = replace(realm, session=key_of())
    token = ap_req(stolen, realm.part())
    check_refused(offer(realm, token), LogonDenied, ErrorCode.AP_BAD_INTEGRITY)


def test_an_authenticator_of_another_client() -> None:
    realm = Realm()
    bob = KerberosName.parse(f"bob@{REALM}")
    made = authenticator(realm, cname=bob.principal_name)
    check_refused(offer(realm, ap_req(realm, made=made)), InvalidToken, ErrorCode.AP_BADMATCH)


@pytest.mark.parametrize("etype", [16, 23])
def test_weak_types_are_refused_unless_named(etype: int) -> None:
    """In the ticket, in its session key, in the subkey."""
    weak = Realm(etype)
    client = package(etype)
    permits = package(config=replace(CONFIG, permitted_etypes=(18, etype)))
    check_refused(meet(weak.tickets(), weak.keytab, client=client, server=permits), Unsupported, ErrorCode.ETYPE_NOSUPP)
    strong = Realm(18, session=key_of(etype))
    met = meet(strong.tickets(), strong.keytab, client=client, server=permits)
    check_refused(met, Unsupported, ErrorCode.ETYPE_NOSUPP)


# --- where it comes from ---------------------------------------------------------------------------------------------

FOREIGN = replace(ALICE, realm="OTHER.EXAMPLE")


def capaths(*between: str) -> Kerberos:
    """A package that trusts a path of realms."""
    return package(config=replace(CONFIG, permitted_etypes=(18,), capaths={"OTHER.EXAMPLE": {REALM: between}}))


@pytest.mark.parametrize(
    ("transited", "checked", "server", "accepted"),
    [
        (b"", True, package(), True),
        (b"", False, package(), False),
        (b"", False, capaths(), True),
        (b"EVIL.EXAMPLE", False, capaths(), False),
        (b"MIDDLE.EXAMPLE", False, capaths("MIDDLE.EXAMPLE"), True),
        (b"MIDDLE.EXAMPLE,EVIL.EXAMPLE", False, capaths("MIDDLE.EXAMPLE"), False),
        (b"MIDDLE.EXAMPLE,", False, capaths("MIDDLE.EXAMPLE"), False),
        (b",MIDDLE.EXAMPLE", False, capaths("MIDDLE.EXAMPLE"), False),
        (b"EXAMPLE,MIDDLE.", False, capaths("EXAMPLE", "MIDDLE.EXAMPLE"), True),
        (b"EXAMPLE,EVIL.", False, capaths("EXAMPLE", "MIDDLE.EXAMPLE"), False),
    ],
)
def test_foreign_realms_need_a_kdcs_word_or_capaths(
    transited: bytes, checked: bool, server: Kerberos, accepted: bool
) -> None:
    realm = Realm(client=FOREIGN)
    flags = TicketFlags.TRANSITED_POLICY_CHECKED if checked else TicketFlags(0)
    part = realm.part(flags=flags, transited=TransitedEncoding(1, transited))
    met = meet(realm.tickets(part), realm.keytab, server=server)
    if accepted:
        assert met.acceptor is not None, met.errors
        assert met.acceptor.peer.authority == "OTHER.EXAMPLE"
    else:
        check_refused(met, NotAuthorized, ErrorCode.AP_PATH_NOT_ACCEPTED)


@pytest.mark.parametrize(
    ("address", "source", "accepted"),
    [
        (HostAddress(2, bytes((192, 0, 2, 1))), "192.0.2.1", True),
        (HostAddress(2, bytes((192, 0, 2, 1))), "::ffff:192.0.2.1", True),
        (HostAddress(2, bytes((192, 0, 2, 1))), "192.0.2.2", False),
        (HostAddress(24, bytes(15) + b"\1"), "::1", True),
        (HostAddress(24, bytes(15) + b"\1"), "::2", False),
        (HostAddress(20, b"WORKSTATION     "), "192.0.2.2", True),
        (HostAddress(2, bytes((192, 0, 2, 1))), "", True),
    ],
)
def test_addresses_bind_a_ticket(address: HostAddress, source: str, accepted: bool) -> None:
    realm = Realm()
    met = meet(realm.tickets(realm.part(caddr=(address,))), realm.keytab, theirs=options(2, source=source))
    if accepted:
        assert met.acceptor is not None, met.errors
    else:
        check_refused(met, LogonDenied, ErrorCode.AP_BADADDR)


# --- what the authenticator says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("checksum", [None, Checksum(7, bytes(16)), Checksum(16, bytes(12))])
def test_no_gss_checksum_is_refused_unless_named(checksum: Checksum | None) -> None:
    realm = Realm()
    token = ap_req(realm, made=authenticator(realm, cksum=checksum))
    check_refused(offer(realm, token), Unsupported, ErrorCode.AP_INAPP_CKSUM)
    assert offer(realm, token, server=package(checksum="optional")).acceptor is not None


def test_the_frame_belongs_to_all_but_dce_style() -> None:
    realm = Realm()
    framed = ap_req(realm)
    raw = gss_token.unframe(framed).body
    met = offer(realm, raw)
    error = met.errors[Role.ACCEPTOR]
    assert isinstance(error, InvalidToken)
    assert error.token is not None
    assert KrbError.decode(error.token).error_code == ErrorCode.AP_MSG_TYPE
    dce = authenticator(realm, cksum=Checksum(0x8003, GssChecksum(0x103E).pack()))
    check_refused(offer(realm, ap_req(realm, made=dce)), InvalidToken, ErrorCode.AP_MSG_TYPE)


@pytest.mark.parametrize("kind", [4, 5, 128, 512])
def test_critical_authorisation_data_is_refused(kind: int) -> None:
    """A PAC outside of AD-IF-RELEVANT, too."""
    realm = Realm()
    part = realm.part(authorization_data=critical(kind))
    check_refused(meet(realm.tickets(part), realm.keytab), NotAuthorized, ErrorCode.POLICY, str(kind))
    made = authenticator(realm, authorization_data=critical(kind))
    check_refused(offer(realm, ap_req(realm, made=made)), NotAuthorized, ErrorCode.POLICY)


def test_what_need_not_be_understood_is_kept_for_others() -> None:
    realm = Realm()
    part = realm.part(
        authorization_data=if_relevant((512, b"a"), (AdType.IF_RELEVANT, if_relevant().encode()[4:4] or b"0\0"))
    )
    _, acceptor = meet(realm.tickets(part), realm.keytab).contexts
    assert [(one.ad_type, one.ad_data) for one in acceptor.authorization_data] == [(512, b"a")]


# --- user to user ----------------------------------------------------------------------------------------------------


def test_a_user_to_user_ticket_outside_of_an_exchange_that_asked_for_it() -> None:
    realm = Realm()
    token = ap_req(realm, asked=ApOptions.USE_SESSION_KEY | ApOptions.MUTUAL_REQUIRED)
    check_refused(offer(realm, token), InvalidToken, ErrorCode.AP_NOKEY)


# --- mutual authentication -------------------------------------------------------------------------------------------


FORGERIES: list[Callable[[EncApRepPart], EncApRepPart]] = [
    lambda part: replace(part, cusec=(part.cusec + 1) % 1000000),
    lambda part: replace(part, ctime=part.ctime + timedelta(seconds=1)),
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_an_answer_to_another_authenticator_proves_nothing(forge: Callable[[EncApRepPart], EncApRepPart]) -> None:
    realm = Realm()
    assert realm.session is not None
    session = realm.session

    def alter(leg: int, token: bytes) -> bytes:
        if leg != 1:
            return token
        message = ApRep.decode(gss_token.unframe(token).body)
        part = EncApRepPart.decode(session.decrypt(KeyUsage.AP_REP, message.enc_part.cipher))
        sealed = session.encrypt(KeyUsage.AP_REP, forge(part).encode(), options().random)
        return gss_token.frame(gss_token.AP_REP, ApRep(5, 15, EncryptedData(18, None, sealed)).encode())

    met = meet(realm.tickets(), realm.keytab, alter=alter)
    assert met.initiator is None
    assert isinstance(met.errors[Role.INITIATOR], InvalidToken)


def test_nothing_completes_before_the_answer() -> None:
    realm = Realm()
    met = meet(realm.tickets(), realm.keytab, alter=lambda leg, token: b"" if leg == 1 else token)
    assert met.initiator is None


# --- replay ----------------------------------------------------------------------------------------------------------


class Asked(Services):
    """Counts the questions to the replay cache."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[bytes] = []
        self.register(FirstUse, blocking=self.ask)

    def ask(self, effect: FirstUse) -> bool:
        """Whether it is the first use."""
        assert effect.expires > NOW + options().max_skew
        known = effect.key in self.keys
        self.keys.append(effect.key)
        return not known


def test_the_same_request_is_accepted_once() -> None:
    realm, services, token = Realm(), Asked(), b""
    token = ap_req(realm)
    assert offer(realm, token, services=services).acceptor is not None
    check_refused(offer(realm, token, services=services), Replay, ErrorCode.AP_REPEAT)
    assert len(services.keys) == 2


def test_what_nobody_protects_does_not_make_a_request_new() -> None:
    """The options of an AP-REQ and a ticket's key version can be altered by anybody."""
    realm, services = Realm(), Asked()
    made = ap_req(realm)
    body = gss_token.unframe(made).body
    assert offer(realm, made, services=services).acceptor is not None
    plain = body.replace(b"\x03\x05\x00\x20\x00\x00\x00", b"\x03\x05\x00\x00\x00\x00\x00")
    assert plain != body
    again = offer(realm, gss_token.frame(gss_token.AP_REQ, plain), services=services)
    check_refused(again, Replay, ErrorCode.AP_REPEAT)


BAD: list[Callable[[Realm], bytes]] = [
    lambda realm: ap_req(realm, made=authenticator(realm, ctime=NOW - HOUR)),
    lambda realm: ap_req(realm, realm.part(endtime=NOW - HOUR)),
    lambda realm: ap_req(realm, made=authenticator(realm, cksum=None)),
    lambda realm: ap_req(replace(realm, session=key_of()), realm.part()),
]


@pytest.mark.parametrize("token", BAD)
def test_the_cache_is_asked_only_of_what_is_good(token: Callable[[Realm], bytes]) -> None:
    realm, services = Realm(), Asked()
    assert offer(realm, token(realm), services=services).acceptor is None
    assert services.keys == []


# --- delegation ------------------------------------------------------------------------------------------------------


def deleg(realm: Realm, octets: bytes) -> bytes:
    """An AP-REQ that delegates `octets`."""
    checksum = Checksum(0x8003, GssChecksum(0x3F, delegation=octets).pack())
    return ap_req(realm, made=authenticator(realm, cksum=checksum))


def test_delegated_tickets_open_the_next_connection() -> None:
    realm = Realm()
    assert realm.session is not None
    tgt = ticket_granting(realm)
    cred = make_krb_cred((tgt,), realm.session, NOW, options().random)
    met = offer(realm, deleg(realm, cred))
    assert met.acceptor is not None
    context = met.acceptor.result
    assert isinstance(context, KerberosContext)
    delegated = context.delegated
    assert isinstance(delegated, Tickets)
    assert delegated.cache == TicketCache(ALICE, (replace(tgt, flags=tgt.flags),))
    assert ContextFlags.DELEGATE in context.flags


def test_delegated_tickets_are_encrypted_to_this_exchange() -> None:
    realm = Realm()
    cred = make_krb_cred((ticket_granting(realm),), key_of(), NOW, options().random)
    check_refused(offer(realm, deleg(realm, cred)), InvalidToken, ErrorCode.AP_MODIFIED)


# --- the family of errors --------------------------------------------------------------------------------------------


def test_any_altered_octet_is_refused() -> None:
    realm = Realm()
    token = ap_req(realm)
    for at in range(len(token)):
        altered = bytearray(token)
        altered[at] ^= 1
        met = offer(realm, bytes(altered), services=new_services())
        if met.acceptor is None:
            assert isinstance(met.errors[Role.ACCEPTOR], HandshakeError)
        else:  # what nobody protects: options, key version, mechanism's alias
            assert met.acceptor.peer.name == "alice"


def test_any_truncation_is_refused() -> None:
    realm = Realm()
    token = ap_req(realm)
    for size in range(len(token)):
        assert isinstance(offer(realm, token[:size]).errors[Role.ACCEPTOR], HandshakeError)


def test_an_initiator_without_a_target_says_so() -> None:
    def run(asked: Options) -> None:
        list(package().initiate(Realm().tickets(), None, asked))

    with pytest.raises(TargetUnknown, match="name of the service"):
        run(options())


@pytest.mark.parametrize("name", ["host/files1UWhRCAAAAAAAAAAAAAAAAAAAAAAAAAAAAwbEAYBAAAA", "host/\0", "/x", "host/"])
def test_names_with_marshalled_data_are_refused(name: str) -> None:
    """CVE-2025-33073."""
    with pytest.raises(TargetUnknown):
        list(package().initiate(Realm().tickets(), TargetName(name), options()))


def test_the_target_is_the_name_that_was_typed() -> None:
    assert Realm().cached().server == KerberosName.parse(f"{TARGET}@{REALM}")
