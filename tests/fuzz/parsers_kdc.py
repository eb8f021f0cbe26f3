"""The KDC's parsers of strangers' octets: requests, what is encrypted in them, the password and proxy protocols."""

from __future__ import annotations

import os
from dataclasses import replace

from securestream.errors import MalformedMessage
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.kkdcp import unwrap_proxied, wrap_proxied
from securestream_providers.krb5.kpasswd import CHANGE, PasswordRequest, frame_request
from securestream_providers.krb5.messages import (
    ApReq,
    AsReq,
    Authenticator,
    Checksum,
    EncKrbPrivPart,
    EncryptedData,
    EncryptionKey,
    KrbPriv,
    PaData,
    TgsReq,
)
from securestream_providers.krb5.messages_fast import FastArmoredReq, FastReq, PaFxFastRequest
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KdcOptions, KeyUsage, PaType
from securestream_providers.krb5.s4u import make_for_user, make_s4u_x509_user
from tests.fuzz.harness import Parser
from tests.providers.kerberos.forged import REALM, Bench, Got, name, options

_BENCH = Bench()
_BENCH.kdc.add_principal("alice", "correct horse", etypes=(18,))
_BENCH.kdc.add_service("HTTP/front", trusted_to_auth=True, delegate_to=("cifs/back",))
_BENCH.kdc.add_service("cifs/back")
_KRBTGT = f"krbtgt/{REALM}"
_ALICE = KerberosName(REALM, ("alice",))
_FORWARDABLE = options(KdcOptions.FORWARDABLE)
_TGT = _BENCH.tgt("alice", kdc_options=_FORWARDABLE)
_FRONT = _BENCH.tgt("HTTP/front", kdc_options=_FORWARDABLE)
_FOR_USER = make_for_user(_ALICE, _FRONT.session)
_EVIDENCE = _BENCH.ticket(_FRONT, "HTTP/front", _FOR_USER, kdc_options=_FORWARDABLE)
_CHANGEPW = _BENCH.tgt("alice", sname=name("kadmin", "changepw"))
_FAST, _ARMOR = _BENCH.fast(_FRONT, _BENCH.body(name("alice")).encode(), (), _BENCH.body(name("alice")))
_ARMORED = PaFxFastRequest.decode(_FAST.padata_value).armored_data

_AS_REQUESTS = (
    _BENCH.as_req("alice"),
    _BENCH.as_req("alice", _BENCH.key("alice"), PaData(PaType.REQ_ENC_PA_REP, b"")),
    AsReq(5, 10, (_FAST,), _BENCH.body(name("alice"))).encode(),
)
_TGS_REQUESTS = (
    _BENCH.tgs_req(_TGT, "cifs/back"),
    _BENCH.tgs_req(_TGT, "alice", kdc_options=options(KdcOptions.ENC_TKT_IN_SKEY), additional_tickets=(_TGT.ticket,)),
    _BENCH.tgs_req(_FRONT, "HTTP/front", _FOR_USER, make_s4u_x509_user(_ALICE, 4711, _FRONT.session)),
)


def _handle(octets: bytes) -> object:
    """Whatever comes, there is a reply or silence, and by UDP never much more than what came."""
    reply = _BENCH.send(octets, stream=False)
    assert reply is None or len(reply) <= 5 * len(octets)
    return _BENCH.send(octets)


def _fast(octets: bytes) -> object:
    """What an armor holds."""
    outer = _BENCH.body(name("alice"))
    cipher = _ARMOR.encrypt(KeyUsage.FAST_ENC, octets, os.urandom)
    armored = replace(_ARMORED, enc_fast_req=EncryptedData(_ARMOR.etype, None, cipher))
    padata = PaData(PaType.FX_FAST, PaFxFastRequest(armored).encode())
    return _BENCH.send(AsReq(5, 10, (padata,), outer).encode())


def _armor(octets: bytes) -> object:
    """The armored request itself."""
    return _BENCH.send(AsReq(5, 10, (PaData(PaType.FX_FAST, octets),), _BENCH.body(name("alice"))).encode())


def _tgs(padata: PaData, *more: PaData, got: Got = _FRONT) -> object:
    body = _BENCH.body(None, name("HTTP", "front"), kdc_options=_FORWARDABLE)
    return _BENCH.send(TgsReq(5, 12, (_BENCH.pa_tgs_req(got, body.encode()), padata, *more), body).encode())


def _for_user(octets: bytes) -> object:
    return _tgs(PaData(PaType.FOR_USER, octets))


def _x509_user(octets: bytes) -> object:
    return _tgs(PaData(PaType.S4U_X509_USER, octets))


