"""Kerberos messages between clients, services and KDCs (RFC 4120 5, appendix A).

Tickets and bodies are kept as received where something is signed over them. Everything is bounded; unknown elements at
the end of extensible types are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, TypeAlias

from securestream.redaction import Redacted
from securestream.values import made_quickly
from securestream.wire import der
from securestream_providers.krb5.numbers import TicketFlags

Int32: TypeAlias = Annotated[int, der.INT32]
UInt32: TypeAlias = Annotated[int, der.UINT32]
KerberosString: TypeAlias = Annotated[str, der.GENERAL_STRING]
KerberosFlags: TypeAlias = Annotated[int, der.FLAGS]
Five: TypeAlias = Annotated[int, der.Integer(5, 5)]
Microseconds: TypeAlias = Annotated[int, der.MICROSECONDS]

PVNO = 5
"""The protocol's version, in every message."""


@made_quickly
@dataclass(frozen=True)
class PrincipalName(der.Message):
    """A name without its realm (RFC 4120 5.2.2)."""

    name_type: Annotated[Int32, der.explicit(0)]
    name_string: Annotated[tuple[KerberosString, ...], der.explicit(1), der.Size(0, 32)]


@made_quickly
@dataclass(frozen=True, repr=False)
class EncryptedData(Redacted, der.Message):
    """Ciphertext, with the type and version of its key (RFC 4120 5.2.9)."""

    etype: Annotated[Int32, der.explicit(0)]
    kvno: Annotated[UInt32 | None, der.explicit(1)]
    cipher: Annotated[bytes, der.explicit(2)]


@made_quickly
@dataclass(frozen=True, repr=False)
class EncryptionKey(Redacted, der.Message):
    """A key on the wire (RFC 4120 5.2.9)."""

    keytype: Annotated[Int32, der.explicit(0)]
    keyvalue: Annotated[bytes, der.explicit(1)] = field(repr=False)


@made_quickly
@dataclass(frozen=True)
class Checksum(der.Message):
    """A checksum (RFC 4120 5.2.9)."""

    cksumtype: Annotated[Int32, der.explicit(0)]
    checksum: Annotated[bytes, der.explicit(1)] = field(repr=False)


@dataclass(frozen=True)
class HostAddress(der.Message):
    """An address (RFC 4120 5.2.5)."""

    addr_type: Annotated[Int32, der.explicit(0)]
    address: Annotated[bytes, der.explicit(1)]


@made_quickly
@dataclass(frozen=True, repr=False)
class AuthorizationElement(Redacted, der.Message):
    """One element of authorisation data (RFC 4120 5.2.6)."""

    ad_type: Annotated[Int32, der.explicit(0)]
    ad_data: Annotated[bytes, der.explicit(1)]


@made_quickly
@dataclass(frozen=True)
class AuthorizationData(der.Message, wrapper=True):
    """Authorisation data (RFC 4120 5.2.6); also the content of AD-IF-RELEVANT."""

    elements: tuple[AuthorizationElement, ...]


@dataclass(frozen=True, repr=False)
class PaData(Redacted, der.Message):
    """One element of pre-authentication data (RFC 4120 5.2.7)."""

    padata_type: Annotated[Int32, der.explicit(1)]
    padata_value: Annotated[bytes, der.explicit(2)]


@dataclass(frozen=True)
class MethodData(der.Message, wrapper=True):
    """METHOD-DATA: a sequence of padata, as in the e-data of an error (RFC 4120 5.9.1)."""

    elements: tuple[PaData, ...]


@dataclass(frozen=True)
class Ticket(der.Message, tag=der.application(1), extensible=True):
    """A ticket (RFC 4120 5.3)."""

    tkt_vno: Annotated[Five, der.explicit(0)]
    realm: Annotated[KerberosString, der.explicit(1)]
    sname: Annotated[PrincipalName, der.explicit(2)]
    enc_part: Annotated[EncryptedData, der.explicit(3)]


@dataclass(frozen=True)
class TransitedEncoding(der.Message):
    """The realms that took part (RFC 4120 5.3)."""

    tr_type: Annotated[Int32, der.explicit(0)]
    contents: Annotated[bytes, der.explicit(1)]


@dataclass(frozen=True, repr=False)
class EncTicketPart(Redacted, der.Message, tag=der.application(3), extensible=True):
    """What a ticket holds (RFC 4120 5.3)."""

    flags: Annotated[TicketFlags, der.explicit(0), der.FLAGS]
    key: Annotated[EncryptionKey, der.explicit(1)]
    crealm: Annotated[KerberosString, der.explicit(2)]
    cname: Annotated[PrincipalName, der.explicit(3)]
    transited: Annotated[TransitedEncoding, der.explicit(4)]
    authtime: Annotated[datetime, der.explicit(5)]
    starttime: Annotated[datetime | None, der.explicit(6)]
    endtime: Annotated[datetime, der.explicit(7)]
    renew_till: Annotated[datetime | None, der.explicit(8)] = None
    caddr: Annotated[tuple[HostAddress, ...] | None, der.explicit(9)] = None
    authorization_data: Annotated[AuthorizationData | None, der.explicit(10)] = None


