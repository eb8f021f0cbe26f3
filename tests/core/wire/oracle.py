"""RFC 4120 and RFC 4178 messages in pyasn1, written from the RFCs' modules: the other opinion on every encoding.

pyasn1 ships no type information, hence the modules are `Any` here.
"""

from __future__ import annotations

import dataclasses
import importlib
from datetime import datetime
from typing import Any

from securestream.wire import der
from tests.core.wire.schemas import AuthorizationData

univ: Any = importlib.import_module("pyasn1.type.univ")
char: Any = importlib.import_module("pyasn1.type.char")
useful: Any = importlib.import_module("pyasn1.type.useful")
namedtype: Any = importlib.import_module("pyasn1.type.namedtype")
tag: Any = importlib.import_module("pyasn1.type.tag")
encoder: Any = importlib.import_module("pyasn1.codec.der.encoder")
decoder: Any = importlib.import_module("pyasn1.codec.der.decoder")


def tagged(spec: Any, number: int, tag_class: int = 0x80) -> Any:
    """The type under an explicit tag."""
    return spec.subtype(explicitTag=tag.Tag(tag_class, tag.tagFormatConstructed, number))


def field(name: str, number: int, spec: Any, *, optional: bool = False) -> Any:
    """A context-tagged field."""
    kind = namedtype.OptionalNamedType if optional else namedtype.NamedType
    return kind(name, tagged(spec, number))


def sequence(*fields: Any, application: int | None = None) -> Any:
    """A SEQUENCE, perhaps of an application's tag."""
    spec = univ.Sequence(componentType=namedtype.NamedTypes(*fields))
    return spec if application is None else tagged(spec, application, 0x40)


INTEGER, OCTETS, STRING, TIME = univ.Integer(), univ.OctetString(), char.GeneralString(), useful.GeneralizedTime()
FLAGS = univ.BitString()


def sequence_of(spec: Any) -> Any:
    """A SEQUENCE OF."""
    return univ.SequenceOf(componentType=spec)


# RFC 4120 5.2 to 5.9

PRINCIPAL = sequence(field("name-type", 0, INTEGER), field("name-string", 1, sequence_of(STRING)))
ENCRYPTED = sequence(field("etype", 0, INTEGER), field("kvno", 1, INTEGER, optional=True), field("cipher", 2, OCTETS))
KEY = sequence(field("keytype", 0, INTEGER), field("keyvalue", 1, OCTETS))
CHECKSUM = sequence(field("cksumtype", 0, INTEGER), field("checksum", 1, OCTETS))
ADDRESSES = sequence_of(sequence(field("addr-type", 0, INTEGER), field("address", 1, OCTETS)))
AUTHORIZATION = sequence_of(sequence(field("ad-type", 0, INTEGER), field("ad-data", 1, OCTETS)))
PA_DATA = sequence_of(sequence(field("padata-type", 1, INTEGER), field("padata-value", 2, OCTETS)))
TICKET = sequence(
    field("tkt-vno", 0, INTEGER),
    field("realm", 1, STRING),
    field("sname", 2, PRINCIPAL),
    field("enc-part", 3, ENCRYPTED),
    application=1,
)
AP_REQ = sequence(
    field("pvno", 0, INTEGER),
    field("msg-type", 1, INTEGER),
    field("ap-options", 2, FLAGS),
    field("ticket", 3, TICKET),
    field("authenticator", 4, ENCRYPTED),
    application=14,
)
AP_REP = sequence(
    field("pvno", 0, INTEGER), field("msg-type", 1, INTEGER), field("enc-part", 2, ENCRYPTED), application=15
)
ENC_AP_REP = sequence(
    field("ctime", 0, TIME),
    field("cusec", 1, INTEGER),
    field("subkey", 2, KEY, optional=True),
    field("seq-number", 3, INTEGER, optional=True),
    application=27,
)
AUTHENTICATOR = sequence(
    field("authenticator-vno", 0, INTEGER),
    field("crealm", 1, STRING),
    field("cname", 2, PRINCIPAL),
    field("cksum", 3, CHECKSUM, optional=True),
    field("cusec", 4, INTEGER),
    field("ctime", 5, TIME),
    field("subkey", 6, KEY, optional=True),
    field("seq-number", 7, INTEGER, optional=True),
    field("authorization-data", 8, AUTHORIZATION, optional=True),
    application=2,
)
ENC_TICKET = sequence(
    field("flags", 0, FLAGS),
    field("key", 1, KEY),
    field("crealm", 2, STRING),
    field("cname", 3, PRINCIPAL),
    field("transited", 4, sequence(field("tr-type", 0, INTEGER), field("contents", 1, OCTETS))),
    field("authtime", 5, TIME),
    field("starttime", 6, TIME, optional=True),
    field("endtime", 7, TIME),
    field("renew-till", 8, TIME, optional=True),
    field("caddr", 9, ADDRESSES, optional=True),
    field("authorization-data", 10, AUTHORIZATION, optional=True),
    application=3,
)
BODY = sequence(
    field("kdc-options", 0, FLAGS),
    field("cname", 1, PRINCIPAL, optional=True),
    field("realm", 2, STRING),
    field("sname", 3, PRINCIPAL, optional=True),
    field("from", 4, TIME, optional=True),
    field("till", 5, TIME),
    field("rtime", 6, TIME, optional=True),
    field("nonce", 7, INTEGER),
    field("etype", 8, sequence_of(INTEGER)),
    field("addresses", 9, ADDRESSES, optional=True),
    field("enc-authorization-data", 10, ENCRYPTED, optional=True),
    field("additional-tickets", 11, sequence_of(TICKET), optional=True),
)
AS_REQ = sequence(
    field("pvno", 1, INTEGER),
    field("msg-type", 2, INTEGER),
    field("padata", 3, PA_DATA, optional=True),
    field("req-body", 4, BODY),
    application=10,
)
AS_REP = sequence(
    field("pvno", 0, INTEGER),
    field("msg-type", 1, INTEGER),
    field("padata", 2, PA_DATA, optional=True),
    field("crealm", 3, STRING),
    field("cname", 4, PRINCIPAL),
    field("ticket", 5, TICKET),
    field("enc-part", 6, ENCRYPTED),
    application=11,
)
KRB_ERROR = sequence(
    field("pvno", 0, INTEGER),
    field("msg-type", 1, INTEGER),
    field("ctime", 2, TIME, optional=True),
    field("cusec", 3, INTEGER, optional=True),
    field("stime", 4, TIME),
    field("susec", 5, INTEGER),
    field("error-code", 6, INTEGER),
    field("crealm", 7, STRING, optional=True),
    field("cname", 8, PRINCIPAL, optional=True),
    field("realm", 9, STRING),
    field("sname", 10, PRINCIPAL),
    field("e-text", 11, STRING, optional=True),
    field("e-data", 12, OCTETS, optional=True),
    application=30,
)

