"""A mechanism of any number of legs, with or without integrity, which proves nothing but the order of things."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from securestream.credentials import Credential
from securestream.errors import BadSignature, HandshakeError, InvalidToken, OutOfSequence, TimeSkew
from securestream.options import ContextFlags, Options, Role
from securestream.principal import Principal
from securestream.provider import (
    Buffer,
    Capability,
    ContextSizes,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    SecurityContext,
    TargetName,
    Unusable,
    Unwrapped,
)

FIRST = "1.3.6.1.4.1.32473.1.1"
SECOND = "1.3.6.1.4.1.32473.1.2"
THIRD = "1.3.6.1.4.1.32473.1.3"
"""Of the enterprise number for documentation (RFC 5612)."""

SKEW = b"an error token that says the clock is wrong"


@dataclass(frozen=True, eq=False)
class Toy:
    """A package of the toy mechanism.

    Args:
        oid: by which it is negotiated; empty: it cannot be.
        legs: how many tokens are exchanged, the initiator's first.
        integrity: whether its contexts give integrity.
        needs_mic: whether its contexts want mechListMICs for the first choice, too, as NTLM does.
        usable_reason: why it cannot be used, if so.
        failure: what its initiator raises before its first token, if anything.
        refusal: what its acceptor raises at the first token, if anything.
        started: the flags that its handshakes were asked for, in order.
        made: the contexts that it gave, in order.
    """

    oid: str = FIRST
    legs: int = 2
    integrity: bool = True
    needs_mic: bool = False
    usable_reason: str = ""
    failure: HandshakeError | None = None
    refusal: HandshakeError | None = None
    started: list[ContextFlags] = field(default_factory=list[ContextFlags])
    made: list[ToyContext] = field(default_factory=list["ToyContext"])

    @property
    def info(self) -> PackageInfo:
        capabilities = Capability.INTEGRITY | Capability.PRIVACY | Capability.CONNECTION
        return PackageInfo(f"Toy{self.oid[-1:]}", "a toy", capabilities, 64, oids=(self.oid,) if self.oid else ())

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return Unusable(self.usable_reason) if self.usable_reason else None

    def token(self, number: int) -> bytes:
        """The token of that number, from 1."""
        return f"toy {self.oid[-1]} token {number}".encode()

    def context(self, role: Role) -> ToyContext:
        """A context as a handshake would give it."""
        context = ToyContext(self, role)
        self.made.append(context)
        return context

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        self.started.append(options.wanted)
        if self.failure is not None:
            raise self.failure
        return (yield from self._run(Role.INITIATOR, 0))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        self.started.append(options.wanted)
        self._check((yield from Exchange()), 1)
        if self.refusal is not None:
            raise self.refusal
        return (yield from self._run(Role.ACCEPTOR, 1))

    def _run(self, role: Role, number: int) -> Handshake:
        """Go on after token `number`."""
        peer = Principal(role.other.value, self.info.name)
        while number < self.legs:
            number += 1
            if number == self.legs:
                return Established(self.context(role), peer, token=self.token(number))
            reply = yield from Exchange(self.token(number))
            number += 1
            self._check(reply, number)
        return Established(self.context(role), peer)

    def _check(self, token: bytes, number: int) -> None:
        if token == SKEW:
            raise TimeSkew("the acceptor's clock is 400 s off", token=b"nobody wants it")
        if token != self.token(number):
            raise InvalidToken(f"token {number} of {self.info.name} is due")


class ToyContext(SecurityContext):
    """MICs and wrapped tokens by a key that everybody knows, with direction and number."""

    def __init__(self, toy: Toy, role: Role) -> None:
        flags = ContextFlags.INTEGRITY | ContextFlags.CONFIDENTIALITY if toy.integrity else ContextFlags.NONE
        super().__init__(toy.info.name, role, flags)
        self._needs_mic = toy.needs_mic
        self._key: bytes | None = toy.oid.encode()
        self.sent = self.received = 0

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(signature=32, wrap_overhead=32, block=1, max_token=64)

    @property
    def needs_negotiation_mic(self) -> bool:
        return self._needs_mic

    @property
    def is_discarded(self) -> bool:
        """Whether its keys were dropped."""
        return self._key is None

    def _mac(self, role: Role, number: int, data: Buffer) -> bytes:
        if self._key is None:
            raise self.expired()
        return hmac.digest(self._key, role.value.encode() + bytes((number,)) + bytes(data), hashlib.sha256)

    def sign(self, data: Buffer) -> bytes:
        self.sent += 1
        return self._mac(self.role, self.sent - 1, data)

    def verify(self, data: Buffer, signature: Buffer) -> None:
        if not hmac.compare_digest(self._mac(self.role.other, self.received, data), bytes(signature)):
            for number in range(self.received):
                if hmac.compare_digest(self._mac(self.role.other, number, data), bytes(signature)):
                    raise OutOfSequence("seen before")
            raise BadSignature("it does not fit")
        self.received += 1

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        return self.sign(data) + bytes(data)

    def unwrap(self, token: Buffer) -> Unwrapped:
        octets = bytes(token)
        self.verify(octets[32:], octets[:32])
        return Unwrapped(octets[32:], encrypted=True)

    def discard(self) -> None:
        self._key = None
