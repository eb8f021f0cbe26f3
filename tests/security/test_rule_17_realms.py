"""SECURITY rule 17: tickets that another realm or a service made itself, and that the KDC must not launder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from securestream_providers.kerberos.kdc.database_memory import MemoryPrincipals
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.krb5.keys import Key, random_key
from securestream_providers.krb5.messages import (
    AuthorizationData,
    AuthorizationElement,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    KrbError,
    PaData,
    PrincipalName,
    Ticket,
    TransitedEncoding,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, KdcOptions, KeyUsage, PaType, TicketFlags
from securestream_providers.krb5.pac_signing import with_pac
from tests.providers.kerberos.forged import NOON, REALM, Bench, Got, hours, name, options

KRBTGT = f"krbtgt/{REALM}"
OUTGOING = "krbtgt/OTHER.EXAMPLE"
RENEW, VALIDATE = options(KdcOptions.RENEW), options(KdcOptions.VALIDATE)
FLAGS = TicketFlags.PRE_AUTHENT | TicketFlags.FORWARDABLE | TicketFlags.RENEWABLE | TicketFlags.INITIAL


@pytest.fixture
def bench() -> Bench:
    """A realm that sends its clients to one realm, takes those of another, and has a service that is not honest."""
    made = Bench()
    made.kdc.add_principal("alice", "correct horse")
    made.kdc.add_principal("admin", "correct horse")
    made.kdc.add_principal("bob", "battery staple")
    made.kdc.add_service("host/server")
    made.kdc.add_service("web/evil")
    made.kdc.trust("OTHER.EXAMPLE", "between us", inbound=False)
    made.kdc.trust("PARTNER.EXAMPLE", "between others", outbound=False)
    return made


def _forged(
    bench: Bench,
    server: str | KerberosName,
    client: PrincipalName,
    *,
    realm: str = REALM,
    flags: TicketFlags = FLAGS,
    data: AuthorizationData | None = None,
) -> Got:
    """A ticket that whoever has the server's key made."""
    found = bench.kdc.database.find(bench.kdc.name(server))
    assert found is not None
    stored = found.current((18,))[0]
    session = random_key(18, os.urandom)
    moments = (NOON, NOON, NOON + hours(8), NOON + timedelta(days=30))
    on_wire = EncryptionKey(18, session.contents.reveal())
    part = EncTicketPart(flags, on_wire, realm, client, TransitedEncoding(1, b""), *moments, None, data)
    sealed = EncryptedData(18, stored.kvno, stored.key.encrypt(KeyUsage.TICKET, part.encode(), os.urandom))
    ticket = Ticket(5, found.name.realm, found.name.principal_name, sealed)
    reply = replace(bench.tgt("alice").reply, crealm=realm, cname=client)
    return Got(ticket, session, bench.tgt("alice").part, reply)


def _exchange(bench: Bench, user: str) -> None:
    """Give a user's name to another account."""
    database = bench.kdc.database
    assert isinstance(database, MemoryPrincipals)
    database.remove(bench.kdc.name(user))
    bench.kdc.add_principal(user, "somebody else")


def _code(bench: Bench, got: Got, server: str, kdc_options: int = 0, second: Got | None = None) -> int:
    shown = None if second is None else (second.ticket,)
    request = bench.tgs_req(got, server, kdc_options=kdc_options, additional_tickets=shown)
    reply = bench.send(request)
    assert reply is not None
    return KrbError.decode(reply).error_code if reply[0] == 0x7E else ErrorCode.NONE


# --- the ticket-granting ticket for another realm