def _authenticator(octets: bytes) -> object:
    """The content of the authenticator."""
    cipher = _TGT.session.encrypt(KeyUsage.TGS_REQ_AUTHENTICATOR, octets, os.urandom)
    ap_req = ApReq(5, 14, 0, _TGT.ticket, EncryptedData(_TGT.session.etype, None, cipher)).encode()
    body = _BENCH.body(None, name("cifs", "back"))
    return _BENCH.send(TgsReq(5, 12, (PaData(PaType.TGS_REQ, ap_req),), body).encode())


def _ticket(octets: bytes) -> object:
    """The content of a ticket-granting ticket, as somebody with the realm's key would make it."""
    key = _BENCH.key(_KRBTGT)
    sealed = replace(_TGT.ticket.enc_part, cipher=key.encrypt(KeyUsage.TICKET, octets, os.urandom))
    forged = replace(_TGT, ticket=replace(_TGT.ticket, enc_part=sealed))
    return _BENCH.send(_BENCH.tgs_req(forged, "cifs/back"))


def _evidence(octets: bytes) -> object:
    """The content of an evidence ticket, which the service can make."""
    key = _BENCH.key("HTTP/front")
    sealed = replace(_EVIDENCE.ticket.enc_part, cipher=key.encrypt(KeyUsage.TICKET, octets, os.urandom))
    shown = replace(_EVIDENCE.ticket, enc_part=sealed)
    asked = options(KdcOptions.CNAME_IN_ADDL_TKT, KdcOptions.FORWARDABLE)
    return _BENCH.send(_BENCH.tgs_req(_FRONT, "cifs/back", kdc_options=asked, additional_tickets=(shown,)))


def _password_request(private: bytes, key: Key, ap_req: bytes) -> bytes:
    sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.KRB_PRIV, private, os.urandom))
    return frame_request(PasswordRequest(CHANGE, ap_req, KrbPriv(5, 21, sealed).encode()))


def _changepw_request() -> bytes:
    crealm, cname = _CHANGEPW.client
    subkey = EncryptionKey(18, _BENCH.key("alice").contents.reveal())
    told = Authenticator(5, crealm, cname, None, 0, _BENCH.clock.now, subkey, 0)
    cipher = _CHANGEPW.session.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, told.encode(), os.urandom)
    return ApReq(5, 14, 0, _CHANGEPW.ticket, EncryptedData(_CHANGEPW.session.etype, None, cipher)).encode()


_AP_REQ, _SUBKEY = _changepw_request(), _BENCH.key("alice")
_PRIVATE = EncKrbPrivPart(b"short", None, None, 0).encode()


def _passwords(octets: bytes) -> object:
    return _BENCH.kdc.passwords.handle(octets, now=_BENCH.clock.now, local="127.0.0.1")


def _private(octets: bytes) -> object:
    """The content of the KRB-PRIV; a password that is long enough costs its derivation, and is left out."""
    if len(octets) > len(_PRIVATE) + 2:
        raise MalformedMessage("it could hold a password")
    return _passwords(_password_request(octets, _SUBKEY, _AP_REQ))


_FAST_INNER = FastReq(0, (_BENCH.timestamp(_BENCH.key("alice")),), _BENCH.body(name("alice"))).encode()
_CHECKSUM = Checksum(16, bytes(12))
_CRN, _CN = _TGT.client

PARSERS = [
    Parser("kdc.as_req", _handle, _AS_REQUESTS),
    Parser("kdc.tgs_req", _handle, _TGS_REQUESTS),
    Parser("kdc.fast", _fast, (_FAST_INNER,)),
    Parser(
        "kdc.armor",
        _armor,
        (_FAST.padata_value, PaFxFastRequest(FastArmoredReq(None, _CHECKSUM, _ARMORED.enc_fast_req)).encode()),
    ),
    Parser(
        "kdc.authenticator", _authenticator, (Authenticator(5, _CRN, _CN, _CHECKSUM, 0, _BENCH.clock.now).encode(),)
    ),
    Parser("kdc.ticket", _ticket, (_BENCH.opened(_TGT, _KRBTGT).encode(),)),
    Parser("kdc.evidence", _evidence, (_BENCH.opened(_EVIDENCE, "HTTP/front").encode(),)),
    Parser("kdc.for_user", _for_user, (_FOR_USER.padata_value,)),
    Parser("kdc.x509_user", _x509_user, (make_s4u_x509_user(_ALICE, 4711, _FRONT.session).padata_value,)),
    Parser("kdc.kpasswd", _passwords, (_password_request(_PRIVATE, _SUBKEY, _AP_REQ),)),
    Parser("kdc.kpasswd.private", _private, (_PRIVATE,)),
    Parser("kdc.kkdcp", unwrap_proxied, (wrap_proxied(_AS_REQUESTS[0], REALM),)),
]
