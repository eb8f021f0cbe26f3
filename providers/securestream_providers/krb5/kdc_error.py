"""KRB-ERROR in words: an exception of our family for each code, with a sentence that says what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final

from securestream.errors import (
    ErrorKind,
    HandshakeError,
    LogonDenied,
    MalformedMessage,
    NoAuthority,
    NotAuthorized,
    TargetUnknown,
    TimeSkew,
    Unsupported,
)
from securestream.wire import der
from securestream_providers.krb5.messages import KrbError, MethodData, PaData, TypedData
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode

_LONGEST_TEXT: Final = 200
_EXTENDED: Final = 3
"""KERB_ERR_TYPE_EXTENDED ([MS-KILE] 2.2.2)."""

_STATUSES: Final = {
    0xC000006F: "not at this hour",
    0xC0000070: "not from this machine",
    0xC0000071: "the password has expired",
    0xC0000072: "the account is disabled",
    0xC0000193: "the account has expired",
    0xC0000224: "the password must be changed first",
    0xC0000234: "the account is locked out",
}
"""What an NTSTATUS of a logon means ([MS-ERREF] 2.3.1)."""

_PREAUTH_CODES: Final = (
    ErrorCode.PREAUTH_REQUIRED,
    ErrorCode.PREAUTH_FAILED,
    ErrorCode.MORE_PREAUTH_DATA_REQUIRED,
    ErrorCode.PREAUTH_EXPIRED,
)


class KdcRefused(HandshakeError):
    """A KDC answered with an error. Nothing in it is authenticated unless it came inside FAST.

    Args:
        message: what it means and what to do next.
        code: the error code as received, an `ErrorCode` where it is known.
        error: the KRB-ERROR itself.
    """

    def __init__(self, message: str, code: int = 0, error: KrbError | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.error = error


class KdcLogonDenied(KdcRefused, LogonDenied):
    """The client is unknown, locked or revoked, or its password is wrong."""


class PasswordExpired(KdcLogonDenied):
    """The client's password must be changed first."""


class KdcTimeSkew(KdcRefused, TimeSkew):
    """The clocks of client and KDC are too far apart."""


class KdcTargetUnknown(KdcRefused, TargetUnknown):
    """The KDC does not know the service."""


class KdcUnsupported(KdcRefused, Unsupported):
    """The KDC and the client share no encryption type, or the KDC cannot do what was asked."""


class KdcNotAuthorized(KdcRefused, NotAuthorized):
    """The KDC's policy forbids it."""


class KdcUnavailable(KdcRefused, NoAuthority):
    """The KDC cannot answer now."""


