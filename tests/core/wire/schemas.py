"""DER messages of RFC 4120, RFC 4178 and [MS-CSSP], declared for the tests, the fuzzers and the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, IntFlag
from typing import Annotated, TypeAlias

from securestream.wire import der

Int32: TypeAlias = Annotated[int, der.INT32]
UInt32: TypeAlias = Annotated[int, der.UINT32]
KerberosString: TypeAlias = Annotated[str, der.GENERAL_STRING]
KerberosFlags: TypeAlias = Annotated[int, der.FLAGS]
Oid: TypeAlias = Annotated[str, der.OID]
Five: TypeAlias = Annotated[int, der.Integer(5, 5)]


@dataclass(frozen=True)
class PrincipalName(der.Message):
    name_type: Annotated[Int32, der.explicit(0)]
    name_string: Annotated[tuple[KerberosString, ...], der.explicit(1), der.Size(0, 32)]


@dataclass(frozen=True)
class EncryptedData(der.Message):
    etype: Annotated[Int32, der.explicit(0)]
    kvno: Annotated[UInt32 | None, der.explicit(1)]
    cipher: Annotated[bytes, der.explicit(2)]


@dataclass(frozen=True)
class EncryptionKey(der.Message):
    keytype: Annotated[Int32, der.explicit(0)]
    keyvalue: Annotated[bytes, der.explicit(1)] = field(repr=False)


@dataclass(frozen=True)
class Checksum(der.Message):
    cksumtype: Annotated[Int32, der.explicit(0)]
    checksum: Annotated[bytes, der.explicit(1)]


@dataclass(frozen=True)
class HostAddress(der.Message):
    addr_type: Annotated[Int32, der.explicit(0)]
    address: Annotated[bytes, der.explicit(1)]


@dataclass(frozen=True)
class AuthorizationElement(der.Message):
    ad_type: Annotated[Int32, der.explicit(0)]
    ad_data: Annotated[bytes, der.explicit(1)]


@dataclass(frozen=True)
class AuthorizationData(der.Message, wrapper=True):
    elements: tuple[AuthorizationElement, ...]


@dataclass(frozen=True)
class PaData(der.Message):
    padata_type: Annotated[Int32, der.explicit(1)]
    padata_value: Annotated[bytes, der.explicit(2)]


@dataclass(frozen=True)
class Ticket(der.Message, tag=der.application(1), extensible=True):
    tkt_vno: Annotated[Five, der.explicit(0)]
    realm: Annotated[KerberosString, der.explicit(1)]
    sname: Annotated[PrincipalName, der.explicit(2)]
    enc_part: Annotated[EncryptedData, der.explicit(3)]


@dataclass(frozen=True)
class ApReq(der.Message, tag=der.application(14)):
    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(14, 14)]
    ap_options: Annotated[KerberosFlags, der.explicit(2)]
    ticket: Annotated[Ticket, der.explicit(3)]
    authenticator: Annotated[EncryptedData, der.explicit(4)]


@dataclass(frozen=True)
class ApRep(der.Message, tag=der.application(15)):
    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(15, 15)]
    enc_part: Annotated[EncryptedData, der.explicit(2)]


@dataclass(frozen=True)
class EncApRepPart(der.Message, tag=der.application(27)):
    ctime: Annotated[datetime, der.explicit(0)]
    cusec: Annotated[int, der.explicit(1), der.MICROSECONDS]
    subkey: Annotated[EncryptionKey | None, der.explicit(2)] = None
    seq_number: Annotated[UInt32 | None, der.explicit(3)] = None


@dataclass(frozen=True)
class Authenticator(der.Message, tag=der.application(2)):
    authenticator_vno: Annotated[Five, der.explicit(0)]
    crealm: Annotated[KerberosString, der.explicit(1)]
    cname: Annotated[PrincipalName, der.explicit(2)]
    cksum: Annotated[Checksum | None, der.explicit(3)]
    cusec: Annotated[int, der.explicit(4), der.MICROSECONDS]
    ctime: Annotated[datetime, der.explicit(5)]
    subkey: Annotated[EncryptionKey | None, der.explicit(6)] = None
    seq_number: Annotated[UInt32 | None, der.explicit(7)] = None
    authorization_data: Annotated[tuple[AuthorizationElement, ...] | None, der.explicit(8)] = None


class TicketFlags(IntFlag):
    FORWARDABLE = 0x40000000
    INITIAL = 0x00400000
    PRE_AUTHENT = 0x00200000


@dataclass(frozen=True)
class TransitedEncoding(der.Message):
    tr_type: Annotated[Int32, der.explicit(0)]
    contents: Annotated[bytes, der.explicit(1)]


@dataclass(frozen=True)
class EncTicketPart(der.Message, tag=der.application(3)):
    flags: Annotated[TicketFlags, der.explicit(0), der.FLAGS]
    key: Annotated[EncryptionKey, der.explicit(1)]
    crealm: Annotated[KerberosString, der.explicit(2)]
    cname: Annotated[PrincipalName, der.explicit(3)]
    transited: Annotated[TransitedEncoding, der.explicit(4)]
    authtime: Annotated[datetime, der.explicit(5)]
    starttime: Annotated[datetime | None, der.explicit(6)]
    endtime: Annotated[datetime, der.explicit(7)]
    renew_till: Annotated[datetime | None, der.explicit(8)]
    caddr: Annotated[tuple[HostAddress, ...] | None, der.explicit(9)] = None
    authorization_data: Annotated[AuthorizationData | None, der.explicit(10)] = None


@dataclass(frozen=True)
class KdcReqBody(der.Message):
    kdc_options: Annotated[KerberosFlags, der.explicit(0)]
    cname: Annotated[PrincipalName | None, der.explicit(1)]
    realm: Annotated[KerberosString, der.explicit(2)]
    sname: Annotated[PrincipalName | None, der.explicit(3)]
    from_time: Annotated[datetime | None, der.explicit(4)]
    till: Annotated[datetime, der.explicit(5)]
    rtime: Annotated[datetime | None, der.explicit(6)]
    nonce: Annotated[UInt32, der.explicit(7)]
    etype: Annotated[tuple[Int32, ...], der.explicit(8)]
    addresses: Annotated[tuple[HostAddress, ...] | None, der.explicit(9)] = None
    enc_authorization_data: Annotated[EncryptedData | None, der.explicit(10)] = None
    additional_tickets: Annotated[tuple[Ticket, ...] | None, der.explicit(11)] = None


@dataclass(frozen=True)
class KdcReq(der.Message):
    pvno: Annotated[Five, der.explicit(1)]
    msg_type: Annotated[int, der.explicit(2)]
    padata: Annotated[tuple[PaData, ...] | None, der.explicit(3)]
    req_body: Annotated[KdcReqBody, der.explicit(4)]
    body_octets: Annotated[bytes, der.Received("req_body")] = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True)
class AsReq(KdcReq, tag=der.application(10)):
    pass


@dataclass(frozen=True)
class TgsReq(KdcReq, tag=der.application(12)):
    pass


@dataclass(frozen=True)
class AsRep(der.Message, tag=der.application(11)):
    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(11, 11)]
    padata: Annotated[tuple[PaData, ...] | None, der.explicit(2)]
    crealm: Annotated[KerberosString, der.explicit(3)]
    cname: Annotated[PrincipalName, der.explicit(4)]
    ticket: Annotated[Ticket, der.explicit(5)]
    enc_part: Annotated[EncryptedData, der.explicit(6)]


@dataclass(frozen=True)
class LastReq(der.Message):
    lr_type: Annotated[Int32, der.explicit(0)]
    lr_value: Annotated[datetime, der.explicit(1)]


@dataclass(frozen=True)
class EncKdcRepPart(der.Message, tag=der.application(25, also=(26,))):
    key: Annotated[EncryptionKey, der.explicit(0)]
    last_req: Annotated[tuple[LastReq, ...], der.explicit(1)]
    nonce: Annotated[UInt32, der.explicit(2)]
    key_expiration: Annotated[datetime | None, der.explicit(3)]
    flags: Annotated[KerberosFlags, der.explicit(4)]
    authtime: Annotated[datetime, der.explicit(5)]
    starttime: Annotated[datetime | None, der.explicit(6)]
    endtime: Annotated[datetime, der.explicit(7)]
    renew_till: Annotated[datetime | None, der.explicit(8)]
    srealm: Annotated[KerberosString, der.explicit(9)]
    sname: Annotated[PrincipalName, der.explicit(10)]
    caddr: Annotated[tuple[HostAddress, ...] | None, der.explicit(11)] = None
    encrypted_pa_data: Annotated[tuple[PaData, ...] | None, der.explicit(12)] = None


@dataclass(frozen=True)
class KrbError(der.Message, tag=der.application(30)):
    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(30, 30)]
    ctime: Annotated[datetime | None, der.explicit(2)]
    cusec: Annotated[int | None, der.explicit(3), der.MICROSECONDS]
    stime: Annotated[datetime, der.explicit(4)]
    susec: Annotated[int, der.explicit(5), der.MICROSECONDS]
    error_code: Annotated[Int32, der.explicit(6)]
    crealm: Annotated[KerberosString | None, der.explicit(7)]
    cname: Annotated[PrincipalName | None, der.explicit(8)]
    realm: Annotated[KerberosString, der.explicit(9)]
    sname: Annotated[PrincipalName, der.explicit(10)]
    e_text: Annotated[KerberosString | None, der.explicit(11)] = None
    e_data: Annotated[bytes | None, der.explicit(12)] = None


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
