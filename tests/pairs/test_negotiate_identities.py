"""Through a negotiation go delegated tickets, user-to-user tickets and exported contexts, as they do without one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from securestream.ambient import system_clock
from securestream.credentials import Credential, Credentials, Keytab, Password
from securestream.errors import ContextExpired, NoCommonMechanism, OutOfSequence, UsageError
from securestream.options import ContextFlags, Options
from securestream.provider import SecurityContext, TargetName
from securestream_providers.kerberos import EmbeddedKdc, Kerberos, Tickets
from securestream_providers.krb5.tickets import TicketCache
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.providers.negotiate.falling_back import (
    ACCOUNTS,
    PASSWORD,
    REALM,
    SPN,
    Attempt,
    attempt,
    corp,
    is_for_a_service,
    logged_on,
    options,
)

ALICE = Password("alice", PASSWORD)
DELEGATE = ContextFlags.MUTUAL | ContextFlags.DELEGATE
USER_TO_USER = ContextFlags.MUTUAL | ContextFlags.USE_SESSION_KEY


def negotiating(kdc: EmbeddedKdc, delegation: Literal["trusted", "always"] = "trusted") -> Negotiate:
    """Both mechanisms, with tickets that may be forwarded."""
    return Negotiate(Kerberos(config=replace(kdc.config, forwardable=True), delegation=delegation), Ntlm())


def contexts(met: Attempt) -> tuple[SecurityContext, SecurityContext]:
    """Both ends', after success."""
    assert met.error is None, met.error
    assert met.refused is None, met.refused
    assert met.initiator is not None
    assert met.acceptor is not None
    one, two = met.initiator.result, met.acceptor.result
    assert isinstance(one, SecurityContext)
    assert isinstance(two, SecurityContext)
    return one, two


def talk(one: SecurityContext, two: SecurityContext) -> None:
    """Data both ways."""
    for sender, receiver in ((one, two), (two, one)):
        for number in range(3):
            assert receiver.unwrap(sender.wrap(bytes(number))).data == bytes(number)


# --- delegated -------------------------------------------------------------------------------------------------------


def test_delegated_tickets_open_the_next_connection() -> None:
    """alice to a front end, that one as alice to a back end, each time by Negotiate."""
    kdc = corp(ok_as_delegate=True)
    back = kdc.add_service("ldap/back.corp.example")
    end = negotiating(kdc)
    front = attempt(end, ALICE, kdc=kdc.answer, server=end, accepting=kdc.keytab(SPN), mine=options(flags=DELEGATE))
    one, two = contexts(front)
    assert ContextFlags.DELEGATE in one.flags & two.flags
    delegated = two.delegated
    assert isinstance(delegated, Tickets)
    onward = attempt(
        end, delegated, kdc=kdc.answer, server=end, accepting=back, target=TargetName("ldap/back.corp.example")
    )
    talk(*contexts(onward))
    assert onward.acceptor is not None
    assert (onward.acceptor.peer.name, onward.acceptor.peer.authority) == ("alice", REALM)
    assert [is_for_a_service(effect) for effect in onward.asked] == [True]


def test_delegated_tickets_are_never_turned_to_ntlm() -> None:
    kdc = corp(ok_as_delegate=True)
    end = negotiating(kdc)
    front = attempt(end, ALICE, kdc=kdc.answer, server=end, accepting=kdc.keytab(SPN), mine=options(flags=DELEGATE))
    delegated = contexts(front)[1].delegated
    assert delegated is not None
    for credential in (delegated, Credentials(delegated, ALICE)):
        onward = attempt(end, credential, kdc=kdc.answer, target=TargetName("ldap/absent.corp.example"))
        assert isinstance(onward.error, NoCommonMechanism)
        assert f"ldap/absent.corp.example@{REALM}" in str(onward.error)
        assert not onward.sent


@pytest.mark.parametrize("trusted", [False, True])
def test_who_is_not_trusted_gets_tickets_only_where_that_is_named(trusted: bool) -> None:
    kdc = corp()
    end = negotiating(kdc, "always" if trusted else "trusted")
    met = attempt(end, ALICE, kdc=kdc.answer, server=end, accepting=kdc.keytab(SPN), mine=options(flags=DELEGATE))
    one, two = contexts(met)
    assert (ContextFlags.DELEGATE in one.flags) is trusted
    assert (two.delegated is not None) is trusted


def test_ntlm_delegates_nothing() -> None:
    end = Negotiate(Ntlm())
    one, two = contexts(attempt(end, ALICE, server=end, mine=options(flags=DELEGATE)))
    assert ContextFlags.DELEGATE not in one.flags | two.flags
    assert two.delegated is None


# --- user to user ----------------------------------------------------------------------------------------------------


