"""A refusal on its way to a KRB-ERROR."""

from __future__ import annotations

from datetime import datetime

from securestream.errors import HandshakeError
from securestream_providers.krb5.messages import PVNO, KrbError, MethodData, PaData, PrincipalName
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import ErrorCode


class Refused(HandshakeError):
    """The KDC refuses a request. What it says goes to the client; it never leaves `Kdc.handle`.

    Args:
        code: the error code.
        text: for people; nothing secret.
        padata: METHOD-DATA for the e-data.
    """

    def __init__(self, code: ErrorCode, text: str = "", padata: tuple[PaData, ...] = ()) -> None:
        super().__init__(text or code.name)
        self.code = code
        self.text = text
        self.padata = padata


def krb_error(
    realm: str,
    now: datetime,
    code: int,
    text: str = "",
    *,
    client: tuple[str, PrincipalName] | None = None,
    server: KerberosName | None = None,
    e_data: bytes | None = None,
) -> bytes:
    """A KRB-ERROR of `realm`'s KDC in octets (RFC 4120 5.9.1)."""
    about = tgs_name(realm) if server is None else server
    return KrbError(
        PVNO,
        30,
        None,
        None,
        now.replace(microsecond=0),
        now.microsecond,
        code,
        None if client is None else client[0],
        None if client is None else client[1],
        realm,
        about.principal_name,
        text or None,
        e_data,
    ).encode()


def method_data(padata: tuple[PaData, ...]) -> bytes | None:
    """METHOD-DATA of an error, or `None` where there is none."""
    return MethodData(padata).encode() if padata else None
