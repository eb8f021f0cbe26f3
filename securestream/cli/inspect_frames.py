"""What carriers put around tokens, for readers: frames of NegotiateStream, TLS records, fields of HTTP."""

from __future__ import annotations

from itertools import islice
from typing import Final

from securestream.cli.inspect_http import fields_of, inspect_fields
from securestream.cli.tokens import HANDSHAKE, Record, describe_record, split_records
from securestream.errors import SecureStreamError, Truncated
from securestream.framing.base import ErrorFrame, FrameEvent, Mode, SealedFrame, TokenFrame, TokenKind
from securestream.framing.nns import NnsFraming
from securestream.inspection import Inspection, Node, malformed, octets_text
from securestream.records.client_hello import ClientHello, read_client_hello

_NNS: Final = (b"\x14\x01\x00", b"\x15\x01\x00", b"\x16\x01\x00")
_CLIENT_HELLO: Final = b"\x01"
_MOST_FRAMES: Final = 1000


def inspect_stream(octets: bytes, inspection: Inspection) -> list[Node]:
    """What stands in `octets`: a token, or the frames or records of one direction of a connection with their tokens."""
    if octets.startswith(_NNS):
        return _nns(octets, inspection)
    if octets[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") and octets[1:2] == b"\x03":
        return _tls(octets)
    if fields := fields_of(octets):
        return list(inspect_fields(fields, inspection, inspect_stream))
    return [inspection.token(octets)]


def _tls(octets: bytes) -> list[Node]:
    records = list(islice(split_records(octets), _MOST_FRAMES + 1))
    nodes = [_record(record) for record in records[:_MOST_FRAMES]]
    if len(records) > _MOST_FRAMES:
        return [*nodes, Node("more records", None, f"only the first {_MOST_FRAMES} are shown")]
    rest = len(octets) - sum(len(record.octets) for record in records)
    if rest:
        nodes.append(
            malformed("TLS record", octets[-rest:], f"it is cut short, or none: {octets_text(rest)} are there")
        )
    return nodes


def _record(record: Record) -> Node:
    name, _, size = describe_record(record).rpartition(" (")
    note = f"{size.rstrip(')')}, record version {record.octets[1]}.{record.octets[2]}"
    children: list[Node] = []
    if record.content == HANDSHAKE and record.payload[:1] == _CLIENT_HELLO:
        hello = read_client_hello(record.octets) or ClientHello()
        if hello.server_name is not None:
            children.append(Node("server name", hello.server_name))
        children.extend(Node("protocol", protocol, "ALPN") for protocol in hello.alpn or ())
    return Node(name, None, note, tuple(children))


def _nns(octets: bytes, inspection: Inspection) -> list[Node]:
    """Handshake frames, then data frames: behind the sender's own "done", or where no handshake frame begins."""
    framing = NnsFraming()
    framing.receive_data(octets)
    framing.receive_eof()
    nodes: list[Node] = []
    at, has_done = 0, False
    while at < len(octets):
        if len(nodes) == _MOST_FRAMES:
            return [*nodes, Node("more frames", None, f"only the first {_MOST_FRAMES} are shown")]
        if has_done or not octets.startswith(_NNS, at):
            framing.enter(Mode.DATA)
        try:
            event = framing.next_event()
        except Truncated as error:
            return [*nodes, malformed(f"frame at offset {at}", octets[at:], str(error))]
        except SecureStreamError as error:
            if has_done or not octets.startswith(_NNS, at):
                note = f"{octets_text(len(octets) - at)} without frames, as at ProtectionLevel.None"
                return [*nodes, Node("NegotiateStream data", octets[at:], note)]
            return [*nodes, malformed(f"frame at offset {at}", octets[at:], str(error))]
        node, size, is_done = _frame(event, inspection)
        nodes.append(node)
        at, has_done = at + size, has_done or is_done
    return nodes


def _frame(event: FrameEvent | None, inspection: Inspection) -> tuple[Node, int, bool]:
    """A frame, how many octets it has, and whether it is the sender's last one of a handshake."""
    if isinstance(event, ErrorFrame):
        code = Node("code", f"{event.code:#010x}", f"{event.kind.name}, {event.kind.sspi}")
        return Node("NegotiateStream error frame", children=(code,)), 13, False
    if isinstance(event, TokenFrame):
        name, token = f"NegotiateStream handshake frame, {event.kind.value}", event.token or b""
        children = (inspection.token(token),) if token else ()
        return Node(name, None, octets_text(len(token)), children), 5 + len(token), event.kind is TokenKind.DONE
    data = bytes(event.data) if isinstance(event, SealedFrame) else b""
    name = "NegotiateStream data frame"
    return Node(name, None, octets_text(len(data)), (inspection.token(data),)), 4 + len(data), False
