"""What a KDC, a password server or a proxy answers, and what they are asked."""

from __future__ import annotations

from securestream.errors import BadSignature, MalformedMessage
from securestream_providers.krb5 import kpasswd, preauth, s4u
from securestream_providers.krb5.kdc_error import refusal
from securestream_providers.krb5.keys import make_key
from securestream_providers.krb5.kkdcp import unwrap_proxied, wrap_proxied
from securestream_providers.krb5.krb_cred import make_krb_cred, read_krb_cred
from securestream_providers.krb5.messages import (
    EncryptedData,
    EtypeInfo2,
    EtypeInfo2Entry,
    KrbError,
    PaData,
    Ticket,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import PaType, TicketFlags
from securestream_providers.krb5.tickets import CachedTicket
from tests.fuzz.harness import Parser
from tests.providers.krb5.test_kdc_messages import ALICE, NOW, error

KEY = make_key(18, bytes(range(32)))
HINTS = EtypeInfo2((EtypeInfo2Entry(18, "salt", b"\0\0\x10\0"), EtypeInfo2Entry(17, None, None))).encode()
OCTETS = Ticket(5, "R", KerberosName("R", ("krbtgt", "R")).principal_name, EncryptedData(18, 1, bytes(32))).encode()
TICKET = CachedTicket(ALICE, KerberosName("R", ("krbtgt", "R")), KEY, OCTETS, TicketFlags.FORWARDED, NOW, None, NOW)


def _random(size: int) -> bytes:
    return bytes(size)


def _error(octets: bytes) -> None:
    refusal(KrbError.decode(octets), now=NOW)


def _recipes(octets: bytes) -> None:
    preauth.key_recipes((PaData(PaType.ETYPE_INFO2, octets),), ALICE)


def _reply(octets: bytes) -> None:
    reply = kpasswd.read_reply(octets)
    kpasswd.result_text(kpasswd.read_result(reply.body)[1])


PARSERS = [
    Parser("krb5.error", _error, (error(25, text="text", data=HINTS).encode(),), allowed=(MalformedMessage,)),
    Parser("krb5.etype_info2", _recipes, (HINTS,), allowed=(MalformedMessage,)),
    Parser(
        "krb5.kpasswd.reply",
        _reply,
        (kpasswd.frame_reply(kpasswd.PasswordReply(b"ap-rep", b"\0\4no")),),
        allowed=(MalformedMessage,),
    ),
    Parser("krb5.kkdcp", unwrap_proxied, (wrap_proxied(b"message", "R"),), allowed=(MalformedMessage,)),
    Parser(
        "krb5.for_user",
        lambda octets: s4u.read_for_user(octets, KEY),
        (s4u.make_for_user(ALICE, KEY).padata_value,),
        allowed=(MalformedMessage, BadSignature),
    ),
    Parser(
        "krb5.s4u_x509_user",
        lambda octets: s4u.read_s4u_x509_user(octets, KEY, 7),
        (s4u.make_s4u_x509_user(ALICE, 7, KEY).padata_value,),
        allowed=(MalformedMessage, BadSignature),
    ),
    Parser(
        "krb5.timestamp",
        lambda octets: preauth.read_encrypted_timestamp(KEY, octets),
        (preauth.encrypted_timestamp(KEY, NOW, _random).padata_value,),
        allowed=(MalformedMessage, BadSignature),
    ),
    Parser(
        "krb5.krb_cred",
        lambda octets: read_krb_cred(octets, KEY),
        (make_krb_cred([TICKET], KEY, NOW, _random),),
        allowed=(MalformedMessage, BadSignature),
    ),
]
