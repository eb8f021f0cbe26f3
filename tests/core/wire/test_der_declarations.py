"""Declarations that cannot be DER, values that cannot be sent, and the limits of decoding."""

from __future__ import annotations

import dataclasses
import pickle
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from typing import Annotated

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.wire import der
from tests.core.wire import schemas
from tests.core.wire.samples import AP_REQ, MESSAGES, TICKET

# Declarations at the top level, where their type hints can be resolved


class NoDataclass(der.Message):
    pass


@dataclass(frozen=True)
class WithoutType(der.Message):
    name: str


@dataclass(frozen=True)
class WithTwoTypes(der.Message):
    name: Annotated[str, der.GENERAL_STRING, der.UTF8_STRING]


@dataclass(frozen=True)
class WithWrongType(der.Message):
    name: Annotated[str, der.FLAGS]


@dataclass(frozen=True)
class WithList(der.Message):
    names: list[int]


@dataclass(frozen=True)
class ImplicitAny(der.Message):
    value: Annotated[bytes, der.implicit(0), der.ANY]


@dataclass(frozen=True)
class AmbiguousOptional(der.Message):
    first: int | None
    second: int


@dataclass(frozen=True)
class AmbiguousChoice(der.Message):
    value: schemas.Ticket | Annotated[schemas.Checksum, der.Tag(1, "application")]


@dataclass(frozen=True)
class SameTypeChoice(der.Message):
    value: Annotated[int, der.explicit(0)] | Annotated[int, der.explicit(1)]


@dataclass(frozen=True)
class Itself(der.Message):
    inner: Annotated[Itself | None, der.explicit(0)]


@dataclass(frozen=True)
class WideWrapper(der.Message, wrapper=True):
    first: int
    second: int


@dataclass(frozen=True)
class OptionalDefault(der.Message):
    value: Annotated[int | None, der.Default(3)]


@dataclass(frozen=True)
class KeepsTooLittle(der.Message):
    value: int
    octets: Annotated[bytes, der.Received("value")]


@pytest.mark.parametrize(
    "cls",
    [
        NoDataclass,
        WithoutType,
        WithTwoTypes,
        WithWrongType,
        WithList,
        ImplicitAny,
        AmbiguousOptional,
        AmbiguousChoice,
        SameTypeChoice,
        Itself,
        WideWrapper,
        OptionalDefault,
        KeepsTooLittle,
    ],
)
def test_declarations_that_cannot_be_der_are_refused(cls: type[der.Message]) -> None:
    for _ in range(2):
        with pytest.raises(UsageError):
            cls.decode(b"\x30\x00")


def test_tags_and_integers_that_make_no_sense_are_refused() -> None:
    for wrong in (lambda: der.explicit(31), lambda: der.Integer(5, 4), lambda: der.Integer(0, 9, wrap=True)):
        with pytest.raises(UsageError):
            wrong()


# Inheritance and slots


@dataclass(frozen=True)
class Base(der.Message, tag=der.application(5)):
    value: Annotated[int, der.explicit(0)]


@dataclass(frozen=True)
class Derived(Base, tag=der.application(6)):
    more: Annotated[int, der.explicit(1)]


@dataclass(frozen=True, slots=True)
class Slotted(der.Message, tag=der.application(7)):
    value: Annotated[int, der.explicit(0), der.Integer(0, 10)]
    name: Annotated[str | None, der.explicit(1), der.GENERAL_STRING] = None

    def __post_init__(self) -> None:
        if self.value == 9:
            raise ValueError("nine is for the test")


def test_a_derived_message_has_its_own_codec() -> None:
    base, derived = Base(1), Derived(1, 2)
    assert Base.decode(base.encode()) == base
    assert Derived.decode(derived.encode()) == derived
    assert (base.encode()[0], derived.encode()[0]) == (0x65, 0x66)
    with pytest.raises(MalformedMessage):
        Base.decode(derived.encode())


