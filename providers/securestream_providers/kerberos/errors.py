"""Error tokens: what an acceptor tells an initiator that it refuses, and what an initiator makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from securestream.errors import ErrorKind, MalformedMessage, PeerRefused
from securestream.wire import der
from securestream_providers.krb5 import gss_token
from securestream_providers.krb5.kdc_error import code_name, server_time
from securestream_providers.krb5.messages import Int32, KrbError, PrincipalName
from securestream_providers.krb5.numbers import ErrorCode, NameType

_EXTENDED: Final = 3
"""KERB_ERR_TYPE_EXTENDED ([MS-KILE] 2.2.1)."""

_SENTENCES: Final[dict[int, tuple[ErrorKind, str]]] = {
    ErrorCode.AP_BAD_INTEGRITY: (
        ErrorKind.UNKNOWN_CREDENTIALS,
        "the service cannot decrypt our ticket: its keytab holds another key than the KDC; have it made anew",
    ),
    ErrorCode.AP_TKT_EXPIRED: (
        ErrorKind.CONTEXT_EXPIRED,
        "our ticket has expired by the service's clock; log on again",
    ),
    ErrorCode.AP_TKT_NYV: (ErrorKind.TIME_SKEW, "our ticket is not valid yet by the service's clock"),
    ErrorCode.AP_REPEAT: (ErrorKind.REPLAY, "the service takes our token for a replay; connect again"),
    ErrorCode.AP_NOT_US: (
        ErrorKind.WRONG_PRINCIPAL,
        "the service does not answer to the name that our ticket is for; check the target's name",
    ),
    ErrorCode.AP_BADMATCH: (ErrorKind.INVALID_TOKEN, "the service finds that ticket and authenticator do not match"),
    ErrorCode.AP_SKEW: (
        ErrorKind.TIME_SKEW,
        "this machine's clock and the service's differ by {skew} seconds; set them right",
    ),
    ErrorCode.AP_BADADDR: (ErrorKind.LOGON_DENIED, "our ticket is bound to other addresses; get one without"),
    ErrorCode.AP_BADKEYVER: (
        ErrorKind.UNKNOWN_CREDENTIALS,
        "the service lacks the key version of our ticket: update its keytab, or log on again for a newer ticket",
    ),
    ErrorCode.AP_NOKEY: (ErrorKind.UNKNOWN_CREDENTIALS, "the service has no key for our ticket; have its keytab made"),
    ErrorCode.AP_PATH_NOT_ACCEPTED: (ErrorKind.LOGON_DENIED, "the service does not trust the realms on our way to it"),
    ErrorCode.AP_INAPP_CKSUM: (ErrorKind.INVALID_TOKEN, "the service does not accept our checksum"),
    ErrorCode.NO_TGT: (ErrorKind.NO_CREDENTIALS, "the service has no ticket of its own for user-to-user"),
}


@dataclass(frozen=True)
class KerbErrorData(der.Message):
    """KERB-ERROR-DATA ([MS-KILE] 2.2.1)."""

    data_type: Annotated[Int32, der.explicit(1)]
    data_value: Annotated[bytes | None, der.explicit(2)] = None


def error_token(
    code: int, now: datetime, realm: str, name: PrincipalName | None, *, raw: bool = False, status: int | None = None
) -> bytes:
    """A KRB-ERROR as a token.

    Args:
        code: an `ErrorCode`.
        now: our clock, which helps a client whose own is wrong.
        realm: of the service.
        name: of the service.
        raw: without the frame of GSS-API, as in DCE style.
        status: an NTSTATUS to state, where the initiator asked for extended errors.
    """
    data = None
    if status is not None:
        data = KerbErrorData(_EXTENDED, status.to_bytes(4, "little") + bytes(4) + b"\1\0\0\0").encode()
    message = KrbError(
        5,
        30,
        None,
        None,
        now.replace(microsecond=0),
        now.microsecond,
        code,
        None,
        None,
        realm,
        name or PrincipalName(NameType.UNKNOWN, ()),
        None,
        data,
    ).encode()
    return message if raw else gss_token.frame(gss_token.ERROR, message)


def refused_by_peer(octets: bytes, now: datetime) -> PeerRefused:
    """The exception for a KRB-ERROR from the acceptor, to be raised. Nothing in it is authenticated.

    Raises:
        MalformedMessage: it is none.
    """
    error = KrbError.decode(octets)
    skew = round((server_time(error) - now).total_seconds())
    kind, sentence = _SENTENCES.get(
        error.error_code, (ErrorKind.LOGON_DENIED, "the service refused our ticket; look at its log")
    )
    text = sentence.format(skew=f"{skew:+d}")
    status = _extended(error)
    more = "" if status is None else f", NTSTATUS 0x{status:08X}"
    return PeerRefused(f"{text} ({code_name(error.error_code)}{more})", kind=kind, code=error.error_code)


def _extended(error: KrbError) -> int | None:
    """The NTSTATUS of an extended error."""
    try:
        data = KerbErrorData.decode(error.e_data or b"")
    except MalformedMessage:
        return None
    if data.data_type != _EXTENDED or data.data_value is None or len(data.data_value) < 4:
        return None
    return int.from_bytes(data.data_value[:4], "little")
