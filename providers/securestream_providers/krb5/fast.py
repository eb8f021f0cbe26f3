"""FAST: requests and replies inside an armor, for client and KDC (RFC 6113 5.4).

The armor is a key that only the client and the KDC know: of an AP-REQ with somebody's ticket (AS), or of the
PA-TGS-REQ's own subkey (TGS). What travels outside of it is unauthenticated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from securestream.errors import BadSignature
from securestream.options import Random
from securestream.redaction import Redacted
from securestream_providers.krb5.ap_requests import make_ap_req
from securestream_providers.krb5.keys import Key, cf2, random_key
from securestream_providers.krb5.messages import Checksum, EncryptedData, KdcReqBody, PaData
from securestream_providers.krb5.messages_fast import (
    FastArmor,
    FastArmoredRep,
    FastArmoredReq,
    FastFinished,
    FastReq,
    FastResponse,
    PaFxFastReply,
    PaFxFastRequest,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import KeyUsage, PaType
from securestream_providers.krb5.preauth import open_timestamp, seal_timestamp
from securestream_providers.krb5.tickets import CachedTicket

ARMOR_AP_REQUEST: Final = 1
"""FX_FAST_ARMOR_AP_REQUEST, the only type of armor (RFC 6113 5.4.1.1)."""

CRITICAL_OPTIONS: Final = 0xFFFF0000
"""FAST options that a KDC must know or refuse (RFC 6113 5.4.2); of these we know the two below."""

HIDE_CLIENT_NAMES: Final = 0x40000000
"""The client asks that its name does not stand outside of the armor."""


@dataclass(frozen=True, repr=False)
class Armor(Redacted):
    """The armor of a request.

    Args:
        key: the armor key.
        value: what tells it to the KDC; `None` in a TGS-REQ, whose PA-TGS-REQ does.
    """

    key: Key
    value: FastArmor | None = None


def armor_key(subkey: Key, session_key: Key) -> Key:
    """The armor key of an authenticator's subkey and its ticket's session key (RFC 6113 5.4.1.1, 5.4.2)."""
    return cf2(subkey, session_key, b"subkeyarmor", b"ticketarmor")


def make_armor(ticket: CachedTicket, now: datetime, random: Random) -> Armor:
    """The armor of an AS-REQ: an AP-REQ with a ticket-granting ticket of the realm that is asked.

    Args:
        ticket: the armor ticket.
        now: the time for its authenticator.
        random: for subkey and confounder.
    """
    subkey = random_key(ticket.key.etype, random)
    request = make_ap_req(ticket, now, random, subkey=subkey)
    return Armor(armor_key(subkey, ticket.key), FastArmor(ARMOR_AP_REQUEST, request))


def wrap_request(
    armor: Armor, covered: bytes, padata: tuple[PaData, ...], body: KdcReqBody, random: Random, *, options: int = 0
) -> PaData:
    """PA-FX-FAST of a request.

    Args:
        armor: the armor.
        covered: what the checksum covers: the outer KDC-REQ-BODY in DER (AS), or the AP-REQ in PA-TGS-REQ (TGS).
        padata: inside the armor.
        body: inside the armor; it is the one that counts.
        random: for the confounder.
        options: FAST options.
    """
    key = armor.key
    inner = FastReq(options, padata, body).encode()
    armored = FastArmoredReq(
        armor.value,
        Checksum(key.checksum_type, key.checksum(KeyUsage.FAST_REQ_CHECKSUM, covered)),
        EncryptedData(key.etype, None, key.encrypt(KeyUsage.FAST_ENC, inner, random)),
    )
    return PaData(PaType.FX_FAST, PaFxFastRequest(armored).encode())


def unwrap_request(key: Key, armored: FastArmoredReq, covered: bytes) -> FastReq:
    """What a client put inside the armor.

    Args:
        key: the armor key.
        armored: the content of PA-FX-FAST.
        covered: as for `wrap_request`, as received.

    Raises:
        BadSignature: the request outside was altered, or another key is used.
        MalformedMessage: the content is no KrbFastReq.
    """
    key.verify(KeyUsage.FAST_REQ_CHECKSUM, covered, armored.req_checksum.checksum, armored.req_checksum.cksumtype)
    return FastReq.decode(_opened(key, KeyUsage.FAST_ENC, armored.enc_fast_req))


def wrap_reply(key: Key, response: FastResponse, random: Random) -> PaData:
    """PA-FX-FAST of a reply, or of an error's METHOD-DATA."""
    sealed = EncryptedData(key.etype, None, key.encrypt(KeyUsage.FAST_REP, response.encode(), random))
    return PaData(PaType.FX_FAST, PaFxFastReply(FastArmoredRep(sealed)).encode())


