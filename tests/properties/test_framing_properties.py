"""Properties of the framings: whatever was framed is read back, however the network cut it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securestream.errors import FramingError
from securestream.framing.base import Mode, RawData, SealedFrame, TokenFrame, TokenKind
from securestream.framing.nns import NnsFraming

tokens = st.lists(st.tuples(st.sampled_from(TokenKind), st.binary(max_size=600)), max_size=6)
messages = st.lists(st.binary(min_size=1, max_size=600), max_size=6)


@st.composite
def pieces(draw: st.DrawFn, octets: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(octets)), max_size=12)))
    return [octets[start:end] for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True)]


@given(tokens, messages, st.data())
def test_frames_are_read_back_however_they_were_cut(
    handshake: list[tuple[TokenKind, bytes]], sealed: list[bytes], data: st.DataObject
) -> None:
    writer, reader = NnsFraming(), NnsFraming()
    octets = b"".join(writer.token(kind, token) for kind, token in handshake)
    octets += b"".join(writer.sealed_header(len(message)) + message for message in sealed)
    got: list[object] = []
    for piece in data.draw(pieces(octets)):
        reader.receive_data(piece)
        while len(got) < len(handshake) + len(sealed):
            reader.enter(Mode.HANDSHAKE if len(got) < len(handshake) else Mode.DATA)
            event = reader.next_event()
            if event is None:
                break
            if isinstance(event, TokenFrame):
                got.append((event.kind, event.token or b""))
            elif isinstance(event, SealedFrame):
                got.append(bytes(event.data))
    assert got == [*handshake, *sealed]
    assert reader.trailing_data() == b""


@given(st.binary(max_size=300), st.sampled_from(Mode), st.data())
def test_any_octets_end_in_frames_or_in_a_framing_error_alike_however_they_were_cut(
    octets: bytes, mode: Mode, data: st.DataObject
) -> None:
    def outcome(parts: list[bytes]) -> list[object]:
        framing = NnsFraming()
        framing.enter(mode)
        seen: list[object] = []
        try:
            for part in parts:
                framing.receive_data(part)
                while (event := framing.next_event()) is not None:
                    seen.append(bytes(event.data) if isinstance(event, SealedFrame | RawData) else event)
        except FramingError as error:
            return [*seen, str(error)]
        return seen

    whole, cut = outcome([octets]), outcome(data.draw(pieces(octets)))
    if mode is Mode.RAW:
        assert b"".join(map(_octets, whole)) == b"".join(map(_octets, cut))
    else:
        assert whole == cut


def _octets(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


@given(st.binary(min_size=1, max_size=200), st.integers(1, 20))
def test_a_dribbled_frame_is_read_at_its_last_octet(message: bytes, before: int) -> None:
    framing = NnsFraming()
    framing.enter(Mode.DATA)
    frame = framing.sealed_header(len(message)) + message
    for _ in range(before):
        for position in range(len(frame)):
            framing.receive_data(frame[position : position + 1])
            event = framing.next_event()
            assert (event is None) == (position < len(frame) - 1)
