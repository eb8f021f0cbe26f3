"""The exceptions of the project, and the standard codes they carry."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from securestream.negotiation import Negotiation


class ErrorKind(Enum):
    """What went wrong, with its number in each interface that has one.

    ``sspi`` is the SSPI (winerror.h) name, ``hresult`` its value, ``ntstatus`` the NTSTATUS ([MS-ERREF] 2.3) that a
    protocol carries for it, ``gss`` the GSS-API major status (RFC 2744 3.9.1).
    """

    sspi: str
    hresult: int
    ntstatus: int
    gss: int

    INVALID_TOKEN = ("SEC_E_INVALID_TOKEN", 0x80090308, 0xC000000D, 9 << 16)
    LOGON_DENIED = ("SEC_E_LOGON_DENIED", 0x8009030C, 0xC000006D, 6 << 16)
    BAD_BINDINGS = ("SEC_E_BAD_BINDINGS", 0x80090346, 0xC000035B, 4 << 16)
    TIME_SKEW = ("SEC_E_TIME_SKEW", 0x80090324, 0xC0000133, 13 << 16)
    NO_AUTHORITY = ("SEC_E_NO_AUTHENTICATING_AUTHORITY", 0x80090311, 0xC000005E, 13 << 16)
    REPLAY = ("SEC_E_OUT_OF_SEQUENCE", 0x80090310, 0xC000042B, 2)
    NO_COMMON_MECHANISM = ("SEC_E_UNSUPPORTED_FUNCTION", 0x80090302, 0xC00000BB, 1 << 16)
    DOWNGRADE = ("SEC_E_DOWNGRADE_DETECTED", 0x80090350, 0xC0000388, 13 << 16)
    UNSUPPORTED = ("SEC_E_UNSUPPORTED_FUNCTION", 0x80090302, 0xC00000BB, 16 << 16)
    SERVICE_FAILED = ("SEC_E_NO_AUTHENTICATING_AUTHORITY", 0x80090311, 0xC000005E, 13 << 16)
    NO_CREDENTIALS = ("SEC_E_NO_CREDENTIALS", 0x8009030E, 0xC000005F, 7 << 16)
    UNKNOWN_CREDENTIALS = ("SEC_E_UNKNOWN_CREDENTIALS", 0x8009030D, 0xC000006D, 10 << 16)
    TARGET_UNKNOWN = ("SEC_E_TARGET_UNKNOWN", 0x80090303, 0xC0000225, 2 << 16)
    WRONG_PRINCIPAL = ("SEC_E_WRONG_PRINCIPAL", 0x80090322, 0xC000006D, 2 << 16)
    QUALITY_NOT_MET = ("SEC_E_QOP_NOT_SUPPORTED", 0x8009030A, 0xC00000BB, 14 << 16)
    LIMIT_EXCEEDED = ("SEC_E_INSUFFICIENT_MEMORY", 0x80090300, 0xC000009A, 9 << 16)
    TIMED_OUT = ("SEC_E_NO_AUTHENTICATING_AUTHORITY", 0x80090311, 0xC00000B5, 13 << 16)
    NOT_AUTHORIZED = ("SEC_E_LOGON_DENIED", 0x8009030C, 0xC0000022, 15 << 16)
    INTERNAL = ("SEC_E_INTERNAL_ERROR", 0x80090304, 0xC00000E5, 13 << 16)
    # Established contexts
    MESSAGE_ALTERED = ("SEC_E_MESSAGE_ALTERED", 0x8009030F, 0xC000A000, 6 << 16)
    OUT_OF_SEQUENCE = ("SEC_E_OUT_OF_SEQUENCE", 0x80090310, 0xC000042B, 8)
    NOT_ENCRYPTED = ("SEC_E_DECRYPT_FAILURE", 0x80090330, 0xC000028B, 14 << 16)
    CONTEXT_EXPIRED = ("SEC_E_CONTEXT_EXPIRED", 0x80090317, 0xC0000350, 12 << 16)
    TRUNCATED = ("SEC_E_INCOMPLETE_MESSAGE", 0x80090318, 0xC0000011, 9 << 16)
    # TLS and certificates
    CERTIFICATE_EXPIRED = ("SEC_E_CERT_EXPIRED", 0x80090328, 0xC0000381, 11 << 16)
    CERTIFICATE_UNTRUSTED = ("SEC_E_UNTRUSTED_ROOT", 0x80090325, 0xC000035F, 13 << 16)
    CERTIFICATE_REVOKED = ("CRYPT_E_REVOKED", 0x80092010, 0xC0000383, 13 << 16)
    CERTIFICATE_NAME = ("CERT_E_CN_NO_MATCH", 0x800B010F, 0xC0000225, 2 << 16)
    CERTIFICATE_USAGE = ("CERT_E_WRONG_USAGE", 0x800B0110, 0xC0000380, 13 << 16)
    CERTIFICATE_UNKNOWN = ("SEC_E_CERT_UNKNOWN", 0x80090327, 0xC0000380, 13 << 16)
    CERTIFICATE_REQUIRED = ("SEC_E_INCOMPLETE_CREDENTIALS", 0x80090320, 0xC000005F, 7 << 16)
    REVOCATION_UNKNOWN = ("CRYPT_E_REVOCATION_OFFLINE", 0x80092013, 0xC0000382, 13 << 16)
    ALGORITHM_MISMATCH = ("SEC_E_ALGORITHM_MISMATCH", 0x80090331, 0xC0000321, 14 << 16)
    ILLEGAL_MESSAGE = ("SEC_E_ILLEGAL_MESSAGE", 0x80090326, 0xC000000D, 9 << 16)
    ALPN_MISMATCH = ("SEC_E_APPLICATION_PROTOCOL_MISMATCH", 0x80090367, 0xC00000BB, 1 << 16)

    def __new__(cls, sspi: str, hresult: int, ntstatus: int, gss: int) -> Self:
        """Number the members, since several share all their codes."""
        kind = object.__new__(cls)
        kind._value_ = len(cls.__members__)
        kind.sspi, kind.hresult, kind.ntstatus, kind.gss = sspi, hresult, ntstatus, gss
        return kind


class SecureStreamError(Exception):
    """Base of every exception that this project raises on purpose.

    The message says what to do next and never holds a secret: no password, hash, key or token.
    """

    negotiation: Negotiation | None = None
    """What became of each mechanism, where one was negotiated before the handshake failed."""


class UsageError(SecureStreamError):
    """A call made in the wrong state or with arguments that cannot work; the caller's own mistake."""