def unwrap_reply(key: Key, value: bytes, nonce: int) -> FastResponse:
    """What the KDC put inside the armor.

    Args:
        key: the armor key.
        value: of PA-FX-FAST.
        nonce: of the request.

    Raises:
        BadSignature: it was altered, made with another key, or answers another request.
        MalformedMessage: it is no KrbFastResponse.
    """
    armored = PaFxFastReply.decode(value).armored_data
    response = FastResponse.decode(_opened(key, KeyUsage.FAST_REP, armored.enc_fast_rep))
    if response.nonce != nonce:
        raise BadSignature("the KDC's armored reply answers another request")
    return response


def make_finished(key: Key, ticket: bytes, client: KerberosName, now: datetime) -> FastFinished:
    """KrbFastFinished of a reply with a ticket (RFC 6113 5.4.3).

    Args:
        key: the armor key.
        ticket: the Ticket in DER, as the reply holds it.
        client: the client's name, which is authenticated hereby.
        now: the KDC's time.
    """
    return FastFinished(
        now.replace(microsecond=0),
        now.microsecond,
        client.realm,
        client.principal_name,
        Checksum(key.checksum_type, key.checksum(KeyUsage.FAST_FINISHED, ticket)),
    )


def check_finished(key: Key, response: FastResponse, ticket: bytes) -> KerberosName:
    """The client's name, after the ticket of a reply was checked against what the armor says.

    Raises:
        BadSignature: there is no KrbFastFinished, or the ticket is another one.
    """
    finished = response.finished
    if finished is None:
        raise BadSignature("the KDC's armored reply does not cover its ticket (RFC 6113 5.4.3)")
    checksum = finished.ticket_checksum
    key.verify(KeyUsage.FAST_FINISHED, ticket, checksum.checksum, checksum.cksumtype)
    return KerberosName.of(finished.cname, finished.crealm)


def strengthen(strengthen_key: Key, reply_key: Key) -> Key:
    """The reply key where the KDC sent a strengthen key (RFC 6113 5.4.3)."""
    return cf2(strengthen_key, reply_key, b"strengthenkey", b"replykey")


def client_challenge_key(armor: Key, long_term: Key) -> Key:
    """Encrypts the client's encrypted challenge (RFC 6113 5.4.6)."""
    return cf2(armor, long_term, b"clientchallengearmor", b"challengelongterm")


def kdc_challenge_key(armor: Key, long_term: Key) -> Key:
    """Encrypts the KDC's answer to an encrypted challenge (RFC 6113 5.4.6)."""
    return cf2(armor, long_term, b"kdcchallengearmor", b"challengelongterm")


def client_challenge(armor: Key, long_term: Key, now: datetime, random: Random) -> PaData:
    """PA-ENCRYPTED-CHALLENGE of a client."""
    key = client_challenge_key(armor, long_term)
    return PaData(PaType.ENCRYPTED_CHALLENGE, seal_timestamp(key, KeyUsage.ENC_CHALLENGE_CLIENT, now, random))


def read_client_challenge(armor: Key, long_term: Key, value: bytes) -> datetime:
    """The time in a client's challenge.

    Raises:
        BadSignature: it was not made with these keys.
        MalformedMessage: it is no such structure.
    """
    return open_timestamp(client_challenge_key(armor, long_term), KeyUsage.ENC_CHALLENGE_CLIENT, value)


def kdc_challenge(armor: Key, long_term: Key, now: datetime, random: Random) -> PaData:
    """PA-ENCRYPTED-CHALLENGE of a KDC."""
    key = kdc_challenge_key(armor, long_term)
    return PaData(PaType.ENCRYPTED_CHALLENGE, seal_timestamp(key, KeyUsage.ENC_CHALLENGE_KDC, now, random))


def read_kdc_challenge(armor: Key, long_term: Key, value: bytes) -> datetime:
    """The time in a KDC's challenge; see `read_client_challenge`."""
    return open_timestamp(kdc_challenge_key(armor, long_term), KeyUsage.ENC_CHALLENGE_KDC, value)


def _opened(key: Key, usage: int, sealed: EncryptedData) -> bytes:
    if sealed.etype != key.etype:
        raise BadSignature(f"the armored part is of the encryption type {sealed.etype}, the armor of {key.etype}")
    return key.decrypt(usage, sealed.cipher)