_SENTENCES: Final[dict[int, tuple[type[KdcRefused], str]]] = {
    ErrorCode.NAME_EXP: (KdcLogonDenied, "the account {client} has expired; ask the realm's administrator"),
    ErrorCode.SERVICE_EXP: (KdcTargetUnknown, "the service {server} has expired; ask the realm's administrator"),
    ErrorCode.C_PRINCIPAL_UNKNOWN: (
        KdcLogonDenied,
        "the KDC of {realm} does not know {client}; check the name and the realm (upper case counts)",
    ),
    ErrorCode.S_PRINCIPAL_UNKNOWN: (
        KdcTargetUnknown,
        "the KDC of {realm} does not know the service {server}; check the target's name, or create that principal",
    ),
    ErrorCode.PRINCIPAL_NOT_UNIQUE: (
        KdcTargetUnknown,
        "several accounts of {realm} have the name that was asked for; have the duplicate of {server} removed",
    ),
    ErrorCode.NULL_KEY: (KdcLogonDenied, "{client} or {server} has no key; ask the realm's administrator to set one"),
    ErrorCode.CANNOT_POSTDATE: (KdcNotAuthorized, "the KDC of {realm} gives no postdated tickets"),
    ErrorCode.NEVER_VALID: (
        KdcTimeSkew,
        "the KDC of {realm} would give a ticket that is never valid: check this machine's clock and the lifetime asked",
    ),
    ErrorCode.POLICY: (
        KdcNotAuthorized,
        "the policy of {realm} forbids {client} a ticket for {server}; ask the realm's administrator",
    ),
    ErrorCode.BADOPTION: (
        KdcNotAuthorized,
        "the KDC of {realm} gives no such ticket for {server}: ticket or account do not allow what was asked",
    ),
    ErrorCode.ETYPE_NOSUPP: (
        KdcUnsupported,
        "the KDC of {realm} has no key of a type that we allow for {client} or {server}; set AES keys there",
    ),
    ErrorCode.SUMTYPE_NOSUPP: (KdcUnsupported, "the KDC of {realm} does not support our checksum type"),
    ErrorCode.PADATA_TYPE_NOSUPP: (KdcUnsupported, "the KDC of {realm} wants another pre-authentication than ours"),
    ErrorCode.TRTYPE_NOSUPP: (KdcUnsupported, "the KDC of {realm} does not support the path of realms to {server}"),
    ErrorCode.CLIENT_REVOKED: (
        KdcLogonDenied,
        "the account {client} is locked out, disabled or expired; ask the realm's administrator",
    ),
    ErrorCode.SERVICE_REVOKED: (KdcTargetUnknown, "the service {server} is disabled; ask the realm's administrator"),
    ErrorCode.TGT_REVOKED: (KdcLogonDenied, "the KDC of {realm} no longer takes our ticket; log on again (kinit)"),
    ErrorCode.CLIENT_NOTYET: (KdcLogonDenied, "the account {client} is not valid yet"),
    ErrorCode.SERVICE_NOTYET: (KdcTargetUnknown, "the service {server} is not valid yet"),
    ErrorCode.KEY_EXPIRED: (PasswordExpired, "the password of {client} has expired; change it (kpasswd)"),
    ErrorCode.PREAUTH_FAILED: (KdcLogonDenied, "the KDC of {realm} did not accept the password or key of {client}"),
    ErrorCode.PREAUTH_REQUIRED: (
        KdcLogonDenied,
        "the KDC of {realm} wants another pre-authentication of {client} than we can give",
    ),
    ErrorCode.SERVER_NOMATCH: (KdcNotAuthorized, "the ticket presented is of another service than {server}"),
    ErrorCode.MUST_USE_USER2USER: (
        KdcTargetUnknown,
        "{server} has no key of its own: ask for a user-to-user ticket, with its ticket-granting ticket",
    ),
    ErrorCode.PATH_NOT_ACCEPTED: (KdcNotAuthorized, "the KDC of {realm} does not trust the path of realms to it"),
    ErrorCode.SVC_UNAVAILABLE: (KdcUnavailable, "the KDC of {realm} cannot answer now; try again later"),
    ErrorCode.AP_BAD_INTEGRITY: (
        KdcLogonDenied,
        "the KDC of {realm} cannot decrypt our ticket; log on again (kinit)",
    ),
    ErrorCode.AP_TKT_EXPIRED: (
        KdcLogonDenied,
        "the ticket of {client} has expired by the clock of the KDC of {realm}; log on again (kinit)",
    ),
    ErrorCode.AP_TKT_NYV: (KdcTimeSkew, "the ticket is not valid yet: check this machine's clock"),
    ErrorCode.AP_REPEAT: (KdcRefused, "the KDC of {realm} takes the request for a replay; try again"),
    ErrorCode.AP_NOT_US: (KdcTargetUnknown, "the ticket is for another KDC than that of {realm}"),
    ErrorCode.AP_SKEW: (
        KdcTimeSkew,
        "this machine's clock and that of the KDC of {realm} differ by {skew} seconds; set the clock right",
    ),
    ErrorCode.AP_BADADDR: (KdcRefused, "the ticket is bound to other addresses; get one without (kinit)"),
    ErrorCode.AP_MODIFIED: (KdcRefused, "the request was altered on its way to the KDC of {realm}"),
    ErrorCode.AP_BADKEYVER: (
        KdcTargetUnknown,
        "the key of the ticket is gone at {realm}; log on again (kinit)",
    ),
    ErrorCode.AP_INAPP_CKSUM: (KdcUnsupported, "the KDC of {realm} does not accept our checksum type"),
    ErrorCode.RESPONSE_TOO_BIG: (KdcUnavailable, "the reply of {realm} is too large for UDP: allow TCP to its KDC"),
    ErrorCode.FIELD_TOOLONG: (KdcUnavailable, "the KDC of {realm} takes no requests of that length"),
    ErrorCode.NO_TGT: (KdcTargetUnknown, "{server} sent no ticket-granting ticket for a user-to-user exchange"),
    ErrorCode.WRONG_REALM: (KdcLogonDenied, "{client} is of another realm than {realm}"),
    ErrorCode.PREAUTH_EXPIRED: (KdcLogonDenied, "the pre-authentication took too long; try again"),
    ErrorCode.MORE_PREAUTH_DATA_REQUIRED: (
        KdcLogonDenied,
        "the KDC of {realm} wants a further step of pre-authentication that we do not know",
    ),
}


