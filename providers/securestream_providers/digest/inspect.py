"""What Digest's fields and messages say, as trees: HTTP's with or without their header, SASL's DIGEST-MD5 alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from securestream.errors import MalformedMessage
from securestream.http.fields import SchemeValue, parse_challenges, parse_information
from securestream.inspection import Inspection, Node, malformed, octets_text
from securestream_providers.digest.algorithms import Algorithm
from securestream_providers.digest.bindings import DigestBinding, is_marked
from securestream_providers.digest.messages import SCHEME, from_field

_LONGEST: Final = 65536
_HEADER: Final = re.compile(
    r"\s*(?:(?P<name>(?:www|proxy)-authenticate|(?:proxy-)?authorization|(?:proxy-)?authentication-info)\s*:)?\s*",
    re.IGNORECASE,
)
_DIGEST: Final = re.compile(rf"{SCHEME}[ \t]+[\w*-]+[ \t]*=", re.IGNORECASE)
_SECRET: Final = frozenset(["response", "rspauth"])
"""What proves: a password can be guessed from it."""

_SASL: Final = frozenset(["digest-uri", "maxbuf", "cipher", "authzid"])
"""Parameters of DIGEST-MD5 that HTTP's Digest has not (RFC 2831 2.1)."""


def inspect(token: bytes, inspection: Inspection) -> Node | None:
    """The tree of a field value or message, or `None` where it is none of Digest's."""
    del inspection  # no key opens anything here
    if len(token) > _LONGEST:
        return None
    text = token.decode("latin-1").strip()
    header = _HEADER.match(text)
    name = (header["name"] or "").lower() if header is not None else ""
    value = text if header is None else text[header.end() :]
    if name.endswith("authentication-info"):
        return _information(value, token)
    if _DIGEST.match(value):
        return _field(value, token)
    return None if name else _sasl(value, token)


def _field(value: str, token: bytes) -> Node:
    """The value of WWW-Authenticate or Authorization; there may be challenges of other schemes behind the first."""
    try:
        found = parse_challenges([value])
    except MalformedMessage as error:
        return malformed("Digest field", token, str(error))
    nodes = tuple(_one(one) for one in found)
    return nodes[0] if len(nodes) == 1 else Node("HTTP challenges", None, octets_text(len(token)), nodes)


def _one(value: SchemeValue) -> Node:
    parameters = dict(value.parameters)
    if not value.is_scheme(SCHEME):
        return Node(f"{value.scheme} challenge", value.token68, "", tuple(_parameters(parameters)))
    kind = "response" if "response" in parameters else "challenge"
    return Node(f"Digest {kind}", None, _summary(parameters, kind), tuple(_parameters(parameters)))


def _information(value: str, token: bytes) -> Node | None:
    try:
        parameters = parse_information(value)
    except MalformedMessage as error:
        return malformed("Authentication-Info", token, str(error))
    return Node("Authentication-Info", None, "proves the server", tuple(_parameters(parameters)))


def _sasl(value: str, token: bytes) -> Node | None:
    """A message of DIGEST-MD5, which has no scheme before it (RFC 2831 2.1)."""
    try:
        parameters = parse_information(value)
    except MalformedMessage:
        return None
    if set(parameters) == {"rspauth"}:
        kind = "proof of the server"
    elif "nonce" in parameters and ("response" in parameters or parameters.get("algorithm", "").lower() == "md5-sess"):
        kind = "response" if "response" in parameters else "challenge"
    else:
        return None
    note = "SASL DIGEST-MD5, weak and historic" if kind != "response" or _SASL & set(parameters) else "of Digest"
    return Node(f"DIGEST-MD5 {kind}", None, f"{note}, {octets_text(len(token))}", tuple(_parameters(parameters)))


def _summary(parameters: Mapping[str, str], kind: str) -> str:
    algorithm = Algorithm.named(parameters.get("algorithm"))
    notes = [] if "qop" in parameters else ["without qop: RFC 2069, which can be repeated and computed ahead"]
    if algorithm is None:
        notes.append("an algorithm that is not known here")
    elif algorithm.strength == Algorithm.MD5.strength:
        notes.append("MD5, which is broken")
    if kind == "challenge" and parameters.get("stale", "").lower() == "true":
        notes.append("the nonce before it had expired")
    return "; ".join(notes)


def _parameters(parameters: Mapping[str, str]) -> Iterator[Node]:
    hashed = parameters.get("userhash", "").lower() == "true"
    for name, value in parameters.items():
        note = ""
        if name == "username" and hashed:
            note = "H(user:realm)"
        elif name == "nc" and re.fullmatch(r"[0-9a-fA-F]{8}", value):
            number = int(value, 16)
            note = "the first request with this nonce" if number == 1 else f"request {number} with this nonce"
        elif name == "nonce" and is_marked(value):
            note = "marked: asks for channel and service bindings"
        elif name == "channel-binding":
            note = "no channel" if DigestBinding("", value).is_unbound else "MD5 of the channel's bindings"
        node = Node(name, from_field(value), note, secret=name in _SECRET)
        yield _covering(node, value, parameters) if name == "cnonce" and is_marked(value) else node


def _covering(node: Node, cnonce: str, parameters: Mapping[str, str]) -> Node:
    """A cnonce that says that it covers bindings, and whether it does."""
    service, channel = parameters.get("service-name"), parameters.get("channel-binding")
    if service is None or channel is None:
        return node.annotated("marked: covers service-name and channel-binding, of which one is missing", problem=True)
    if not DigestBinding(service, channel).fits(cnonce):
        return node.annotated("marked: covers another service-name or channel-binding than these", problem=True)
    return node.annotated("marked: covers service-name and channel-binding")
