"""What TLS alerts and OpenSSL's verdicts on certificates mean in our kinds, for every engine."""

from __future__ import annotations

import re
from typing import NamedTuple

from securestream.errors import CertificateRejected, ErrorKind, HandshakeError, PeerRefused


class Alert(NamedTuple):
    """An alert description (RFC 8446 6, RFC 5246 7.2): its number, its name as OpenSSL writes it, our kind."""

    number: int
    name: str
    kind: ErrorKind


ALERTS = (
    Alert(10, "unexpected message", ErrorKind.ILLEGAL_MESSAGE),
    Alert(20, "bad record mac", ErrorKind.MESSAGE_ALTERED),
    Alert(21, "decryption failed", ErrorKind.MESSAGE_ALTERED),
    Alert(22, "record overflow", ErrorKind.ILLEGAL_MESSAGE),
    Alert(30, "decompression failure", ErrorKind.ILLEGAL_MESSAGE),
    Alert(40, "handshake failure", ErrorKind.ALGORITHM_MISMATCH),
    Alert(41, "no certificate", ErrorKind.CERTIFICATE_REQUIRED),
    Alert(42, "bad certificate", ErrorKind.CERTIFICATE_UNKNOWN),
    Alert(43, "unsupported certificate", ErrorKind.CERTIFICATE_USAGE),
    Alert(44, "certificate revoked", ErrorKind.CERTIFICATE_REVOKED),
    Alert(45, "certificate expired", ErrorKind.CERTIFICATE_EXPIRED),
    Alert(46, "certificate unknown", ErrorKind.CERTIFICATE_UNKNOWN),
    Alert(47, "illegal parameter", ErrorKind.ILLEGAL_MESSAGE),
    Alert(48, "unknown ca", ErrorKind.CERTIFICATE_UNTRUSTED),
    Alert(49, "access denied", ErrorKind.NOT_AUTHORIZED),
    Alert(50, "decode error", ErrorKind.ILLEGAL_MESSAGE),
    Alert(51, "decrypt error", ErrorKind.MESSAGE_ALTERED),
    Alert(60, "export restriction", ErrorKind.ALGORITHM_MISMATCH),
    Alert(70, "protocol version", ErrorKind.ALGORITHM_MISMATCH),
    Alert(71, "insufficient security", ErrorKind.ALGORITHM_MISMATCH),
    Alert(80, "internal error", ErrorKind.INTERNAL),
    Alert(86, "inappropriate fallback", ErrorKind.DOWNGRADE),
    Alert(90, "user cancelled", ErrorKind.LOGON_DENIED),
    Alert(100, "no renegotiation", ErrorKind.UNSUPPORTED),
    Alert(109, "missing extension", ErrorKind.ILLEGAL_MESSAGE),
    Alert(110, "unsupported extension", ErrorKind.ILLEGAL_MESSAGE),
    Alert(111, "certificate unobtainable", ErrorKind.CERTIFICATE_UNKNOWN),
    Alert(112, "unrecognized name", ErrorKind.TARGET_UNKNOWN),
    Alert(113, "bad certificate status response", ErrorKind.REVOCATION_UNKNOWN),
    Alert(114, "bad certificate hash value", ErrorKind.CERTIFICATE_UNKNOWN),
    Alert(115, "unknown psk identity", ErrorKind.UNKNOWN_CREDENTIALS),
    Alert(116, "certificate required", ErrorKind.CERTIFICATE_REQUIRED),
    Alert(120, "no application protocol", ErrorKind.ALPN_MISMATCH),
)
DECODE_ERROR = 50
NO_APPLICATION_PROTOCOL = 120

_BY_NAME = {alert.name: alert for alert in ALERTS}
_RECEIVED = re.compile(r"(?:sslv3|tls|tlsv1|tlsv13)[ _](?:alert[ _])?(.+)")
_ADVICE = {
    ErrorKind.CERTIFICATE_REQUIRED: "give a client certificate",
    ErrorKind.CERTIFICATE_UNTRUSTED: "have it trust the authority of our certificate, or send the whole chain",
    ErrorKind.CERTIFICATE_EXPIRED: "renew our certificate",
    ErrorKind.CERTIFICATE_REVOKED: "use a certificate that is not revoked",
    ErrorKind.CERTIFICATE_USAGE: "use a certificate whose extended key usage fits this role",
    ErrorKind.CERTIFICATE_UNKNOWN: "see its log for what it misses in our certificate",
    ErrorKind.ALGORITHM_MISMATCH: "the two ends share no protocol version, cipher or group, or it wants a certificate",
    ErrorKind.ALPN_MISMATCH: "offer an application protocol that it speaks",
    ErrorKind.TARGET_UNKNOWN: "ask for a name that it serves",
}


