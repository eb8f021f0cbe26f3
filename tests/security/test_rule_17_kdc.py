"""SECURITY rule 17: what a KDC must not be talked into. Each attack is forged by hand."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from securestream_providers.kerberos.kdc.database_memory import MemoryPrincipals
from securestream_providers.kerberos.kdc.pacs import account_sid
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.krb5.keys import Key, random_key
from securestream_providers.krb5.messages import (
    AuthorizationData,
    Checksum,
    EncTicketPart,
    KrbError,
    PaData,
    PaPacOptions,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ChecksumType, ErrorCode, KdcOptions, KeyUsage, PaType, TicketFlags
from securestream_providers.krb5.pac import Pac, PacBuffer, PacType, find_pac
from securestream_providers.krb5.pac_logon import LogonInfo
from securestream_providers.krb5.pac_signing import sign_ticket, verify_ticket, with_pac
from securestream_providers.krb5.s4u import (
    RESOURCE_BASED,
    PaForUser,
    make_for_user,
    make_s4u_x509_user,
)
from tests.providers.kerberos.forged import NOON, REALM, Bench, Got, hours, name, options

KRBTGT = f"krbtgt/{REALM}"
FORWARDABLE = options(KdcOptions.FORWARDABLE)
BY_PROXY = options(KdcOptions.CNAME_IN_ADDL_TKT, KdcOptions.FORWARDABLE)
ALICE = KerberosName(REALM, ("alice",))


@pytest.fixture
def bench() -> Bench:
    """A realm with a user, a front end that may delegate to a back end, and another service."""
    made = Bench()
    made.kdc.add_principal("alice", "correct horse")
    made.kdc.add_service("HTTP/front", trusted_to_auth=True, delegate_to=("cifs/back",))
    made.kdc.add_service("cifs/back")
    made.kdc.add_service("cifs/other", delegate_from=("HTTP/front",))
    return made


def _code(bench: Bench, request: bytes) -> int:
    reply = bench.send(request)
    assert reply is not None
    return KrbError.decode(reply).error_code if reply[0] == 0x7E else ErrorCode.NONE


# --- UDP


def test_replies_are_never_answered(bench: Bench) -> None:
    """CVE-2002-2443: two servers that answer each other's errors do so for ever."""
    tgt = bench.tgt("alice")
    error = bench.send(bench.as_req("alice"))
    reply = bench.send(bench.tgs_req(tgt, "cifs/back"))
    assert error is not None
    assert reply is not None
    for message in (error, reply, tgt.reply.encode(), b"", b"\x7e", b"hello", os.urandom(200)):
        assert bench.send(message, stream=False) is None
    for message in (error, reply):
        assert bench.send(message) is None


def test_a_datagram_is_answered_by_a_small_multiple_of_itself() -> None:
    """A forged source address gains nothing: beyond the multiple the client is sent to TCP."""
    bench = Bench(KdcPolicy(amplification=2, largest_datagram=1400))
    bench.kdc.add_principal("open", "correct horse", requires_preauth=False, aliases=tuple(f"a{n}" for n in range(40)))
    request = bench.as_req("open")
    by_stream, reply = bench.send(request), bench.send(request, stream=False)
    assert by_stream is not None
    assert len(by_stream) > 2 * len(request)
    assert reply is not None
    assert len(reply) <= 2 * len(request)
    assert KrbError.decode(reply).error_code == ErrorCode.RESPONSE_TOO_BIG
    for size in range(1, 200, 7):
        short = bench.send(request[:size], stream=False)
        assert short is None or len(short) <= 2 * size


# --- checksums


def _unkeyed(session: Key, body: bytes) -> list[Checksum]:
    return [
        Checksum(ChecksumType.RSA_MD5, hashlib.md5(body, usedforsecurity=False).digest()),
        Checksum(ChecksumType.CRC32, zlib.crc32(body).to_bytes(4, "little")),
        Checksum(ChecksumType.SHA1, hashlib.sha1(body, usedforsecurity=False).digest()),
        Checksum(ChecksumType.GSS, bytes(24)),
        Checksum(ChecksumType.HMAC_MD5, bytes(16)),
        Checksum(0, b""),
    ]


