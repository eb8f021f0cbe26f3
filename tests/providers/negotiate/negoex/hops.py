"""A mechanism for the tests of NEGOEX: counts its hops down, proves nothing, and has the keys of MIT's test mechanism.

Its tokens, metadata and keys are those of the mechanism that MIT tests its NEGOEX with (tests/interop),
so that the same package plays against ourselves and against MIT.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from securestream.credentials import Credential
from securestream.errors import InvalidToken, LogonDenied
from securestream.options import ContextFlags, Options, Role
from securestream.principal import Principal
from securestream.provider import (
    Buffer,
    Capability,
    ContextSizes,
    Effect,
    Established,
    Exchange,
    Handshake,
    Metadata,
    PackageInfo,
    SecurityContext,
    TargetName,
    Unusable,
    Unwrapped,
    VerifyKeys,
)
from securestream.wire import der

FIRST = "2.25.1414534758"
SECOND = "2.25.1175737388"
"""The OIDs by which MIT's library knows its two."""
KEYS = {Role.INITIATOR: bytes((1,)) + bytes(31), Role.ACCEPTOR: bytes(32)}
FAILURE = b"fail"
Keys: TypeAlias = Literal["end", "early", "never"]
Fails: TypeAlias = Literal["start", "metadata", "token"]


def scheme_of(oid: str) -> uuid.UUID:
    """The scheme of MIT's mechanism: the OID's octets, filled up."""
    return uuid.UUID(bytes_le=der.oid_octets(oid)[2:].ljust(16, b"\0"))


class HopsContext(SecurityContext):
    """Signs with a fixed octet where it has integrity at all."""

    def __init__(self, role: Role, flags: ContextFlags) -> None:
        super().__init__("Hops", role, flags)
        self.discarded = False

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(0, 0, 1, 64)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        return bytes(data)

    def unwrap(self, token: Buffer) -> Unwrapped:
        return Unwrapped(bytes(token), encrypted=False)

    def sign(self, data: Buffer) -> bytes:
        return b"signed " + self.role.value.encode()

    def verify(self, data: Buffer, signature: Buffer) -> None:
        assert bytes(signature) == b"signed " + self.role.other.value.encode()

    def discard(self) -> None:
        self.discarded = True


@dataclass(frozen=True)
class Hops:
    """The mechanism.

    Args:
        oid: which of the two.
        hops: tokens in all, of both ends.
        keys: when they are announced.
        metadata: what is said before; `None` for nothing.
        waits: whether the initiator waits for the acceptor's metadata, instead of sending its token at once.
        fails: where it raises.
        name: of the package.
        flags: of the context.
    """

    oid: str = FIRST
    hops: int = 1
    keys: Keys = "end"
    metadata: bytes | None = b"X"
    waits: bool = False
    fails: Fails | None = None
    name: str = "Hops"
    flags: ContextFlags = ContextFlags.NONE
    heard: list[bytes | None] = field(default_factory=list[bytes | None], compare=False)
    """What came as metadata, in each handshake."""

    @property
    def info(self) -> PackageInfo:
        return PackageInfo(self.name, "test", Capability.CONNECTION, 64, negoex_scheme=scheme_of(self.oid))

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        left = self.hops
        yield from self._before(Role.INITIATOR)
        while True:
            left -= 1
            token = self._token(left) if left >= 0 else None
            if left <= 0:
                return (yield from self._end(Role.INITIATOR, token))
            reply = yield from Exchange(token)
            left = self._left(left, reply)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        yield from self._before(Role.ACCEPTOR)
        reply = yield from Exchange()
        left = reply[-1] if reply else 0
        while True:
            self._check(Role.ACCEPTOR)
            left -= 1
            token = bytes((left,)) if left >= 0 else None
            if left <= 0:
                return (yield from self._end(Role.ACCEPTOR, token))
            reply = yield from Exchange(token)
            left = self._left(left, reply)

    def _token(self, left: int) -> bytes:
        content = der.oid_octets(self.oid) + bytes((left,))
        return bytes((0x60, len(content))) + content

    def _check(self, role: Role) -> None:
        if self.fails == "token":
            raise LogonDenied(f"{self.name} refuses", token=FAILURE if role is Role.ACCEPTOR else None)

    @staticmethod
    def _left(left: int, reply: bytes) -> int:
        if reply == FAILURE:
            raise LogonDenied("failure from acceptor")
        if not reply or reply[-1] != left - 1:
            raise InvalidToken("another number of hops is due")
        return reply[-1]

    def _before(self, role: Role) -> Generator[Effect[Any], Any, None]:
        if self.fails == "start":
            raise LogonDenied(f"{self.name} cannot begin")
        if self.metadata is not None:
            theirs = yield from Metadata(self.metadata, wait=self.waits)
            self.heard.append(theirs)
            if self.fails == "metadata":
                raise LogonDenied(f"{self.name} dislikes the metadata")
        if role is Role.INITIATOR:
            self._check(role)
        if self.keys == "early":
            yield from self._announce(role)

    def _end(self, role: Role, token: bytes | None) -> Handshake:
        if self.keys == "end":
            yield from self._announce(role)
        return Established(HopsContext(role, self.flags), Principal("peer", self.name), token)

    @staticmethod
    def _announce(role: Role) -> VerifyKeys:
        return VerifyKeys(KEYS[role], KEYS[role.other])
