"""Messages of the password service: requests and replies of version 1 and of RFC 3244, in both directions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Final

from securestream.errors import MalformedMessage
from securestream.redaction import Redacted
from securestream.wire import der
from securestream.wire.cursor import Cursor
from securestream_providers.krb5.messages import KerberosString, PrincipalName

CHANGE: Final = 1
"""Version of a request that holds the new password alone; of every reply, too."""

SET: Final = 0xFF80
"""Version of a request that holds a `ChangePasswdData` (RFC 3244 2)."""


class PasswordResult(IntEnum):
    """Result codes (RFC 3244 2)."""

    SUCCESS = 0
    MALFORMED = 1
    HARD_ERROR = 2
    AUTH_ERROR = 3
    SOFT_ERROR = 4
    ACCESS_DENIED = 5
    BAD_VERSION = 6
    INITIAL_FLAG_NEEDED = 7


@dataclass(frozen=True, repr=False)
class ChangePasswdData(Redacted, der.Message):
    """ChangePasswdData: a password, and whose it becomes (RFC 3244 2)."""

    new_password: Annotated[bytes, der.explicit(0)] = field(repr=False)
    target_name: Annotated[PrincipalName | None, der.explicit(1)] = None
    target_realm: Annotated[KerberosString | None, der.explicit(2)] = None


@dataclass(frozen=True, repr=False)
class PasswordRequest(Redacted):
    """A request as framed: its version, its AP-REQ and its KRB-PRIV."""

    version: int
    ap_req: bytes
    krb_priv: bytes


@dataclass(frozen=True, repr=False)
class PasswordReply(Redacted):
    """A reply as framed.

    Args:
        ap_rep: the AP-REP; empty where `body` is a KRB-ERROR.
        body: a KRB-PRIV, or a KRB-ERROR.
    """

    ap_rep: bytes
    body: bytes


def frame_request(request: PasswordRequest) -> bytes:
    """A request in octets, without the length that TCP puts in front."""
    return _frame(request.version, request.ap_req, request.krb_priv)


def read_request(octets: bytes) -> PasswordRequest:
    """A request.

    Raises:
        MalformedMessage: its lengths do not fit.
    """
    return PasswordRequest(*_read(octets))


def frame_reply(reply: PasswordReply) -> bytes:
    """A reply in octets."""
    return _frame(CHANGE, reply.ap_rep, reply.body)


def read_reply(octets: bytes) -> PasswordReply:
    """A reply. A bare KRB-ERROR is taken as one, too; Heimdal and Windows send it so.

    Raises:
        MalformedMessage: its lengths or its version do not fit.
    """
    if octets[:1] == b"\x7e":
        return PasswordReply(b"", octets)
    version, ap_rep, body = _read(octets)
    if version not in (CHANGE, SET):
        raise MalformedMessage(f"a password server's reply has the unknown version {version:#06x}")
    return PasswordReply(ap_rep, body)


def frame_result(code: int, text: bytes) -> bytes:
    """The user data of a reply's KRB-PRIV, or the e-data of its KRB-ERROR."""
    return code.to_bytes(2, "big") + text


def read_result(octets: bytes) -> tuple[int, bytes]:
    """The code and the text of a result; the text may be an [MS-SAMR]-like policy structure.

    Raises:
        MalformedMessage: there is no code.
    """
    if len(octets) < 2:
        raise MalformedMessage("the result of a password change has no code")
    return int.from_bytes(octets[:2], "big"), octets[2:]


_POLICY_SIZE: Final = 30
_TICKS_A_DAY: Final = 24 * 60 * 60 * 10_000_000
_COMPLEX: Final = 1


def result_text(text: bytes) -> str:
    """The text of a result for people; the binary policy that Active Directory sends instead is told in words."""
    if len(text) == _POLICY_SIZE and text[:2] == b"\0\0":
        cursor = Cursor(text, "the password policy")
        cursor.skip(2)
        length, history, properties = cursor.u32_be(), cursor.u32_be(), cursor.u32_be()
        cursor.u64_be()
        least_age = cursor.u64_be() // _TICKS_A_DAY
        told = [f"at least {length} characters", f"none of the last {history} passwords"]
        if properties & _COMPLEX:
            told.append("characters of several kinds")
        if least_age:
            told.append(f"changed no more often than every {least_age} days")
        return "the policy asks for " + ", ".join(told)
    return text.decode("utf-8", "replace").strip("\0").strip()


def _frame(version: int, first: bytes, second: bytes) -> bytes:
    size = 6 + len(first) + len(second)
    return b"".join((*(value.to_bytes(2, "big") for value in (size, version, len(first))), first, second))


def _read(octets: bytes) -> tuple[int, bytes, bytes]:
    cursor = Cursor(octets, "the message of a password service")
    if cursor.u16_be() != len(octets):
        raise MalformedMessage("the length of a password service's message is not its own")
    version = cursor.u16_be()
    first = cursor.take(cursor.u16_be())
    return version, first, cursor.rest()