class MalformedMessage(SecureStreamError):
    """Octets that are no well-formed message. Decoders raise it; the machine turns it into `InvalidToken`."""


class HandshakeError(SecureStreamError):
    """A handshake failed. The only exception that a peer's octets may cause before establishment.

    Args:
        message: what went wrong and what to do next; no secret.
        kind: the standard codes; each subclass has its own default.
        token: what is still owed to the peer (an error token of the mechanism), or `None`.
        told: the kind that the peer is told in place of `kind`, where the two must not be told apart from outside.
    """

    default_kind: ClassVar[ErrorKind] = ErrorKind.INVALID_TOKEN

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind | None = None,
        token: bytes | None = None,
        told: ErrorKind | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: ErrorKind = self.default_kind if kind is None else kind
        self.token: bytes | None = token
        self.told: ErrorKind | None = told


class InvalidToken(HandshakeError):
    """The peer's token is malformed, out of order, too large or damaged."""


class LogonDenied(HandshakeError):
    """The credential was not accepted; deliberately silent about which part was wrong."""

    default_kind = ErrorKind.LOGON_DENIED


class NotAuthorized(HandshakeError):
    """The peer proved who it is, and policy does not admit it."""

    default_kind = ErrorKind.NOT_AUTHORIZED


class BadBindings(HandshakeError):
    """The channel bindings of the two ends differ, or are absent where policy wants them (RFC 2744 3.11)."""

    default_kind = ErrorKind.BAD_BINDINGS


class TimeSkew(HandshakeError):
    """The clocks of the two ends, or of a KDC, are too far apart."""

    default_kind = ErrorKind.TIME_SKEW


class NoAuthority(HandshakeError):
    """No authority (KDC, domain controller) could be reached for a decision."""

    default_kind = ErrorKind.NO_AUTHORITY


class NoAuthorityKnown(NoAuthority):
    """No realm was named or configured, or none of its authorities is known: there was nobody to ask.

    Not raised for an authority that is known and does not answer, nor for a realm that was configured: whoever blocks
    the way to it must not gain anything by that (SECURITY: Negotiate).
    """


class Replay(HandshakeError):
    """A token that must be used once was used before."""

    default_kind = ErrorKind.REPLAY


class NoCommonMechanism(HandshakeError):
    """The two ends share no mechanism that policy allows, or none that can be used is left.

    Args:
        message: names every mechanism, with the sentence why it was passed over.
        kind: that of the first mechanism's failure, where there was one.
        token: as for `HandshakeError`.
        negotiation: the same as a value.
    """

    default_kind = ErrorKind.NO_COMMON_MECHANISM

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind | None = None,
        token: bytes | None = None,
        negotiation: Negotiation | None = None,
    ) -> None:
        super().__init__(message, kind=kind, token=token)
        self.negotiation = negotiation


class Downgrade(HandshakeError):
    """Somebody removed a stronger choice on the way, or it cannot be proved that nobody did."""

    default_kind = ErrorKind.DOWNGRADE


class Unsupported(HandshakeError):
    """What was asked for is not there: an option, a flag, a capability of an engine."""

    default_kind = ErrorKind.UNSUPPORTED