def test_the_body_of_a_tgs_request_needs_a_keyed_checksum(bench: Bench) -> None:
    """CVE-2018-16860: an unkeyed one can be made by whoever stands between."""
    tgt = bench.tgt("alice")
    body = bench.body(None, name("cifs", "back"))
    for checksum in (*_unkeyed(tgt.session, body.encode()), None):
        request = bench.tgs_req(tgt, "cifs/back", sname=body.sname, header={"checksum": checksum})
        assert _code(bench, request) == ErrorCode.AP_INAPP_CKSUM
    other = tgt.session.checksum(KeyUsage.TGS_REQ_CHECKSUM, bench.body(None, name("x")).encode())
    request = bench.tgs_req(tgt, "cifs/back", header={"checksum": Checksum(tgt.session.checksum_type, other)})
    assert _code(bench, request) == ErrorCode.AP_MODIFIED


def test_the_user_of_s4u2self_needs_a_keyed_checksum(bench: Bench) -> None:
    """CVE-2018-16860 proper: PA-FOR-USER with a checksum that needs no key."""
    tgt = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    assert _code(bench, bench.tgs_req(tgt, "HTTP/front", make_for_user(ALICE, tgt.session))) == ErrorCode.NONE
    covered = (1).to_bytes(4, "little") + f"alice{REALM}Kerberos".encode()
    for checksum in _unkeyed(tgt.session, covered):
        forged = PaForUser(ALICE.principal_name, REALM, checksum, "Kerberos").encode()
        request = bench.tgs_req(tgt, "HTTP/front", PaData(PaType.FOR_USER, forged))
        assert _code(bench, request) == ErrorCode.AP_MODIFIED
    other = make_for_user(ALICE, random_key(18, os.urandom))
    assert _code(bench, bench.tgs_req(tgt, "HTTP/front", other)) == ErrorCode.AP_MODIFIED
    by_id = make_s4u_x509_user(ALICE, 4712, tgt.session)  # of another request
    assert _code(bench, bench.tgs_req(tgt, "HTTP/front", by_id)) == ErrorCode.AP_MODIFIED


# --- PACs


def _forged_pac(bench: Bench, got: Got, change: Callable[[EncTicketPart], EncTicketPart]) -> Got:
    """A ticket with other content, by somebody who knows the key of its service, but makes no signatures."""
    server = "/".join(got.ticket.sname.name_string)
    return bench.resealed(got, server, change(bench.opened(got, server)))


def test_a_pac_without_its_signatures_is_refused(bench: Bench) -> None:
    """MS14-068 at the KDC: what a PAC says counts only under the krbtgt's key."""
    tgt = bench.tgt("alice")
    wrong = random_key(18, os.urandom)

    def resigned(part: EncTicketPart) -> EncTicketPart:
        pac = Pac.decode(find_pac(part.authorization_data) or b"")
        return sign_ticket(part, pac.buffers, bench.key(KRBTGT), wrong, with_ticket_signature=False)

    def altered(part: EncTicketPart) -> EncTicketPart:
        pac = bytearray(find_pac(part.authorization_data) or b"")
        pac[200] ^= 1
        return with_pac(part, bytes(pac))

    def unsigned(part: EncTicketPart) -> EncTicketPart:
        pac = Pac.decode(find_pac(part.authorization_data) or b"")
        kept = tuple(one for one in pac.buffers if one.kind != PacType.KDC_CHECKSUM)
        return with_pac(part, Pac(kept).encode())

    def anothers(part: EncTicketPart) -> EncTicketPart:
        other = bench.opened(bench.tgt("HTTP/front"), KRBTGT)
        return replace(part, authorization_data=other.authorization_data)

    for change in (resigned, altered, unsigned, anothers):
        forged = _forged_pac(bench, tgt, change)
        assert _code(bench, bench.tgs_req(forged, "cifs/back")) == ErrorCode.AP_MODIFIED


def test_a_name_that_was_given_to_another_account_is_another_account(bench: Bench) -> None:
    """CVE-2021-42287: the requestor's SID in the ticket must be the account's."""
    tgt = bench.tgt("alice")
    account = bench.kdc.database.find(ALICE)
    assert account is not None
    assert _code(bench, bench.tgs_req(tgt, "cifs/back")) == ErrorCode.NONE
    bench.kdc.database.put(replace(account, rid=account.rid + 5000))
    assert _code(bench, bench.tgs_req(tgt, "cifs/back")) == ErrorCode.TGT_REVOKED
    bench.kdc.database.put(account)

    def without_sid(part: EncTicketPart) -> EncTicketPart:
        pac = Pac.decode(find_pac(part.authorization_data) or b"")
        kept = [one for one in pac.buffers if one.kind != PacType.REQUESTOR_SID]
        key = bench.key(KRBTGT)
        return sign_ticket(part, kept, key, key, with_ticket_signature=False, with_full_signature=False)

    forged = _forged_pac(bench, tgt, without_sid)
    assert _code(bench, bench.tgs_req(forged, "cifs/back")) == ErrorCode.TGT_REVOKED