@pytest.mark.parametrize("realm", [REALM, "THIRD.EXAMPLE"])
@pytest.mark.parametrize("policy", [KdcPolicy(), KdcPolicy(require_pac=False)])
def test_our_ticket_for_another_realm_is_no_ticket_granting_ticket_here(realm: str, policy: KdcPolicy) -> None:
    """That realm has its key: it could speak for anybody, whatever the PAC says."""
    bench = Bench(policy)
    bench.kdc.add_principal("alice", "correct horse")
    bench.kdc.add_service("host/server")
    bench.kdc.trust("OTHER.EXAMPLE", "between us", inbound=False)
    genuine = bench.ticket(bench.tgt("alice"), OUTGOING)
    data = bench.opened(genuine, OUTGOING).authorization_data
    for header in (genuine, *(_forged(bench, OUTGOING, name("alice"), realm=realm, data=one) for one in (None, data))):
        for server in ("host/server", KRBTGT, OUTGOING):
            assert _code(bench, header, server) == ErrorCode.AP_NOT_US


def test_our_ticket_for_another_realm_is_neither_renewed_nor_validated(bench: Bench) -> None:
    for client in ("alice", "admin"):
        header = _forged(bench, OUTGOING, name(client))
        assert _code(bench, header, OUTGOING, RENEW) == ErrorCode.AP_NOT_US
        assert _code(bench, header, KRBTGT, RENEW) == ErrorCode.AP_NOT_US
        header = _forged(bench, OUTGOING, name(client), flags=FLAGS | TicketFlags.INVALID)
        assert _code(bench, header, OUTGOING, VALIDATE) == ErrorCode.AP_NOT_US


def test_the_ticket_of_a_partner_is_taken_for_its_own_clients_alone(bench: Bench) -> None:
    incoming = KerberosName("PARTNER.EXAMPLE", ("krbtgt", REALM))
    theirs = _forged(bench, incoming, name("carol"), realm="PARTNER.EXAMPLE")
    assert _code(bench, theirs, "host/server") == ErrorCode.NONE
    assert _code(bench, theirs, KRBTGT, RENEW) == ErrorCode.SERVER_NOMATCH
    assert _code(bench, _forged(bench, incoming, name("admin")), "host/server") == ErrorCode.POLICY
    others = _forged(bench, incoming, name("root"), realm="THIRD.EXAMPLE")
    assert _code(bench, others, "host/server") == ErrorCode.POLICY


def test_the_realms_of_a_ticket_are_checked_when_it_is_renewed(bench: Bench) -> None:
    """A realm that is trusted no more does not live on in what it vouched for."""
    incoming = KerberosName("PARTNER.EXAMPLE", ("krbtgt", REALM))
    lax = Bench(KdcPolicy(transit={"THIRD.EXAMPLE": ("PARTNER.EXAMPLE",)}))
    lax.kdc.add_principal("alice", "correct horse")
    lax.kdc.trust("PARTNER.EXAMPLE", "between others", outbound=False)
    through = _forged(lax, incoming, name("root"), realm="THIRD.EXAMPLE")
    ours = lax.ticket(through, KRBTGT, kdc_options=options(KdcOptions.RENEWABLE), till=NOON + hours(1))
    ours = lax.resealed(ours, KRBTGT, replace(lax.opened(ours, KRBTGT), flags=FLAGS, renew_till=NOON + hours(9)))
    assert _code(lax, ours, KRBTGT, RENEW) == ErrorCode.NONE
    lax.kdc.kdc.realm = replace(lax.kdc.kdc.realm, policy=KdcPolicy())
    assert _code(lax, ours, KRBTGT, RENEW) == ErrorCode.POLICY


# --- services' tickets that come back


