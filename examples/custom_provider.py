"""A third party's security package: mutual proof of a shared 256-bit key, then AES-256-GCM. An example, but a real one.

Installed with an entry point in the group ``securestream.providers``, it is found by name like those that come with
securestream, and works with every stream, listener and driver::

    [project.entry-points."securestream.providers"]
    sharedkey = "custom_provider:SharedKeyPackage"

It has a scheme by which NEGOEX knows it, and announces keys by which NEGOEX proves its negotiation: ends that have it
find it by ``Negotiate(SharedKeyPackage(), Kerberos())``. A package that is never negotiated needs neither.

Three tokens: the initiator's hello (protection, nonce, identity), the acceptor's nonce and proof, the initiator's
proof. Both proofs are HMAC-SHA256 over everything said before, with the channel bindings, under a key that HKDF-SHA256
makes of the shared key and both nonces. There is no forward secrecy, and the identity travels in clear: use TLS 1.3's
pre-shared keys where that matters.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import uuid
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securestream.credentials import Credential, Credentials, find_form
from securestream.errors import BadSignature, InvalidToken, LogonDenied, NoCredentials, OutOfSequence, UsageError
from securestream.options import ContextFlags, Options, Protection, Role, required_flags
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
from securestream.redaction import Secret

NAME = "SharedKey"
KEY = 32
NONCE = 32
PROOF = 32
MAGIC = b"SK1"


@dataclass(frozen=True, repr=False, init=False)
class SharedKey(Credential):
    """An identity and the key it shares with the acceptor.

    An acceptor takes several as ``Credentials(SharedKey("alice", ...), SharedKey("bob", ...))``.

    Args:
        identity: the name, at most 255 octets of UTF-8.
        key: 32 random octets. It is no password: a guessable one is found by trying, offline.
    """

    identity: str
    key: Secret[bytes]

    def __init__(self, identity: str, key: bytes) -> None:
        secret = Secret(bytes(key))
        del key
        if len(secret.reveal()) != KEY:
            raise UsageError(f"a shared key is {KEY} octets, not {len(secret.reveal())}")
        if not 1 <= len(identity.encode()) <= 255:
            raise UsageError("an identity is 1 to 255 octets of UTF-8")
        object.__setattr__(self, "identity", identity)
        object.__setattr__(self, "key", secret)


class SharedKeyPackage:
    """Makes handshakes; stateless."""

    info = PackageInfo(
        name=NAME,
        comment="Mutual proof of a shared key, AES-256-GCM (example)",
        capabilities=Capability.INTEGRITY | Capability.PRIVACY | Capability.CONNECTION | Capability.MUTUAL_AUTH,
        max_token=len(MAGIC) + 1 + NONCE + 1 + 255,
        negoex_scheme=uuid.UUID("b31f6f5e-6f0f-4d5f-9a52-3c0f4a7d7e11"),
    )

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Both roles need at least one shared key."""
        return None if find_form(credential, SharedKey) else Unusable("give a SharedKey credential")

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator: hello, wait for the acceptor's proof, prove in return."""
        own = find_form(credential, SharedKey)
        if own is None:
            raise NoCredentials("give a SharedKey credential")
        identity = own.identity.encode()
        hello = MAGIC + bytes((options.protection, len(identity))) + options.random(NONCE) + identity
        answer = yield from Exchange(hello)

        if len(answer) != NONCE + PROOF:
            raise InvalidToken(f"the acceptor's token has {len(answer)} octets instead of {NONCE + PROOF}")
        nonce, proof = answer[:NONCE], answer[NONCE:]
        keys = _keys(own.key, hello, nonce, options)
        if not hmac.compare_digest(proof, keys.proof(Role.ACCEPTOR)):
            raise LogonDenied("the acceptor does not have our key: compare identity and key at both ends")
        yield from keys.for_negotiation(Role.INITIATOR)
        context = SharedKeyContext(Role.INITIATOR, keys, _flags(options.protection), options)
        peer = Principal(own.identity, NAME, name_type=NameType.SERVICE)  # whoever else has this key, nothing more
        return Established(context, peer, token=keys.proof(Role.INITIATOR))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor. An unknown identity is answered like a known one, with a key that nobody has."""
        hello = yield from Exchange()

        head = len(MAGIC) + 2
        if hello[: len(MAGIC)] != MAGIC or len(hello) < head or len(hello) != head + NONCE + hello[head - 1]:
            raise InvalidToken("the initiator's hello is malformed")
        try:
            protection = Protection(hello[len(MAGIC)])
            identity = hello[head + NONCE :].decode()
        except ValueError:
            raise InvalidToken("the initiator's hello is malformed") from None
        decoy = Secret(options.random(KEY))
        key = _find(credential, identity) or decoy
        nonce = options.random(NONCE)
        keys = _keys(key, hello, nonce, options)
        yield from keys.for_negotiation(Role.ACCEPTOR)
        proof = yield from Exchange(nonce + keys.proof(Role.ACCEPTOR))

        if not hmac.compare_digest(proof, keys.proof(Role.INITIATOR)) or key is decoy:
            raise LogonDenied("the initiator does not have the key of the identity that it claims")
        context = SharedKeyContext(Role.ACCEPTOR, keys, _flags(protection), options)
        return Established(context, Principal(identity, NAME))


class SharedKeyContext(SecurityContext):
    """AES-256-GCM with one key a direction and the sequence number as nonce, so that no nonce comes twice.

    A token is ``kind (1) | sequence (8) | ciphertext or data | tag (16)``; the first nine octets are authenticated.
    """

    HEADER = struct.Struct(">BQ")
    SIGNED, SEALED, DETACHED = range(3)
    TAG = 16

    def __init__(self, role: Role, keys: _Keys, flags: ContextFlags, options: Options) -> None:
        super().__init__(NAME, role, flags, bound=options.channel_bindings is not None)
        self._send: AESGCM | None = AESGCM(keys.sealing(role))
        self._receive: AESGCM | None = AESGCM(keys.sealing(role.other))
        self._sent = self._received = 0

    @property
    def sizes(self) -> ContextSizes:
        """Header and tag, whatever is protected."""
        cost = self.HEADER.size + self.TAG
        return ContextSizes(signature=cost, wrap_overhead=cost, block=1, max_token=SharedKeyPackage.info.max_token)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Seal `data`, or sign it and send it in clear."""
        if encrypt:
            header, tail = self._protect(self.SEALED, data, b"")
        else:
            header, tail = self._protect(self.SIGNED, b"", data)
            tail = bytes(data) + tail
        return header + tail

    def unwrap(self, token: Buffer) -> Unwrapped:
        """Open the peer's next token."""
        octets = bytes(token)
        header, body = octets[: self.HEADER.size], octets[self.HEADER.size :]
        if header[:1] == bytes((self.SIGNED,)):
            data, tag = body[: -self.TAG], body[-self.TAG :]
            self._open(self.SIGNED, header, tag, data)
            return Unwrapped(data, encrypted=False)
        return Unwrapped(self._open(self.SEALED, header, body, b""), encrypted=True)

    def sign(self, data: Buffer) -> bytes:
        """A detached signature, with a sequence number of its own."""
        header, tag = self._protect(self.DETACHED, b"", data)
        return header + tag

    def verify(self, data: Buffer, signature: Buffer) -> None:
        """Check a detached signature."""
        octets = bytes(signature)
        self._open(self.DETACHED, octets[: self.HEADER.size], octets[self.HEADER.size :], data)

    def discard(self) -> None:
        """Drop the keys."""
        self._send = self._receive = None

    def _protect(self, kind: int, plain: Buffer, clear: Buffer) -> tuple[bytes, bytes]:
        if self._send is None:
            raise self.expired()
        header = self.HEADER.pack(kind, self._sent)
        nonce = self._sent.to_bytes(12, "big")
        self._sent += 1
        return header, self._send.encrypt(nonce, bytes(plain), header + bytes(clear))

    def _open(self, kind: int, header: bytes, sealed: bytes, clear: Buffer) -> bytes:
        if self._receive is None:
            raise self.expired()
        if len(header) != self.HEADER.size or header[0] != kind:
            raise BadSignature("the token is malformed")
        sequence = int.from_bytes(header[1:], "big")
        try:
            plain = self._receive.decrypt(sequence.to_bytes(12, "big"), sealed, header + bytes(clear))
        except (InvalidTag, ValueError):
            raise BadSignature("the token was altered, or was not made by the peer") from None
        if sequence != self._received:
            raise OutOfSequence(f"token {self._received} was due, not {sequence}")
        self._received += 1
        return plain


