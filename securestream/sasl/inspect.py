"""What SASL's own tokens say: the messages of SCRAM, and GS2 headers with the token behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from securestream.errors import HandshakeError, MalformedMessage
from securestream.inspection import Inspection, Node, malformed, octets_text
from securestream.sasl.gs2 import Flag, Gs2Header
from securestream.sasl.gs2_krb5 import TOKEN_BEGINS, restored
from securestream.sasl.scram_messages import (
    ClientFinal,
    ClientFirst,
    ServerFirst,
    read_error,
    read_server_final,
)

_PROOF: Final = 32
_FLAGS: Final[dict[Flag, str]] = {
    "n": "the client has no channel bindings",
    "y": "the client has channel bindings, and saw no -PLUS offered",
    "p": "the client uses channel bindings",
}


class SaslInspector:
    """Reads the tokens of SCRAM and of GS2-KRB5; those of other mechanisms belong to their packages."""

    def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
        """The tree of a token, or `None` where it is none of these.

        Args:
            token: the octets.
            inspection: who reads the Kerberos token inside GS2.
        """
        for begins, name, read in _MESSAGES:
            if token.startswith(begins):
                try:
                    return Node(f"SCRAM {name}", None, octets_text(len(token)), tuple(read(token)))
                except (MalformedMessage, HandshakeError) as error:
                    # other texts begin so, too: only what has the shape of the message is a malformed one
                    return malformed(f"SCRAM {name}", token, str(error)) if _looks_like_scram(token) else None
        return _gs2(token, inspection)


def _looks_like_scram(token: bytes) -> bool:
    return b",r=" in token or (token[:2] == b"r=" and b",s=" in token and b",i=" in token)


def _gs2(token: bytes, inspection: Inspection) -> Node | None:
    try:
        header, rest = Gs2Header.unpack(token)
    except (MalformedMessage, HandshakeError):
        return None
    if rest.startswith(TOKEN_BEGINS):
        inner = inspection.token(restored(header, rest), "token")
        return Node("GS2-KRB5 token", None, octets_text(len(token)), (*_header(header), inner))
    if not rest.startswith((b"n=", b"m=")):
        return None
    try:
        first = ClientFirst.unpack(token)
    except (MalformedMessage, HandshakeError) as error:
        return malformed("SCRAM client-first-message", token, str(error), tuple(_header(header)))
    said = (Node("username", first.user), Node("nonce", first.nonce, "the client's"))
    return Node("SCRAM client-first-message", None, octets_text(len(token)), (*_header(header), *said))


def _header(header: Gs2Header) -> Iterator[Node]:
    yield Node("gs2-cb-flag", header.flag, _FLAGS[header.flag])
    if header.binding:
        yield Node("cb-name", header.binding)
    if header.authzid:
        yield Node("authzid", header.authzid, "as whom the client wants to act")
    if header.nonstandard:
        yield Node("gs2-nonstd-flag", "F", "the token has no frame of RFC 2743 3.1")


def _server_first(token: bytes) -> Iterator[Node]:
    message = ServerFirst.unpack(token)
    yield Node("nonce", message.nonce, "the client's, and the server's behind it")
    yield Node("salt", message.salt, octets_text(len(message.salt)))
    yield Node("iterations", message.iterations)


def _client_final(token: bytes) -> Iterator[Node]:
    message = ClientFinal.unpack(token, _PROOF)
    try:
        header, data = Gs2Header.unpack(message.bound)
        bound = (*_header(header), *((Node("cbind-data", data, octets_text(len(data))),) if data else ()))
        yield Node("channel-binding", None, "", bound)
    except (MalformedMessage, HandshakeError) as error:
        yield malformed("channel-binding", message.bound, str(error))
    yield Node("nonce", message.nonce)
    yield Node("proof", message.proof, octets_text(len(message.proof)), secret=True)  # a password is guessed from it


def _server_final(token: bytes) -> Iterator[Node]:
    signature = read_server_final(token, _PROOF)
    yield Node("verifier", signature, "the ServerSignature, which proves the server", secret=True)


def _server_error(token: bytes) -> Iterator[Node]:
    yield Node("error", read_error(token), "the server refused")


_MESSAGES: Final[tuple[tuple[bytes, str, Callable[[bytes], Iterator[Node]]], ...]] = (
    (b"r=", "server-first-message", _server_first),
    (b"c=", "client-final-message", _client_final),
    (b"v=", "server-final-message", _server_final),
    (b"e=", "server-final-message", _server_error),
)
