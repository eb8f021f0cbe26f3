"""A package of three tokens that proves nothing, for tests of what is built around packages."""

from __future__ import annotations

from securestream.credentials import Credential
from securestream.options import ContextFlags, Options, Role
from securestream.principal import Principal, unauthenticated
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


class FakeContext(SecurityContext):
    """Protects nothing."""

    @property
    def sizes(self) -> ContextSizes:
        return ContextSizes(0, 0, 1, 100)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        return bytes(data)

    def unwrap(self, token: Buffer) -> Unwrapped:
        return Unwrapped(bytes(token), encrypted=True)

    def sign(self, data: Buffer) -> bytes:
        return b""

    def verify(self, data: Buffer, signature: Buffer) -> None:
        return

    def discard(self) -> None:
        return


class FakePackage:
    """One token there, one back, one there."""

    def __init__(self, *, stream: bool = False) -> None:
        capabilities = Capability.STREAM if stream else Capability.CONNECTION | Capability.PRIVACY
        self.info = PackageInfo("Fake", "for tests", capabilities, 100, oids=("1.2.3",), rpc_id=99)

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        yield from Exchange(b"one")
        context = FakeContext("Fake", Role.INITIATOR, ContextFlags.NONE)
        return Established(context, unauthenticated("Fake"), b"three")

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        yield from Exchange()
        yield from Exchange(b"two")
        return Established(FakeContext("Fake", Role.ACCEPTOR, ContextFlags.NONE), Principal("alice", "Fake"))