class _Keys(NamedTuple):
    """What both ends make of the shared key, the hello, the acceptor's nonce and the bindings."""

    proving: Secret[bytes]
    initiator: Secret[bytes]
    acceptor: Secret[bytes]
    transcript: bytes

    def proof(self, role: Role) -> bytes:
        return hmac.digest(self.proving.reveal(), role.value.encode() + self.transcript, "sha256")

    def sealing(self, role: Role) -> bytes:
        return (self.initiator if role is Role.INITIATOR else self.acceptor).reveal()

    def for_negotiation(self, role: Role) -> VerifyKeys:
        """What NEGOEX signs with: a key for each end, of no other use."""

        def key(of: Role) -> bytes:
            return hmac.digest(self.proving.reveal(), b"negotiation " + of.value.encode(), "sha256")

        return VerifyKeys(key(role), key(role.other))


def _keys(key: Secret[bytes], hello: bytes, nonce: bytes, options: Options) -> _Keys:
    bindings = options.channel_bindings.gss_structure() if options.channel_bindings else b""
    transcript = hashlib.sha256(hello + nonce + hashlib.sha256(bindings).digest()).digest()
    made = HKDF(hashes.SHA256(), 3 * KEY, salt=transcript, info=b"securestream example SharedKey").derive(key.reveal())
    return _Keys(Secret(made[:KEY]), Secret(made[KEY : 2 * KEY]), Secret(made[2 * KEY :]), transcript)


def _flags(protection: Protection) -> ContextFlags:
    return ContextFlags.MUTUAL | required_flags(protection)


def _find(credential: Credential | None, identity: str) -> Secret[bytes] | None:
    forms = credential if isinstance(credential, Credentials) else (credential,)
    keys = {form.identity: form.key for form in forms if isinstance(form, SharedKey)}
    return keys.get(identity)