@pytest.mark.parametrize("again", [KdcOptions.RENEW, KdcOptions.VALIDATE])
@pytest.mark.parametrize("realm", [REALM, "FOREIGN.EXAMPLE"])
@pytest.mark.parametrize("policy", [KdcPolicy(), KdcPolicy(require_pac=False)])
def test_a_service_turns_no_ticket_of_its_own_making_into_user_to_user(
    again: KdcOptions, realm: str, policy: KdcPolicy
) -> None:
    """It knows its key, and bob's ticket-granting ticket, which his service hands out."""
    bench = Bench(policy)
    for user in ("alice", "admin", "bob"):
        bench.kdc.add_principal(user, "correct horse")
    bench.kdc.add_service("web/evil")
    flags = FLAGS | (TicketFlags.INVALID if again == KdcOptions.VALIDATE else TicketFlags(0))
    header = _forged(bench, "web/evil", name("admin"), realm=realm, flags=flags)
    both = options(again, KdcOptions.ENC_TKT_IN_SKEY)
    for server in ("bob", "web/evil"):
        assert _code(bench, header, server, both, bench.tgt("bob")) == ErrorCode.BADOPTION


def test_a_genuine_ticket_is_not_renewed_into_user_to_user(bench: Bench) -> None:
    renewable = options(KdcOptions.RENEWABLE)
    both = options(KdcOptions.RENEW, KdcOptions.ENC_TKT_IN_SKEY)
    for changes in ({}, {"sname": name("host", "server")}):
        got = bench.tgt("alice", kdc_options=renewable, **changes)
        assert _code(bench, got, "bob", both, bench.tgt("bob")) == ErrorCode.BADOPTION


def _changed(bench: Bench, got: Got, change: Callable[[EncTicketPart], EncTicketPart]) -> Got:
    return bench.resealed(got, "host/server", change(bench.opened(got, "host/server")))


def test_a_service_s_ticket_is_renewed_only_with_our_signatures(bench: Bench) -> None:
    """The service could have made the ticket, or made more of it."""
    got = bench.tgt("alice", kdc_options=options(KdcOptions.RENEWABLE), sname=name("host", "server"))
    renewed = bench.ticket(got, "host/server", kdc_options=RENEW)
    assert _code(bench, renewed, "host/server", RENEW) == ErrorCode.NONE
    assert _code(bench, renewed, "web/evil", RENEW) == ErrorCode.SERVER_NOMATCH
    assert _code(bench, renewed, KRBTGT, RENEW) == ErrorCode.SERVER_NOMATCH
    longer = _changed(bench, got, lambda part: replace(part, renew_till=NOON + timedelta(days=300)))
    flagged = _changed(bench, got, lambda part: replace(part, flags=part.flags | TicketFlags.HW_AUTHENT))
    for forged in (longer, flagged):
        assert _code(bench, forged, "host/server", RENEW) == ErrorCode.AP_MODIFIED
    bare = _changed(bench, got, lambda part: with_pac(part, None))
    assert _code(bench, bare, "host/server", RENEW) == ErrorCode.BADOPTION
    for realm in (REALM, "FOREIGN.EXAMPLE"):
        own = _forged(bench, "web/evil", name("admin"), realm=realm)
        assert _code(bench, own, "web/evil", RENEW) == ErrorCode.BADOPTION
        own = _forged(bench, "web/evil", name("admin"), realm=realm, flags=FLAGS | TicketFlags.INVALID)
        assert _code(bench, own, "web/evil", VALIDATE) == ErrorCode.BADOPTION


def test_a_service_s_ticket_of_another_account_is_not_renewed(bench: Bench) -> None:
    got = bench.tgt("alice", kdc_options=options(KdcOptions.RENEWABLE), sname=name("host", "server"))
    _exchange(bench, "alice")
    assert _code(bench, got, "host/server", RENEW) == ErrorCode.TGT_REVOKED


# --- accounts that were exchanged or closed


def test_the_ticket_of_a_replaced_account_serves_for_nothing(bench: Bench) -> None:
    """CVE-2021-42287, whatever PAC the client asked for."""
    without = PaData(PaType.PAC_REQUEST, bytes.fromhex("3005a003010100"))
    old = (bench.tgt("alice"), bench.tgt("alice", without))
    _exchange(bench, "alice")
    for got in old:
        assert _code(bench, got, "host/server") == ErrorCode.TGT_REVOKED


