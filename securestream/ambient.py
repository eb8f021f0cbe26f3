"""The edge where the machine's clock and randomness come in; protocol code is handed them as values."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from securestream.channel_bindings import ChannelBindings
from securestream.options import BindingPolicy, ContextFlags, ImpersonationLevel, Limits, Options, Protection


def system_clock() -> datetime:
    """The present moment by the machine's clock, aware UTC."""
    return datetime.now(UTC)


def system_random(size: int) -> bytes:
    """`size` octets from the operating system's generator."""
    return os.urandom(size)


def system_options(
    *,
    protection: Protection = Protection.ENCRYPT_AND_SIGN,
    flags: ContextFlags = ContextFlags.MUTUAL,
    channel_bindings: ChannelBindings | None = None,
    binding_policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED,
    impersonation: ImpersonationLevel = ImpersonationLevel.IDENTIFICATION,
    limits: Limits | None = None,
    max_skew: timedelta = timedelta(minutes=5),
    source: str = "",
) -> Options:
    """`Options` with the machine's clock and randomness; the arguments are those of `Options`."""
    return Options(
        clock=system_clock,
        random=system_random,
        protection=protection,
        flags=flags,
        channel_bindings=channel_bindings,
        binding_policy=binding_policy,
        impersonation=impersonation,
        limits=Limits() if limits is None else limits,
        max_skew=max_skew,
        source=source,
    )
