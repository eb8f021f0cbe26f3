"""CredSSP messages ([MS-CSSP] 2.2.1, 2.2.2): what travels through the TLS tunnel, and the credentials inside."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Final

from securestream.errors import MalformedMessage
from securestream.redaction import Redacted
from securestream.wire import der

NONCE_SIZE: Final = 32
VERDICT_SIZE: Final = 4
"""Octets of the early user authorization result, little-endian, which is no TSRequest ([MS-RDPBCGR] 2.2.10.2)."""
ADMITTED: Final = (0).to_bytes(VERDICT_SIZE, "little")
DENIED: Final = (5).to_bytes(VERDICT_SIZE, "little")
"""AUTHZ_SUCCESS and AUTHZ_ACCESS_DENIED."""
MAXIMUM_TOKENS: Final = 8
"""Tokens in one TSRequest; everybody sends one."""
MAXIMUM_PACKAGES: Final = 16
"""Supplemental packages of a remote credential guard; Windows sends one."""


@dataclass(frozen=True, repr=False)
class NegoToken(Redacted, der.Message, extensible=True):
    """A token of the negotiation inside ([MS-CSSP] 2.2.1.1)."""

    nego_token: Annotated[bytes, der.explicit(0)] = field(repr=False)


@dataclass(frozen=True, repr=False)
class TSRequest(Redacted, der.Message, extensible=True):
    """Every message of the protocol ([MS-CSSP] 2.2.1).

    Args:
        version: the sender's own version, 2 to 6, whatever the peer's is.
        nego_tokens: a token of the negotiation.
        auth_info: wrapped `TSCredentials`.
        pub_key_auth: the wrapped proof that both ends see the same TLS key.
        error_code: an NTSTATUS; signed on the wire, by `ntstatus` unsigned.
        client_nonce: 32 octets, from version 5 on.
    """

    version: Annotated[int, der.explicit(0), der.Integer(0, 0x7FFFFFFF)]
    nego_tokens: Annotated[tuple[NegoToken, ...] | None, der.explicit(1), der.Size(1, MAXIMUM_TOKENS)] = field(
        default=None, repr=False
    )
    auth_info: Annotated[bytes | None, der.explicit(2)] = field(default=None, repr=False)
    pub_key_auth: Annotated[bytes | None, der.explicit(3)] = field(default=None, repr=False)
    error_code: Annotated[int | None, der.explicit(4), der.Integer(-(1 << 31), (1 << 32) - 1)] = None
    client_nonce: Annotated[bytes | None, der.explicit(5)] = field(default=None, repr=False)

    @property
    def ntstatus(self) -> int:
        """The error as an unsigned number; 0 for none."""
        return 0 if self.error_code is None else self.error_code & 0xFFFFFFFF

    @property
    def token(self) -> bytes | None:
        """The one token of the negotiation, or `None`.

        Raises:
            MalformedMessage: there are several.
        """
        if self.nego_tokens is None:
            return None
        if len(self.nego_tokens) != 1:
            raise MalformedMessage("a TSRequest carries one token of the negotiation at a time")
        return self.nego_tokens[0].nego_token


def signed_ntstatus(code: int) -> int:
    """An NTSTATUS as the signed INTEGER that is sent."""
    return code - (1 << 32) if code >> 31 else code


class CredentialType(IntEnum):
    """Which structure `TSCredentials` carries ([MS-CSSP] 2.2.1.2)."""

    PASSWORD = 1
    SMART_CARD = 2
    REMOTE_GUARD = 6


@dataclass(frozen=True, repr=False)
class TSCredentials(Redacted, der.Message, extensible=True):
    """What is delegated ([MS-CSSP] 2.2.1.2)."""

    cred_type: Annotated[CredentialType | int, der.explicit(0), der.Integer(0, 0x7FFFFFFF)]
    credentials: Annotated[bytes, der.explicit(1)] = field(repr=False)


@dataclass(frozen=True, repr=False)
class TSPasswordCreds(Redacted, der.Message, extensible=True):
    """A name and its password, each UTF-16LE without a terminator ([MS-CSSP] 2.2.1.2.1)."""

    domain_name: Annotated[bytes, der.explicit(0)]
    user_name: Annotated[bytes, der.explicit(1)]
    password: Annotated[bytes, der.explicit(2)] = field(repr=False)


@dataclass(frozen=True, repr=False)
class TSCspDataDetail(Redacted, der.Message, extensible=True):
    """Where the key of a smart card is; texts in UTF-16LE ([MS-CSSP] 2.2.1.2.2.1)."""

    key_spec: Annotated[int, der.explicit(0), der.UINT32]
    card_name: Annotated[bytes | None, der.explicit(1)] = None
    reader_name: Annotated[bytes | None, der.explicit(2)] = None
    container_name: Annotated[bytes | None, der.explicit(3)] = None
    csp_name: Annotated[bytes | None, der.explicit(4)] = None


@dataclass(frozen=True, repr=False)
class TSSmartCardCreds(Redacted, der.Message, extensible=True):
    """A smart card and its PIN; texts in UTF-16LE ([MS-CSSP] 2.2.1.2.2)."""

    pin: Annotated[bytes, der.explicit(0)] = field(repr=False)
    csp_data: Annotated[TSCspDataDetail, der.explicit(1)]
    user_hint: Annotated[bytes | None, der.explicit(2)] = None
    domain_hint: Annotated[bytes | None, der.explicit(3)] = None


@dataclass(frozen=True, repr=False)
class TSRemoteGuardPackageCred(Redacted, der.Message, extensible=True):
    """What a package at the server needs to ask its fellow at the client ([MS-CSSP] 2.2.1.2.3.1)."""

    package_name: Annotated[bytes, der.explicit(0)]
    cred_buffer: Annotated[bytes, der.explicit(1)] = field(repr=False)


@dataclass(frozen=True, repr=False)
class TSRemoteGuardCreds(Redacted, der.Message, extensible=True):
    """Credentials that stay at the client, with the means to use them ([MS-CSSP] 2.2.1.2.3)."""

    logon_cred: Annotated[TSRemoteGuardPackageCred, der.explicit(0)]
    supplemental_creds: Annotated[
        tuple[TSRemoteGuardPackageCred, ...] | None, der.explicit(1), der.Size(0, MAXIMUM_PACKAGES)
    ] = None
