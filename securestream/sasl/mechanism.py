"""What a SASL mechanism is (RFC 4422): a security package whose tokens are SASL's challenges and responses.

A mechanism makes handshakes like any package, so `HandshakeMachine`, `respond`, `Nested` and `Limits` serve it. What
the tokens mean is settled here once:

* The initiator's first token is the initial response. Where the server speaks first (`SaslMechanism.client_first` is
  false) an empty one, ``Exchange(b"")``, is none: a profile sends nothing, and any other carrier can carry it.
* The acceptor always begins with ``Exchange(None)``: it is given the initial response, or, where the server speaks
  first and the client sent none, ``b""``. (Where the client speaks first and sent none, the profile asks for it by an
  empty challenge, which is not the mechanism's business.)
* The acceptor's last token (`Established.token`) is the additional data with success. A profile without such data
  sends it as a challenge, which the client answers by an empty response.
* `Established.result` is a `SaslLayer`: the security layer that was negotiated, or `NoLayer`.

What a mechanism can be told beside `Options` are arguments of its constructor. `Options.protection` is the least
protection that the layer must give; a mechanism that cannot give it refuses before its first token, or before data.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol, TypeAlias, cast, runtime_checkable

from securestream.arguments import what_is
from securestream.errors import InvalidToken, NotAuthorized, QualityNotMet, Unsupported, UsageError
from securestream.options import ContextFlags, Options, Protection, Role
from securestream.principal import NameType, Principal
from securestream.provider import (
    Buffer,
    Capability,
    ContextSizes,
    PackageInfo,
    SecurityContext,
    SecurityPackage,
    Unwrapped,
)

MAX_BUFFER: Final = 0xFFFFFF
"""The largest buffer that a security layer can name (RFC 4752 3.1, RFC 2831 2.1.1), in octets."""

DEFAULT_BUFFER: Final = 65536
"""The largest buffer that this end takes where nobody says another size."""

LONGEST_AUTHZID: Final = 1024
"""Octets of an authorisation identity; no profile has longer names."""

Authorize: TypeAlias = Callable[[Principal, str], bool]
"""Whether who was authenticated may act as an authorisation identity (RFC 4422 3.4.1) that is not empty. Pure."""

_COMPLETE: Final = (NameType.UPN, NameType.EMAIL, NameType.DNS)


def own_identity(principal: Principal, authzid: str) -> bool:
    """Everybody may act as himself, under his complete name: ``name@authority`` or ``authority\\name``.

    The alice of another realm is not alice (SECURITY: identity), so the name alone will do only where no authority
    vouches for it, or where it says itself where it belongs, as the DNS name of a certificate does.
    """
    name, authority = principal.name, principal.authority
    if not authority or principal.name_type in _COMPLETE:
        return authzid == name
    return authzid in (f"{name}@{authority}", f"{authority}\\{name}")


def check_authzid(authzid: str) -> None:
    """Refuse an authorisation identity that cannot be sent (RFC 4422 3.4.1).

    Raises:
        UsageError: it has a NUL, or is too long, or is no text.
    """
    octets = authzid.encode("utf-8", "surrogatepass")
    if b"\0" in octets or len(octets) > LONGEST_AUTHZID or octets != authzid.encode("utf-8", "replace"):
        raise UsageError(f"an authorisation identity is text without NUL, of at most {LONGEST_AUTHZID} octets")


def read_authzid(octets: bytes) -> str:
    """The authorisation identity that a client sent.

    Raises:
        InvalidToken: it is none.
    """
    if len(octets) > LONGEST_AUTHZID or b"\0" in octets:
        raise InvalidToken("the client's authorisation identity is too long, or has a NUL")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise InvalidToken("the client's authorisation identity is not UTF-8") from None


def authorized(principal: Principal, authzid: str, authorize: Authorize) -> None:
    """Refuse an authorisation identity that `principal` may not act as; an empty one is his own.

    Raises:
        NotAuthorized: he may not.
        UsageError: `authorize` tells neither yes nor no; a coroutine would count as a yes.
    """
    if not authzid:
        return
    verdict = cast("Callable[[Principal, str], object]", authorize)(principal, authzid)
    if not isinstance(verdict, bool):
        raise UsageError(f"authorize returns True or False, not {what_is(verdict)}; it is never an async function")
    if not verdict:
        raise NotAuthorized(
            "the peer may not act as the authorisation identity that it asks for: allow it by the mechanism's "
            "`authorize`, or let the client ask for none"
        )


@runtime_checkable
class SaslMechanism(SecurityPackage, Protocol):
    """A SASL mechanism; `info.name` is its registered name. Its handshakes are described in this module's first lines.

    Instances hold only what configures the mechanism: one serves any number of handshakes.
    """

    @property
    def client_first(self) -> bool:
        """Whether the client always speaks first (RFC 4422 5, item 2a)."""
        ...


class SaslLayer(SecurityContext):
    """A negotiated security layer: `wrap` makes one buffer (RFC 4422 3.7), without its length, and `unwrap` opens one.

    Its `flags` say what it gives: none, integrity, or confidentiality, too. What `wrap` does is what was negotiated,
    whatever its argument `encrypt` says; `unwrap` refuses what is protected less.

    Args:
        mechanism: the name of the SASL mechanism.
        role: this end's role.
        flags: what was established.
        authzid: the authorisation identity, as the client asked for it; empty for its own.
        max_plaintext: octets that `wrap` takes at most, so that the peer can receive the buffer.
        max_sealed: octets of the longest buffer that the peer may send.
        bound: whether channel bindings were verified (acceptor) or sent (initiator).
        expires: from when on the layer refuses to work.
        cipher: what encrypts, where the mechanism itself has a choice of that; `None` where it has none.
    """

    def __init__(
        self,
        mechanism: str,
        role: Role,
        flags: ContextFlags,
        *,
        authzid: str = "",
        max_plaintext: int = DEFAULT_BUFFER,
        max_sealed: int = DEFAULT_BUFFER,
        bound: bool = False,
        expires: datetime | None = None,
        cipher: str | None = None,
    ) -> None:
        super().__init__(mechanism, role, flags, bound=bound, expires=expires)
        self.authzid = authzid
        self.max_plaintext = max_plaintext
        self.max_sealed = max_sealed
        self.cipher = cipher

    @property
    def protection(self) -> Protection:
        """What the layer gives."""
        if ContextFlags.CONFIDENTIALITY in self.flags:
            return Protection.ENCRYPT_AND_SIGN
        return Protection.SIGN if ContextFlags.INTEGRITY in self.flags else Protection.NONE

    @abstractmethod
    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Protect `data`, at most `max_plaintext` octets, as one buffer.

        Args:
            data: the octets.
            encrypt: ignored: the layer does what was negotiated.

        Raises:
            ContextExpired: the layer was discarded, or is beyond its lifetime.
            Unsupported: no layer was negotiated.
        """

    def sign(self, data: Buffer) -> bytes:
        """SASL has no detached signatures.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(f"{self.package} has no detached signatures: a SASL layer wraps whole buffers")

    def verify(self, data: Buffer, signature: Buffer) -> None:
        """As for `sign`.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(f"{self.package} has no detached signatures: a SASL layer wraps whole buffers")