def test_a_ticket_granting_ticket_without_pac_is_refused(bench: Bench) -> None:
    """CVE-2021-42287: without one, nothing says which account asked. Taking it is a weakening that must be named."""
    bare = _forged_pac(bench, bench.tgt("alice"), lambda part: with_pac(part, None))
    assert _code(bench, bench.tgs_req(bare, "cifs/back")) == ErrorCode.TGT_REVOKED
    lax = Bench(KdcPolicy(require_pac=False))
    lax.kdc.add_principal("alice", "correct horse")
    lax.kdc.add_service("cifs/back")
    bare = _forged_pac(lax, lax.tgt("alice"), lambda part: with_pac(part, None))
    assert lax.opened(lax.ticket(bare, "cifs/back"), "cifs/back").authorization_data is None


def test_the_pac_of_a_client_s_request_is_never_the_ticket_s(bench: Bench) -> None:
    """The service's ticket has exactly one PAC, of the account as the database has it."""
    inside = bench.opened(bench.ticket(bench.tgt("alice"), "cifs/back"), "cifs/back")
    pac = verify_ticket(
        inside,
        bench.key("cifs/back"),
        kdc_key=bench.key(KRBTGT),
        needed=(PacType.KDC_CHECKSUM, PacType.TICKET_CHECKSUM, PacType.FULL_CHECKSUM),
    )
    account = bench.kdc.database.find(ALICE)
    assert pac is not None
    assert pac.logon_info is not None
    assert account is not None
    assert pac.logon_info.sid == account_sid(bench.kdc.kdc.realm, account)


# --- delegation


def _evidence(bench: Bench, front: Got) -> Got:
    """S4U2self: alice's ticket for the front end."""
    return bench.ticket(front, "HTTP/front", make_for_user(ALICE, front.session), kdc_options=FORWARDABLE)


def _proxied(bench: Bench, front: Got, evidence: Got | None, server: str = "cifs/back", *padata: PaData) -> int:
    shown = None if evidence is None else (evidence.ticket,)
    return _code(bench, bench.tgs_req(front, server, *padata, kdc_options=BY_PROXY, additional_tickets=shown))


def test_a_service_asks_in_a_user_s_name_for_what_its_list_allows(bench: Bench) -> None:
    front = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    evidence = _evidence(bench, front)
    assert evidence.part.flags & TicketFlags.FORWARDABLE
    assert evidence.reply.cname.name_string == ("alice",)
    got = bench.ticket(front, "cifs/back", kdc_options=BY_PROXY, additional_tickets=(evidence.ticket,))
    inside = bench.opened(got, "cifs/back")
    pac = verify_ticket(inside, bench.key("cifs/back"))
    assert inside.cname.name_string == ("alice",)
    assert pac is not None
    assert pac.delegation_info is not None
    assert pac.delegation_info.services == (f"HTTP/front@{REALM}",)
    assert _proxied(bench, front, evidence, "cifs/other") == ErrorCode.BADOPTION
    resource_based = PaData(PaType.PAC_OPTIONS, PaPacOptions(RESOURCE_BASED).encode())
    assert _proxied(bench, front, evidence, "cifs/other", resource_based) == ErrorCode.NONE
    assert _proxied(bench, front, evidence, KRBTGT) == ErrorCode.BADOPTION


def test_s4u2self_gives_tickets_for_the_asking_service_alone(bench: Bench) -> None:
    front = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    request = bench.tgs_req(front, "cifs/back", make_for_user(ALICE, front.session))
    assert _code(bench, request) == ErrorCode.SERVER_NOMATCH
    alices = bench.tgt("alice")
    request = bench.tgs_req(alices, "HTTP/front", make_for_user(ALICE, alices.session))
    assert _code(bench, request) == ErrorCode.SERVER_NOMATCH
    nobody = make_for_user(KerberosName(REALM, ("nobody",)), front.session)
    assert _code(bench, bench.tgs_req(front, "HTTP/front", nobody)) == ErrorCode.C_PRINCIPAL_UNKNOWN


