"""For every value: Kerberos messages beside those of the DER properties come back, and every cut is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import MalformedMessage
from securestream.wire import der
from securestream_providers.krb5 import messages as m
from securestream_providers.krb5 import messages_fast as fast
from securestream_providers.krb5 import s4u
from securestream_providers.krb5.numbers import TicketFlags

T = TypeVar("T")

int32 = st.integers(-(1 << 31), (1 << 31) - 1)
uint32 = st.integers(0, (1 << 32) - 1)
micro = st.integers(0, 999_999)
octets = st.binary(max_size=60)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moment = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001  hypothesis wants naive bounds


def few(element: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(element, max_size=3).map(tuple)


def maybe(element: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | element


name = st.builds(m.PrincipalName, int32, few(text))
encrypted = st.builds(m.EncryptedData, int32, maybe(uint32), octets)
key = st.builds(m.EncryptionKey, int32, octets)
checksum = st.builds(m.Checksum, int32, octets)
address = st.builds(m.HostAddress, int32, octets)
padata = st.builds(m.PaData, int32, octets)
ticket = st.builds(m.Ticket, st.just(5), text, name, encrypted).map(m.Ticket.encode)
flags = uint32.map(TicketFlags)
body = st.builds(
    m.KdcReqBody,
    *(uint32, maybe(name), text, maybe(name), maybe(moment), moment, maybe(moment), uint32, few(int32)),
    *(maybe(few(address)), maybe(encrypted)),
)
reply_part = (
    *(key, few(st.builds(m.LastReq, int32, moment)), uint32, maybe(moment), flags, moment, maybe(moment), moment),
    *(maybe(moment), text, name, maybe(few(address)), maybe(few(padata))),
)
credential = st.builds(
    m.KrbCredInfo,
    *(key, maybe(text), maybe(name), maybe(uint32), maybe(moment), maybe(moment), maybe(moment), maybe(moment)),
    *(maybe(text), maybe(name), maybe(few(address))),
)
armored = st.builds(fast.FastArmoredReq, maybe(st.builds(fast.FastArmor, int32, octets)), checksum, encrypted)
finished = st.builds(fast.FastFinished, moment, micro, text, name, checksum)

MADE: dict[str, st.SearchStrategy[der.Message]] = {
    "TgsReq": st.builds(m.TgsReq, st.just(5), int32, maybe(few(padata)), body),
    "TgsRep": st.builds(m.TgsRep, st.just(5), int32, maybe(few(padata)), text, name, ticket, encrypted),
    "EncTgsRepPart": st.builds(m.EncTgsRepPart, *reply_part),
    "EncAsRepPart": st.builds(m.EncAsRepPart, *reply_part),
    "KrbPriv": st.builds(m.KrbPriv, st.just(5), st.just(21), encrypted),
    "EncKrbPrivPart": st.builds(
        m.EncKrbPrivPart, octets, maybe(moment), maybe(micro), maybe(uint32), maybe(address), maybe(address)
    ),
    "KrbCred": st.builds(m.KrbCred, st.just(5), st.just(22), few(ticket), encrypted),
    "EncKrbCredPart": st.builds(
        m.EncKrbCredPart,
        *(few(credential), maybe(uint32), maybe(moment), maybe(micro), maybe(address), maybe(address)),
    ),
    "MethodData": st.builds(m.MethodData, few(padata)),
    "TypedData": st.builds(m.TypedData, few(st.builds(m.TypedDataElement, int32, maybe(octets)))),
    "EtypeInfo": st.builds(m.EtypeInfo, few(st.builds(m.EtypeInfoEntry, int32, maybe(octets)))),
    "EtypeInfo2": st.builds(m.EtypeInfo2, few(st.builds(m.EtypeInfo2Entry, int32, maybe(text), maybe(octets)))),
    "PaEncTsEnc": st.builds(m.PaEncTsEnc, moment, maybe(micro)),
    "PaPacRequest": st.builds(m.PaPacRequest, st.booleans()),
    "PaPacOptions": st.builds(m.PaPacOptions, uint32),
    "PaFxFastRequest": st.builds(fast.PaFxFastRequest, armored),
    "PaFxFastReply": st.builds(fast.PaFxFastReply, st.builds(fast.FastArmoredRep, encrypted)),
    "FastReq": st.builds(fast.FastReq, uint32, few(padata), body),
    "FastResponse": st.builds(fast.FastResponse, few(padata), maybe(key), maybe(finished), uint32),
    "PaForUser": st.builds(s4u.PaForUser, name, text, checksum, text),
    "S4uUserId": st.builds(s4u.S4uUserId, uint32, maybe(name), text, maybe(octets), maybe(uint32)),
}
message = st.one_of(*MADE.values())


@pytest.mark.parametrize("kind", MADE)
@given(st.data())
def test_every_value_comes_back(kind: str, data: st.DataObject) -> None:
    value = data.draw(MADE[kind])
    encoded = value.encode()
    found = type(value).decode(encoded)
    assert found == value
    assert found.encode() == encoded


@given(message, st.data())
def test_every_cut_is_refused(value: der.Message, data: st.DataObject) -> None:
    encoded = value.encode()
    cut = data.draw(st.integers(0, len(encoded) - 1))
    for damaged in (encoded[:cut], encoded + b"\0"):
        with pytest.raises(MalformedMessage):
            type(value).decode(damaged)


@given(message, st.data())
def test_damage_is_refused_or_means_something(value: der.Message, data: st.DataObject) -> None:
    encoded = bytearray(value.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = type(value).decode(encoded)
    except MalformedMessage:
        return
    assert type(value).decode(found.encode()) == found
