"""A token of a negotiation as a tree: lists, states, MICs, and the mechanisms' tokens as their packages read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from securestream.errors import MalformedMessage
from securestream.inspection import Inspection, Node, malformed, octets_text, unknown
from securestream.oids import OID_NAMES
from securestream.wire import der
from securestream_providers.negotiate.messages import (
    SPNEGO,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    is_response,
    unframe,
)
from securestream_providers.negotiate.negoex import inspect as negoex
from securestream_providers.negotiate.negoex.messages import SIGNATURE as NEGOEX_SIGNATURE

_FRAME: Final = b"\x60"
_SPNEGO_OCTETS: Final = der.oid_octets(SPNEGO)
_REQ_FLAGS: Final = ("deleg", "mutual", "replay", "sequence", "anon", "conf", "integ")
_SEQUENCE: Final = b"\x30"
_INIT: Final = b"\xa0"


def inspect(token: bytes, inspection: Inspection) -> Node | None:
    """The tree of a token of SPNEGO or NEGOEX; `None` where it is none."""
    if token.startswith(NEGOEX_SIGNATURE):
        return negoex.inspect(token, inspection)
    if token[:1] == _FRAME:
        start = der.content_at(token)
        if not token.startswith(_SPNEGO_OCTETS, start):
            return None
        return _first(token, inspection)
    if is_response(token) and token[der.content_at(token) :][:1] == _SEQUENCE:
        return _response(token, inspection)
    if token[:1] == _INIT and token[der.content_at(token) :][:1] == _SEQUENCE:
        return _unframed(token, inspection)
    return None


def _first(token: bytes, inspection: Inspection) -> Node:
    try:
        message = unframe(token)
    except MalformedMessage as error:
        return malformed("SPNEGO token", token, str(error), unknown(token).children)
    return _init(token, message, inspection)


def _unframed(token: bytes, inspection: Inspection) -> Node | None:
    """A first message without its frame, as some protocols that RFC 4178 does not know carry it."""
    try:
        return _init(token, NegTokenInit.decode(token), inspection).annotated("without the frame of RFC 2743")
    except MalformedMessage:
        return None


def _init(token: bytes, message: NegTokenInit | NegTokenInit2, inspection: Inspection) -> Node:
    kind = "NegTokenInit2" if isinstance(message, NegTokenInit2) else "NegTokenInit"
    types = () if message.mech_types is None else message.mech_types.mech_types
    mechanisms = tuple(_mechanism("mechType", oid) for oid in types)
    children = [Node("mechTypes", None, f"{len(types)} offered", mechanisms)]
    if message.req_flags is not None:
        children.append(_req_flags(message.req_flags))
    if message.mech_token is not None:
        children.append(inspection.token(message.mech_token, "mechToken"))
    if isinstance(message, NegTokenInit2) and message.neg_hints is not None:
        children.append(Node("negHints", message.neg_hints.hint_name, "to be ignored ([MS-SPNG] 2.2.1)"))
    children.extend(_mic(message.mech_list_mic, inspection))
    return Node(f"SPNEGO {kind}", None, octets_text(len(token)), tuple(children))


def _req_flags(bits: der.BitString) -> Node:
    first = bits.octets[0] if bits.octets else 0
    names = (name for number, name in enumerate(_REQ_FLAGS) if first << number & 0x80)
    return Node("reqFlags", bits.octets, " ".join(names))


def _mechanism(name: str, oid: str) -> Node:
    return Node(name, oid, OID_NAMES.get(oid, ""))


def _response(token: bytes, inspection: Inspection) -> Node:
    try:
        message = NegTokenResp.decode(token)
    except MalformedMessage as error:
        return malformed("SPNEGO NegTokenResp", token, str(error), unknown(token).children)
    return Node("SPNEGO NegTokenResp", None, octets_text(len(token)), tuple(_answer(message, inspection)))


def _answer(message: NegTokenResp, inspection: Inspection) -> Iterator[Node]:
    if message.neg_state is not None:
        yield Node("negState", int(message.neg_state), message.neg_state.name.lower().replace("_", "-"))
    if message.supported_mech is not None:
        yield _mechanism("supportedMech", message.supported_mech)
    if message.response_token is not None:
        yield inspection.token(message.response_token, "responseToken")
    mic = message.mech_list_mic
    if mic is not None and mic == message.response_token:
        yield Node("mechListMIC", mic, "a copy of responseToken, as Windows 2000 sends it")
        return
    yield from _mic(mic, inspection)


def _mic(mic: bytes | None, inspection: Inspection) -> Iterator[Node]:
    if mic is not None:
        yield inspection.token(mic, "mechListMIC")