def received_alert(reason: str) -> Alert | None:
    """The alert that the peer sent, from the text of an OpenSSL error, or `None` when that text is about no alert.

    OpenSSL keeps the reasons 1000 to 1255 for received alerts and begins their text with a protocol version.
    """
    match = _RECEIVED.fullmatch(reason.lower().strip())
    return _BY_NAME.get(match[1].replace("_", " ").replace("canceled", "cancelled")) if match else None


def refused_by_peer(alert: Alert) -> PeerRefused:
    """The error of a received alert."""
    advice = _ADVICE.get(alert.kind)
    message = f"the TLS peer refused: {alert.name} (alert {alert.number})"
    return PeerRefused(f"{message}; {advice}" if advice else message, kind=alert.kind, code=alert.number)


def alert_record(number: int) -> bytes:
    """A fatal alert as a record in clear, for refusals before there are keys (RFC 8446 6)."""
    return bytes((21, 3, 3, 0, 2, 2, number))


# --- verification: X509_V_ERR_* of OpenSSL's x509_vfy.h, whose numbers are part of its API ----------------------------

_EXPIRED = frozenset((9, 10, 13, 14))
_NO_REVOCATION_LIST = frozenset((3, 5, 6, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54, 90, 91))
_UNTRUSTED = frozenset((2, 4, 7, 18, 19, 20, 21, 22, 24, 25, 27, 28, 29, 30, 31, 32, 47, 48, 79))
_NAME = frozenset((62, 63, 64))
_REVOKED = frozenset((23,))
_USAGE = frozenset((26,))
UNSPECIFIED = 1  # X509_V_ERR_UNSPECIFIED
HOSTNAME_MISMATCH = 62

_VERDICTS = (
    (_EXPIRED, ErrorKind.CERTIFICATE_EXPIRED, "is expired or not valid yet: renew it, or set the clock"),
    (_REVOKED, ErrorKind.CERTIFICATE_REVOKED, "is revoked"),
    (
        _NO_REVOCATION_LIST,
        ErrorKind.REVOCATION_UNKNOWN,
        "cannot be checked for revocation: give a current CRL of each authority in its chain",
    ),
    (_NAME, ErrorKind.CERTIFICATE_NAME, "is for another name: connect to a name that it carries"),
    (_USAGE, ErrorKind.CERTIFICATE_USAGE, "is not made for this role: its extended key usage must allow it"),
    (
        _UNTRUSTED,
        ErrorKind.CERTIFICATE_UNTRUSTED,
        "does not lead to a trusted authority: have the one that issued it trusted",
    ),
)


def rejected_certificate(code: int, text: str) -> CertificateRejected:
    """The error of a failed verification.

    Args:
        code: X509_V_ERR_*.
        text: OpenSSL's words for it.
    """
    for codes, kind, advice in _VERDICTS:
        if code in codes:
            return CertificateRejected(f"the peer's certificate {advice} ({text})", kind=kind)
    return CertificateRejected(f"the peer's certificate was refused: {text}")


# --- our own failures ------------------------------------------------------------------------------------------------

_REASONS = (
    (
        "peer did not return a certificate",
        ErrorKind.CERTIFICATE_REQUIRED,
        "the peer sent no certificate, and this end requires one",
    ),
    ("no application protocol", ErrorKind.ALPN_MISMATCH, "the peer offers no application protocol of ours"),
    ("no shared cipher", ErrorKind.ALGORITHM_MISMATCH, "the two ends share no cipher suite"),
    ("no suitable", ErrorKind.ALGORITHM_MISMATCH, "the two ends share no signature algorithm or group"),
    ("unsupported protocol", ErrorKind.ALGORITHM_MISMATCH, "the two ends share no protocol version"),
    ("wrong version number", ErrorKind.ALGORITHM_MISMATCH, "the peer speaks another protocol version, or no TLS"),
    ("version too low", ErrorKind.ALGORITHM_MISMATCH, "the two ends share no protocol version"),
    ("http request", ErrorKind.ILLEGAL_MESSAGE, "the peer speaks HTTP without TLS"),
    ("inappropriate fallback", ErrorKind.DOWNGRADE, "the peer offers less than it can"),
)


def own_failure(reason: str) -> HandshakeError:
    """The error of a handshake that this end broke off.

    Args:
        reason: OpenSSL's words, in lower case with spaces.
    """
    for part, kind, message in _REASONS:
        if part in reason:
            if kind is ErrorKind.CERTIFICATE_REQUIRED:
                return CertificateRejected(message, kind=kind)
            return HandshakeError(f"{message} ({reason})", kind=kind)
    return HandshakeError(f"the TLS handshake is damaged: {reason}", kind=ErrorKind.ILLEGAL_MESSAGE)
