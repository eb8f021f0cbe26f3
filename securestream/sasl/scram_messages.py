"""The messages of SCRAM (RFC 5802 5.1 and 7): decoding is strict, bounded, and keeps what is signed as it came."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from securestream.errors import MalformedMessage, Unsupported
from securestream.redaction import Redacted
from securestream.sasl.gs2 import Gs2Header, escape, unescape

LONGEST_NONCE: Final = 256
"""Characters of the nonce of both ends together."""

LONGEST_SALT: Final = 1024
"""Octets of a salt."""

LONGEST_USER: Final = 1024
"""Characters of a user's name, which takes a time to prepare that grows with its square (RFC 4013 2.2)."""

_NONCE: Final = re.compile(r"[!-+\--~]+")  # printable without the comma
_ITERATIONS: Final = re.compile(r"[1-9][0-9]{0,8}")
_EXTENSION: Final = re.compile(r"[A-Za-z]=[^\0]+")


@dataclass(frozen=True, repr=False)
class ClientFirst(Redacted):
    """``client-first-message``.

    Args:
        header: the GS2 header.
        user: the name, without its escapes.
        nonce: the client's.
        bare: the message without its header, as sent.
    """

    header: Gs2Header
    user: str = field(repr=False)
    nonce: str
    bare: str = field(repr=False)

    @classmethod
    def make(cls, header: Gs2Header, user: str, nonce: str) -> ClientFirst:
        """The message of a client."""
        return cls(header, user, nonce, f"n={escape(user)},r={nonce}")

    def pack(self) -> bytes:
        """The octets."""
        return self.header.pack() + self.bare.encode()

    @classmethod
    def unpack(cls, octets: bytes) -> ClientFirst:
        """From `pack`.

        Raises:
            MalformedMessage: it is none.
            Unsupported: it needs an extension.
        """
        header, rest = Gs2Header.unpack(octets)
        if header.nonstandard:
            raise MalformedMessage("a SCRAM client's first message begins with n, y or p")
        bare = _text(rest)
        user, nonce = _values(bare, "nr")
        if len(user) > LONGEST_USER:
            raise MalformedMessage(f"SCRAM: a name of {len(user)} characters, where {LONGEST_USER} are the most")
        return cls(header, unescape(user), _nonce(nonce), bare)


@dataclass(frozen=True, repr=False)
class ServerFirst(Redacted):
    """``server-first-message``.

    Args:
        nonce: the client's with the server's behind it.
        salt: of the user's verifier.
        iterations: of it.
        text: the message as sent.
    """

    nonce: str
    salt: bytes
    iterations: int
    text: str = field(repr=False)

    @classmethod
    def make(cls, nonce: str, salt: bytes, iterations: int) -> ServerFirst:
        """The message of a server."""
        return cls(nonce, salt, iterations, f"r={nonce},s={_armor(salt)},i={iterations}")

    def pack(self) -> bytes:
        """The octets."""
        return self.text.encode()

    @classmethod
    def unpack(cls, octets: bytes) -> ServerFirst:
        """From `pack`.

        Raises:
            MalformedMessage: it is none.
            Unsupported: it needs an extension.
        """
        text = _text(octets)
        nonce, salt, iterations = _values(text, "rsi")
        if not _ITERATIONS.fullmatch(iterations):
            raise MalformedMessage("SCRAM: the number of iterations is no positive number of at most nine digits")
        return cls(_nonce(nonce), _octets(salt, LONGEST_SALT), int(iterations), text)


@dataclass(frozen=True, repr=False)
class ClientFinal(Redacted):
    """``client-final-message``.

    Args:
        bound: the header of the client's first message with the data of the channel behind it (``cbind-input``).
        nonce: that of both ends.
        proof: the client's.
        unproven: the message without the proof, as sent.
    """

    bound: bytes
    nonce: str
    proof: bytes = field(repr=False)
    unproven: str = field(repr=False)

    @classmethod
    def without_proof(cls, bound: bytes, nonce: str) -> str:
        """What the proof covers."""
        return f"c={_armor(bound)},r={nonce}"

    @classmethod
    def make(cls, unproven: str, proof: bytes) -> bytes:
        """The octets of the message."""
        return f"{unproven},p={_armor(proof)}".encode()

    @classmethod
    def unpack(cls, octets: bytes, proof_size: int) -> ClientFinal:
        """From `make`.

        Raises:
            MalformedMessage: it is none.
            Unsupported: it needs an extension.
        """
        unproven, separator, proof = _text(octets).rpartition(",p=")
        if not separator:
            raise MalformedMessage("SCRAM: the client's last message ends with its proof")
        bound, nonce = _values(unproven, "cr")
        found = _octets(proof, proof_size)
        if len(found) != proof_size:
            raise MalformedMessage(f"SCRAM: a proof of {len(found)} octets, {proof_size} are due")
        return cls(_octets(bound, len(octets)), _nonce(nonce), found, unproven)


def server_final(signature: bytes) -> bytes:
    """``server-final-message`` of success."""
    return b"v=" + base64.b64encode(signature)


def server_error(value: str) -> bytes:
    """``server-final-message`` of failure."""
    return f"e={value}".encode()


def read_error(octets: bytes) -> str | None:
    """The error that a server's message tells, or `None` where it tells none.

    Raises:
        MalformedMessage: it is no text.
    """
    return _text(octets)[2:].partition(",")[0] if octets.startswith(b"e=") else None


def read_server_final(octets: bytes, size: int) -> bytes:
    """The signature in ``server-final-message``.

    Raises:
        MalformedMessage: it is none.
        Unsupported: it needs an extension.
    """
    (signature,) = _values(_text(octets), "v")
    found = _octets(signature, size)
    if len(found) != size:
        raise MalformedMessage(f"SCRAM: a ServerSignature of {len(found)} octets, {size} are due")
    return found


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("SCRAM messages are UTF-8") from None


def _values(text: str, names: str) -> list[str]:
    """The values of the attributes that are due, in their order; optional extensions behind them are ignored.

    Raises:
        MalformedMessage: other attributes stand there.
        Unsupported: an extension is mandatory.
    """
    attributes = text.split(",")
    if attributes[0].startswith("m="):
        raise Unsupported("SCRAM: the peer demands an extension, and there are none yet")
    if len(attributes) < len(names):
        raise MalformedMessage("SCRAM: an attribute is missing")
    values: list[str] = []
    for name, attribute in zip(names, attributes, strict=False):
        if not attribute.startswith(f"{name}="):
            raise MalformedMessage(f"SCRAM: the attribute {name} is due")
        values.append(attribute[2:])
    if not all(_EXTENSION.fullmatch(one) for one in attributes[len(names) :]):
        raise MalformedMessage("SCRAM: an extension is one letter, an equals sign and a value")
    return values


def _nonce(text: str) -> str:
    if len(text) > LONGEST_NONCE or not _NONCE.fullmatch(text):
        raise MalformedMessage(f"SCRAM: a nonce is 1 to {LONGEST_NONCE} printable characters without commas")
    return text


def _armor(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _octets(text: str, most: int) -> bytes:
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessage("SCRAM: a value is no base64") from None
    if not 1 <= len(octets) <= most:
        raise MalformedMessage(f"SCRAM: a value has {len(octets)} octets, 1 to {most} are due")
    return octets