# --- KDC exchanges ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KdcReqBody(der.Message):
    """KDC-REQ-BODY (RFC 4120 5.4.1)."""

    kdc_options: Annotated[KerberosFlags, der.explicit(0)]
    cname: Annotated[PrincipalName | None, der.explicit(1)]
    realm: Annotated[KerberosString, der.explicit(2)]
    sname: Annotated[PrincipalName | None, der.explicit(3)]
    from_time: Annotated[datetime | None, der.explicit(4)]
    till: Annotated[datetime, der.explicit(5)]
    rtime: Annotated[datetime | None, der.explicit(6)]
    nonce: Annotated[UInt32, der.explicit(7)]
    etype: Annotated[tuple[Int32, ...], der.explicit(8), der.Size(0, 64)]
    addresses: Annotated[tuple[HostAddress, ...] | None, der.explicit(9)] = None
    enc_authorization_data: Annotated[EncryptedData | None, der.explicit(10)] = None
    additional_tickets: Annotated[tuple[Ticket, ...] | None, der.explicit(11), der.Size(0, 16)] = None


@dataclass(frozen=True)
class KdcReq(der.Message):
    """KDC-REQ (RFC 4120 5.4.1); `body_octets` are the body as received, over which checksums go."""

    pvno: Annotated[Five, der.explicit(1)]
    msg_type: Annotated[int, der.explicit(2), der.INT32]
    padata: Annotated[tuple[PaData, ...] | None, der.explicit(3), der.Size(0, 64)]
    req_body: Annotated[KdcReqBody, der.explicit(4)]
    body_octets: Annotated[bytes, der.Received("req_body")] = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True)
class AsReq(KdcReq, tag=der.application(10)):
    """AS-REQ: who asks for a first ticket."""


@dataclass(frozen=True)
class TgsReq(KdcReq, tag=der.application(12)):
    """TGS-REQ: who has a ticket asks for another."""


@dataclass(frozen=True)
class KdcRep(der.Message):
    """KDC-REP (RFC 4120 5.4.2); `ticket` is kept as received."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.INT32]
    padata: Annotated[tuple[PaData, ...] | None, der.explicit(2), der.Size(0, 64)]
    crealm: Annotated[KerberosString, der.explicit(3)]
    cname: Annotated[PrincipalName, der.explicit(4)]
    ticket: Annotated[bytes, der.explicit(5), der.Raw(Ticket)]
    enc_part: Annotated[EncryptedData, der.explicit(6)]


@dataclass(frozen=True)
class AsRep(KdcRep, tag=der.application(11)):
    """AS-REP."""


@dataclass(frozen=True)
class TgsRep(KdcRep, tag=der.application(13)):
    """TGS-REP."""


@dataclass(frozen=True)
class LastReq(der.Message):
    """When the principal last did something (RFC 4120 5.4.2)."""

    lr_type: Annotated[Int32, der.explicit(0)]
    lr_value: Annotated[datetime, der.explicit(1)]


@dataclass(frozen=True, repr=False)
class EncKdcRepPart(Redacted, der.Message):
    """EncKDCRepPart (RFC 4120 5.4.2, RFC 6806 11)."""

    key: Annotated[EncryptionKey, der.explicit(0)]
    last_req: Annotated[tuple[LastReq, ...], der.explicit(1)]
    nonce: Annotated[UInt32, der.explicit(2)]
    key_expiration: Annotated[datetime | None, der.explicit(3)]
    flags: Annotated[TicketFlags, der.explicit(4), der.FLAGS]
    authtime: Annotated[datetime, der.explicit(5)]
    starttime: Annotated[datetime | None, der.explicit(6)]
    endtime: Annotated[datetime, der.explicit(7)]
    renew_till: Annotated[datetime | None, der.explicit(8)]
    srealm: Annotated[KerberosString, der.explicit(9)]
    sname: Annotated[PrincipalName, der.explicit(10)]
    caddr: Annotated[tuple[HostAddress, ...] | None, der.explicit(11)] = None
    encrypted_pa_data: Annotated[tuple[PaData, ...] | None, der.explicit(12), der.Size(0, 64)] = None


@dataclass(frozen=True, repr=False)
class EncAsRepPart(EncKdcRepPart, tag=der.application(25, also=(26,)), extensible=True):
    """EncASRepPart; some KDCs tag it as EncTGSRepPart (RFC 4120 5.4.2)."""


@dataclass(frozen=True, repr=False)
class EncTgsRepPart(EncKdcRepPart, tag=der.application(26, also=(25,)), extensible=True):
    """EncTGSRepPart."""


@dataclass(frozen=True)
class PaEncTsEnc(der.Message):
    """PA-ENC-TS-ENC: the time, to be encrypted with the client's key (RFC 4120 5.2.7.2); also RFC 6113 5.4.6."""

    patimestamp: Annotated[datetime, der.explicit(0)]
    pausec: Annotated[Microseconds | None, der.explicit(1)] = None


