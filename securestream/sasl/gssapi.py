"""GSSAPI (RFC 4752): Kerberos, then the choice of a security layer under its protection.

The identity that the client wants to act as, and what each end supports, are signed but never encrypted.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Final

from securestream.credentials import Credential
from securestream.errors import InvalidToken, QualityNotMet, UsageError
from securestream.nested import Nested
from securestream.options import ContextFlags, Options, Protection, Role, required_flags
from securestream.provider import (
    Capability,
    Effect,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    SecurityContext,
    SecurityPackage,
    TargetName,
    Unusable,
)
from securestream.registry import check_package
from securestream.sasl.gss_layer import GssLayer, context_of, fitting
from securestream.sasl.mechanism import (
    DEFAULT_BUFFER,
    MAX_BUFFER,
    Authorize,
    authorized,
    check_authzid,
    mechanism_info,
    own_identity,
    read_authzid,
)

NAME: Final = "GSSAPI"
KERBEROS: Final = "1.2.840.113554.1.2.2"
"""The only mechanism that GSSAPI and GS2-KRB5 stand for (RFC 1964 1)."""

_BITS: Final = {Protection.NONE: 1, Protection.SIGN: 2, Protection.ENCRYPT_AND_SIGN: 4}
"""RFC 4752 3.3."""
_LEVELS: Final = {bit: level for level, bit in _BITS.items()}
_HEAD: Final = 4

_INFO: Final = mechanism_info(
    NAME,
    "Kerberos V5 with a security layer (RFC 4752)",
    Capability.INTEGRITY | Capability.PRIVACY | Capability.MUTUAL_AUTH | Capability.DELEGATION,
)


@dataclass(frozen=True)
class Gssapi:
    """The SASL mechanism GSSAPI over a Kerberos package.

    The layer is the least that both ends allow: an end asks for `Options.protection`, or more.

    Args:
        package: the Kerberos package.
        authzid: as whom a client wants to act; empty for itself.
        authorize: whether a server lets a client act as another identity that it asks for.
        max_buffer: octets of the longest protected buffer that this end takes.

    Raises:
        UsageError: the package is not Kerberos, or an argument cannot be sent.
    """

    package: SecurityPackage
    authzid: str = ""
    authorize: Authorize = own_identity
    max_buffer: int = DEFAULT_BUFFER

    def __post_init__(self) -> None:
        check_kerberos(NAME, self.package, "Gssapi")
        check_buffer(self.max_buffer)
        check_authzid(self.authzid)

    @property
    def info(self) -> PackageInfo:
        """What the mechanism is."""
        return _INFO

    @property
    def client_first(self) -> bool:
        """The client speaks first."""
        return True

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        return self.package.usable(credential, role)

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The client's handshake.

        Args:
            credential: what the package takes.
            target: the service, ``ldap/dc1.example.com``.
            options: what is wanted.

        Raises:
            HandshakeError: of the package.
            InvalidToken: the server's offer of layers is none.
            QualityNotMet: the server offers no layer as strong as `Options.protection`; nothing was chosen.
        """
        return _initiate(self, credential, target, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The server's handshake.

        Args:
            credential: what the package takes.
            options: what is wanted.

        Raises:
            HandshakeError: of the package.
            InvalidToken: the client's choice of a layer is none that was offered.
            NotAuthorized: the client may not act as it asks.
            QualityNotMet: the client's context cannot give `Options.protection`.
        """
        return _accept(self, credential, options)


def check_kerberos(mechanism: str, package: SecurityPackage, taker: str) -> None:
    """Refuse another package than Kerberos, which these mechanisms are tied to (RFC 4752 3, RFC 5801 3.4).

    Raises:
        UsageError: it is another one, or no package.
    """
    check_package(package, mechanism, f"{taker}(Kerberos())")
    if KERBEROS not in package.info.oids:
        raise UsageError(f"{mechanism} is Kerberos: {package.info.name} goes into GSS-SPNEGO or a mechanism of its own")


def check_buffer(size: int) -> None:
    """Refuse the size of a buffer that cannot be told to the peer.

    Raises:
        UsageError: it cannot.
    """
    if not 256 <= size <= MAX_BUFFER:
        raise UsageError(f"max_buffer is 256 to {MAX_BUFFER} octets, not {size}")


def _options(options: Options) -> Options:
    """What is asked of Kerberos: integrity always, for the choice of a layer itself (RFC 4752 3.1)."""
    if options.protection is Protection.NONE:
        return replace(fitting(options), protection=Protection.SIGN)
    return fitting(options, ContextFlags.MUTUAL)


def _possible(context: SecurityContext, least: Protection) -> int:
    """The layers that a context can give, of those that are at least `least`, as a mask.

    Raises:
        QualityNotMet: there is none.
    """
    mask = 0
    for level, bit in _BITS.items():
        needed = required_flags(level) | (ContextFlags.NONE if level is Protection.NONE else ContextFlags.MUTUAL)
        if level >= least and not needed & ~context.flags:
            mask |= bit
    if not mask:
        raise QualityNotMet(f"the Kerberos session cannot give {least.name}: let the peer ask for as much")
    return mask


def _take(mask: int) -> Protection:
    """The least of the layers in a mask that is not empty."""
    return _LEVELS[mask & -mask]


def _initiate(
    mechanism: Gssapi, credential: Credential | None, target: TargetName | None, options: Options
) -> Handshake:
    handshake = mechanism.package.initiate(credential, target, _options(options))
    with Nested(handshake, limits=options.limits) as inner:
        step = yield from inner.step()
        while step.established is None:
            reply = yield from Exchange(step.token)
            step = yield from inner.step(reply)
        outcome = inner.established
        context = context_of(outcome)
        possible = _possible(context, options.protection)
        offer = yield from Exchange(step.token or b"")
        offered, peer_buffer = _read_offer(context.unwrap(offer).data)
        usable = offered & possible
        if not usable:
            raise QualityNotMet(
                f"the server offers {_names(offered)} and {options.protection.name} is asked for: let the server "
                "offer more, or ask for another protection"
            )
        chosen = _take(usable)
        layer = GssLayer(
            NAME,
            context,
            chosen,
            authzid=mechanism.authzid,
            peer_buffer=peer_buffer,
            own_buffer=mechanism.max_buffer,
        )
        own = 0 if chosen is Protection.NONE else mechanism.max_buffer
        choice = _head(_BITS[chosen], own) + mechanism.authzid.encode()
        return Established(layer, outcome.peer, context.wrap(choice, encrypt=False), outcome.negotiation)


def _head(mask: int, buffer: int) -> bytes:
    return bytes((mask,)) + buffer.to_bytes(3, "big")


def _read_offer(plain: bytes) -> tuple[int, int]:
    """The layers that the server offers, and its buffer."""
    if len(plain) != _HEAD:
        raise InvalidToken(f"the server's offer of security layers has {len(plain)} octets, {_HEAD} are due")
    mask, buffer = plain[0], int.from_bytes(plain[1:], "big")
    if mask & ~1 == 0 and buffer:
        raise InvalidToken("the server offers no security layer and a buffer for one (RFC 4752 3.1)")
    return mask, buffer


def _names(mask: int) -> str:
    return ", ".join(level.name for level, bit in _BITS.items() if mask & bit) or "no layer that is known"


def _accept(mechanism: Gssapi, credential: Credential | None, options: Options) -> Handshake:
    handshake = mechanism.package.accept(credential, _options(options))
    with Nested(handshake, limits=options.limits) as inner:
        step = yield from inner.step()
        while step.established is None:
            token = yield from Exchange(step.token)
            step = yield from inner.step(token)
        outcome = inner.established
        context = context_of(outcome)
        offered = _possible(context, options.protection)
        yield from _deliver(step.token)
        own = mechanism.max_buffer if offered & ~1 else 0
        answer = yield from Exchange(context.wrap(_head(offered, own), encrypt=False))
        chosen, peer_buffer, authzid = _read_choice(context.unwrap(answer).data, offered)
        authorized(outcome.peer, authzid, mechanism.authorize)
        layer = GssLayer(
            NAME, context, chosen, authzid=authzid, peer_buffer=peer_buffer, own_buffer=mechanism.max_buffer
        )
        return Established(layer, outcome.peer, None, outcome.negotiation)


def _deliver(token: bytes | None) -> Generator[Effect[Any], Any, None]:
    """Send the package's last token, to which a client answers with nothing (RFC 4752 3.2)."""
    if token is not None and (yield from Exchange(token)):
        raise InvalidToken("the client answers the end of the Kerberos exchange by a token, where none is due")


def _read_choice(plain: bytes, offered: int) -> tuple[Protection, int, str]:
    """The layer that the client chose, its buffer, and as whom it wants to act."""
    if len(plain) < _HEAD:
        raise InvalidToken("the client's choice of a security layer is too short")
    chosen, buffer = _LEVELS.get(plain[0]), int.from_bytes(plain[1:_HEAD], "big")
    if chosen is None or not plain[0] & offered:
        raise InvalidToken(f"the client chose the security layer {plain[0]}, which was not offered")
    if chosen is Protection.NONE and buffer:
        raise InvalidToken("the client chose no security layer and a buffer for one (RFC 4752 3.2)")
    return chosen, buffer, read_authzid(plain[_HEAD:])
