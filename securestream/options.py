"""What a caller asks of a handshake, whatever the mechanism: flags, protection, bindings, clock, randomness, limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, Flag, IntEnum, auto
from functools import cached_property, lru_cache
from typing import TypeAlias

from securestream.channel_bindings import ChannelBindings

Clock: TypeAlias = Callable[[], datetime]
"""Gives the present moment as an aware UTC `datetime`."""

Random: TypeAlias = Callable[[int], bytes]
"""Gives that many unpredictable octets."""


class Role(Enum):
    """Which end of a handshake."""

    __hash__ = object.__hash__  # a member is equal to itself alone; that of Enum is a call of Python

    INITIATOR = "initiator"
    ACCEPTOR = "acceptor"

    @property
    def other(self) -> Role:
        """The peer's role."""
        return Role.ACCEPTOR if self is Role.INITIATOR else Role.INITIATOR


class Protection(IntEnum):
    """How the data after the handshake is protected; .NET's ProtectionLevel, ordered by strength."""

    NONE = 0
    SIGN = 1
    ENCRYPT_AND_SIGN = 2


class ImpersonationLevel(IntEnum):
    """How far a server may act as its client: SSPI's SECURITY_IMPERSONATION_LEVEL, .NET's TokenImpersonationLevel."""

    IDENTIFICATION = 1
    """It may look at who the client is, and judge access by that."""
    IMPERSONATION = 2
    """It may act as the client on its own machine."""
    DELEGATION = 3
    """It is given a credential with which to act as the client elsewhere."""


class ContextFlags(Flag):
    """What a security context does or proves (RFC 2743 1.2; the ISC_REQ / ASC_REQ flags of SSPI)."""

    __hash__ = object.__hash__  # as of Role; flags in combination are members, too, each there once

    NONE = 0
    DELEGATE = auto()
    MUTUAL = auto()
    REPLAY = auto()
    SEQUENCE = auto()
    CONFIDENTIALITY = auto()
    INTEGRITY = auto()
    ANONYMOUS = auto()
    IDENTIFY = auto()
    DCE_STYLE = auto()
    DATAGRAM = auto()
    EXTENDED_ERROR = auto()
    USE_SESSION_KEY = auto()


class BindingPolicy(Enum):
    """What an acceptor with channel bindings demands of the initiator (SECURITY: channel bindings).

    Wrong bindings are refused under every policy but `NEVER`.
    """

    NEVER = "never"
    WHEN_SUPPORTED = "when supported"
    """Absent or all-zero bindings are accepted."""
    WHEN_ADVERTISED = "when advertised"
    """Absent or all-zero bindings are refused when the initiator shows that it supports them."""
    ALWAYS = "always"
    """Absent bindings are refused."""


@dataclass(frozen=True)
class Limits:
    """Bounds on what an unauthenticated peer may cause; each is checked before anything is buffered or computed.

    Args:
        token_size: octets in one handshake token (64 KiB).
        legs: tokens received in one handshake.
        handshake_octets: octets received in one handshake.
        av_pairs: AV pairs in one NTLM target info or response.
        nesting: depth of DER.
        elements: elements of one DER sequence.
    """

    token_size: int = 65536
    legs: int = 32
    handshake_octets: int = 1 << 20
    av_pairs: int = 64
    nesting: int = 32
    elements: int = 4096


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is asked of a handshake. Nothing here belongs to one mechanism; that goes to the package's own arguments.

    `securestream.system_options()` makes one with the machine's clock and randomness.

    Args:
        clock: the present moment, aware UTC.
        random: unpredictable octets.
        protection: the least protection that the context must give to data.
        flags: further features wanted of the context; what `protection` implies is added by `wanted`.
        channel_bindings: the outer channel's bindings, or `None`.
        binding_policy: an acceptor's demand on the initiator's bindings. An initiator whose mechanism lets it see
            whether the acceptor asks for them (HTTP Digest) goes on with no other under `BindingPolicy.ALWAYS`.
        impersonation: the most that an initiator allows; the least that an acceptor demands. `ContextFlags.DELEGATE`
            among `flags` allows delegation, too. The default is .NET's for both ends.
        limits: bounds before authentication.
        max_skew: how far apart the two clocks may be.
        source: the peer's address as text, for throttling; empty where unknown.
        in_turns: whether the carrier brings an answer to each token before it takes another, as HTTP does: what the
            peer answers apart, a package then sends apart.
    """

    clock: Clock
    random: Random = field(repr=False)
    protection: Protection = Protection.ENCRYPT_AND_SIGN
    flags: ContextFlags = ContextFlags.MUTUAL
    channel_bindings: ChannelBindings | None = None
    binding_policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED
    impersonation: ImpersonationLevel = ImpersonationLevel.IDENTIFICATION
    limits: Limits = field(default_factory=Limits)
    max_skew: timedelta = timedelta(minutes=5)
    source: str = ""
    in_turns: bool = False

    @cached_property
    def wanted(self) -> ContextFlags:
        """`flags` with all that `protection` needs, and what tells the level of `impersonation`."""
        return wanted_flags(self.flags, self.protection, self.impersonation)


@lru_cache
def required_flags(protection: Protection) -> ContextFlags:
    """The flags an established context must have for `protection`."""
    if protection is Protection.NONE:
        return ContextFlags.NONE
    flags = ContextFlags.INTEGRITY | ContextFlags.REPLAY | ContextFlags.SEQUENCE
    return flags | ContextFlags.CONFIDENTIALITY if protection is Protection.ENCRYPT_AND_SIGN else flags


@lru_cache
def wanted_flags(flags: ContextFlags, protection: Protection, impersonation: ImpersonationLevel) -> ContextFlags:
    """What `Options` with these three fields want of a context."""
    wanted = flags | required_flags(protection)
    if impersonation is ImpersonationLevel.DELEGATION:
        wanted |= ContextFlags.DELEGATE
    elif impersonation is ImpersonationLevel.IDENTIFICATION and ContextFlags.DELEGATE not in wanted:
        wanted |= ContextFlags.IDENTIFY
    return wanted
