"""Principals: what makes two of them the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securestream.principal import (
    MEMBER,
    GroupAttributes,
    Membership,
    MembershipOrigin,
    NameType,
    Principal,
    unauthenticated,
)

ALICE = Principal("alice", "Kerberos", "CORP", NameType.USER)


@pytest.mark.parametrize(
    "other",
    [
        replace(ALICE, name="bob"),
        replace(ALICE, package="Schannel"),
        replace(ALICE, authority="EVIL"),
        replace(ALICE, name_type=NameType.EMAIL),
    ],
)
def test_equality_compares_package_authority_type_and_name(other: Principal) -> None:
    """SECURITY 7: a certificate for alice@CORP is never the Kerberos alice@CORP."""
    assert other != ALICE
    assert len({ALICE, other}) == 2


def test_further_facts_do_not_make_another_identity() -> None:
    assert replace(ALICE, sid="S-1-5-21-1", groups=("S-1-5-32-544",), claims=(("a", "b"),)) == ALICE


@pytest.mark.parametrize(
    ("principal", "text"),
    [
        (ALICE, r"CORP\alice"),
        (Principal("alice", "NTLM"), "alice"),
        (Principal("alice@corp.example", "Schannel", "CN=CA", NameType.UPN), "alice@corp.example"),
        (Principal("", "NTLM", name_type=NameType.ANONYMOUS), "anonymous"),
        (unauthenticated("NTLM"), "unknown"),
        (Principal("alice", "NTLM", name_type=NameType.ANONYMOUS), "anonymous"),
    ],
)
def test_how_it_is_written(principal: Principal, text: str) -> None:
    assert str(principal) == text


def test_who_proved_nothing_is_not_authenticated() -> None:
    anonymous = Principal("", "NTLM", name_type=NameType.ANONYMOUS)
    assert (anonymous.is_anonymous, anonymous.is_authenticated) == (True, False)
    assert (unauthenticated("NTLM").is_anonymous, unauthenticated("NTLM").is_authenticated) == (False, False)
    assert (ALICE.is_anonymous, ALICE.is_authenticated) == (False, True)


def test_memberships_say_what_they_are_good_for() -> None:
    """A group that only denies, or that is not enabled, grants nothing."""
    everyone = Membership("S-1-1-0")
    assert (everyone.attributes, everyone.origin, everyone.is_enabled) == (MEMBER, MembershipOrigin.DOMAIN, True)
    assert not replace(everyone, attributes=MEMBER | GroupAttributes.USE_FOR_DENY_ONLY).is_enabled
    assert not replace(everyone, attributes=GroupAttributes.MANDATORY).is_enabled
    assert replace(ALICE, memberships=(everyone,), upn="alice@corp.example") == ALICE


def test_claims_with_several_values() -> None:
    alice = replace(ALICE, claims=(("team", "red"), ("floor", "3"), ("team", "blue")))
    assert (alice.claimed("team"), alice.claimed("floor"), alice.claimed("none")) == (("red", "blue"), ("3",), ())