class NoLayer(SaslLayer):
    """What a mechanism leaves that authenticates and protects nothing afterwards: octets travel as they are.

    Args:
        mechanism: the name of the SASL mechanism.
        role: this end's role.
        flags: `ContextFlags.MUTUAL` where both ends proved themselves; no protection.
        authzid: as for `SaslLayer`.
        bound: as for `SaslLayer`.
        expires: when the authentication ends.
    """

    def __init__(
        self,
        mechanism: str,
        role: Role,
        flags: ContextFlags = ContextFlags.NONE,
        *,
        authzid: str = "",
        bound: bool = False,
        expires: datetime | None = None,
    ) -> None:
        super().__init__(mechanism, role, flags, authzid=authzid, bound=bound, expires=expires)

    @property
    def sizes(self) -> ContextSizes:
        """Nothing is added to anything."""
        return ContextSizes(signature=0, wrap_overhead=0, block=1, max_token=0)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """There is no layer.

        Raises:
            Unsupported: always.
        """
        raise self._none()

    def unwrap(self, token: Buffer) -> Unwrapped:
        """There is no layer.

        Raises:
            Unsupported: always.
        """
        raise self._none()

    def _none(self) -> Unsupported:
        return Unsupported(f"{self.package} negotiated no security layer: send octets as they are, over TLS")

    def discard(self) -> None:
        """There are no keys."""


def check_no_layer_wanted(mechanism: str, options: Options) -> None:
    """Refuse, before anything is sent, to be asked for a layer by a mechanism that has none (SECURITY rule 20).

    Raises:
        QualityNotMet: `Options.protection` asks for one.
    """
    if options.protection is not Protection.NONE:
        raise QualityNotMet(
            f"{mechanism} has no security layer and cannot give {options.protection.name}: use it over TLS with "
            "protection=Protection.NONE, or another mechanism"
        )


def mechanism_info(
    name: str,
    comment: str,
    capabilities: Capability = Capability.NONE,
    *,
    max_token: int = 65536,
    roles: frozenset[Role] = frozenset(Role),
) -> PackageInfo:
    """The `PackageInfo` of a SASL mechanism: a connection, never negotiable by SPNEGO.

    Args:
        name: the registered name.
        comment: one line on what it is.
        capabilities: INTEGRITY and PRIVACY for a layer, MUTUAL_AUTH where the server proves itself.
        max_token: its longest token, in octets.
        roles: the roles that it plays.
    """
    return PackageInfo(name, comment, capabilities | Capability.CONNECTION, max_token, roles=roles)
