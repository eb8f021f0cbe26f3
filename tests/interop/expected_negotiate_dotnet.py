"""NegotiateStream three ways: the cases, what .NET comes to with itself, and what differs with ours, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.interop.matrix import Cell, cells
from tests.interop.negotiate_dotnet_ends import Case, End

TABLE: Final = "Negotiate, NegotiateStream"

SIZES: Final = (0, 1, 64512, 64513, 10_000_000)
"""What is sent and echoed in turn; 64512 octets fill a frame."""

_HALF: Final = 3_000_000

CASES: Final[Mapping[str, tuple[Case, str]]] = {
    "Kerberos, EncryptAndSign": (Case("Kerberos", sizes=SIZES), "sealed, mutual, Identification"),
    "Kerberos, Sign": (Case("Kerberos", "Sign", sizes=SIZES), "sealed, mutual, Identification"),
    "Kerberos, None": (Case("Kerberos", "None", sizes=SIZES), "bare, Identification"),
    "NTLM by fallback, EncryptAndSign": (Case("NTLM by fallback", sizes=SIZES), "sealed, Identification"),
    "NTLM by fallback, Sign": (Case("NTLM by fallback", "Sign", sizes=SIZES), "signed, Identification"),
    "NTLM by fallback, None": (Case("NTLM by fallback", "None", sizes=SIZES), "bare, Identification"),
    "NTLM only, EncryptAndSign": (Case("NTLM only", sizes=SIZES), "sealed, Identification"),
    "NTLM only, Sign": (Case("NTLM only", "Sign", sizes=SIZES), "signed, Identification"),
    "NTLM only, None": (Case("NTLM only", "None", sizes=SIZES), "bare, Identification"),
    "tickets alone, None": (Case("tickets", "None"), "failed here: 0x80090302"),
    "NTLM, wrong password": (Case("NTLM only", wrong=True), "refused by the peer: 0x80090304"),
    "NTLM, None, wrong password": (Case("NTLM only", "None", wrong=True), "refused by the peer: 0x80090304"),
    "Kerberos, wrong password": (Case("Kerberos", wrong=True), "refused by the peer: 0x80090304"),
    "tickets alone, unknown target": (Case("tickets, unknown target"), "failed here: 0x80090304"),
    "NTLM, Sign where more is demanded": (Case("NTLM only", "Sign", "EncryptAndSign"), "refused by the peer: 0x6fe"),
    "NTLM, None where more is demanded": (Case("NTLM only", "None", "Sign"), "refused by the peer: 0x6fe"),
    "Kerberos, Sign where more is demanded": (
        Case("Kerberos", "Sign", "EncryptAndSign"),
        "sealed, mutual, Identification",
    ),
    "Kerberos, None where more is demanded": (Case("Kerberos", "None", "Sign"), "refused by the peer: 0x6fe"),
    "NTLM, more than is demanded": (Case("NTLM only", "EncryptAndSign", "None"), "sealed, Identification"),
    "Kerberos, more than is demanded": (Case("Kerberos", "EncryptAndSign", "Sign"), "sealed, mutual, Identification"),
    "identification where impersonation is demanded": (
        Case("tickets", required="Impersonation"),
        "refused by the peer: 0x6fe",
    ),
    "impersonation": (
        Case("tickets", allowed="Impersonation", required="Impersonation"),
        "sealed, mutual, Impersonation",
    ),
    "impersonation where delegation is demanded": (
        Case("tickets", allowed="Impersonation", required="Delegation"),
        "refused by the peer: 0x6fe",
    ),
    "delegation": (Case("tickets", allowed="Delegation", required="Delegation"), "sealed, mutual, Delegation"),
    "NTLM, identification where impersonation is demanded": (
        Case("NTLM only", required="Impersonation"),
        "refused by the peer: 0x6fe",
    ),
    "NTLM, impersonation": (
        Case("NTLM only", allowed="Impersonation", required="Impersonation"),
        "refused by the peer: 0x6fe",
    ),
    "NTLM, delegation": (
        Case("NTLM only", allowed="Delegation", required="Delegation"),
        "refused by the peer: 0x6fe",
    ),
    "NTLM, second attempt": (Case("NTLM only", again=True), "sealed, Identification"),
    "Kerberos, second attempt": (Case("Kerberos", again=True), "sealed, mutual, Identification"),
    "NTLM, half-close": (Case("NTLM only", half_close=_HALF), "sealed, Identification"),
    "Kerberos, half-close": (Case("Kerberos", half_close=_HALF), "sealed, mutual, Identification"),
    "Kerberos, octet by octet": (Case("Kerberos", drip=True), "sealed, mutual, Identification"),
    "NTLM, octet by octet": (Case("NTLM only", drip=True), "sealed, Identification"),
    "NTLM, None, octet by octet": (Case("NTLM only", "None", drip=True), "bare, Identification"),
    "NTLM, None, half-close": (Case("NTLM only", "None", half_close=_HALF), "bare, Identification"),
}
"""Each case, and what .NET's client comes to with .NET's server."""


@dataclass(frozen=True)
class Difference:
    """What is otherwise than between two ends of .NET.

    Args:
        why: the reason.
        values: the values with us, by their name in `Observed`; all others are the same.
    """

    why: str
    values: Mapping[str, object]


_SERVER_REASON: Final = "gss-ntlmssp under .NET has no better code; ours is that of Windows: LOGON_DENIED"
_IDENTIFY: Final = "gss-ntlmssp does not confirm IDENTIFY, so our client does not claim that the server knows its limit"
_UPN: Final = "our client sends the name that it was given, user@realm, as Windows does"
_SIGNED: Final = "MIT krb5 seals at level Sign, too; ours signs in clear, as it was asked"
_INTEGRITY: Final = (
    "our client asks every mechanism in SPNEGO for integrity (SECURITY 18), so data is signed; that of .NET on Linux "
    "sends bare NTLM at level None"
)
_KDC_FIRST: Final = "a password that a KDC has refused is not tried on the server (SECURITY 19)"
_TARGET: Final = "MIT krb5 under .NET has no better code; ours is that of Windows: TARGET_UNKNOWN"
_NTLM_LEVEL: Final = "gss-ntlmssp calls every context one for identification; ours reads the flag of the client"

_KERBEROS: Final = ("c 16 init [Kerberos NTLM] AP-REQ", "s 14 accept-completed [Kerberos] AP-REP")
_LOGON: Final = ("c 16 init [NTLM] NTLM 1", "s 16 accept-incomplete [NTLM] NTLM 2", "c 16 accept-incomplete NTLM 3 MIC")
_NTLM: Final = (*_LOGON, "s 14 accept-completed MIC")
_BARE: Final = ("c 16 bare NTLM 1", "s 16 bare NTLM 2", "c 14 bare NTLM 3")
_DENIED: Final = "s 15 0x8009030c"

_SIGNED_BY_KERBEROS: Final[Mapping[str, object]] = {
    "client": "signed, mutual, Identification",
    "server": "signed, mutual, Identification, alice@MIT.TEST",
    "overhead": (28, 28),
}
_SIGNED_BY_NTLM: Final[Mapping[str, object]] = {
    "client": "signed, Impersonation",
    "server": "signed, Identification, CORP\\alice",
    "frames": _NTLM,
    "overhead": (16, 16),
}
_REFUSED: Final[Mapping[str, object]] = {
    "client": "credential refused by the peer: 0x8009030c",
    "server": "failed here: 0x8009030c",
}
_DONE: Final[Mapping[str, object]] = {"total": (1001, 1001), "ends": ("c", "s")}


def _unconfirmed(cover: str = "sealed") -> Mapping[str, object]:
    return {"client": f"{cover}, Impersonation"}


def _upn(cover: str) -> Mapping[str, object]:
    return {"client": f"{cover}, Impersonation", "server": f"{cover}, Identification, \\alice@MIT.TEST"}


DIFFERENCES: Final[Mapping[tuple[str, End], Difference]] = {
    ("Kerberos, Sign", "ours"): Difference(_SIGNED, _SIGNED_BY_KERBEROS),
    ("Kerberos, None", "ours"): Difference(_INTEGRITY, {**_SIGNED_BY_KERBEROS, "frames": _KERBEROS}),
    ("NTLM by fallback, EncryptAndSign", "ours"): Difference(f"{_UPN}; {_IDENTIFY}", _upn("sealed")),
    ("NTLM by fallback, Sign", "ours"): Difference(f"{_UPN}; {_IDENTIFY}", _upn("signed")),
    ("NTLM by fallback, None", "ours"): Difference(f"{_INTEGRITY}; {_UPN}", {**_SIGNED_BY_NTLM, **_upn("signed")}),
    ("NTLM only, EncryptAndSign", "ours"): Difference(_IDENTIFY, _unconfirmed()),
    ("NTLM only, Sign", "ours"): Difference(_IDENTIFY, _unconfirmed("signed")),
    ("NTLM only, None", "ours"): Difference(_INTEGRITY, _SIGNED_BY_NTLM),
    ("tickets alone, None", "ours"): Difference(
        _INTEGRITY, {**_SIGNED_BY_KERBEROS, **_DONE, "frames": ("c 16 init [Kerberos] AP-REQ", _KERBEROS[1])}
    ),
    ("NTLM, wrong password", ".NET"): Difference(_SERVER_REASON, {**_REFUSED, "frames": (*_LOGON, _DENIED)}),
    ("NTLM, None, wrong password", ".NET"): Difference(_SERVER_REASON, {**_REFUSED, "frames": (*_BARE, _DENIED)}),
    ("NTLM, None, wrong password", "ours"): Difference(_INTEGRITY, {"frames": (*_LOGON, "s 15 0x80090304")}),
    ("Kerberos, wrong password", ".NET"): Difference(_SERVER_REASON, {**_REFUSED, "frames": (*_LOGON, _DENIED)}),
    ("Kerberos, wrong password", "ours"): Difference(
        _KDC_FIRST,
        {
            "client": "failed here: 0x8009030c",
            "server": "credential refused by the peer: 0x8009030c",
            "frames": ("c 15 0x8009030c",),
        },
    ),
    ("tickets alone, unknown target", "ours"): Difference(
        _TARGET,
        {
            "client": "failed here: 0x80090303",
            "server": "refused by the peer: 0x80090303",
            "frames": ("c 15 0x80090303",),
        },
    ),
    ("NTLM, None where more is demanded", "ours"): Difference(_INTEGRITY, {**_SIGNED_BY_NTLM, **_DONE}),
    ("Kerberos, Sign where more is demanded", "ours"): Difference(
        _SIGNED,
        {
            "client": "refused by the peer: 0x6fe",
            "server": "failed here",
            "frames": (_KERBEROS[0], "s 15 0x6fe"),
            "overhead": (None, None),
            "total": (0, 0),
            "ends": (),
        },
    ),
    ("Kerberos, None where more is demanded", "ours"): Difference(
        _INTEGRITY, {**_SIGNED_BY_KERBEROS, **_DONE, "frames": _KERBEROS}
    ),
    ("NTLM, more than is demanded", "ours"): Difference(_IDENTIFY, _unconfirmed()),
    ("NTLM, impersonation", ".NET"): Difference(
        _NTLM_LEVEL,
        {
            **_DONE,
            "client": "sealed, Impersonation",
            "server": "sealed, Impersonation, CORP\\alice",
            "frames": _NTLM,
            "overhead": (16, 16),
        },
    ),
    ("NTLM, second attempt", ".NET"): Difference(_SERVER_REASON, {"frames": (*_LOGON, _DENIED, *_NTLM)}),
    ("NTLM, second attempt", "ours"): Difference(_IDENTIFY, _unconfirmed()),
    ("Kerberos, second attempt", ".NET"): Difference(_SERVER_REASON, {"frames": (*_LOGON, _DENIED, *_KERBEROS)}),
    ("Kerberos, second attempt", "ours"): Difference(_KDC_FIRST, {"frames": ("c 15 0x8009030c", *_KERBEROS)}),
    ("NTLM, half-close", "ours"): Difference(_IDENTIFY, _unconfirmed()),
    ("NTLM, octet by octet", "ours"): Difference(_IDENTIFY, _unconfirmed()),
    ("NTLM, None, octet by octet", "ours"): Difference(_INTEGRITY, _SIGNED_BY_NTLM),
    ("NTLM, None, half-close", "ours"): Difference(_INTEGRITY, _SIGNED_BY_NTLM),
}
"""By the case and whose client it is (the other end is the other's): every difference; there are no others."""

NEGOTIATE_DOTNET: Final[tuple[Cell, ...]] = tuple(cells(TABLE, ".NET", ("client", "server"), CASES))
