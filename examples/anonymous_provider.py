"""A third party's mechanism: key agreement of nobody with nobody, in the manner of SAnon (draft-howard-gss-sanon).

``python examples/anonymous_provider.py [asyncio|trio]`` runs a server and a client, which negotiate it by NEGOEX.

Two tokens: an X25519 public key each way, and with the acceptor's its first MIC, of nothing. The session key is derived
by SP 800-108 (HMAC-SHA256, counter mode) from the shared secret, with both public keys and the channel bindings as its
context; data is protected by the tokens of RFC 4121 with AES-128 of RFC 8009. Nobody is authenticated: an attacker on
the way is kept out only if the bindings are those of a channel that is authenticated already, TLS for example.
"""

from __future__ import annotations

import hmac
import sys
import uuid
from typing import Final

import anyio
from anyio.abc import TaskStatus
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

import securestream as ss
from securestream.credentials import Anonymous, Credential, find_form
from securestream.errors import ContextError, InvalidToken, NoCredentials
from securestream.options import ContextFlags, Options, Role
from securestream.principal import NameType, Principal
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
    VerifyKeys,
)
from securestream.wire import der
from securestream_providers.krb5.cfx import CfxTokens
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.message_tokens import TokenSettings
from securestream_providers.krb5.sequence import Window
from securestream_providers.negotiate import Negotiate

NAME: Final = "Anonymous-X25519"
OID: Final = "1.3.6.1.4.1.5322.26.1.110"
SCHEME: Final = uuid.UUID("dee384ff-1086-4e86-be78-b94170bfd376")
ETYPE: Final = 19  # aes128-cts-hmac-sha256-128
KEY: Final = 16
PUBLIC: Final = 32
LABEL: Final = b"sanon-x25519"
FRAME: Final = 0x60
FLAGS: Final = (
    ContextFlags.ANONYMOUS
    | ContextFlags.INTEGRITY
    | ContextFlags.CONFIDENTIALITY
    | ContextFlags.REPLAY
    | ContextFlags.SEQUENCE
)
NOBODY: Final = Principal("", NAME, name_type=NameType.ANONYMOUS)


class AnonymousPackage:
    """Makes handshakes; stateless. Either end takes part only with the credential `Anonymous`, which says so aloud."""

    info = PackageInfo(
        name=NAME,
        comment="Anonymous key agreement by X25519 (example)",
        capabilities=Capability.INTEGRITY | Capability.PRIVACY | Capability.CONNECTION,
        max_token=128,
        negoex_scheme=SCHEME,
    )

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Both roles must want to be nobody."""
        return None if find_form(credential, Anonymous) else Unusable("give an Anonymous credential")

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator: a public key; the answer brings another one, and a MIC that proves that its key is ours."""
        self._insist(credential)
        own = X25519PrivateKey.from_private_bytes(options.random(PUBLIC))
        public = own.public_key().public_bytes_raw()
        answer = yield from Exchange(der.element(FRAME, der.oid_octets(OID) + public))

        if len(answer) <= PUBLIC:
            raise InvalidToken(f"the acceptor's token has {len(answer)} octets: too few for a key and a MIC")
        theirs, mic = answer[:PUBLIC], answer[PUBLIC:]
        key = _session_key(own, theirs, public + theirs, options)
        context = AnonymousContext(Role.INITIATOR, key, options)
        try:
            context.verify(b"", mic)
        except ContextError as error:
            context.discard()
            raise InvalidToken("the acceptor has another key: the bindings differ, or a key was altered") from error
        yield from _negotiation_keys(key, Role.INITIATOR)
        return Established(context, NOBODY)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor: done after one token."""
        self._insist(credential)
        hello = yield from Exchange()

        head, content, rest = der.split_element(hello)
        mechanism = der.oid_octets(OID)
        theirs = content[len(mechanism) :]
        if head != FRAME or rest or not content.startswith(mechanism) or len(theirs) != PUBLIC:
            raise InvalidToken("the initiator's token is no public key in the frame of this mechanism")
        own = X25519PrivateKey.from_private_bytes(options.random(PUBLIC))
        public = own.public_key().public_bytes_raw()
        key = _session_key(own, theirs, theirs + public, options)
        yield from _negotiation_keys(key, Role.ACCEPTOR)
        context = AnonymousContext(Role.ACCEPTOR, key, options)
        return Established(context, NOBODY, token=public + context.sign(b""))

    def _insist(self, credential: Credential | None) -> None:
        if not find_form(credential, Anonymous):
            raise NoCredentials("give an Anonymous credential")


class AnonymousContext(SecurityContext):
    """Tokens of RFC 4121 under the agreed key."""

    def __init__(self, role: Role, key: Key, options: Options) -> None:
        super().__init__(NAME, role, FLAGS, bound=options.channel_bindings is not None)
        window = Window(0, replay=True, order=True)
        settings = TokenSettings(key, role, options.random, acceptor_subkey=False, dce=False, sent=0, window=window)
        self._tokens: CfxTokens | None = CfxTokens(settings)
        self._seal, self._open = self._tokens.sealing(), self._tokens.opening()

    @property
    def sizes(self) -> ContextSizes:
        """What RFC 4121 adds."""
        tokens = self._usable()
        return ContextSizes(tokens.signature, tokens.wrap_overhead, block=1, max_token=AnonymousPackage.info.max_token)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Seal `data`, or sign it and send it in clear."""
        tokens = self._usable()
        return self._seal(data) if encrypt else tokens.wrap_clear(data)

    def unwrap(self, token: Buffer) -> Unwrapped:
        """Open the peer's next token."""
        self._usable()
        return self._open(token)

    def sign(self, data: Buffer) -> bytes:
        """A detached signature."""
        return self._usable().sign((data,))

    def verify(self, data: Buffer, signature: Buffer) -> None:
        """Check a detached signature."""
        self._usable().verify((data,), signature)

    def discard(self) -> None:
        """Drop the keys."""
        if self._tokens is not None:
            self._tokens.discard()
            self._tokens = None

    def _usable(self) -> CfxTokens:
        if self._tokens is None:
            raise self.expired()
        return self._tokens