def users() -> tuple[EmbeddedKdc, Tickets]:
    """A realm with bob, who serves with his ticket, not with a keytab."""
    kdc = corp()
    kdc.add_principal("bob", "another horse")
    tgt = logged_on(kdc, "bob", "another horse")
    return kdc, Tickets(TicketCache(tgt.client, (tgt,)))


@pytest.mark.parametrize("framed", [True, False])
def test_one_user_reaches_another(framed: bool) -> None:
    kdc, bob = users()
    end = negotiating(kdc)
    client = end if framed else Kerberos(config=kdc.config)
    met = attempt(
        client,
        ALICE,
        kdc=kdc.answer,
        server=end,
        accepting=Credentials(bob, ACCOUNTS),
        target=TargetName("bob"),
        mine=options(flags=USER_TO_USER),
    )
    one, two = contexts(met)
    assert ContextFlags.USE_SESSION_KEY in one.flags & two.flags
    assert met.acceptor is not None
    assert (met.acceptor.peer.name, met.acceptor.peer.authority) == ("alice", REALM)
    assert met.acceptor.negotiation is not None
    assert met.acceptor.negotiation.chosen is not None
    assert met.acceptor.negotiation.chosen.mechanism == "Kerberos"
    talk(one, two)


def test_a_user_without_a_ticket_of_his_own_is_told_so() -> None:
    kdc, _ = users()
    end = negotiating(kdc)
    nobody = Tickets(TicketCache(kdc.name("bob"), ()))
    met = attempt(
        end,
        ALICE,
        kdc=kdc.answer,
        server=end,
        accepting=nobody,
        target=TargetName("bob"),
        mine=options(flags=USER_TO_USER),
    )
    assert met.initiator is None
    assert met.acceptor is None
    assert "there is no ticket-granting ticket" in str(met.refused)
    assert not met.ntlm_left


# --- exported --------------------------------------------------------------------------------------------------------


def now() -> Options:
    """Options with the machine's clock, which an imported context has, too."""
    return options(clock=system_clock)


@pytest.fixture(params=["Kerberos", "NTLM", "NTLM, a MIC over the list"])
def established(request: pytest.FixtureRequest) -> tuple[SecurityContext, SecurityContext]:
    """The contexts of each mechanism."""
    kdc = corp(system_clock)
    credentials: tuple[Credential, Credential] = (ALICE, Credentials(kdc.keytab(SPN), ACCOUNTS))
    client = server = negotiating(kdc)
    if request.param == "NTLM":
        client = Negotiate(Ntlm())
    elif request.param != "Kerberos":
        client, server = Negotiate(Kerberos(config=kdc.config), Ntlm(), ntlm="always"), Negotiate(Ntlm())
        credentials = (ALICE, ACCOUNTS)
    met = attempt(
        client, credentials[0], kdc=kdc.answer, server=server, accepting=credentials[1], mine=now(), theirs=now()
    )
    one, two = contexts(met)
    assert one.package == two.package == request.param.partition(",")[0]
    assert met.report.protected is (one.package == "NTLM")
    return one, two


def test_an_exported_context_goes_on_elsewhere(established: tuple[SecurityContext, SecurityContext]) -> None:
    """With the numbers and key streams that stand after the MICs of the list."""
    one, two = established
    two.unwrap(one.wrap(b"before"))
    late = one.wrap(b"while it moves")
    exported = two.export()
    with pytest.raises(ContextExpired):
        two.wrap(b"x")
    revived = Negotiate().import_context(exported)
    assert (revived.package, revived.flags, revived.role) == (two.package, two.flags, two.role)
    assert revived.unwrap(late).data == b"while it moves"
    with pytest.raises(OutOfSequence):
        revived.unwrap(late)
    talk(Negotiate().import_context(one.export()), revived)


def test_what_no_mechanism_exported_is_refused() -> None:
    with pytest.raises(UsageError, match="no exported context"):
        Negotiate().import_context(b"")
    one, _ = contexts(attempt(Negotiate(Ntlm()), ALICE))
    with pytest.raises(UsageError, match="no exported context"):
        Negotiate(Kerberos()).import_context(one.export())


def test_a_keytab_serves_no_user_to_user_name() -> None:
    """Who accepts with a keytab alone answers no request for its own ticket by NTLM either."""
    kdc = corp()
    end = negotiating(kdc)
    met = attempt(
        end,
        ALICE,
        kdc=kdc.answer,
        server=end,
        accepting=Credentials(Keytab(octets=b"\x05\x02"), ACCOUNTS),
        target=TargetName("bob"),
        mine=options(flags=USER_TO_USER),
    )
    assert met.initiator is None
    assert not met.ntlm_left
