"""Kerberos messages that the DER samples do not have: what KDCs answer, credentials, and what FAST armors."""

from __future__ import annotations

from collections.abc import Callable

from securestream.wire import der
from securestream_providers.krb5 import messages as m
from securestream_providers.krb5 import messages_fast as fast
from securestream_providers.krb5.numbers import TicketFlags
from tests.core.wire.samples import ALICE, BODY, HTTP, KEY, LATER, NOW, TICKET
from tests.fuzz.harness import Parser

_SEALED = m.EncryptedData(18, 2, bytes(range(60)))
_PADATA = (m.PaData(19, bytes(20)), m.PaData(-7, b""))
_SUM = m.Checksum(16, bytes(12))
_ADDRESS = m.HostAddress(2, bytes(4))
_MESSAGES: tuple[der.Message, ...] = (
    m.TgsReq(5, 12, _PADATA, BODY),
    m.TgsRep(5, 13, _PADATA, "EXAMPLE.COM", ALICE, TICKET.encode(), _SEALED),
    m.EncTgsRepPart(
        *(KEY, (m.LastReq(0, NOW),), 7, LATER, TicketFlags.INITIAL, NOW, NOW, LATER, LATER, "EXAMPLE.COM", HTTP),
        *((_ADDRESS,), _PADATA),
    ),
    m.KrbPriv(5, 21, _SEALED),
    m.EncKrbPrivPart(b"data", NOW, 5, 6, _ADDRESS, _ADDRESS),
    m.KrbCred(5, 22, (TICKET.encode(), TICKET.encode()), _SEALED),
    m.EncKrbCredPart(
        (m.KrbCredInfo(KEY, "EXAMPLE.COM", ALICE, 0x40000000, NOW, NOW, LATER, LATER, "EXAMPLE.COM", HTTP),), 7, NOW, 8
    ),
    m.MethodData(_PADATA),
    m.TypedData((m.TypedDataElement(1, b"data"), m.TypedDataElement(2))),
    m.EtypeInfo((m.EtypeInfoEntry(18, b"salt"), m.EtypeInfoEntry(23))),
    m.EtypeInfo2((m.EtypeInfo2Entry(18, "EXAMPLE.COMalice", bytes(4)), m.EtypeInfo2Entry(23))),
    fast.PaFxFastRequest(fast.FastArmoredReq(fast.FastArmor(1, bytes(30)), _SUM, _SEALED)),
    fast.PaFxFastReply(fast.FastArmoredRep(_SEALED)),
    fast.FastReq(0x40000000, _PADATA, BODY),
    fast.FastResponse(_PADATA, KEY, fast.FastFinished(NOW, 5, "EXAMPLE.COM", ALICE, _SUM), 7),
)


def _decode(cls: type[der.Message]) -> Callable[[bytes], None]:
    """Decode, and insist that what was accepted can be sent again and means the same."""

    def parse(octets: bytes) -> None:
        message = cls.decode(octets)
        assert cls.decode(message.encode()) == message

    return parse


PARSERS = [
    Parser(f"krb5.message.{type(sample).__name__}", _decode(type(sample)), (sample.encode(),)) for sample in _MESSAGES
]