def test_slotted_messages_and_their_own_checks() -> None:
    message = Slotted.decode(Slotted(3, "x").encode())
    assert message == Slotted(3, "x")
    assert not hasattr(message, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.value = 4  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  it is frozen
    with pytest.raises(MalformedMessage):
        Slotted.decode(Slotted(8).encode().replace(b"\x02\x01\x08", b"\x02\x01\x09"))


def test_decoded_messages_are_ordinary_values() -> None:
    message = schemas.ApReq.decode(AP_REQ.encode())
    assert hash(message) == hash(AP_REQ)
    assert repr(message) == repr(AP_REQ)
    assert dataclasses.replace(message, ap_options=0) != message
    name = message.ticket.sname
    assert pickle.loads(pickle.dumps(name)) == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.ap_options = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  it is frozen


@dataclass(frozen=True)
class UsedByThreads(der.Message):
    value: Annotated[tuple[schemas.Ticket, ...], der.explicit(0)]


def test_first_use_by_many_threads_at_once() -> None:
    ready = threading.Barrier(8)
    octets = der.element(0x30, der.element(0xA0, der.element(0x30, TICKET.encode())))
    found: list[UsedByThreads] = []

    def use() -> None:
        ready.wait()
        found.append(UsedByThreads.decode(octets))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [UsedByThreads((TICKET,))] * 8


def test_generated_source_can_be_read() -> None:
    source = der.generated_source(schemas.Ticket)
    assert "v_realm" in source
    assert "def write(m):" in source


# Values that cannot be sent


@pytest.mark.parametrize(
    "message",
    [
        schemas.PrincipalName(1 << 31, ()),
        schemas.PrincipalName(1, ("x",) * 33),
        schemas.EncryptedData(18, -1, b""),
        schemas.EncryptedData(18, 1, None),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  the case
        schemas.EncryptedData("x", 1, b""),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  the case
        schemas.ApReq(4, 14, 0, TICKET, AP_REQ.authenticator),
        schemas.ApReq(5, 14, 1 << 32, TICKET, AP_REQ.authenticator),
        schemas.NegTokenInit(("1.2.x",)),
        schemas.NegTokenInit((), der.BitString(b"\xff", 1)),
        schemas.NegTokenInit((), None, None, b""),
        schemas.NegTokenInit((), None, None, b"\x30"),
        schemas.NegTokenInit((), None, None, b"\x04\x00\x00"),
        schemas.NegotiationToken(TICKET),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  the case
        schemas.TsRequest(6, client_nonce=bytes(31)),
        schemas.TsRequest(1),
        schemas.PrincipalName(1, ("\ud800",)),
    ],
    ids=str,
)
def test_values_that_were_not_declared_are_not_sent(message: der.Message) -> None:
    with pytest.raises(UsageError):
        message.encode()


# Limits


@dataclass(frozen=True)
class Small(der.Message, limit=64):
    value: bytes


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_more_octets_than_the_limit_are_refused(kind: type[bytes | bytearray | memoryview]) -> None:
    assert Small.decode(kind(Small(bytes(60)).encode())) == Small(bytes(60))
    with pytest.raises(MalformedMessage, match="more than 64 octets"):
        Small.decode(kind(Small(bytes(61)).encode()))


def test_oversized_views_are_refused_before_they_are_copied() -> None:
    huge = memoryview(bytearray(1 << 24))
    Small.decode(Small(b"").encode())  # makes the code, which counts for nothing here
    tracemalloc.start()
    with pytest.raises(MalformedMessage):
        Small.decode(huge)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 16


def test_more_elements_than_the_limit_are_refused() -> None:
    name = der.element(0x1B, b"")
    for count, allowed in ((32, True), (33, False)):
        octets = der.element(0x30, bytes.fromhex("a003020101") + der.element(0xA1, der.element(0x30, name * count)))
        if allowed:
            assert schemas.PrincipalName.decode(octets).name_string == ("",) * 32
        else:
            with pytest.raises(MalformedMessage, match="more than 32 elements"):
                schemas.PrincipalName.decode(octets)


def test_sizes_bound_octets_in_both_directions() -> None:
    octets = schemas.TsRequest(6, client_nonce=bytes(32)).encode()
    shorter = octets.replace(b"\xa5\x22\x04\x20" + bytes(32), b"\xa5\x21\x04\x1f" + bytes(31))
    with pytest.raises(MalformedMessage, match="client_nonce"):
        schemas.TsRequest.decode(b"\x30" + bytes((shorter[1] - 1,)) + shorter[2:])
    with pytest.raises(MalformedMessage, match="nego_tokens"):
        schemas.TsRequest.decode(bytes.fromhex("3009a003020106a1023000"))


def test_too_many_extensions_are_refused() -> None:
    head, unknown = bytes.fromhex("020101"), bytes.fromhex("ab00")
    assert len(schemas.Everything.decode(der.element(0x30, head + unknown * 32)).extensions) == 32
    with pytest.raises(MalformedMessage, match="too many extensions"):
        schemas.Everything.decode(der.element(0x30, head + unknown * 33))


def test_deep_nesting_from_a_peer_costs_nothing() -> None:
    octets = b""
    for _ in range(20_000):
        octets = der.element(0x30, octets)
    for cls in {type(message) for message in MESSAGES.values()}:
        with pytest.raises(MalformedMessage):
            cls.decode(octets)
    # kept raw, it is one element and nothing looks into it
    init = schemas.NegTokenInit((), None, None, octets)
    assert schemas.NegTokenInit.decode(init.encode()).hints_or_mic == octets
    assert sys.getrecursionlimit() < 20_000


@pytest.mark.parametrize("length", ["80", "8100", "817f", "820000", "8200ff", "83000100", "8400000100", "85ffffffffff"])
def test_lengths_that_are_not_der_are_refused(length: str) -> None:
    octets = schemas.Checksum(1, b"").encode()
    with pytest.raises(MalformedMessage):
        schemas.Checksum.decode(b"\x30" + bytes.fromhex(length) + octets[2:])


def test_claims_of_gigabytes_cost_nothing() -> None:
    claims = (
        "3084ffffffff a003020101 a1023000",
        "300f a003020101 a184ffffffff 3084fffffff9",
        "300d a084ffffffff 0284fffffff9 00",
        "3011 a003020101 a1020484ffffffff 00000000",
    )
    for message in (schemas.PrincipalName(1, ("x",)), schemas.Checksum(1, b"")):
        message.decode(message.encode())  # makes the code
    tracemalloc.start()
    for claim in claims:
        for cls in (schemas.PrincipalName, schemas.Checksum):
            with pytest.raises(MalformedMessage):
                cls.decode(bytes.fromhex(claim))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 16


@dataclass(frozen=True)
class Numbers(der.Message, wrapper=True):
    numbers: tuple[int, ...]


def test_many_small_elements_take_little_memory() -> None:
    many = der.element(0x30, bytes.fromhex("020101") * 300_000)
    extended = der.element(0x30, bytes.fromhex("020101") + bytes.fromhex("ab00") * 300_000)
    for cls in (Numbers, schemas.Everything):
        with pytest.raises(MalformedMessage):
            cls.decode(b"")  # makes the code, which counts for nothing here
    tracemalloc.start()
    with pytest.raises(MalformedMessage, match="more than 1024 elements"):
        Numbers.decode(many)
    with pytest.raises(MalformedMessage, match="too many extensions"):
        schemas.Everything.decode(extended)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 19


# Single elements


def test_an_elements_size_is_known_from_its_header() -> None:
    octets = TICKET.encode()
    header = 4
    for there in range(len(octets) + 4):
        size = der.element_size((octets + b"next")[:there], 1 << 16)
        assert size == (None if there < header else len(octets))
    with pytest.raises(MalformedMessage, match="over the limit"):
        der.element_size(octets[:4], len(octets) - 1)
    for wrong in ("0000", "3080", "308100", "3085", "30ff", "1f00"):
        with pytest.raises(MalformedMessage):
            der.element_size(bytes.fromhex(wrong), 1 << 40)
    assert der.element_size(bytes.fromhex("7f8148"), 10) is None
    assert der.element_size(bytes.fromhex("7f814801"), 10) == 5


def test_elements_are_split_off_whole() -> None:
    octets = der.element(0x60, b"x" * 200)
    assert der.split_element(octets + b"rest") == (0x60, b"x" * 200, b"rest")
    for end in range(len(octets)):
        with pytest.raises(MalformedMessage):
            der.split_element(octets[:end])
    with pytest.raises(MalformedMessage):
        der.split_element(bytes.fromhex("7f814800"))


def test_elements_in_a_row_are_told_apart_up_to_a_number() -> None:
    row = [der.element(0xA0, b"x" * 200), der.element(0xA1, b""), der.element(0xA3, b"y")]
    octets = b"".join(row)
    assert der.elements(octets, 9) == row
    assert der.elements(octets, 2) == der.elements(octets[:-1], 2) == row[:2]
    assert der.elements(b"", 9) == []
    whole = {0, len(row[0]), len(row[0] + row[1])}
    for end in set(range(len(octets))) - whole:
        with pytest.raises(MalformedMessage):
            der.elements(octets[:end], 9)
