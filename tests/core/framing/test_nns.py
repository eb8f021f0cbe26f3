"""The frames of .NET's NegotiateStream, as .NET 8 was seen to write and read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from securestream.errors import ErrorKind, FramingError, UsageError
from securestream.framing.base import EndOfInput, ErrorFrame, Mode, RawData, SealedFrame, TokenFrame, TokenKind
from securestream.framing.nns import NnsFraming
from securestream.options import Limits
from tests.listing import VECTORS


def _fed(octets: bytes, mode: Mode = Mode.HANDSHAKE, limits: Limits | None = None) -> NnsFraming:
    framing = NnsFraming(limits)
    framing.enter(mode)
    framing.receive_data(octets)
    return framing


def test_a_token_stands_behind_its_size_in_big_endian() -> None:
    assert NnsFraming().token(TokenKind.IN_PROGRESS, bytes(0x0102))[:5] == bytes.fromhex("1601000102")
    assert NnsFraming().token(TokenKind.DONE, b"ab") == bytes.fromhex("14010000026162")
    assert NnsFraming().token(TokenKind.DONE, None) == bytes.fromhex("1401000000")


def test_a_token_that_does_not_fit_is_refused_before_it_is_sent() -> None:
    with pytest.raises(FramingError, match="65536"):
        NnsFraming().token(TokenKind.IN_PROGRESS, bytes(65536))


@pytest.mark.parametrize("version", ["0100", "0000", "ffff"])
def test_any_version_is_read(version: str) -> None:
    framing = _fed(bytes.fromhex("16" + version + "000161"))
    assert framing.next_event() == TokenFrame(TokenKind.IN_PROGRESS, b"a")


def test_a_done_frame_may_carry_a_token_or_none() -> None:
    framing = _fed(bytes.fromhex("1401000000" + "140100000162"))
    assert framing.next_event() == TokenFrame(TokenKind.DONE, None)
    assert framing.next_event() == TokenFrame(TokenKind.DONE, b"b")


@pytest.mark.parametrize("first", [0, 0x13, 0x17, 0xFF])
def test_an_unknown_id_is_refused_at_its_first_octet(first: int) -> None:
    with pytest.raises(FramingError, match="begins no"):
        _fed(bytes((first,))).next_event()


def test_the_limit_of_a_token_is_checked_before_it_is_there() -> None:
    with pytest.raises(FramingError, match="limit is 1000"):
        _fed(bytes.fromhex("16010003e9"), limits=Limits(token_size=1000)).next_event()
    assert _fed(bytes.fromhex("16010003e8"), limits=Limits(token_size=1000)).next_event() is None


@pytest.mark.parametrize(
    ("payload", "code", "kind"),
    [
        ("04030980ffffffff", 0x80090304, ErrorKind.INTERNAL),  # .NET 8
        ("0c030980ffffffff", 0x8009030C, ErrorKind.LOGON_DENIED),  # .NET 8
        ("ffffffff8009030c", 0x8009030C, ErrorKind.LOGON_DENIED),  # the other order, sign-extended
        ("0000000080004005", 0x80004005, ErrorKind.LOGON_DENIED),  # .NET Core 3.1, E_FAIL
        ("fe06000000000000", 1790, ErrorKind.QUALITY_NOT_MET),  # .NET 8
        ("00000000000006fe", 1790, ErrorKind.QUALITY_NOT_MET),  # [MS-NNS] 2.2.1
        ("2e05078000000000", 0x8007052E, ErrorKind.LOGON_DENIED),  # HRESULT_FROM_WIN32(ERROR_LOGON_FAILURE)
    ],
)
def test_both_byte_orders_of_an_error_are_read(payload: str, code: int, kind: ErrorKind) -> None:
    assert _fed(bytes.fromhex("1501000008" + payload)).next_event() == ErrorFrame(code, kind)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (ErrorKind.INTERNAL, "04030980ffffffff"),
        (ErrorKind.LOGON_DENIED, "0c030980ffffffff"),
        (ErrorKind.QUALITY_NOT_MET, "fe06000000000000"),
    ],
)
def test_errors_are_written_as_dot_net_8_writes_them(kind: ErrorKind, payload: str) -> None:
    assert NnsFraming().error(kind) == bytes.fromhex("1501000008" + payload)


@pytest.mark.parametrize("size", ["0000", "0007", "0009", "ffff"])
def test_an_error_frame_has_eight_octets(size: str) -> None:
    with pytest.raises(FramingError, match="error frame"):
        _fed(bytes.fromhex("150100" + size)).next_event()


def test_sealed_data_stands_behind_its_size_in_little_endian() -> None:
    assert NnsFraming().sealed_header(0x0203) == bytes.fromhex("03020000")
    event = _fed(bytes.fromhex("02000000") + b"ab", Mode.DATA).next_event()
    assert isinstance(event, SealedFrame)
    assert bytes(event.data) == b"ab"


@pytest.mark.parametrize("size", [0, 65537, 0xFFFFFFFF])
def test_sizes_that_dot_net_drops_are_refused_at_the_header(size: int) -> None:
    with pytest.raises(FramingError, match="65536"):
        _fed(size.to_bytes(4, "little"), Mode.DATA).next_event()


@pytest.mark.parametrize("size", [0, 65537])
def test_sizes_that_dot_net_drops_are_not_written(size: int) -> None:
    with pytest.raises(UsageError):
        NnsFraming().sealed_header(size)


def test_the_largest_frame_is_read() -> None:
    event = _fed((65536).to_bytes(4, "little") + bytes(65536), Mode.DATA).next_event()
    assert isinstance(event, SealedFrame)
    assert len(event.data) == 65536


def test_the_mode_may_change_within_one_read() -> None:
    framing = _fed(bytes.fromhex("1401000000" + "01000000") + b"x")
    assert framing.next_event() == TokenFrame(TokenKind.DONE, None)
    framing.enter(Mode.DATA)
    event = framing.next_event()
    assert isinstance(event, SealedFrame)
    assert bytes(event.data) == b"x"
    framing = _fed(bytes.fromhex("1401000000") + b"bare")
    framing.next_event()
    framing.enter(Mode.RAW)
    event = framing.next_event()
    assert isinstance(event, RawData)
    assert bytes(event.data) == b"bare"


@pytest.mark.parametrize(("octets", "mode"), [(b"\x16\1\0\0\2a", Mode.HANDSHAKE), (b"\2\0", Mode.DATA)])
def test_an_end_inside_a_frame_is_an_error(octets: bytes, mode: Mode) -> None:
    framing = _fed(octets, mode)
    assert framing.next_event() is None
    framing.receive_eof()
    with pytest.raises(FramingError, match="inside a frame"):
        framing.next_event()


def test_an_end_between_frames_is_an_end() -> None:
    framing = _fed(b"\1\0\0\0x", Mode.DATA)
    framing.receive_eof()
    assert isinstance(framing.next_event(), SealedFrame)
    assert framing.next_event() == EndOfInput()


def test_what_was_read_too_far_is_given_up() -> None:
    framing = _fed(bytes.fromhex("1401000000") + b"beyond")
    framing.next_event()
    assert framing.trailing_data() == b"beyond"
    assert framing.trailing_data() == b""


def test_constructed_frames_are_read_and_written_the_same(
    shared: Path, record_property: Callable[[str, object], None]
) -> None:
    vectors = json.loads((shared / "vectors" / "ms_nns_frames.json").read_text())["vectors"]
    for vector in vectors:
        record_property(VECTORS, "ms_nns_frames.json")
        octets = bytes.fromhex(vector.get("frame") or vector["frame_header"] + "00" * vector["payload_len"])
        payload = bytes.fromhex(vector.get("payload") or "00" * vector.get("payload_len", 0))
        framing = _fed(octets, Mode.DATA if vector["id"] == "data-frame" else Mode.HANDSHAKE)
        if vector["id"] == "data-frame":
            assert framing.next_event() == SealedFrame(memoryview(payload))
            continue
        event = framing.next_event()
        if vector.get("message_id") == 21:
            assert isinstance(event, ErrorFrame)
            assert event.code.to_bytes(8, "big") == payload
        else:
            assert isinstance(event, TokenFrame)
            assert (event.kind is TokenKind.DONE) == (vector.get("message_id") == 20)
            assert (event.token or b"") == payload
            assert NnsFraming().token(event.kind, event.token) == octets
        assert framing.trailing_data() == b""


def _captures(shared: Path) -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted((shared / "vectors" / "nns_captures").glob("*.json"))]


def test_every_capture_of_dot_net_is_read_to_its_last_octet(
    shared: Path, record_property: Callable[[str, object], None]
) -> None:
    """One handshake frame after another up to the done frame, then data frames; level None has bare octets."""
    captures = _captures(shared)
    assert len(captures) >= 12
    kinds: set[type[Any]] = set()
    for capture in captures:
        record_property(VECTORS, "nns_captures")
        bare = capture["name"] == "ntlm-None"
        for direction in ("c2s", "s2c"):
            framing = NnsFraming()
            framing.receive_data(
                b"".join(bytes.fromhex(one["hex"]) for one in capture["wire"] if one["dir"] == direction)
            )
            kinds |= _read_capture(framing, bare=bare)
            assert framing.trailing_data() == b"", capture["name"]
    assert {TokenFrame, ErrorFrame, SealedFrame, RawData} <= kinds


def _read_capture(framing: NnsFraming, *, bare: bool) -> set[type[Any]]:
    kinds: set[type[Any]] = set()
    while True:
        try:
            event = framing.next_event()
        except FramingError:  # a client of SPNEGO goes on to data without a done frame
            framing.enter(Mode.DATA)
            event = framing.next_event()
        if event is None:
            return kinds
        kinds.add(type(event))
        if isinstance(event, TokenFrame) and event.kind is TokenKind.DONE:
            framing.enter(Mode.RAW if bare else Mode.DATA)


def test_error_frames_of_the_captures_are_written_the_same(shared: Path) -> None:
    seen: set[int] = set()
    for capture in _captures(shared):
        octets = b"".join(bytes.fromhex(one["hex"]) for one in capture["wire"] if one["dir"] == "s2c")
        framing = _fed(octets)
        while isinstance(event := framing.next_event(), TokenFrame | ErrorFrame):
            if isinstance(event, ErrorFrame):
                assert NnsFraming().error(event.kind) in octets, hex(event.code)
                seen.add(event.code)
            elif event.kind is TokenKind.DONE:
                break
    assert {1790, 0x80090304} <= seen
