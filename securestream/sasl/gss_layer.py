"""What the mechanisms over GSS packages share: the layer that wraps with the package's context, and its options."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from securestream.credentials import Credential
from securestream.errors import ContextExpired, NotEncrypted, QualityNotMet, Unsupported, UsageError
from securestream.options import ContextFlags, Options, Protection, required_flags
from securestream.provider import Buffer, ContextSizes, Established, SecurityContext, Unwrapped
from securestream.sasl.mechanism import SaslLayer

_LAYER: Final = required_flags(Protection.ENCRYPT_AND_SIGN)
_UNFIT: Final = ContextFlags.DCE_STYLE | ContextFlags.DATAGRAM
"""Forms of a package's tokens that SASL does not carry."""


class GssLayer(SaslLayer):
    """Wraps with the security context of a package, at the level that SASL negotiated.

    Args:
        mechanism: the name of the SASL mechanism.
        context: the package's; owned from now on.
        protection: the level; `Protection.NONE` leaves the context for its key and what was delegated.
        authzid: the authorisation identity, as the client asked for it.
        peer_buffer: octets of the longest buffer that the peer takes.
        own_buffer: octets of the longest buffer that this end takes.
        bound: whether bindings were verified or sent; by default what the context says.
    """

    def __init__(
        self,
        mechanism: str,
        context: SecurityContext,
        protection: Protection,
        *,
        authzid: str = "",
        peer_buffer: int,
        own_buffer: int,
        bound: bool | None = None,
    ) -> None:
        super().__init__(
            mechanism,
            context.role,
            (context.flags & ~_LAYER) | (context.flags & required_flags(protection)),
            authzid=authzid,
            max_plaintext=0 if protection is Protection.NONE else peer_buffer - context.sizes.wrap_overhead,
            max_sealed=own_buffer,
            bound=context.bound if bound is None else bound,
            expires=context.expires,
        )
        if protection is not Protection.NONE and self.max_plaintext < 1:
            raise QualityNotMet(
                f"the peer takes buffers of {peer_buffer} octets, which hold nothing once they are protected"
            )
        self._context: SecurityContext | None = context
        self._encrypts = protection is Protection.ENCRYPT_AND_SIGN
        self._has_layer = protection is not Protection.NONE

    def _live(self) -> SecurityContext:
        context = self._context
        if context is None:
            raise self.expired()
        return context

    def _protecting(self) -> SecurityContext:
        if not self._has_layer:
            raise Unsupported(f"{self.package} negotiated no security layer: send octets as they are, over TLS")
        return self._live()

    def expired(self) -> ContextExpired:
        """The error of a layer that was discarded."""
        return ContextExpired(f"this security layer of {self.package} has ended; authenticate again")

    @property
    def sizes(self) -> ContextSizes:
        """What the package's context says."""
        return self._live().sizes

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Protect `data` as one buffer, at the level that was negotiated.

        Args:
            data: at most `max_plaintext` octets.
            encrypt: ignored.

        Raises:
            ContextExpired: the layer has ended.
            Unsupported: no layer was negotiated.
            UsageError: `data` is too long for the peer's buffer.
        """
        if len(data) > self.max_plaintext and self._has_layer:
            raise UsageError(f"the peer takes at most {self.max_plaintext} octets in one buffer, not {len(data)}")
        return self._protecting().wrap(data, encrypt=self._encrypts)

    def unwrap(self, token: Buffer) -> Unwrapped:
        """Check and open the peer's next buffer.

        Raises:
            BadSignature: it is malformed or altered, or was made by this end.
            OutOfSequence: it is not the next one.
            NotEncrypted: it came in clear although confidentiality was negotiated.
            ContextExpired: the layer has ended.
            Unsupported: no layer was negotiated.
        """
        opened = self._protecting().unwrap(token)
        if self._encrypts and not opened.encrypted:
            raise NotEncrypted("the peer sent data in clear although confidentiality was negotiated")
        return opened

    @property
    def session_key(self) -> bytes:
        """The package's."""
        return self._live().session_key

    def derive(self, label: bytes, length: int) -> bytes:
        """As the package does."""
        return self._live().derive(label, length)

    @property
    def delegated(self) -> Credential | None:
        """The credential that the client delegated; `None` if it did not."""
        return self._live().delegated

    def discard(self) -> None:
        """Drop the package's context. Idempotent."""
        context, self._context = self._context, None
        if context is not None:
            context.discard()


def context_of(established: Established) -> SecurityContext:
    """The security context that a package inside SASL established.

    Raises:
        UsageError: it gives none.
    """
    if not isinstance(established.result, SecurityContext):
        raise UsageError("a package inside SASL gives a security context: TLS goes around SASL, not into it")
    return established.result


def fitting(options: Options, more: ContextFlags = ContextFlags.NONE) -> Options:
    """`options` for the package inside, with further flags and without the forms that SASL does not carry."""
    return replace(options, flags=(options.flags | more) & ~_UNFIT)
