"""A KDC in a few lines that lies on demand: each hook changes what an honest one would say."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from securestream.provider import Effect
from securestream_providers.kerberos.effects import KdcRequest, RecallTickets, RememberTickets
from securestream_providers.krb5 import fast, preauth
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.keys import Key, make_key, random_key, string_to_key
from securestream_providers.krb5.messages import (
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    EncAsRepPart,
    EncKdcRepPart,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    EncTicketPart,
    EtypeInfo2,
    EtypeInfo2Entry,
    KdcReq,
    KdcReqBody,
    KrbError,
    MethodData,
    PaData,
    PrincipalName,
    TgsRep,
    TgsReq,
    Ticket,
    TransitedEncoding,
)
from securestream_providers.krb5.messages_fast import FastResponse, PaFxFastRequest
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ErrorCode, KeyUsage, PaType, TicketFlags

REALM = "EXAMPLE.COM"
ALICE = KerberosName(REALM, ("alice",))
SERVICE = KerberosName(REALM, ("host", "db.example.com"), 3)
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PASSWORD = "correct horse"
SALT = "EXAMPLE.COMalice"
CONFIG = Krb5Config(default_realm=REALM, domain_realm={".example.com": REALM})

Same = Callable[[Any], Any]


def same(value: Any) -> Any:
    """No lie at all."""
    return value


@dataclass(frozen=True)
class Spoken:
    """A request as the KDC understood it."""

    octets: bytes
    request: KdcReq
    body: KdcReqBody
    armor: Key | None = None
    padata: tuple[PaData, ...] = ()


@dataclass
class ScriptedKdc:
    """Answers AS and TGS requests of alice.

    Args:
        part: changes the encrypted part of a reply.
        reply: changes a reply.
        etype: of alice's key.
        preauth: whether pre-authentication is asked for.
        clock: the KDC's.
        errors: KRB-ERROR codes to answer with first, in order.
        fast: whether armored requests are answered in armor, and FAST is announced.
        refer: the realm to which a service is referred, by the realm that is asked.
    """

    part: Same = same
    reply: Same = same
    finish: Same = same
    etype: int = 18
    preauth: bool = True
    clock: datetime = NOW
    errors: list[int] = field(default_factory=list[int])
    fast: bool = True
    refer: dict[str, str] = field(default_factory=dict[str, str])
    etype_info: tuple[EtypeInfo2Entry, ...] | None = None
    error_hook: Same = same
    flags: TicketFlags = TicketFlags.INITIAL | TicketFlags.PRE_AUTHENT | TicketFlags.FORWARDABLE
    lifetime: timedelta = timedelta(hours=8)
    with_checksum: bool = True
    realm: str = REALM
    seen: list[Spoken] = field(default_factory=list[Spoken])
    requests: list[KdcRequest] = field(default_factory=list[KdcRequest])
    remembered: list[RememberTickets] = field(default_factory=list[RememberTickets])
    tgt_key: Key = field(default_factory=lambda: make_key(18, bytes(range(32))))

    def answers(self) -> dict[type[Effect[Any]], Callable[[Any], Any]]:
        """For `driving.drive`."""
        return {KdcRequest: self.ask, RecallTickets: lambda _: None, RememberTickets: self.remembered.append}

    def ask(self, effect: KdcRequest) -> bytes:
        """One request, one reply."""
        self.requests.append(effect)
        self.realm = effect.realm
        if effect.message[0] == 0x6A:
            return self._as(effect.message)
        return self._tgs(effect.message)

    # --- AS ----------------------------------------------------------------------------------------------------------

    def long_term(self) -> Key:
        """Alice's key."""
        return string_to_key(self.etype, PASSWORD, SALT, None)

    def _as(self, octets: bytes) -> bytes:
        request = AsReq.decode(octets)
        spoken = self._open(octets, request, request.body_octets, None)
        self.seen.append(spoken)
        if self.errors:
            return self.error(spoken, self.errors.pop(0))
        padata = spoken.padata
        wanted = PaType.ENCRYPTED_CHALLENGE if spoken.armor is not None else PaType.ENC_TIMESTAMP
        value = preauth.find_padata(padata, wanted)
        if self.preauth and value is None:
            return self.error(spoken, ErrorCode.PREAUTH_REQUIRED, self.hints(wanted))
        key = self.long_term()
        if value is not None:
            read = (
                preauth.read_encrypted_timestamp(key, value)
                if spoken.armor is None
                else fast.read_client_challenge(spoken.armor, key, value)
            )
            if abs(read - self.clock) > timedelta(minutes=5):
                return self.error(spoken, ErrorCode.AP_SKEW)
        assert spoken.body.cname is not None
        client = KerberosName.of(spoken.body.cname, self.realm)
        return self.answer(spoken, client, key, KeyUsage.AS_REP, self.etype)

    def hints(self, offered: int) -> tuple[PaData, ...]:
        """What PREAUTH_REQUIRED says."""
        entries = self.etype_info or (EtypeInfo2Entry(self.etype, SALT, None),)
        found = [PaData(PaType.ETYPE_INFO2, EtypeInfo2(entries).encode()), PaData(offered, b"")]
        found.append(PaData(PaType.FX_COOKIE, b"cookie"))
        if self.fast:
            found.append(PaData(PaType.FX_FAST, b""))
        return tuple(found)

    # --- TGS ---------------------------------------------------------------------------------------------------------

    def _tgs(self, octets: bytes) -> bytes:
        request = TgsReq.decode(octets)
        value = preauth.find_padata(request.padata, PaType.TGS_REQ)
        assert value is not None
        ap_req = ApReq.decode(value)
        part = EncTicketPart.decode(self.tgt_key.decrypt(KeyUsage.TICKET, ap_req.ticket.enc_part.cipher))
        session = make_key(part.key.keytype, part.key.keyvalue)
        opened = session.decrypt(KeyUsage.TGS_REQ_AUTHENTICATOR, ap_req.authenticator.cipher)
        authenticator = Authenticator.decode(opened)
        assert authenticator.cksum is not None
        assert authenticator.subkey is not None
        kind, checksum = authenticator.cksum.cksumtype, authenticator.cksum.checksum
        session.verify(KeyUsage.TGS_REQ_CHECKSUM, request.body_octets, checksum, kind)
        subkey = make_key(authenticator.subkey.keytype, authenticator.subkey.keyvalue)
        spoken = self._open(octets, request, value, fast.armor_key(subkey, session))
        self.seen.append(spoken)
        if abs(authenticator.ctime - self.clock) > timedelta(minutes=5):
            return self.error(spoken, ErrorCode.AP_SKEW)
        if self.errors:
            return self.error(spoken, self.errors.pop(0))
        client = KerberosName.of(part.cname, part.crealm)
        return self.answer(spoken, client, subkey, KeyUsage.TGS_REP_SUBKEY, subkey.etype)

    # --- both --------------------------------------------------------------------------------------------------------

    def _open(self, octets: bytes, request: KdcReq, covered: bytes, implicit: Key | None) -> Spoken:
        value = preauth.find_padata(request.padata, PaType.FX_FAST)
        if value is None or not self.fast:
            return Spoken(octets, request, request.req_body, None, request.padata or ())
        armored = PaFxFastRequest.decode(value).armored_data
        key = implicit
        if armored.armor is not None:
            ap_req = ApReq.decode(armored.armor.armor_value)
            part = EncTicketPart.decode(self.tgt_key.decrypt(KeyUsage.TICKET, ap_req.ticket.enc_part.cipher))
            session = make_key(part.key.keytype, part.key.keyvalue)
            opened = session.decrypt(KeyUsage.AP_REQ_AUTHENTICATOR, ap_req.authenticator.cipher)
            subkey = Authenticator.decode(opened).subkey
            assert subkey is not None
            key = fast.armor_key(make_key(subkey.keytype, subkey.keyvalue), session)
        assert key is not None
        inner = fast.unwrap_request(key, armored, covered)
        return Spoken(octets, request, inner.req_body, key, inner.padata)

    def error(self, spoken: Spoken, code: int, padata: Sequence[PaData] = ()) -> bytes:
        """A KRB-ERROR, in armor where the request was."""
        name = spoken.body.sname or PrincipalName(2, ("krbtgt", self.realm))
        plain = KrbError(5, 30, None, None, self.clock, 0, code, None, None, self.realm, name)
        data: tuple[PaData, ...] = tuple(padata)
        if spoken.armor is not None:
            inner = (*data, PaData(PaType.FX_ERROR, self.error_hook(plain).encode()))
            response = FastResponse(inner, None, None, spoken.body.nonce)
            data = (fast.wrap_reply(spoken.armor, response, os.urandom),)
        with_data: KrbError = replace(plain, e_data=MethodData(data).encode() if data else None)
        hooked: KrbError = self.error_hook(with_data)
        return hooked.encode()

    def answer(self, spoken: Spoken, client: KerberosName, key: Key, usage: int, etype: int) -> bytes:
        """A ticket."""
        body = spoken.body
        assert body.sname is not None
        sname = body.sname
        elsewhere = self.refer.get(self.realm)
        if elsewhere is not None and usage == KeyUsage.TGS_REP_SUBKEY:
            sname = PrincipalName(2, ("krbtgt", elsewhere))
        session = random_key(18, os.urandom)
        wire_key = EncryptionKey(session.etype, session.contents.reveal())
        end = min(body.till, self.clock + self.lifetime)
        ticket = self.ticket(client, sname, wire_key, end)
        kind: type[EncKdcRepPart] = EncAsRepPart if usage == KeyUsage.AS_REP else EncTgsRepPart
        flags = self.flags
        outer: list[PaData] = []
        if spoken.armor is not None:
            strengthen = random_key(18, os.urandom)
            inner: tuple[PaData, ...] = ()
            if usage == KeyUsage.AS_REP:
                inner = (fast.kdc_challenge(spoken.armor, key, self.clock, os.urandom),)
            response = FastResponse(
                inner,
                EncryptionKey(18, strengthen.contents.reveal()),
                fast.make_finished(spoken.armor, ticket, client, self.clock),
                body.nonce,
            )
            outer.append(fast.wrap_reply(spoken.armor, self.finish(response), os.urandom))
            key = fast.strengthen(strengthen, key)
        inside: tuple[PaData, ...] | None = None
        if usage == KeyUsage.AS_REP and self.with_checksum:
            flags |= TicketFlags.ENC_PA_REP
            inside = (preauth.request_checksum(key, spoken.octets), PaData(PaType.FX_FAST, b""))
        part = kind(
            wire_key, (), body.nonce, None, flags, self.clock, None, end, body.rtime, self.realm, sname, None, inside
        )
        sealed = EncryptedData(etype, None, key.encrypt(usage, self.part(part).encode(), os.urandom))
        reply_type, number = (AsRep, 11) if usage == KeyUsage.AS_REP else (TgsRep, 13)
        reply = reply_type(5, number, tuple(outer) or None, client.realm, client.principal_name, ticket, sealed)
        octets: bytes = self.reply(reply).encode()
        return octets

    def ticket(self, client: KerberosName, sname: PrincipalName, key: EncryptionKey, end: datetime) -> bytes:
        """A ticket, always in the key of the ticket-granting service."""
        part = EncTicketPart(
            self.flags, key, client.realm, client.principal_name, TransitedEncoding(1, b""), self.clock, None, end
        )
        cipher = self.tgt_key.encrypt(KeyUsage.TICKET, part.encode(), os.urandom)
        return Ticket(5, self.realm, sname, EncryptedData(18, 1, cipher)).encode()
