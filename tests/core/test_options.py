"""Options: what protection implies, and where clock and randomness come in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from securestream.ambient import system_clock, system_options, system_random
from securestream.options import (
    BindingPolicy,
    ContextFlags,
    ImpersonationLevel,
    Limits,
    Options,
    Protection,
    Role,
    required_flags,
)
from tests.core.handshakes import NOW, options


def test_the_default_is_the_safe_side() -> None:
    """SECURITY 6: default protection is EncryptAndSign, at both ends."""
    asked = options()
    assert asked.protection is Protection.ENCRYPT_AND_SIGN
    assert ContextFlags.MUTUAL in asked.flags
    assert asked.limits == Limits(token_size=64 * 1024)


@pytest.mark.parametrize(
    ("protection", "needs"),
    [
        (Protection.NONE, ContextFlags.NONE),
        (Protection.SIGN, ContextFlags.INTEGRITY | ContextFlags.REPLAY | ContextFlags.SEQUENCE),
        (
            Protection.ENCRYPT_AND_SIGN,
            ContextFlags.INTEGRITY | ContextFlags.REPLAY | ContextFlags.SEQUENCE | ContextFlags.CONFIDENTIALITY,
        ),
    ],
)
def test_what_protection_needs_is_wanted(protection: Protection, needs: ContextFlags) -> None:
    assert required_flags(protection) == needs
    assert options(protection=protection, flags=ContextFlags.DELEGATE).wanted == needs | ContextFlags.DELEGATE


def test_protection_is_ordered_by_strength() -> None:
    assert Protection.NONE < Protection.SIGN < Protection.ENCRYPT_AND_SIGN


def test_a_role_has_another() -> None:
    assert Role.INITIATOR.other is Role.ACCEPTOR
    assert Role.ACCEPTOR.other is Role.INITIATOR


def test_the_clock_is_a_parameter() -> None:
    assert options().clock() == NOW


def test_the_system_gives_aware_utc_and_fresh_octets() -> None:
    moment = system_clock()
    assert moment.tzinfo is UTC
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)
    draws = {system_random(16) for _ in range(100)}
    assert len(draws) == 100
    assert {len(draw) for draw in draws} == {16}


def test_system_options_hand_everything_on() -> None:
    made = system_options(
        protection=Protection.SIGN,
        flags=ContextFlags.IDENTIFY,
        binding_policy=BindingPolicy.ALWAYS,
        impersonation=ImpersonationLevel.DELEGATION,
        limits=Limits(legs=2),
        max_skew=timedelta(seconds=1),
        source="192.0.2.1",
    )
    assert made == Options(
        clock=system_clock,
        random=system_random,
        protection=Protection.SIGN,
        flags=ContextFlags.IDENTIFY,
        binding_policy=BindingPolicy.ALWAYS,
        impersonation=ImpersonationLevel.DELEGATION,
        limits=Limits(legs=2),
        max_skew=timedelta(seconds=1),
        source="192.0.2.1",
    )


@pytest.mark.parametrize(
    ("level", "flags", "adds"),
    [
        (ImpersonationLevel.IDENTIFICATION, ContextFlags.NONE, ContextFlags.IDENTIFY),
        (ImpersonationLevel.IMPERSONATION, ContextFlags.NONE, ContextFlags.NONE),
        (ImpersonationLevel.DELEGATION, ContextFlags.NONE, ContextFlags.DELEGATE),
        (ImpersonationLevel.IDENTIFICATION, ContextFlags.DELEGATE, ContextFlags.DELEGATE),
    ],
)
def test_the_impersonation_level_is_told_by_the_flags_of_sspi(
    level: ImpersonationLevel, flags: ContextFlags, adds: ContextFlags
) -> None:
    asked = options(protection=Protection.NONE, flags=flags)
    assert asked.impersonation is ImpersonationLevel.IDENTIFICATION
    assert replace(asked, impersonation=level).wanted == adds
