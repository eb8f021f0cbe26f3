"""The wire as the relay sees it: whole frames or records of either direction, told apart without any key.

It reads [MS-NNS] and TLS by itself rather than through the project's framings: it is the eye of a stranger.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from securestream.cli.tokens import CHANGE_CIPHER_SPEC, HANDSHAKE, split_records

CLIENT, SERVER = "client", "server"
"""Whose octets they are."""

TOKEN = "token"  # noqa: S105  a kind of frame, not a secret
"""A handshake token, in clear."""
SEALED = "sealed"
"""Sealed: data, or the later part of a TLS handshake."""
OTHER = "other"

COST = 72
"""Octets that a seal costs at most: a signature, a nonce, a tag; in Kerberos with SHA-384 16 + 16 + 16 + 24."""

_DONE, _ERROR, _IN_PROGRESS = 0x14, 0x15, 0x16


@dataclass(frozen=True)
class Unit:
    """One frame or record.

    Args:
        sender: whose it is.
        kind: `TOKEN`, `SEALED` or `OTHER`.
        octets: all of it.
        body: where its header ends.
    """

    sender: str
    kind: str
    octets: bytes
    body: int

    @property
    def payload(self) -> bytes:
        """What stands after the header."""
        return self.octets[self.body :]

    def flipped(self, fraction: float, bit: int) -> Unit:
        """The unit with one bit of its payload inverted, `fraction` of the way into it."""
        octets = bytearray(self.octets)
        octets[self.body + int(fraction * len(self.payload))] ^= 1 << bit
        return replace(self, octets=bytes(octets))

    def to_json(self) -> dict[str, Any]:
        """As the relay prints it."""
        return {**vars(self), "octets": base64.b64encode(self.octets).decode("ascii")}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Unit:
        """What `to_json` gave."""
        return cls(value["sender"], value["kind"], base64.b64decode(value["octets"]), value["body"])


class NnsWire:
    """[MS-NNS] 2.2: handshake frames until the server's done frame has passed, then data frames, both ways."""

    def __init__(self) -> None:
        self._waiting = {CLIENT: b"", SERVER: b""}
        self._data = False

    def feed(self, sender: str, octets: bytes) -> Iterator[Unit]:
        """The units that are complete with `octets`."""
        waiting = self._waiting[sender] + octets
        while (unit := self._next(sender, waiting)) is not None:
            waiting = waiting[len(unit.octets) :]
            self._waiting[sender] = waiting
            yield unit
        self._waiting[sender] = waiting

    def _next(self, sender: str, waiting: bytes) -> Unit | None:
        header = 4 if self._data else 5
        if len(waiting) < header:
            return None
        size = int.from_bytes(waiting[:4], "little") if self._data else int.from_bytes(waiting[3:5], "big")
        if len(waiting) < header + size:
            return None
        octets = waiting[: header + size]
        if self._data:
            return Unit(sender, SEALED, octets, header)
        self._data = sender == SERVER and octets[0] == _DONE
        kind = TOKEN if octets[0] in (_DONE, _IN_PROGRESS) and size else OTHER
        return Unit(sender, kind, octets, header)

    def rest(self, sender: str) -> bytes:
        """What is left of an incomplete unit."""
        rest, self._waiting[sender] = self._waiting[sender], b""
        return rest


class TlsWire:
    """TLS records; handshake records after a change_cipher_spec are sealed (TLS 1.2)."""

    def __init__(self) -> None:
        self._waiting = {CLIENT: b"", SERVER: b""}
        self._ciphered = {CLIENT: False, SERVER: False}

    def feed(self, sender: str, octets: bytes) -> Iterator[Unit]:
        """The units that are complete with `octets`."""
        waiting = self._waiting[sender] + octets
        for record in list(split_records(waiting)):
            waiting = waiting[len(record.octets) :]
            self._waiting[sender] = waiting
            if record.content == CHANGE_CIPHER_SPEC:
                self._ciphered[sender] = True
                kind = OTHER
            elif record.content == HANDSHAKE and not self._ciphered[sender]:
                kind = TOKEN
            else:
                kind = SEALED
            yield Unit(sender, kind, record.octets, 5)
        self._waiting[sender] = waiting

    def rest(self, sender: str) -> bytes:
        """What is left of an incomplete unit."""
        rest, self._waiting[sender] = self._waiting[sender], b""
        return rest


Wire = NnsWire | TlsWire
WIRES: dict[str, type[NnsWire | TlsWire]] = {"nns": NnsWire, "tls": TlsWire}


@dataclass(frozen=True)
class Flip:
    """Which octet the relay alters.

    Args:
        sender: whose.
        index: the unit, counted from 0 among those of that sender.
        fraction: how far into its payload, from 0 up to but without 1.
        bit: 0 to 7.
    """

    sender: str
    index: int
    fraction: float
    bit: int


def find_data(units: list[Unit], sender: str, length: int) -> int:
    """The index, among the units of `sender`, of the sealed one that carries `length` octets of plaintext.

    Raises:
        LookupError: there is none.
    """
    own = [unit for unit in units if unit.sender == sender]
    for index in range(len(own) - 1, -1, -1):
        if own[index].kind == SEALED and 0 < len(own[index].payload) - length <= COST:
            return index
    raise LookupError(f"the {sender} sent no sealed unit that could carry {length} octets")


def find_tokens(units: list[Unit], sender: str) -> list[int]:
    """The indices, among the units of `sender`, of its tokens in clear."""
    own = [unit for unit in units if unit.sender == sender]
    return [index for index, unit in enumerate(own) if unit.kind == TOKEN]
