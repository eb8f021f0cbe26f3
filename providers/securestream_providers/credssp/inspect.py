"""A TSRequest as a tree, with the token of the negotiation inside; what is sealed in it stays so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from securestream.errors import MalformedMessage
from securestream.inspection import Inspection, Node, malformed, octets_text
from securestream.wire import der
from securestream_providers.credssp.binding import HASHED_SINCE
from securestream_providers.credssp.conversation import refused_by_peer
from securestream_providers.credssp.messages import NONCE_SIZE, TSRequest

_SEQUENCE: Final = 0x30
_VERSION: Final = b"\xa0\x03\x02\x01"
"""The field that every TSRequest begins with: a version of one octet ([MS-CSSP] 2.2.1)."""
_FIELDS: Final = frozenset((0xA1, 0xA2, 0xA3, 0xA4, 0xA5))


def inspect(token: bytes, inspection: Inspection) -> Node | None:
    """The tree of a TSRequest, as it travels within TLS; `None` where the octets are none."""
    if token[:1] != bytes((_SEQUENCE,)):
        return None
    start = der.content_at(token)
    if not token.startswith(_VERSION, start):
        return None
    try:
        message = TSRequest.decode(token)
    except MalformedMessage as error:
        return _broken(token, start + len(_VERSION) + 1, str(error))
    return Node("CredSSP TSRequest", None, octets_text(len(token)), tuple(_fields(message, inspection)))


def _broken(token: bytes, at: int, why: str) -> Node | None:
    """A message whose beginning is that of a TSRequest with a token, which is the beginning of nothing else known."""
    inner = token[at:]
    if inner[:1] != b"\xa1":
        return None
    content = der.content_at(inner)
    first = inner[content:]
    if first[:1] != b"\x30" or first[der.content_at(first) :][:1] != b"\x30":
        return None
    return malformed("CredSSP TSRequest", token, why)


def _fields(message: TSRequest, inspection: Inspection) -> Iterator[Node]:
    yield Node("version", message.version, "" if message.version >= HASHED_SINCE else "open to CVE-2018-0886")
    for one in message.nego_tokens or ():
        yield inspection.token(one.nego_token, "negoToken")
    if message.auth_info is not None:
        yield Node(
            "authInfo", message.auth_info, f"delegated credentials, sealed, {octets_text(len(message.auth_info))}"
        )
    if message.pub_key_auth is not None:
        yield Node("pubKeyAuth", message.pub_key_auth, "the proof of the TLS key, sealed")
    if message.error_code is not None:
        yield Node("errorCode", f"{message.ntstatus:#010x}", refused_by_peer(message.ntstatus).kind.name)
    nonce = message.client_nonce
    if nonce is not None:
        wrong = len(nonce) != NONCE_SIZE
        yield Node("clientNonce", nonce, f"it has not {NONCE_SIZE} octets" if wrong else "", problem=wrong)
