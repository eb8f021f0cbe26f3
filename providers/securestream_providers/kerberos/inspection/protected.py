"""Tokens that protect messages, as trees: of RFC 4121 and of RFC 1964, opened by the keys of their contexts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from securestream.errors import SecureStreamError
from securestream.inspection import Node, malformed, octets_text
from securestream.options import Role
from securestream_providers.kerberos.inspection.ring import Held, Ring
from securestream_providers.krb5.cfx import CfxTokens
from securestream_providers.krb5.keys import Key
from securestream_providers.krb5.message_tokens import MessageTokens, TokenSettings
from securestream_providers.krb5.numbers import EncryptionType
from securestream_providers.krb5.old_tokens import Des3Tokens, Rc4Tokens
from securestream_providers.krb5.sequence import Window

CFX: Final = {b"\x05\x04": "wrap", b"\x04\x04": "MIC"}
_OLD: Final = {b"\x02\x01": "wrap", b"\x01\x01": "MIC", b"\x01\x02": "deletion"}
_OLD_ETYPES: Final = {EncryptionType.RC4_HMAC: Rc4Tokens, EncryptionType.DES3_CBC_SHA1_KD: Des3Tokens}
_CFX_ETYPES: Final = frozenset(EncryptionType) - frozenset(_OLD_ETYPES)
_HEADER: Final = 16
_SENT_BY_ACCEPTOR, _SEALED, _ACCEPTOR_SUBKEY = 1, 2, 4
_FLAGS: Final = {_SENT_BY_ACCEPTOR: "SentByAcceptor", _SEALED: "Sealed", _ACCEPTOR_SUBKEY: "AcceptorSubkey"}
_ALGORITHMS: Final = {
    b"\x11\x00": "HMAC-MD5",
    b"\x04\x00": "HMAC-SHA1 with DES3",
    b"\x00\x00": "DES-MAC-MD5",
    b"\x10\x00": "RC4",
    b"\x02\x00": "DES3",
    b"\xff\xff": "none",
}


def cfx_tree(token: bytes, ring: Ring) -> Node:
    """A token of RFC 4121 4.2.6."""
    kind = CFX[token[:2]]
    name = f"Kerberos {kind} token"
    if len(token) < _HEADER:
        return malformed(name, token, f"its header has {_HEADER} octets, {len(token)} are there")
    flags = token[2]
    children = [
        Node("flags", f"{flags:#04x}", " ".join(text for bit, text in _FLAGS.items() if flags & bit)),
        Node("sequence number", int.from_bytes(token[8:_HEADER], "big")),
    ]
    if kind == "MIC":
        children.append(Node("checksum", token[_HEADER:]))
    else:
        children.insert(1, Node("EC", int.from_bytes(token[4:6], "big")))
        children.insert(2, Node("RRC", int.from_bytes(token[6:8], "big")))
        children.append(_body(token[_HEADER:], "sealed" if flags & _SEALED else "in clear, with its checksum"))
        children.extend(_opened(token, _cfx_readers(flags, ring)))
    return Node(name, None, octets_text(len(token)), tuple(children))


def _body(octets: bytes, note: str) -> Node:
    return Node("body", octets, f"{octets_text(len(octets))}, {note}")


def _cfx_readers(flags: int, ring: Ring) -> Iterator[tuple[Held, MessageTokens]]:
    role = Role.INITIATOR if flags & _SENT_BY_ACCEPTOR else Role.ACCEPTOR
    for held in reversed(ring.keys):
        for dce in (False, True):
            if held.key.etype in _CFX_ETYPES:
                yield held, CfxTokens(_settings(held.key, role, subkey=bool(flags & _ACCEPTOR_SUBKEY), dce=dce))


def _settings(key: Key, role: Role, *, subkey: bool, dce: bool) -> TokenSettings:
    window = Window(0, 64, replay=False, order=False)
    return TokenSettings(key, role, bytes, acceptor_subkey=subkey, dce=dce, sent=0, window=window)


def old_tree(inner: bytes, token: bytes, ring: Ring) -> Node | None:
    """A token of RFC 1964 1.2; `None` where it is none.

    Args:
        inner: what follows the mechanism.
        token: the whole.
        ring: the keys.
    """
    kind = _OLD.get(inner[:2])
    if kind is None or len(inner) < 8:
        return None
    children = [
        Node("signing algorithm", inner[2:4], _ALGORITHMS.get(inner[2:4], "")),
        Node("sealing algorithm", inner[4:6], _ALGORITHMS.get(inner[4:6], "")),
        Node("sequence number", inner[8:16], "encrypted"),
    ]
    children.append(_body(inner[16:], "in clear" if inner[4:6] == b"\xff\xff" else "sealed"))
    if kind == "wrap":
        children.extend(_opened(token, _old_readers(ring)))
    return Node(f"Kerberos {kind} token of RFC 1964", None, octets_text(len(token)), tuple(children))


def _old_readers(ring: Ring) -> Iterator[tuple[Held, MessageTokens]]:
    for held in reversed(ring.keys):
        for role in Role:
            for etype, kind in _OLD_ETYPES.items():
                if held.key.etype == etype:
                    yield held, kind(_settings(held.key, role, subkey=False, dce=False))


def _opened(token: bytes, readers: Iterator[tuple[Held, MessageTokens]]) -> Iterator[Node]:
    """The data, if a key fits: it is what the ends wanted nobody to read, so it counts as a secret."""
    while True:
        try:
            found = next(readers, None)
            if found is None:
                return
            held, tokens = found
            data, sealed = tokens.opening()(token)
        except SecureStreamError:
            continue  # the next key may fit
        yield Node("data", data, f"{'opened' if sealed else 'proved'} with {held.origin}", secret=True)
        return