# RFC 4178 4.2, with the hints of [MS-SPNG] 2.2.1

HINTS = sequence(field("hintName", 0, STRING, optional=True), field("hintAddress", 1, OCTETS, optional=True))
NEG_TOKEN_INIT = tagged(
    sequence(
        field("mechTypes", 0, sequence_of(univ.ObjectIdentifier())),
        field("reqFlags", 1, FLAGS, optional=True),
        field("mechToken", 2, OCTETS, optional=True),
        field("negHints", 3, HINTS, optional=True),
        field("mechListMIC", 4, OCTETS, optional=True),
    ),
    0,
)
NEG_TOKEN_RESP = tagged(
    sequence(
        field("negState", 0, univ.Enumerated(), optional=True),
        field("supportedMech", 1, univ.ObjectIdentifier(), optional=True),
        field("responseToken", 2, OCTETS, optional=True),
        field("mechListMIC", 3, OCTETS, optional=True),
    ),
    1,
)


def to_pyasn1(value: Any, spec: Any) -> Any:
    """A declared message, or a value of one of its fields, as a value of the pyasn1 type."""
    if isinstance(spec, univ.Sequence) and isinstance(value, bytes):
        tags = spec.tagSet.superTags  # a raw value comes without the context tag of its field
        return decoder.decode(der.element(0xA0 | tags[-1].tagId, value), asn1Spec=spec)[0]
    if isinstance(spec, univ.Sequence):
        sequence_value = spec.clone()
        sent = [item for item in dataclasses.fields(value) if item.init and "octets" not in item.name]
        for position, item in enumerate(sent):
            part = getattr(value, item.name)
            if part is not None:
                component = spec.componentType[position].asn1Object
                sequence_value.setComponentByPosition(position, to_pyasn1(part, component))
        return sequence_value
    if isinstance(spec, univ.SequenceOf):
        list_value = spec.clone()
        list_value.clear()
        parts = value.elements if isinstance(value, AuthorizationData) else value
        for position, part in enumerate(parts):
            list_value.setComponentByPosition(position, to_pyasn1(part, spec.componentType))
        return list_value
    if isinstance(spec, univ.BitString):
        if isinstance(value, der.BitString):
            bits = "".join(f"{octet:08b}" for octet in value.octets)
            return spec.clone(binValue=bits[: len(bits) - value.unused])
        return spec.clone(binValue=f"{value:032b}")
    if isinstance(value, datetime):
        return spec.clone("{:04d}{:02d}{:02d}{:02d}{:02d}{:02d}Z".format(*value.timetuple()[:6]))
    if isinstance(value, str) and isinstance(spec, char.GeneralString):
        return spec.clone(value.encode())
    return spec.clone(value)


def encode(value: Any, spec: Any) -> bytes:
    """A declared message, encoded by pyasn1."""
    octets: bytes = encoder.encode(to_pyasn1(value, spec))
    return octets


def recode(octets: bytes, spec: Any) -> bytes:
    """Octets, decoded and encoded again by pyasn1."""
    value, rest = decoder.decode(octets, asn1Spec=spec)
    if rest:
        raise ValueError("octets too many")
    again: bytes = encoder.encode(value)
    return again


SPECS: dict[str, Any] = {
    "ApReq": AP_REQ,
    "ApRep": AP_REP,
    "EncApRepPart": ENC_AP_REP,
    "Authenticator": AUTHENTICATOR,
    "EncTicketPart": ENC_TICKET,
    "AsReq": AS_REQ,
    "AsRep": AS_REP,
    "KrbError": KRB_ERROR,
    "NegTokenInit": NEG_TOKEN_INIT,
    "NegTokenResp": NEG_TOKEN_RESP,
}
"""The pyasn1 type of each declared message, by the name of its class."""