def _session_key(own: X25519PrivateKey, theirs: bytes, publics: bytes, options: Options) -> Key:
    """The key of both; one block of SP 800-108 is all that AES-128 takes."""
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:
        raise InvalidToken("the peer's public key is of low order: everybody would know the secret") from None
    bindings = options.channel_bindings.application_data if options.channel_bindings else b""
    context = publics + bytes(8) + bindings
    block = (1).to_bytes(4, "big") + LABEL + b"\0" + context + (8 * KEY).to_bytes(4, "big")
    derived = hmac.digest(shared, block, "sha256")
    del shared
    return make_key(ETYPE, derived[:KEY])


def _negotiation_keys(key: Key, role: Role) -> VerifyKeys:
    """What NEGOEX signs with: by the pseudo-random function of RFC 4402, a key for each end."""

    def derived(of: Role) -> bytes:
        return key.prf(bytes(4) + LABEL + f"-{of.value}-negoex-key".encode())[:KEY]

    return VerifyKeys(derived(role), derived(role.other), ETYPE)


# --- a server and a client --------------------------------------------------------------------------------------------


async def handler(stream: ss.NegotiateStream | ss.TlsStream) -> None:
    """Serve one client, whoever it is."""
    print("the server sees", stream.extra(ss.SecurityAttribute.peer))
    async for data in stream:
        await stream.send(data)


async def serve(*, task_status: TaskStatus[int]) -> None:
    """Listen on a port of the system's choice and tell it."""
    package = Negotiate(AnonymousPackage())
    async with await ss.listen("127.0.0.1", 0, package=package, credential=Anonymous()) as listener:
        task_status.started(listener.port)
        await listener.serve(handler)


async def main() -> None:
    """Run both ends."""
    async with anyio.create_task_group() as tasks:
        port = await tasks.start(serve)
        package = Negotiate(AnonymousPackage())
        async with await ss.connect("127.0.0.1", port, package=package, credential=Anonymous()) as stream:
            print("negotiated:", stream.extra(ss.SecurityAttribute.negotiation))
            await stream.send(b"hello")
            print("the echo is", await stream.receive())
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["asyncio"], ["trio"]):
        sys.exit(__doc__)
    anyio.run(main, backend=sys.argv[1] if len(sys.argv) > 1 else "asyncio")