def test_user_to_user_checks_whose_the_second_ticket_is(bench: Bench) -> None:
    """Whoever had bob's name before has that session key still."""
    skey = options(KdcOptions.ENC_TKT_IN_SKEY)
    alice, bob = bench.tgt("alice"), bench.tgt("bob")
    assert _code(bench, alice, "bob", skey, bob) == ErrorCode.NONE
    bare = bench.resealed(bob, KRBTGT, with_pac(bench.opened(bob, KRBTGT), None))
    assert _code(bench, alice, "bob", skey, bare) == ErrorCode.TGT_REVOKED
    anothers = replace(bench.opened(bob, KRBTGT), authorization_data=bench.opened(alice, KRBTGT).authorization_data)
    assert _code(bench, alice, "bob", skey, bench.resealed(bob, KRBTGT, anothers)) == ErrorCode.AP_MODIFIED
    _exchange(bench, "bob")
    assert _code(bench, alice, "bob", skey, bob) == ErrorCode.TGT_REVOKED


def test_nobody_acts_for_a_user_who_could_not_log_on(bench: Bench) -> None:
    bench.kdc.add_service("web/front", trusted_to_auth=True, delegate_to=("host/server",))
    forwardable = options(KdcOptions.FORWARDABLE)
    front = bench.tgt("web/front", kdc_options=forwardable)
    shown = bench.ticket(bench.tgt("alice", kdc_options=forwardable), "web/front", kdc_options=forwardable)
    by_proxy = options(KdcOptions.CNAME_IN_ADDL_TKT)
    assert _code(bench, front, "host/server", by_proxy, shown) == ErrorCode.NONE
    bench.kdc.change("alice", expires=NOON - hours(1))
    assert _code(bench, front, "host/server", by_proxy, shown) == ErrorCode.NAME_EXP
    bench.kdc.change("alice", expires=None, disabled=True)
    assert _code(bench, front, "host/server", by_proxy, shown) == ErrorCode.CLIENT_REVOKED


# --- authorisation data


def _asked(bench: Bench, key: Key, data: bytes) -> EncryptedData:
    return EncryptedData(key.etype, None, key.encrypt(KeyUsage.TGS_REQ_AUTH_DATA_SESSION, data, os.urandom))


def test_clients_put_no_authorisation_data_of_kdcs_into_tickets(bench: Bench) -> None:
    got = bench.tgt("alice")
    kinds = (4, 9, 64, 65, 66, 70, 71, 72, 96, 97, 128, 141, 142, 512)
    of_kdcs = tuple(AuthorizationElement(kind, b"forged") for kind in kinds)
    harmless = AuthorizationElement(200, b"a restriction")
    nested = AuthorizationElement(1, AuthorizationData((*of_kdcs, harmless)).encode())
    twice = AuthorizationElement(1, AuthorizationData((nested,)).encode())
    sealed = _asked(bench, got.session, AuthorizationData((*of_kdcs, harmless, nested, twice)).encode())
    inside = bench.opened(bench.ticket(got, "host/server", enc_authorization_data=sealed), "host/server")
    found: list[tuple[int, bytes]] = []

    def flatten(data: AuthorizationData | None) -> None:
        for one in data.elements if data is not None else ():
            if one.ad_type == 1:
                flatten(AuthorizationData.decode(one.ad_data))
            elif one.ad_type != 128 or one.ad_data == b"forged":
                found.append((one.ad_type, one.ad_data))

    flatten(inside.authorization_data)
    assert found == [(200, b"a restriction")] * 3


def test_authorisation_data_in_ever_more_containers_is_refused(bench: Bench) -> None:
    got = bench.tgt("alice")
    data = AuthorizationData((AuthorizationElement(200, b""),)).encode()
    for _ in range(2000):
        data = AuthorizationData((AuthorizationElement(1, data),)).encode()
    request = bench.tgs_req(got, "host/server", enc_authorization_data=_asked(bench, got.session, data))
    assert bench.error(request).error_code == ErrorCode.POLICY
