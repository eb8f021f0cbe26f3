"""How clients prove their keys to the AS: encrypted timestamp and encrypted challenge; others register beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from securestream.errors import BadSignature, MalformedMessage
from securestream.redaction import Redacted
from securestream_providers.kerberos.kdc.armor import COOKIE
from securestream_providers.kerberos.kdc.principals import KdcPrincipal, StoredKey
from securestream_providers.kerberos.kdc.realm import Asked, Realm
from securestream_providers.kerberos.kdc.refusals import Refused
from securestream_providers.krb5.fast import kdc_challenge, read_client_challenge
from securestream_providers.krb5.messages import EncryptedData, EtypeInfo2, EtypeInfo2Entry, PaData
from securestream_providers.krb5.numbers import ErrorCode, PaType
from securestream_providers.krb5.preauth import read_encrypted_timestamp


@dataclass(frozen=True, repr=False)
class Proved(Redacted):
    """A client proved its key.

    Args:
        padata: for the reply.
    """

    padata: tuple[PaData, ...] = ()


Mechanism: TypeAlias = Callable[[Realm, Asked, KdcPrincipal, bytes], Proved]
"""Judges the value of one type of padata; raises `Refused` or `BadSignature`."""


def client_keys(realm: Realm, asked: Asked, client: KdcPrincipal) -> tuple[StoredKey, ...]:
    """The client's keys that may encrypt the reply, in the order of the request.

    Raises:
        Refused: ETYPE_NOSUPP.
    """
    usable = tuple(etype for etype in asked.body.etype if etype in realm.policy.etypes)
    found = client.current(usable)
    if not found:
        raise Refused(ErrorCode.ETYPE_NOSUPP, "the client has no key of a type that it asks for")
    return found


def offered(realm: Realm, asked: Asked, client: KdcPrincipal) -> tuple[PaData, ...]:
    """METHOD-DATA of PREAUTH_REQUIRED and PREAUTH_FAILED: what the client may use."""
    info = key_information(client_keys(realm, asked, client))
    if asked.armor is not None:
        return info, PaData(PaType.ENCRYPTED_CHALLENGE, b""), COOKIE
    return (
        PaData(PaType.FX_FAST, b""),
        info,
        PaData(PaType.ENC_TIMESTAMP, b""),
        PaData(PaType.REQ_ENC_PA_REP, b""),
        COOKIE,
    )


def key_information(keys: tuple[StoredKey, ...]) -> PaData:
    """ETYPE-INFO2 of keys (RFC 4120 5.2.7.5)."""
    entries = tuple(EtypeInfo2Entry(stored.key.etype, stored.salt) for stored in keys)
    return PaData(PaType.ETYPE_INFO2, EtypeInfo2(entries).encode())


def prove(realm: Realm, asked: Asked, client: KdcPrincipal) -> Proved | None:
    """What the client proved by the pre-authentication data of its request; `None` where there is none.

    Each attempt is counted before it is judged, so that attempts at the same time are counted, too.

    Raises:
        Refused: wrong, locked, or too far off our clock.
    """
    for kind, mechanism in MECHANISMS.items():
        value = asked.find(kind)
        if not value or (kind == PaType.ENCRYPTED_CHALLENGE) is not (asked.armor is not None):
            continue
        name = client.name
        if not realm.database.begin_attempt(name, asked.now, realm.policy.lockout):
            raise Refused(ErrorCode.CLIENT_REVOKED, "locked after too many failures")
        try:
            proved = mechanism(realm, asked, client, value)
        except (BadSignature, MalformedMessage):
            raise Refused(ErrorCode.PREAUTH_FAILED, "", offered(realm, asked, client)) from None
        except Refused as refused:
            if refused.code == ErrorCode.AP_SKEW:  # the key was right
                realm.database.attempt_succeeded(name, asked.now)
            raise
        realm.database.attempt_succeeded(name, asked.now)
        return proved
    return None


def _timestamp(realm: Realm, asked: Asked, client: KdcPrincipal, value: bytes) -> Proved:
    """PA-ENC-TIMESTAMP (RFC 4120 5.2.7.2)."""
    etype = EncryptedData.decode(value).etype
    moment = _first(client, realm, etype, lambda stored: read_encrypted_timestamp(stored.key, value))
    realm.check_skew(moment[1], asked.now)
    return Proved()


def _challenge(realm: Realm, asked: Asked, client: KdcPrincipal, value: bytes) -> Proved:
    """PA-ENCRYPTED-CHALLENGE (RFC 6113 5.4.6)."""
    armor = asked.armor
    sealed = EncryptedData.decode(value).etype
    if armor is None or sealed != armor.etype:
        raise BadSignature("the challenge is not of the armor's type")
    stored, moment = _first(client, realm, None, lambda one: read_client_challenge(armor, one.key, value))
    realm.check_skew(moment, asked.now)
    return Proved((kdc_challenge(armor, stored.key, asked.now, realm.random),))


def _first(
    client: KdcPrincipal, realm: Realm, etype: int | None, read: Callable[[StoredKey], datetime]
) -> tuple[StoredKey, datetime]:
    """The first of the client's keys that opens, and the time that it opens."""
    for stored in client.current(realm.policy.etypes):
        if etype is None or stored.key.etype == etype:
            try:
                return stored, read(stored)
            except BadSignature:
                continue
    raise BadSignature("no key of the client made this")


MECHANISMS: Final[dict[int, Mechanism]] = {
    PaType.ENCRYPTED_CHALLENGE: _challenge,
    PaType.ENC_TIMESTAMP: _timestamp,
}
