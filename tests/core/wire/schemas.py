"""DER messages for the tests, the fuzzers and the benchmark: Kerberos' own, and others declared here."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, TypeAlias

from securestream.wire import der
from securestream_providers.krb5.messages import (
    ApRep,
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    AuthorizationData,
    AuthorizationElement,
    Checksum,
    EncApRepPart,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    HostAddress,
    KdcReqBody,
    KrbError,
    LastReq,
    PaData,
    PrincipalName,
    TgsReq,
    Ticket,
    TransitedEncoding,
)
from securestream_providers.krb5.numbers import TicketFlags

__all__ = [
    "ApRep",
    "ApReq",
    "AsRep",
    "AsReq",
    "Authenticator",
    "AuthorizationData",
    "AuthorizationElement",
    "Checksum",
    "Colour",
    "EncApRepPart",
    "EncAsRepPart",
    "EncTicketPart",
    "EncryptedData",
    "EncryptionKey",
    "Everything",
    "HostAddress",
    "InitialToken",
    "IssuerHint",
    "KdcReqBody",
    "KrbError",
    "LastReq",
    "NegState",
    "NegTokenInit",
    "NegTokenResp",
    "NegoData",
    "NegotiationToken",
    "PaData",
    "PrincipalName",
    "TgsReq",
    "Ticket",
    "TicketFlags",
    "TransitedEncoding",
    "TsRequest",
]

Oid: TypeAlias = Annotated[str, der.OID]


# RFC 4178, [MS-SPNG] 2.2.1


class NegState(IntEnum):
    ACCEPT_COMPLETED = 0
    ACCEPT_INCOMPLETE = 1
    REJECT = 2
    REQUEST_MIC = 3


@dataclass(frozen=True)
class NegTokenInit(der.Message, tag=der.explicit(0), extensible=True):
    mech_types: Annotated[tuple[Oid, ...], der.explicit(0), der.Size(0, 32)]
    req_flags: Annotated[der.BitString | None, der.explicit(1), der.BITS] = None
    mech_token: Annotated[bytes | None, der.explicit(2)] = None
    hints_or_mic: Annotated[bytes | None, der.explicit(3), der.ANY] = None
    mech_list_mic: Annotated[bytes | None, der.explicit(4)] = None
    mech_types_octets: Annotated[bytes, der.Received("mech_types")] = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True)
class NegTokenResp(der.Message, tag=der.explicit(1)):
    neg_state: Annotated[NegState | int | None, der.explicit(0), der.ENUMERATED] = None
    supported_mech: Annotated[Oid | None, der.explicit(1)] = None
    response_token: Annotated[bytes | None, der.explicit(2)] = None
    mech_list_mic: Annotated[bytes | None, der.explicit(3)] = None


@dataclass(frozen=True)
class NegotiationToken(der.Message, wrapper=True):
    token: NegTokenInit | NegTokenResp


@dataclass(frozen=True)
class InitialToken(der.Message, tag=der.application(0, implicit=True)):
    """RFC 2743 3.1 around a SPNEGO token."""

    mech: Oid
    inner: NegTokenInit


# [MS-CSSP] 2.2.1


@dataclass(frozen=True)
class NegoData(der.Message):
    nego_token: Annotated[bytes, der.explicit(0)]


@dataclass(frozen=True)
class TsRequest(der.Message):
    version: Annotated[int, der.explicit(0), der.Integer(2, 1 << 16)]
    nego_tokens: Annotated[tuple[NegoData, ...] | None, der.explicit(1), der.Size(1, 8)] = None
    auth_info: Annotated[bytes | None, der.explicit(2)] = None
    pub_key_auth: Annotated[bytes | None, der.explicit(3)] = None
    error_code: Annotated[int | None, der.explicit(4), der.Integer(0, 0xFFFFFFFF, wrap=True, signed=True)] = None
    client_nonce: Annotated[bytes | None, der.explicit(5), der.Size(32, 32)] = None


# Everything else a declaration can say


class Colour(IntEnum):
    RED = 1
    BLUE = 200


@dataclass(frozen=True, slots=True)
class IssuerHint(der.Message):
    """An implicit OCTET STRING, as in PKU2U's meta-data token."""

    issuer: Annotated[bytes, der.implicit(0)]


@dataclass(frozen=True, slots=True)
class Everything(der.Message):
    whole: Annotated[bytes, der.Received()] = field(compare=False, repr=False)
    colour: Colour
    truth: Annotated[bool, der.explicit(0), der.Default(False)]
    number: Annotated[int, der.explicit(1), der.Default(7, lenient=True)]
    text: Annotated[str | None, der.implicit(2), der.UTF8_STRING, der.Size(1, 300)]
    nothing: Annotated[der.NullValue | None, der.explicit(3)]
    hints: Annotated[tuple[IssuerHint, ...] | None, der.implicit(4)]
    deep: Annotated[bytes | None, der.explicit(5), der.explicit(6), der.explicit(7)]
    ticket: Annotated[bytes | None, der.explicit(8), der.Raw(Ticket)]
    choice: Annotated[NegTokenInit | NegTokenResp | None, der.explicit(9)]
    big: Annotated[int | None, der.explicit(10), der.Integer(-(1 << 2047), 1 << 2047)]
    private: Annotated[IssuerHint | None, der.Tag(30, "private")]
    extensions: Annotated[tuple[bytes, ...], der.EXTENSIONS] = ()
