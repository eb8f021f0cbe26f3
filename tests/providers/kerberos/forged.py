"""Requests to a KDC made by hand, right or wrong at will: nothing here is the project's client."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.krb5.fast import armor_key
from securestream_providers.krb5.keys import Key, make_key, random_key
from securestream_providers.krb5.messages import (
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    Checksum,
    EncAsRepPart,
    EncKdcRepPart,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    EncTicketPart,
    KdcReqBody,
    KrbError,
    MethodData,
    PaData,
    PaEncTsEnc,
    PrincipalName,
    TgsRep,
    TgsReq,
    Ticket,
)
from securestream_providers.krb5.messages_fast import FastArmor, FastArmoredReq, FastReq, PaFxFastRequest
from securestream_providers.krb5.numbers import KdcOptions, KeyUsage, NameType, PaType

REALM = "TEST.EXAMPLE"
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that the test moves."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Got:
    """A ticket in the hands of the test."""

    ticket: Ticket
    session: Key
    part: EncKdcRepPart
    reply: AsRep | TgsRep

    @property
    def client(self) -> tuple[str, PrincipalName]:
        """Whose it is."""
        return self.reply.crealm, self.reply.cname


def name(*parts: str, kind: int = NameType.PRINCIPAL) -> PrincipalName:
    """A name."""
    return PrincipalName(kind, parts)


TGS = name("krbtgt", REALM, kind=NameType.SRV_INST)


class Bench:
    """A KDC without sockets, and requests to it."""

    def __init__(self, policy: KdcPolicy | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.kdc = EmbeddedKdc(REALM, clock=self.clock, policy=policy or KdcPolicy(least_password=8), **settings)

    def send(self, request: bytes, *, stream: bool = True, source: str = "192.0.2.7") -> bytes | None:
        """What the KDC answers."""
        return self.kdc.kdc.handle(request, now=self.clock.now, source=source, stream=stream)

    def error(self, request: bytes) -> KrbError:
        """The error that the KDC answers."""
        reply = self.send(request)
        assert reply is not None
        return KrbError.decode(reply)

    def key(self, principal: str, etype: int = 18) -> Key:
        """The newest key of a principal."""
        found = self.kdc.database.find(self.kdc.name(principal))
        assert found is not None
        return found.current((etype,))[0].key

    # --- AS

    def body(self, cname: PrincipalName | None, sname: PrincipalName | None = TGS, **changes: Any) -> KdcReqBody:
        """A request's body."""
        fields: dict[str, Any] = {
            "kdc_options": 0,
            "cname": cname,
            "realm": REALM,
            "sname": sname,
            "from_time": None,
            "till": NEVER,
            "rtime": None,
            "nonce": 4711,
            "etype": (18, 17, 20, 19),
        }
        return KdcReqBody(**(fields | changes))

    def timestamp(self, key: Key, moment: datetime | None = None) -> PaData:
        """PA-ENC-TIMESTAMP."""
        moment = moment or self.clock.now
        plain = PaEncTsEnc(moment.replace(microsecond=0), moment.microsecond).encode()
        sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.PA_ENC_TIMESTAMP, plain, os.urandom))
        return PaData(PaType.ENC_TIMESTAMP, sealed.encode())

    def as_req(self, client: str, key: Key | None = None, *padata: PaData, **changes: Any) -> bytes:
        """An AS-REQ, with an encrypted timestamp if there is a key."""
        body = self.body(name(*client.split("/")), changes.pop("sname", TGS), **changes)
        found = (*(() if key is None else (self.timestamp(key),)), *padata)
        return AsReq(5, 10, found or None, body).encode()

    def tgt(self, client: str, *padata: PaData, **changes: Any) -> Got:
        """A ticket of the AS, by the client's key."""
        key = self.key(client)
        reply = self.send(self.as_req(client, key, *padata, **changes))
        assert reply is not None
        return self.open_as(reply, key)

    @staticmethod
    def open_as(reply: bytes, key: Key) -> Got:
        """An AS-REP, opened."""
        assert reply[0] == 0x6B, KrbError.decode(reply)
        message = AsRep.decode(reply)
        part = EncAsRepPart.decode(key.decrypt(KeyUsage.AS_REP, message.enc_part.cipher))
        return Got(Ticket.decode(message.ticket), make_key(part.key.keytype, part.key.keyvalue), part, message)

    # --- TGS

    def pa_tgs_req(self, got: Got, body: bytes, **changes: Any) -> PaData:
        """PA-TGS-REQ: `checksum`, `subkey`, `moment`, `client` and `usage` may be wrong."""
        session = got.session
        moment: datetime = changes.get("moment", self.clock.now)
        crealm, cname = changes.get("client", got.client)
        checksum = Checksum(session.checksum_type, session.checksum(KeyUsage.TGS_REQ_CHECKSUM, body))
        subkey: Key | None = changes.get("subkey")
        authenticator = Authenticator(
            5,
            crealm,
            cname,
            changes.get("checksum", checksum),
            moment.microsecond,
            moment.replace(microsecond=0),
            None if subkey is None else EncryptionKey(subkey.etype, subkey.contents.reveal()),
        )
        usage = changes.get("usage", KeyUsage.TGS_REQ_AUTHENTICATOR)
        sealed = EncryptedData(session.etype, None, session.encrypt(usage, authenticator.encode(), os.urandom))
        return PaData(PaType.TGS_REQ, ApReq(5, 14, 0, changes.get("ticket", got.ticket), sealed).encode())

    def tgs_req(
        self, got: Got, server: str, *padata: PaData, header: dict[str, Any] | None = None, **body: Any
    ) -> bytes:
        """A TGS-REQ."""
        sname = body.pop("sname", name(*server.split("/"), kind=NameType.SRV_HST))
        made = self.body(None, sname, **body)
        first = self.pa_tgs_req(got, made.encode(), **(header or {}))
        return TgsReq(5, 12, (first, *padata), made).encode()

    def ticket(self, got: Got, server: str, *padata: PaData, header: dict[str, Any] | None = None, **body: Any) -> Got:
        """A ticket of the TGS."""
        reply = self.send(self.tgs_req(got, server, *padata, header=header, **body))
        assert reply is not None
        subkey = (header or {}).get("subkey")
        return self.open_tgs(reply, got.session if subkey is None else subkey, subkeyed=subkey is not None)

    @staticmethod
    def open_tgs(reply: bytes, key: Key, *, subkeyed: bool = False) -> Got:
        """A TGS-REP, opened."""
        assert reply[0] == 0x6D, KrbError.decode(reply)
        message = TgsRep.decode(reply)
        usage = KeyUsage.TGS_REP_SUBKEY if subkeyed else KeyUsage.TGS_REP_SESSION
        part = EncTgsRepPart.decode(key.decrypt(usage, message.enc_part.cipher))
        return Got(Ticket.decode(message.ticket), make_key(part.key.keytype, part.key.keyvalue), part, message)

    def opened(self, got: Got, server: str) -> EncTicketPart:
        """What a ticket holds, for whoever has the server's key."""
        found = self.kdc.database.find(self.kdc.name(server))
        assert found is not None
        for key in found.of_version(got.ticket.enc_part.kvno, got.ticket.enc_part.etype):
            return EncTicketPart.decode(key.decrypt(KeyUsage.TICKET, got.ticket.enc_part.cipher))
        raise AssertionError("no such key")

    def resealed(self, got: Got, server: str, part: EncTicketPart) -> Got:
        """The ticket with another content, as only the holder of the server's key can make it."""
        key = self.key(server, got.ticket.enc_part.etype)
        cipher = key.encrypt(KeyUsage.TICKET, part.encode(), os.urandom)
        return replace(got, ticket=replace(got.ticket, enc_part=replace(got.ticket.enc_part, cipher=cipher)))

    # --- FAST

    def fast(
        self, armor: Got, covered: bytes, padata: Sequence[PaData], body: KdcReqBody, **wrong: Any
    ) -> tuple[PaData, Key]:
        """PA-FX-FAST with the armor of a ticket, and the armor key."""
        subkey = random_key(armor.session.etype, os.urandom)
        crealm, cname = armor.client
        authenticator = Authenticator(
            *(5, crealm, cname, None, 0, self.clock.now.replace(microsecond=0)),
            EncryptionKey(subkey.etype, subkey.contents.reveal()),
        )
        cipher = armor.session.encrypt(KeyUsage.AP_REQ_AUTHENTICATOR, authenticator.encode(), os.urandom)
        request = ApReq(5, 14, 0, armor.ticket, EncryptedData(armor.session.etype, None, cipher)).encode()
        key = armor_key(subkey, armor.session)
        inner = FastReq(wrong.get("options", 0), tuple(padata), body).encode()
        armored = FastArmoredReq(
            FastArmor(wrong.get("armor_type", 1), request),
            Checksum(key.checksum_type, key.checksum(KeyUsage.FAST_REQ_CHECKSUM, covered)),
            EncryptedData(key.etype, None, key.encrypt(KeyUsage.FAST_ENC, inner, os.urandom)),
        )
        return PaData(PaType.FX_FAST, PaFxFastRequest(armored).encode()), key


def offered(error: KrbError) -> dict[int, bytes]:
    """The METHOD-DATA of an error."""
    assert error.e_data is not None
    return {one.padata_type: one.padata_value for one in MethodData.decode(error.e_data).elements}


def hours(count: float) -> timedelta:
    """So many hours."""
    return timedelta(hours=count)


def options(*flags: KdcOptions) -> int:
    """KDC options as a number."""
    total = 0
    for flag in flags:
        total |= flag
    return total