_KINDS: Final[dict[int, ErrorKind]] = {
    ErrorCode.C_PRINCIPAL_UNKNOWN: ErrorKind.UNKNOWN_CREDENTIALS,
    ErrorCode.NULL_KEY: ErrorKind.UNSUPPORTED,
    ErrorCode.AP_TKT_EXPIRED: ErrorKind.CONTEXT_EXPIRED,
}
"""Refusals that do not say that a password is wrong: client, key or ticket mean nothing to this KDC."""


def refusal(
    error: KrbError,
    *,
    client: KerberosName | None = None,
    server: KerberosName | None = None,
    realm: str = "",
    now: datetime | None = None,
) -> KdcRefused:
    """The exception of a KRB-ERROR, to be raised.

    Args:
        error: as received.
        client: who asked; by default whom the error names.
        server: for what; by default what the error names.
        realm: whose KDC answered.
        now: our time, for the skew.
    """
    if client is None and error.cname is not None:
        client = KerberosName.of(error.cname, error.crealm or "")
    if server is None:
        server = KerberosName.of(error.sname, error.realm)
    kind, sentence = _SENTENCES.get(error.error_code, (KdcRefused, "the KDC of {realm} refused ({name})"))
    skew = 0 if now is None else round((server_time(error) - now).total_seconds())
    text = sentence.format(
        client=client or "the client",
        server=server,
        realm=realm or error.realm,
        skew=f"{skew:+d}",
        name=code_name(error.error_code),
    )
    told = _shown(error.e_text) or _STATUSES.get(extended_status(error) or 0, "")
    failure = kind(f"{text} [{told}]" if told else text, error.error_code, error)
    failure.kind = _KINDS.get(error.error_code, failure.kind)
    return failure


@dataclass(frozen=True)
class KerbErrorData(der.Message):
    """KERB-ERROR-DATA, Active Directory's e-data ([MS-KILE] 2.2.2)."""

    data_type: Annotated[int, der.explicit(1), der.INT32]
    data_value: Annotated[bytes | None, der.explicit(2)] = None


def extended_status(error: KrbError) -> int | None:
    """The NTSTATUS that Active Directory adds to an error ([MS-KILE] 2.2.1), or `None`."""
    if not error.e_data:
        return None
    try:
        found = KerbErrorData.decode(error.e_data)
    except MalformedMessage:
        return None
    if found.data_type != _EXTENDED or found.data_value is None or len(found.data_value) < 4:
        return None
    return int.from_bytes(found.data_value[:4], "little")


def code_name(code: int) -> str:
    """The name of an error code, as in logs; unknown ones by number."""
    try:
        return f"error {code}, {ErrorCode(code).name}"
    except ValueError:
        return f"error {code}"


def server_time(error: KrbError) -> datetime:
    """The KDC's clock as an error states it, which nobody authenticated."""
    return error.stime + timedelta(microseconds=error.susec)


def method_data(error: KrbError) -> tuple[PaData, ...]:
    """The padata in the e-data of an error, whether METHOD-DATA or TYPED-DATA; empty where it holds neither.

    Raises:
        MalformedMessage: the code says that there is METHOD-DATA, and there is something else.
    """
    if not error.e_data:
        return ()
    try:
        return MethodData.decode(error.e_data).elements
    except MalformedMessage:
        try:
            typed = TypedData.decode(error.e_data).elements
        except MalformedMessage:
            if error.error_code in _PREAUTH_CODES:
                raise MalformedMessage("the e-data of a KDC's error is no METHOD-DATA") from None
            return ()  # a text, or a vendor's structure such as KERB-ERROR-DATA
    return tuple(PaData(element.data_type, element.data_value or b"") for element in typed)


def padata_types(padata: Sequence[PaData]) -> frozenset[int]:
    """The types that are offered."""
    return frozenset(element.padata_type for element in padata)


def _shown(text: str | None) -> str:
    """The text that a KDC adds, fit for one line: it comes from a stranger."""
    shown = "".join(character for character in (text or "")[:_LONGEST_TEXT] if character.isprintable())
    return shown.strip()
