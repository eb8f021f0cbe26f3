"""Ends of CredSSP made by hand over the stand-in for TLS, with NTLM inside: each says what a test wants it to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from securestream.credentials import Credential
from securestream.nested import Nested
from securestream.options import ContextFlags, Options, Protection, Role
from securestream.principal import NameType, Principal, unauthenticated
from securestream.provider import (
    Capability,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    SecurityContext,
    TargetName,
    Unusable,
)
from securestream.records.base import TlsSession
from securestream_providers.credssp import binding, credentials
from securestream_providers.credssp.messages import NegoToken, TSRequest
from securestream_providers.ntlm import Ntlm
from tests.certificates import Pair
from tests.core.handshakes import PlainContext
from tests.providers.credssp.clear import ClearConnection
from tests.providers.credssp.ends import ALICE, SERVER

NONCE = bytes(range(32))
Change = Callable[[TSRequest], TSRequest | None]
"""What an end says in place of a message; `None` for nothing at all."""


def _inner(options: Options) -> Options:
    return replace(options, protection=Protection.ENCRYPT_AND_SIGN, flags=ContextFlags.NONE)


@dataclass
class ByHand:
    """Both roles, as a package.

    Args:
        version: what each message states.
        certificate: whose key it proves.
        change: what it says in place of its message of that number (0, 1, 2...).
        nonce: a client's.
        prove: makes the proof of the key that is sealed.
        delegated: a client's `TSCredentials`, before they are sealed.
    """

    version: int = 6
    certificate: Pair = SERVER
    change: dict[int, Change] = field(default_factory=dict[int, Change])
    nonce: bytes | None = NONCE
    prove: Callable[[Role, int, bytes, bytes | None], bytes] = binding.plaintext
    delegated: bytes = field(default_factory=lambda: credentials.encode(ALICE))
    heard: list[TSRequest] = field(default_factory=list[TSRequest])
    _said: int = 0

    @property
    def info(self) -> PackageInfo:
        return PackageInfo("by hand", "", Capability.STREAM | Capability.CONNECTION, 0)

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def _say(self, message: TSRequest) -> bytes | None:
        change = self.change.get(self._said)
        self._said += 1
        changed = message if change is None else change(message)
        return None if changed is None else changed.encode()

    def _proof(self, context: SecurityContext, role: Role, nonce: bytes | None) -> bytes:
        return context.wrap(self.prove(role, self.version, binding.public_key(self.certificate.der), nonce))

    def _hear(self, octets: bytes) -> TSRequest:
        request = TSRequest.decode(octets)
        self.heard.append(request)
        return request

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        yield from Exchange(b"hello")
        with Nested(Ntlm().initiate(credential, target, _inner(options))) as inner:
            step = yield from inner.step()
            while step.established is None:
                message = TSRequest(self.version, (NegoToken(step.token or b""),))
                reply = self._hear((yield from Exchange(self._say(message))))
                step = yield from inner.step(reply.token)
            context = step.established.result
            assert isinstance(context, SecurityContext)
            tokens = (NegoToken(step.token or b""),)
            proof = self._proof(context, Role.INITIATOR, self.nonce)
            message = TSRequest(self.version, tokens, pub_key_auth=proof, client_nonce=self.nonce)
            self._hear((yield from Exchange(self._say(message))))
            last = TSRequest(self.version, auth_info=context.wrap(self.delegated))
            return Established(context, unauthenticated("by hand"), self._say(last))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        yield from Exchange(None)
        token: bytes | None = b"hello yourself"
        with Nested(Ntlm().accept(credential, _inner(options))) as inner:
            step = yield from inner.step()
            request = TSRequest(0)
            while step.established is None:
                request = self._hear((yield from Exchange(token)))
                step = yield from inner.step(request.token)
                token = self._say(TSRequest(self.version, (NegoToken(step.token or b""),))) if step.token else token
            context = step.established.result
            assert isinstance(context, SecurityContext)
            context.unwrap(request.pub_key_auth or b"")
            proof = self._proof(context, Role.ACCEPTOR, request.client_nonce)
            last = self._hear((yield from Exchange(self._say(TSRequest(self.version, pub_key_auth=proof)))))
            self.delegated = context.unwrap(last.auth_info or b"").data
            return Established(ClearConnection(TlsSession("none", "none")), step.established.peer)


@dataclass(frozen=True)
class Signs:
    """A mechanism of two tokens that proves alice and protects nothing, whatever it says.

    Args:
        flags: what it says.
        name_type: of alice.
        asked: what was asked of it.
        contexts: what it established.
    """

    flags: ContextFlags = ContextFlags.INTEGRITY | ContextFlags.MUTUAL
    name_type: NameType = NameType.USER
    asked: list[Options] = field(default_factory=list[Options])
    contexts: list[PlainContext] = field(default_factory=list[PlainContext])

    @property
    def info(self) -> PackageInfo:
        return PackageInfo("Signs", "signs only", Capability.CONNECTION, 100)

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        self.asked.append(options)
        yield from Exchange(b"1")
        self.contexts.append(PlainContext(self.flags, Role.INITIATOR))
        return Established(self.contexts[-1], Principal("server", "Signs"))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        self.asked.append(options)
        yield from Exchange(None)
        self.contexts.append(PlainContext(self.flags, Role.ACCEPTOR))
        peer = Principal("alice", "Signs", name_type=self.name_type)
        return Established(self.contexts[-1], peer, b"2")
