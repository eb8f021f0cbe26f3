"""A Digest field or message in one readable line: realm, algorithm, quality; never what proves."""

from __future__ import annotations

from typing import Final

from securestream.errors import MalformedMessage
from securestream.http.fields import parse_information
from securestream.readable import printable
from securestream_providers.digest.bindings import is_marked
from securestream_providers.digest.messages import SCHEME, from_field

_SHOWN: Final = (
    "realm",
    "algorithm",
    "qop",
    "stale",
    "charset",
    "userhash",
    "uri",
    "digest-uri",
    "nc",
    "maxbuf",
    "cipher",
    "service-name",
    "channel-binding",
)
_LONGEST: Final = 100


def describe(token: bytes) -> str:
    """One line on an HTTP field value with or without its scheme, or on a message of SASL's DIGEST-MD5.

    Octets that are none are said to be so.
    """
    text = token.decode("latin-1")
    bare = text[len(SCHEME) :] if text[: len(SCHEME) + 1].lower() == SCHEME.lower() + " " else text
    try:
        parameters = dict(parse_information(bare.strip()))
    except MalformedMessage:
        return f"{len(token)} octets that are no Digest message"
    kind = _kind(parameters)
    shown = [f"{name} {printable(from_field(parameters[name])[:_LONGEST])}" for name in _SHOWN if name in parameters]
    if is_marked(parameters.get("nonce", "")) and "response" not in parameters:
        shown.append("asks for bindings")
    if "username" in parameters and parameters.get("userhash", "").lower() != "true":
        shown.insert(0, f"user {printable(from_field(parameters['username'])[:_LONGEST])}")
    return f"Digest {kind}: {', '.join(shown)}" if shown else f"Digest {kind}"


def _kind(parameters: dict[str, str]) -> str:
    if "response" in parameters:
        return "response"
    if "rspauth" in parameters or "nextnonce" in parameters:
        return "proof of the server"
    return "challenge" if "nonce" in parameters else "message"