@dataclass(frozen=True)
class EtypeInfo2Entry(der.Message):
    """What makes a key of a password (RFC 4120 5.2.7.5)."""

    etype: Annotated[Int32, der.explicit(0)]
    salt: Annotated[KerberosString | None, der.explicit(1)] = None
    s2kparams: Annotated[bytes | None, der.explicit(2)] = None


@dataclass(frozen=True)
class EtypeInfo2(der.Message, wrapper=True):
    """ETYPE-INFO2 (RFC 4120 5.2.7.5)."""

    entries: Annotated[tuple[EtypeInfo2Entry, ...], der.Size(0, 64)]


@dataclass(frozen=True)
class EtypeInfoEntry(der.Message):
    """An entry of the older ETYPE-INFO (RFC 4120 5.2.7.4)."""

    etype: Annotated[Int32, der.explicit(0)]
    salt: Annotated[bytes | None, der.explicit(1)] = None


@dataclass(frozen=True)
class EtypeInfo(der.Message, wrapper=True):
    """ETYPE-INFO (RFC 4120 5.2.7.4)."""

    entries: Annotated[tuple[EtypeInfoEntry, ...], der.Size(0, 64)]


@dataclass(frozen=True)
class PaPacRequest(der.Message):
    """KERB-PA-PAC-REQUEST ([MS-KILE] 2.2.3)."""

    include_pac: Annotated[bool, der.explicit(0)]


@dataclass(frozen=True)
class PaPacOptions(der.Message):
    """PA-PAC-OPTIONS ([MS-KILE] 2.2.10): claims 0x80000000, branch-aware 0x40000000, RBCD 0x10000000."""

    flags: Annotated[KerberosFlags, der.explicit(0)]


# --- AP exchange -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ApReq(der.Message, tag=der.application(14)):
    """AP-REQ (RFC 4120 5.5.1)."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(14, 14)]
    ap_options: Annotated[KerberosFlags, der.explicit(2)]
    ticket: Annotated[Ticket, der.explicit(3)]
    authenticator: Annotated[EncryptedData, der.explicit(4)]


@made_quickly
@dataclass(frozen=True)
class ApReqToSend(der.Message, tag=der.application(14)):
    """AP-REQ around a ticket that is kept as received."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(14, 14)]
    ap_options: Annotated[KerberosFlags, der.explicit(2)]
    ticket: Annotated[bytes, der.explicit(3), der.Raw(Ticket)]
    authenticator: Annotated[EncryptedData, der.explicit(4)]


@made_quickly
@dataclass(frozen=True, repr=False)
class Authenticator(Redacted, der.Message, tag=der.application(2)):
    """Authenticator (RFC 4120 5.5.1)."""

    authenticator_vno: Annotated[Five, der.explicit(0)]
    crealm: Annotated[KerberosString, der.explicit(1)]
    cname: Annotated[PrincipalName, der.explicit(2)]
    cksum: Annotated[Checksum | None, der.explicit(3)]
    cusec: Annotated[Microseconds, der.explicit(4)]
    ctime: Annotated[datetime, der.explicit(5)]
    subkey: Annotated[EncryptionKey | None, der.explicit(6)] = None
    seq_number: Annotated[UInt32 | None, der.explicit(7)] = None
    authorization_data: Annotated[AuthorizationData | None, der.explicit(8)] = None


@made_quickly
@dataclass(frozen=True)
class ApRep(der.Message, tag=der.application(15)):
    """AP-REP (RFC 4120 5.5.2)."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(15, 15)]
    enc_part: Annotated[EncryptedData, der.explicit(2)]


@made_quickly
@dataclass(frozen=True, repr=False)
class EncApRepPart(Redacted, der.Message, tag=der.application(27)):
    """EncAPRepPart (RFC 4120 5.5.2)."""

    ctime: Annotated[datetime, der.explicit(0)]
    cusec: Annotated[Microseconds, der.explicit(1)]
    subkey: Annotated[EncryptionKey | None, der.explicit(2)] = None
    seq_number: Annotated[UInt32 | None, der.explicit(3)] = None


# --- KRB-PRIV, KRB-SAFE, KRB-CRED, KRB-ERROR -------------------------------------------------------------------------


@dataclass(frozen=True)
class KrbPriv(der.Message, tag=der.application(21)):
    """KRB-PRIV (RFC 4120 5.7.1)."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(21, 21)]
    enc_part: Annotated[EncryptedData, der.explicit(3)]


