"""A security package for tests: two legs, a shared password, XOR and HMAC. It protects nothing from anybody."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

from securestream.credentials import Credential, Password, find_form
from securestream.errors import BadSignature, LogonDenied, MalformedMessage, OutOfSequence
from securestream.options import ContextFlags, Options, Role
from securestream.principal import NameType, Principal
from securestream.provider import (
    Buffer,
    Capability,
    ContextSizes,
    Effect,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    SecurityContext,
    TargetName,
    Unusable,
    Unwrapped,
)

ALICE = Password("alice", "the toy's password")
MALLORY = Password("alice", "not the toy's password")

_INFO = PackageInfo("Toy", "for tests", Capability.INTEGRITY | Capability.PRIVACY | Capability.CONNECTION, 1024)
_ORDER = {Role.INITIATOR: b"\0", Role.ACCEPTOR: b"\1"}
_MAC = 16


class ToyContext(SecurityContext):
    """A flag octet, a MAC over direction, sequence and data, then the data, XORed if the flag says so."""

    def __init__(self, role: Role, flags: ContextFlags, *, bound: bool, expires: datetime | None = None) -> None:
        super().__init__("Toy", role, flags, bound=bound, expires=expires)
        self._sent = self._received = 0
        self.discarded = False

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(_MAC, 1 + _MAC, 1, 1024)

    def _mac(self, role: Role, number: int, flag: bytes, data: bytes) -> bytes:
        if self.discarded:
            raise self.expired()
        return hmac.digest(b"key", _ORDER[role] + number.to_bytes(8, "big") + flag + data, hashlib.sha256)[:_MAC]

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        flag = b"\1" if encrypt else b"\0"
        mac = self._mac(self.role, self._sent, flag, bytes(data))
        self._sent += 1
        return flag + mac + (_mask(data) if encrypt else bytes(data))

    def unwrap(self, token: Buffer) -> Unwrapped:
        view = memoryview(token)
        flag, mac, data = bytes(view[:1]), bytes(view[1 : 1 + _MAC]), bytes(view[1 + _MAC :])
        plain = _mask(data) if flag == b"\1" else data
        if not hmac.compare_digest(mac, self._mac(self.role.other, self._received, flag, plain)):
            for other in range(self._received + 8):
                if hmac.compare_digest(mac, self._mac(self.role.other, other, flag, plain)):
                    raise OutOfSequence("a toy message is not the next one")
            raise BadSignature("a toy message was altered")
        self._received += 1
        return Unwrapped(plain, flag == b"\1")

    def sign(self, data: Buffer) -> bytes:
        return self._mac(self.role, 0, b"", bytes(data))

    def verify(self, data: Buffer, signature: Buffer) -> None:
        if self._mac(self.role.other, 0, b"", bytes(data)) != bytes(signature):
            raise BadSignature("altered")

    def discard(self) -> None:
        self.discarded = True


def _mask(data: Buffer) -> bytes:
    return bytes(data).translate(_XOR)


_XOR = bytes(octet ^ 0x5A for octet in range(256))


@dataclass(frozen=True)
class Toy:
    """The package.

    Args:
        legs: further round trips before the outcome.
        last_token: whether the acceptor ends with a token of its own.
        withheld: flags that are never established, to play a weak mechanism.
        need: an effect that the acceptor needs, or `None`.
    """

    legs: int = 0
    last_token: bool = True
    withheld: ContextFlags = ContextFlags.NONE
    need: Effect[object] | None = None

    @property
    def info(self) -> PackageInfo:
        return _INFO

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None if find_form(credential, Password) else Unusable("it needs a Password")

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        password = find_form(credential, Password)
        assert password is not None
        bindings = options.channel_bindings.md5() if options.channel_bindings else bytes(16)
        token: bytes | None = _hello(password, options.wanted, bindings)
        for _ in range(self.legs):
            reply = yield from Exchange(token)
            if reply != b"more":
                raise MalformedMessage("not 'more'")
            token = b"more"
        if self.last_token:
            reply = yield from Exchange(token)
            if reply != b"welcome":
                raise MalformedMessage("not 'welcome'")
            token = None
        context = ToyContext(Role.INITIATOR, options.wanted & ~self.withheld, bound=bool(any(bindings)))
        return Established(context, Principal("server", "Toy", name_type=NameType.SERVICE), token)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        password = find_form(credential, Password)
        assert password is not None
        hello = yield from Exchange(None)
        if self.need is not None:
            yield from self.need
        flags, bindings = _read_hello(hello, password)
        for _ in range(self.legs):
            reply = yield from Exchange(b"more")
            if reply != b"more":
                raise MalformedMessage("not 'more'")
        bound = options.channel_bindings is not None and options.channel_bindings.md5() == bindings
        context = ToyContext(Role.ACCEPTOR, flags & ~self.withheld, bound=bound)
        return Established(context, Principal("alice", "Toy"), b"welcome" if self.last_token else None)


def _hello(password: Password, flags: ContextFlags, bindings: bytes) -> bytes:
    body = flags.value.to_bytes(4, "big") + bindings
    return body + hmac.digest(password.password.reveal().encode(), body, hashlib.sha256)


def _read_hello(hello: bytes, password: Password) -> tuple[ContextFlags, bytes]:
    if len(hello) != 52:
        raise MalformedMessage("a toy hello has 52 octets")
    proof = hmac.digest(password.password.reveal().encode(), hello[:20], hashlib.sha256)
    if not hmac.compare_digest(proof, hello[20:]):
        raise LogonDenied("the toy's password is wrong")
    return ContextFlags(int.from_bytes(hello[:4], "big")), hello[4:20]