def test_a_service_without_the_right_gets_no_forwardable_evidence(bench: Bench) -> None:
    bench.kdc.change("HTTP/front", trusted_to_auth=False)
    front = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    evidence = _evidence(bench, front)
    assert not evidence.part.flags & TicketFlags.FORWARDABLE
    assert _proxied(bench, front, evidence) == ErrorCode.BADOPTION


def test_a_service_cannot_make_its_evidence_forwardable(bench: Bench) -> None:
    """CVE-2020-17049: it knows the key of its own tickets, but not the krbtgt's, which signs over the flags."""
    bench.kdc.change("HTTP/front", trusted_to_auth=False)
    front = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    evidence = _evidence(bench, front)

    def flagged(part: EncTicketPart) -> EncTicketPart:
        return replace(part, flags=part.flags | TicketFlags.FORWARDABLE)

    def resigned(part: EncTicketPart) -> EncTicketPart:
        pac = Pac.decode(find_pac(part.authorization_data) or b"")
        key = bench.key("HTTP/front")
        return sign_ticket(flagged(part), pac.buffers, key, random_key(18, os.urandom))

    def without_signature(part: EncTicketPart) -> EncTicketPart:
        pac = Pac.decode(find_pac(part.authorization_data) or b"")
        kept = tuple(one for one in pac.buffers if one.kind != PacType.TICKET_CHECKSUM)
        return with_pac(flagged(part), Pac(kept).encode())

    def without_pac(part: EncTicketPart) -> EncTicketPart:
        return with_pac(flagged(part), None)

    for change, code in (
        (flagged, ErrorCode.AP_MODIFIED),
        (resigned, ErrorCode.AP_MODIFIED),
        (without_signature, ErrorCode.AP_MODIFIED),
        (without_pac, ErrorCode.BADOPTION),
    ):
        assert _proxied(bench, front, _forged_pac(bench, evidence, change)) == code


def test_accounts_that_must_not_be_delegated_are_not(bench: Bench) -> None:
    front = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    own = bench.tgt("alice", kdc_options=FORWARDABLE)
    shown = bench.ticket(own, "HTTP/front", kdc_options=FORWARDABLE)
    assert shown.part.flags & TicketFlags.FORWARDABLE
    assert _proxied(bench, front, shown) == ErrorCode.NONE
    bench.kdc.change("alice", not_delegated=True)
    assert _proxied(bench, front, shown) == ErrorCode.BADOPTION
    assert not _evidence(bench, front).part.flags & TicketFlags.FORWARDABLE


def test_evidence_for_another_service_is_none(bench: Bench) -> None:
    front = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    alices = bench.tgt("alice", kdc_options=FORWARDABLE)
    assert _proxied(bench, front, bench.ticket(alices, "cifs/other")) == ErrorCode.BADOPTION
    assert _proxied(bench, front, alices) == ErrorCode.BADOPTION
    assert _proxied(bench, front, None) == ErrorCode.BADOPTION
    late = bench.ticket(alices, "HTTP/front", kdc_options=FORWARDABLE)
    bench.clock.now = NOON + hours(9)
    fresh = bench.tgt("HTTP/front", kdc_options=FORWARDABLE)
    bench.clock.now = NOON + hours(11)
    assert _proxied(bench, fresh, late) == ErrorCode.AP_TKT_EXPIRED


# --- keys, names and services


def test_the_password_service_has_no_tickets_by_the_tgs(bench: Bench) -> None:
    """A stolen ticket-granting ticket must not change a password."""
    tgt = bench.tgt("alice")
    assert _code(bench, bench.tgs_req(tgt, "kadmin/changepw")) == ErrorCode.POLICY


def test_a_service_ticket_is_no_ticket_granting_ticket(bench: Bench) -> None:
    tgt = bench.tgt("alice")
    service = bench.ticket(tgt, "cifs/back")
    assert _code(bench, bench.tgs_req(service, "cifs/other")) == ErrorCode.AP_NOT_US
    assert _code(bench, bench.tgs_req(service, KRBTGT)) == ErrorCode.AP_NOT_US
    changepw = bench.tgt("alice", sname=name("kadmin", "changepw"))
    assert _code(bench, bench.tgs_req(changepw, "cifs/other")) == ErrorCode.AP_NOT_US