class NoCredentials(HandshakeError):
    """There is no credential, or not one of a kind that the package can use."""

    default_kind = ErrorKind.NO_CREDENTIALS


class TargetUnknown(HandshakeError):
    """The target is not known, or is not the one that the acceptor serves."""

    default_kind = ErrorKind.TARGET_UNKNOWN


class QualityNotMet(HandshakeError):
    """The established context protects less than was required (SECURITY: what was asked is what runs)."""

    default_kind = ErrorKind.QUALITY_NOT_MET


class LimitExceeded(HandshakeError):
    """A limit on octets, legs or concurrent work was reached before authentication."""

    default_kind = ErrorKind.LIMIT_EXCEEDED


class HandshakeTimeout(HandshakeError):
    """The handshake, with everything it waited for, took longer than allowed."""

    default_kind = ErrorKind.TIMED_OUT


class CertificateRejected(HandshakeError):
    """A certificate, or its absence, was refused; `kind` says why (expired, name, revoked, ...)."""

    default_kind = ErrorKind.CERTIFICATE_UNKNOWN


class InternalFailure(HandshakeError):
    """What the peer is told when a bug ended the handshake; the bug itself is raised as it is."""

    default_kind = ErrorKind.INTERNAL


class ServiceFailed(HandshakeError):
    """A performer could not do its work (`OSError`, time-out).

    Thrown into the handshake, which may try elsewhere.

    Args:
        message: what failed, without a secret.
        effect: the type of the effect whose performer failed.
    """

    default_kind = ErrorKind.SERVICE_FAILED

    def __init__(
        self,
        message: str,
        effect: type[object] | None = None,
        *,
        kind: ErrorKind | None = None,
        token: bytes | None = None,
    ) -> None:
        super().__init__(message, kind=kind, token=token)
        self.effect = effect


class PeerRefused(SecureStreamError):
    """The peer sent an error. Nothing is owed to it.

    Args:
        message: what the peer said, translated, and what to do next.
        kind: the nearest of our kinds.
        code: the number as received (HRESULT, NTSTATUS, Win32 code or TLS alert), or `None`.
    """

    def __init__(self, message: str, *, kind: ErrorKind = ErrorKind.LOGON_DENIED, code: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.code = code


class PeerGone(SecureStreamError):
    """The peer ended its stream before the handshake was complete. Nothing is owed to it."""

    kind = ErrorKind.INVALID_TOKEN


class ContextError(SecureStreamError):
    """An established security context refused a message."""

    kind: ClassVar[ErrorKind] = ErrorKind.MESSAGE_ALTERED


class BadSignature(ContextError):
    """The message was altered on its way, or was not made by the peer."""


class OutOfSequence(ContextError):
    """The message is a duplicate, old, or does not follow the one before it."""

    kind = ErrorKind.OUT_OF_SEQUENCE


class NotEncrypted(ContextError):
    """Data came in clear where encryption was required."""

    kind = ErrorKind.NOT_ENCRYPTED


class ContextExpired(ContextError):
    """The security context has ended: closed, exported, beyond its lifetime, or inherited through a fork."""

    kind = ErrorKind.CONTEXT_EXPIRED


class FramingError(SecureStreamError):
    """The carrier is broken: a bad frame id, a length over the limit, an end inside a frame."""

    kind: ClassVar[ErrorKind] = ErrorKind.INVALID_TOKEN


class Truncated(FramingError):
    """The stream ended where more was due: inside a frame, or without TLS's close_notify (RFC 8446 6.1)."""

    kind = ErrorKind.TRUNCATED


class MissingService(SecureStreamError):
    """Nobody performs this effect; register a performer on the `Services` in use.

    Args:
        effect: the type of the effect.
    """

    def __init__(self, effect: type[object]) -> None:
        super().__init__(f"nobody performs {effect.__name__}: register a performer for it on your Services")
        self.effect = effect


def kind_from_hresult(code: int) -> ErrorKind | None:
    """The kind whose HRESULT is `code` (unsigned 32 bits), or `None`."""
    return next((kind for kind in ErrorKind if kind.hresult == code), None)


def kind_of(error: BaseException) -> ErrorKind:
    """The kind of any exception: its own where it is one of ours, else `ErrorKind.INTERNAL`."""
    kind = getattr(error, "kind", None)
    return kind if isinstance(kind, ErrorKind) else ErrorKind.INTERNAL


def lies_at_this_end(error: BaseException) -> bool:
    """Whether this end is set up so that it can authenticate nobody: no credential for it, or a service that failed.
    Whoever runs a server has to see it, however little the log shows.
    """
    return kind_of(error) in (ErrorKind.NO_CREDENTIALS, ErrorKind.SERVICE_FAILED) and not isinstance(error, PeerRefused)
