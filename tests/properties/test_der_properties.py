"""For every value: DER of a declared message comes back, pyasn1 agrees in both directions, and damage fails closed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import MalformedMessage
from securestream.wire import der
from tests.core.wire import oracle
from tests.core.wire.samples import MESSAGES
from tests.core.wire.schemas import (
    ApRep,
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    AuthorizationData,
    AuthorizationElement,
    Checksum,
    EncApRepPart,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    HostAddress,
    KdcReqBody,
    KrbError,
    NegState,
    NegTokenInit,
    NegTokenResp,
    PaData,
    PrincipalName,
    Ticket,
    TicketFlags,
    TransitedEncoding,
)

T = TypeVar("T")

# pyasn1 0.6.5 writes the least number of each size (-128, -32768, ...) with an octet too many; X.690 8.3.2 forbids it
PYASN1_IS_WRONG = {-(1 << bits) for bits in (7, 15, 23, 31)}

int32 = st.one_of(st.integers(-200, 200), st.integers(-(1 << 31), (1 << 31) - 1)).filter(
    lambda number: number not in PYASN1_IS_WRONG
)
uint32 = st.one_of(st.integers(0, 300), st.integers(0, (1 << 32) - 1))
micro = st.integers(0, 999_999)
octets = st.one_of(st.binary(max_size=40), st.integers(100, 300).map(bytes), st.just(bytes(70_000)))
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
moment = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001  hypothesis wants naive bounds
flags = uint32


def few(element: st.SearchStrategy[T], least: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(element, min_size=least, max_size=4).map(tuple)


def maybe(element: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.one_of(st.none(), element)


oid = st.tuples(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 1 << 40), max_size=6)).map(
    lambda arcs: ".".join(map(str, (arcs[0], arcs[1], *arcs[2])))
)
name = st.builds(PrincipalName, int32, few(text))
encrypted = st.builds(EncryptedData, int32, maybe(uint32), octets)
key = st.builds(EncryptionKey, int32, octets)
checksum = st.builds(Checksum, int32, octets)
# pyasn1 leaves an optional SEQUENCE OF without elements out
addresses = few(st.builds(HostAddress, int32, octets), 1)
authorization = few(st.builds(AuthorizationElement, int32, octets), 1)
padata = few(st.builds(PaData, int32, octets), 1)
ticket = st.builds(Ticket, st.just(5), text, name, encrypted)
body = st.builds(
    KdcReqBody,
    flags,
    maybe(name),
    text,
    maybe(name),
    maybe(moment),
    moment,
    maybe(moment),
    uint32,
    few(int32),
    maybe(addresses),
    maybe(encrypted),
    maybe(few(ticket, 1)),
)
bits = st.tuples(st.binary(min_size=1, max_size=6), st.integers(0, 7)).map(
    lambda pair: der.BitString(pair[0][:-1] + bytes((pair[0][-1] >> pair[1] << pair[1],)), pair[1])
)
hints = st.binary(max_size=200).map(lambda address: der.element(0x30, der.element(0xA1, der.element(0x04, address))))

MADE: dict[str, st.SearchStrategy[der.Message]] = {
    "ApReq": st.builds(ApReq, st.just(5), st.just(14), flags, ticket, encrypted),
    "ApRep": st.builds(ApRep, st.just(5), st.just(15), encrypted),
    "EncApRepPart": st.builds(EncApRepPart, moment, micro, maybe(key), maybe(uint32)),
    "Authenticator": st.builds(
        Authenticator,
        st.just(5),
        text,
        name,
        maybe(checksum),
        micro,
        moment,
        maybe(key),
        maybe(uint32),
        maybe(authorization.map(AuthorizationData)),
    ),
    "EncTicketPart": st.builds(
        EncTicketPart,
        flags.map(TicketFlags),
        key,
        text,
        name,
        st.builds(TransitedEncoding, int32, octets),
        moment,
        maybe(moment),
        moment,
        maybe(moment),
        maybe(addresses),
        maybe(authorization.map(AuthorizationData)),
    ),
    "AsReq": st.builds(AsReq, st.just(5), int32, maybe(padata), body),
    "AsRep": st.builds(AsRep, st.just(5), int32, maybe(padata), text, name, ticket.map(Ticket.encode), encrypted),
    "KrbError": st.builds(
        KrbError,
        st.just(5),
        st.just(30),
        maybe(moment),
        maybe(micro),
        moment,
        micro,
        int32,
        maybe(text),
        maybe(name),
        text,
        name,
        maybe(text),
        maybe(octets),
    ),
    "NegTokenInit": st.builds(NegTokenInit, few(oid), maybe(bits), maybe(octets), maybe(hints), maybe(octets)),
    "NegTokenResp": st.builds(
        NegTokenResp, maybe(st.sampled_from([*NegState, 4, 127, 128, 70_000])), maybe(oid), maybe(octets), maybe(octets)
    ),
}
message = st.one_of(*MADE.values())
TYPES = sorted({type(sample) for sample in MESSAGES.values()}, key=lambda cls: cls.__name__)


def outcome(decode: Callable[[bytes], der.Message], data: bytes) -> der.Message | None:
    """The message, or `None` if it was refused; any other exception is a failure."""
    try:
        return decode(data)
    except MalformedMessage:
        return None


@given(message)
def test_every_value_comes_back(value: der.Message) -> None:
    encoded = value.encode()
    assert type(value).decode(encoded) == value
    assert type(value).decode(memoryview(encoded)).encode() == encoded


@pytest.mark.parametrize("cls", MADE, ids=str)
@given(st.data())
def test_pyasn1_writes_and_reads_the_same(cls: str, data: st.DataObject) -> None:
    value = data.draw(MADE[cls])
    encoded = value.encode()
    theirs = oracle.encode(value, oracle.SPECS[cls])
    assert theirs == encoded
    assert type(value).decode(theirs) == value
    assert oracle.recode(encoded, oracle.SPECS[cls]) == encoded


@given(message, st.data())
def test_every_cut_of_every_value_is_refused(value: der.Message, data: st.DataObject) -> None:
    encoded = value.encode()
    cut = data.draw(st.integers(0, len(encoded) - 1))
    assert outcome(type(value).decode, encoded[:cut]) is None
    assert outcome(type(value).decode, encoded + encoded[: cut + 1]) is None


@given(message, st.data())
def test_damage_is_refused_or_means_something(value: der.Message, data: st.DataObject) -> None:
    encoded = bytearray(value.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    found = outcome(type(value).decode, bytes(encoded))
    if found is not None:
        assert type(value).decode(found.encode()) == found


@given(st.sampled_from(TYPES), st.binary(max_size=100))
def test_garbage_is_refused(cls: type[der.Message], data: bytes) -> None:
    found = outcome(cls.decode, data)
    if found is not None:
        assert cls.decode(found.encode()) == found


@given(oid)
def test_object_identifiers_come_back(identifier: str) -> None:
    assert der.oid_text(der.oid_octets(identifier)) == identifier


@given(st.integers(0, 30), st.binary(max_size=70_000), st.binary(max_size=10))
def test_elements_come_back(number: int, content: bytes, rest: bytes) -> None:
    whole = der.element(0xA0 | number, content)
    assert der.split_element(whole + rest) == (0xA0 | number, content, rest)
    assert der.element_size(whole + rest, 1 << 20) == len(whole)