def test_a_user_s_key_makes_no_tickets_for_others(bench: Bench) -> None:
    """Whoever may ask for a ticket in a password's key may guess that password offline."""
    bench.kdc.add_principal("bob", "battery staple")
    assert _code(bench, bench.tgs_req(bench.tgt("alice"), "bob")) == ErrorCode.MUST_USE_USER2USER
    request = bench.as_req("alice", bench.key("alice"), sname=name("bob"))
    assert _code(bench, request) == ErrorCode.MUST_USE_USER2USER


def test_a_ticket_that_was_altered_or_made_up_is_refused(bench: Bench) -> None:
    tgt = bench.tgt("alice")
    cipher = bytearray(tgt.ticket.enc_part.cipher)
    cipher[40] ^= 1
    altered = replace(tgt, ticket=replace(tgt.ticket, enc_part=replace(tgt.ticket.enc_part, cipher=bytes(cipher))))
    assert _code(bench, bench.tgs_req(altered, "cifs/back")) == ErrorCode.AP_BAD_INTEGRITY
    renamed = replace(tgt, ticket=replace(tgt.ticket, sname=name("cifs", "back")))
    assert _code(bench, bench.tgs_req(renamed, "cifs/back")) == ErrorCode.AP_BAD_INTEGRITY
    for etype in (0, 1, 3, 16, 23):
        weak = replace(tgt, ticket=replace(tgt.ticket, enc_part=replace(tgt.ticket.enc_part, etype=etype)))
        assert _code(bench, bench.tgs_req(weak, "cifs/back")) == ErrorCode.AP_BADKEYVER


def test_unknown_and_wrong_differ_in_nothing_but_the_code_of_the_protocol(bench: Bench) -> None:
    """With concealment on, not even in that; and no error says more than the protocol's code."""
    hidden = Bench(KdcPolicy(conceal_unknown=True))
    hidden.kdc.add_principal("alice", "correct horse")
    wrong = random_key(18, os.urandom)
    for key in (None, wrong):
        replies = [hidden.send(hidden.as_req(who, key)) for who in ("alice", "carol")]
        assert all(reply is not None for reply in replies)
        known, unknown = (KrbError.decode(reply or b"") for reply in replies)
        assert known.error_code == unknown.error_code
        assert known.e_text == unknown.e_text
        assert len(replies[0] or b"") == len(replies[1] or b"")


def test_preauthentication_and_strong_keys_are_the_default() -> None:
    bench = Bench()
    bench.kdc.add_principal("alice", "correct horse")
    bench.kdc.add_service("host/a")
    assert _code(bench, bench.as_req("alice")) == ErrorCode.PREAUTH_REQUIRED
    assert isinstance(bench.kdc.database, MemoryPrincipals)
    for principal in bench.kdc.database.listing():
        assert {stored.key.etype for stored in principal.keys} <= {17, 18, 19, 20}
    assert not {23, 16, 24, 3, 1} & set(KdcPolicy().etypes)


def test_a_replay_of_a_proof_serves_for_the_skew_only(bench: Bench) -> None:
    request = bench.as_req("alice", bench.key("alice"))
    assert _code(bench, request) == ErrorCode.NONE
    bench.clock.now += timedelta(minutes=6)
    assert _code(bench, request) == ErrorCode.AP_SKEW


def test_groups_of_a_forged_logon_do_not_reach_a_ticket(bench: Bench) -> None:
    """Even somebody with the krbtgt's key gets what the database says: the PAC is made anew each time."""
    tgt = bench.tgt("alice")

    def grand(part: EncTicketPart) -> EncTicketPart:
        pac = Pac.decode(find_pac(part.authorization_data) or b"")
        kept = [one for one in pac.buffers if one.kind != PacType.LOGON_INFO]
        logon = LogonInfo(user_id=500, logon_domain_id=bench.kdc.database.domain_sid)
        key = bench.key(KRBTGT)
        return sign_ticket(
            part, [PacBuffer(PacType.LOGON_INFO, logon.pack()), *kept], key, key, with_ticket_signature=False
        )

    forged = _forged_pac(bench, tgt, grand)
    inside = bench.opened(bench.ticket(forged, "cifs/back"), "cifs/back")
    pac = Pac.decode(find_pac(inside.authorization_data) or b"")
    assert pac.logon_info is not None
    assert pac.logon_info.user_id != 500
    assert isinstance(inside.authorization_data, AuthorizationData)