@dataclass(frozen=True, repr=False)
class EncKrbPrivPart(Redacted, der.Message, tag=der.application(28)):
    """EncKrbPrivPart (RFC 4120 5.7.1)."""

    user_data: Annotated[bytes, der.explicit(0)] = field(repr=False)
    timestamp: Annotated[datetime | None, der.explicit(1)] = None
    usec: Annotated[Microseconds | None, der.explicit(2)] = None
    seq_number: Annotated[UInt32 | None, der.explicit(3)] = None
    s_address: Annotated[HostAddress | None, der.explicit(4)] = None
    r_address: Annotated[HostAddress | None, der.explicit(5)] = None


@dataclass(frozen=True)
class KrbCred(der.Message, tag=der.application(22)):
    """KRB-CRED (RFC 4120 5.8.1); tickets are kept as received."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(22, 22)]
    tickets: Annotated[tuple[Annotated[bytes, der.Raw(Ticket)], ...], der.explicit(2), der.Size(0, 16)]
    enc_part: Annotated[EncryptedData, der.explicit(3)]


@dataclass(frozen=True, repr=False)
class KrbCredInfo(Redacted, der.Message):
    """KrbCredInfo (RFC 4120 5.8.1)."""

    key: Annotated[EncryptionKey, der.explicit(0)]
    prealm: Annotated[KerberosString | None, der.explicit(1)] = None
    pname: Annotated[PrincipalName | None, der.explicit(2)] = None
    flags: Annotated[KerberosFlags | None, der.explicit(3)] = None
    authtime: Annotated[datetime | None, der.explicit(4)] = None
    starttime: Annotated[datetime | None, der.explicit(5)] = None
    endtime: Annotated[datetime | None, der.explicit(6)] = None
    renew_till: Annotated[datetime | None, der.explicit(7)] = None
    srealm: Annotated[KerberosString | None, der.explicit(8)] = None
    sname: Annotated[PrincipalName | None, der.explicit(9)] = None
    caddr: Annotated[tuple[HostAddress, ...] | None, der.explicit(10)] = None


@dataclass(frozen=True, repr=False)
class EncKrbCredPart(Redacted, der.Message, tag=der.application(29)):
    """EncKrbCredPart (RFC 4120 5.8.1)."""

    ticket_info: Annotated[tuple[KrbCredInfo, ...], der.explicit(0), der.Size(0, 16)]
    nonce: Annotated[UInt32 | None, der.explicit(1)] = None
    timestamp: Annotated[datetime | None, der.explicit(2)] = None
    usec: Annotated[Microseconds | None, der.explicit(3)] = None
    s_address: Annotated[HostAddress | None, der.explicit(4)] = None
    r_address: Annotated[HostAddress | None, der.explicit(5)] = None


@dataclass(frozen=True)
class KrbError(der.Message, tag=der.application(30)):
    """KRB-ERROR (RFC 4120 5.9.1). Nothing in it is authenticated."""

    pvno: Annotated[Five, der.explicit(0)]
    msg_type: Annotated[int, der.explicit(1), der.Integer(30, 30)]
    ctime: Annotated[datetime | None, der.explicit(2)]
    cusec: Annotated[Microseconds | None, der.explicit(3)]
    stime: Annotated[datetime, der.explicit(4)]
    susec: Annotated[Microseconds, der.explicit(5)]
    error_code: Annotated[Int32, der.explicit(6)]
    crealm: Annotated[KerberosString | None, der.explicit(7)]
    cname: Annotated[PrincipalName | None, der.explicit(8)]
    realm: Annotated[KerberosString, der.explicit(9)]
    sname: Annotated[PrincipalName, der.explicit(10)]
    e_text: Annotated[KerberosString | None, der.explicit(11)] = None
    e_data: Annotated[bytes | None, der.explicit(12)] = None


@dataclass(frozen=True)
class TypedDataElement(der.Message):
    """One element of TYPED-DATA (RFC 4120 5.9.1), the other form of e-data."""

    data_type: Annotated[Int32, der.explicit(0)]
    data_value: Annotated[bytes | None, der.explicit(1)] = None


@dataclass(frozen=True)
class TypedData(der.Message, wrapper=True):
    """TYPED-DATA (RFC 4120 5.9.1)."""

    elements: tuple[TypedDataElement, ...]
