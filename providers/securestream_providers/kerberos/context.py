"""The security context of an established Kerberos session (RFC 4121, RFC 4757, RFC 1964)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from securestream.credentials import Credential
from securestream.errors import ContextExpired, MalformedMessage, Unsupported, UsageError
from securestream.options import Clock, ContextFlags, Random, Role
from securestream.provider import Buffer, ContextSizes, Part, Sealed, SecurityContext, Unwrapped
from securestream.wire.cursor import Cursor
from securestream.wire.times import from_filetime, to_filetime
from securestream_providers.krb5.cfx import CfxTokens
from securestream_providers.krb5.keys import Key, make_key
from securestream_providers.krb5.message_tokens import MessageTokens, TokenSettings, any_sealed, covered
from securestream_providers.krb5.messages import AuthorizationElement
from securestream_providers.krb5.numbers import EncryptionType
from securestream_providers.krb5.old_tokens import Des3Tokens, Rc4Tokens
from securestream_providers.krb5.sequence import Window

NAME: Final = "Kerberos"
MAX_TOKEN: Final = 48000
"""What Windows states as the longest token (SecPkgInfo.cbMaxToken), with room for the PACs of large forests."""

OLD: Final[dict[int, type[MessageTokens]]] = {
    EncryptionType.RC4_HMAC: Rc4Tokens,
    EncryptionType.DES3_CBC_SHA1_KD: Des3Tokens,
}
"""Encryption types whose tokens are not those of RFC 4121; which, says the key that is really used."""

_EXPORT: Final = b"securestream Kerberos\1"
_FLAGS: Final = tuple(ContextFlags)


@dataclass(repr=False, slots=True)
class Keys:
    """The keys of a session (RFC 4121 2).

    Args:
        session: of the ticket.
        initiator: the subkey that the initiator asserted, or `None`.
        acceptor: the subkey that the acceptor asserted, or `None`.
    """

    session: Key
    initiator: Key | None = None
    acceptor: Key | None = None

    @property
    def partial(self) -> Key:
        """The key that is known before the acceptor answers (RFC 4402 2)."""
        return self.initiator or self.session

    @property
    def full(self) -> Key:
        """The key of the context."""
        return self.acceptor or self.partial


@dataclass(repr=False, slots=True)
class Session:
    """What a handshake agreed.

    Args:
        role: this end's.
        flags: what was established.
        keys: the keys.
        sent: the number of this end's first message.
        due: the number of the peer's first message.
        expires: when the context ends, or `None`.
        bound: whether channel bindings were sent or verified.
        delegated: the credential that the initiator delegated.
        authorization_data: elements of the ticket's authorisation data, containers opened.
        seen: which of the messages before `due` came.
    """

    role: Role
    flags: ContextFlags
    keys: Keys
    sent: int
    due: int
    expires: datetime | None = None
    bound: bool = False
    delegated: Credential | None = None
    authorization_data: tuple[AuthorizationElement, ...] = ()
    seen: int = 0


class KerberosContext(SecurityContext):
    """Signs and seals with the keys of a Kerberos session.

    Tokens stand alone: one that is refused changes nothing, and the context goes on.

    Args:
        session: what was agreed.
        clock: the present moment, for `expires`.
        random: for confounders.
    """

    def __init__(self, session: Session, clock: Clock, random: Random) -> None:
        super().__init__(NAME, session.role, session.flags, bound=session.bound, expires=session.expires)
        self._session: Session | None = session
        self._clock = clock
        self._random = random
        self._tokens: MessageTokens | None = None
        self._wrap: Callable[[Buffer], bytes] | None = None
        self._unwrap: Callable[[Buffer], Unwrapped] | None = None
        self._until = session.expires

    def _make(self) -> MessageTokens:
        """The tokens, made at first use: a connection at `Protection.NONE` never needs their ciphers."""
        tokens = self._tokens
        if tokens is None:
            session = self._agreed()
            key, flags = session.keys.full, session.flags
            kind = OLD.get(key.etype)
            window = Window(
                session.due,
                64 if kind is None else 32,
                replay=ContextFlags.REPLAY in flags,
                order=ContextFlags.SEQUENCE in flags,
                seen=session.seen,
            )
            subkey, dce = session.keys.acceptor is not None, ContextFlags.DCE_STYLE in flags
            settings = TokenSettings(key, self.role, self._random, subkey, dce, session.sent, window)
            tokens = self._tokens = CfxTokens(settings) if kind is None else _make_old(kind, settings)
            if ContextFlags.CONFIDENTIALITY in flags:
                self._wrap = tokens.sealing()
            self._unwrap = tokens.opening()
        return tokens

    def _agreed(self) -> Session:
        if self._session is None:
            raise self.expired()
        return self._session

    def _usable(self) -> MessageTokens:
        tokens = self._make()
        if self._until is not None and self._clock() >= self._until:
            raise self._ended()
        return tokens

    def _ended(self) -> ContextExpired:
        return ContextExpired("the Kerberos ticket of this context has expired; authenticate again with a new one")

    # --- messages ----------------------------------------------------------------------------------------------------

    @property
    def sizes(self) -> ContextSizes:
        """What wrapped tokens and signatures cost."""
        tokens = self._make()
        return ContextSizes(tokens.signature, tokens.wrap_overhead, 1, MAX_TOKEN)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Protect `data` as one token, sealed or (``encrypt=False``) signed only.

        Raises:
            ContextExpired: the context has ended, or its ticket expired.
            Unsupported: sealing was not agreed.
        """
        wrap = self._wrap
        if wrap is None or not encrypt:
            return self._wrap_otherwise(data, encrypt=encrypt)
        if self._until is not None and self._clock() >= self._until:
            raise self._ended()
        return wrap(data)

    def _wrap_otherwise(self, data: Buffer, *, encrypt: bool) -> bytes:
        tokens = self._usable()
        if not encrypt:
            return tokens.wrap_clear(data)
        self._check_sealing()
        return self.wrap(data)

    def _check_sealing(self) -> None:
        if ContextFlags.CONFIDENTIALITY not in self.flags:
            raise Unsupported("sealing was not agreed in this context: ask for Protection.ENCRYPT_AND_SIGN")

    def unwrap(self, token: Buffer) -> Unwrapped:
        """Check and open the peer's next token, sealed or in clear; .NET seals at level Sign, too.

        Raises:
            BadSignature: the token is malformed or altered, or was made by this end.
            OutOfSequence: the token is not the next one, where that was agreed to matter.
            ContextExpired: as for `wrap`.
        """
        unwrap = self._unwrap
        if unwrap is None:
            self._make()
            return self.unwrap(token)
        if self._until is not None and self._clock() >= self._until:
            raise self._ended()
        return unwrap(token)

    def sign(self, data: Buffer) -> bytes:
        """The detached signature (MIC token) of `data`.

        Raises:
            ContextExpired: as for `wrap`.
        """
        return self._usable().sign((data,))

    def verify(self, data: Buffer, signature: Buffer) -> None:
        """Check the peer's detached signature of `data`.

        Raises:
            BadSignature: it does not fit.
            OutOfSequence: it is not the next one.
            ContextExpired: as for `wrap`.
        """
        self._usable().verify((data,), signature)

    def seal(self, parts: Sequence[Part], *, sequence: int | None = None) -> Sealed:
        """Protect a message of several parts in place, as Windows does ([MS-KILE] 3.4.5.4).

        Where no part is sealed the signature is a MIC token. In DCE style and otherwise the tokens differ in EC.

        Args:
            parts: buffers with their cover, in order; each keeps its length.
            sequence: refused: Kerberos numbers its messages itself.

        Raises:
            ContextExpired: as for `wrap`.
            Unsupported: sealing was not agreed.
            UsageError: `sequence` is given.
        """
        tokens = self._usable()
        _check_sequence(sequence)
        if not any_sealed(parts):
            return Sealed(tuple(bytes(data) for data, _ in parts), tokens.sign(covered(parts)))
        self._check_sealing()
        return tokens.seal(parts)

    def unseal(self, parts: Sequence[Part], signature: Buffer, *, sequence: int | None = None) -> tuple[bytes, ...]:
        """Check and open what the peer's `seal` gave.

        Raises:
            BadSignature: the parts or the signature were altered.
            OutOfSequence: it is not the next message.
            ContextExpired: as for `wrap`.
            UsageError: `sequence` is given.
        """
        tokens = self._usable()
        _check_sequence(sequence)
        if not any_sealed(parts):
            tokens.verify(covered(parts), signature)
            return tuple(bytes(data) for data, _ in parts)
        return tokens.unseal(parts, signature)

    def signature_size(self, parts: Sequence[Part]) -> int:
        """Octets of the signature that `seal` will give."""
        tokens = self._make()
        return tokens.signature_size(parts) if any_sealed(parts) else tokens.signature

    # --- keys --------------------------------------------------------------------------------------------------------

    @property
    def session_key(self) -> bytes:
        """The key of the context: the acceptor's subkey, else the initiator's, else the ticket's session key.

        Raises:
            ContextExpired: the context has ended.
        """
        return self._agreed().keys.full.contents.reveal()

    def derive(self, label: bytes, length: int) -> bytes:
        """GSS_Pseudo_random of `label` with the key of the context (RFC 4401, RFC 4402)."""
        return self.pseudo_random(label, length)

    def pseudo_random(self, data: bytes, length: int, *, partial: bool = False) -> bytes:
        """GSS_Pseudo_random (RFC 4402 2).

        Args:
            data: the input, equal at both ends.
            length: octets wanted.
            partial: with the key that the initiator has before the acceptor answers (GSS_C_PRF_KEY_PARTIAL).

        Raises:
            ContextExpired: the context has ended.
        """
        keys = self._agreed().keys
        return gss_prf(keys.partial if partial else keys.full, data, length)

    @property
    def delegated(self) -> Credential | None:
        """The tickets that the initiator delegated, fit to open the next connection; `None` if it did not."""
        return self._agreed().delegated

    @property
    def authorization_data(self) -> tuple[AuthorizationElement, ...]:
        """The elements of the ticket's authorisation data, the PAC among them, out of their containers (acceptor)."""
        return self._agreed().authorization_data

    # --- the end -----------------------------------------------------------------------------------------------------

    def export(self) -> bytes:
        """Give the state away and end this context. The octets hold its keys: treat them as a secret.

        What was delegated and the authorisation data stay behind.

        Raises:
            ContextExpired: the context has ended.
        """
        tokens, session = self._make(), self._agreed()
        window = tokens.window
        exported = b"".join(
            (
                _EXPORT,
                bytes((session.role is Role.ACCEPTOR, session.bound)),
                _pack_flags(session.flags).to_bytes(4, "big"),
                *(_pack_key(key) for key in (session.keys.session, session.keys.initiator, session.keys.acceptor)),
                tokens.take_number().to_bytes(8, "big"),
                window.due.to_bytes(8, "big"),
                window.seen.to_bytes(8, "big"),
                (0 if session.expires is None else to_filetime(session.expires)).to_bytes(8, "big"),
            )
        )
        self.discard()
        return exported

    def discard(self) -> None:
        """Drop the keys. Every later use raises `ContextExpired`. Idempotent."""
        tokens, self._tokens = self._tokens, None
        self._session = self._wrap = self._unwrap = None
        if tokens is not None:
            tokens.discard()


def _make_old(kind: type[MessageTokens], settings: TokenSettings) -> MessageTokens:
    return Rc4Tokens(settings) if kind is Rc4Tokens else Des3Tokens(settings)


def _check_sequence(sequence: int | None) -> None:
    if sequence is not None:
        raise UsageError("Kerberos numbers its messages itself: only datagram contexts take a number from outside")


def gss_prf(key: Key, data: bytes, length: int) -> bytes:
    """`length` octets for `data` (RFC 4402 2); the counter is 32 bits and begins at 0."""
    found = b""
    number = 0
    while len(found) < length:
        found += key.prf(number.to_bytes(4, "big") + data)
        number += 1
    return found[:length]


def _pack_flags(flags: ContextFlags) -> int:
    return sum(1 << place for place, flag in enumerate(_FLAGS) if flag in flags)


def _pack_key(key: Key | None) -> bytes:
    if key is None:
        return bytes(4)
    octets = key.contents.reveal()
    return key.etype.to_bytes(2, "big") + len(octets).to_bytes(2, "big") + octets


def _read_key(cursor: Cursor) -> Key | None:
    etype, size = cursor.u16_be(), cursor.u16_be()
    return make_key(etype, cursor.take(size)) if size else None


def import_session(exported: bytes, clock: Clock, random: Random) -> KerberosContext:
    """Revive an exported context.

    Raises:
        UsageError: this is no exported Kerberos context of this version.
    """
    cursor = Cursor(exported, "exported context")
    try:
        cursor.expect(_EXPORT)
        role = Role.ACCEPTOR if cursor.u8() else Role.INITIATOR
        bound, packed = bool(cursor.u8()), cursor.u32_be()
        session_key, initiator, acceptor = (_read_key(cursor) for _ in range(3))
        sent, due, seen, expires = (cursor.u64_be() for _ in range(4))
        if session_key is None or cursor.remaining:
            raise MalformedMessage("an exported context with a key and nothing after its end is due")
        flags = ContextFlags.NONE
        for place, flag in enumerate(_FLAGS):
            if packed >> place & 1:
                flags |= flag
        keys = Keys(session_key, initiator, acceptor)
        until = from_filetime(expires) if expires else None
        context = KerberosContext(Session(role, flags, keys, sent, due, until, bound, seen=seen), clock, random)
        context.sizes  # noqa: B018  makes the tokens: an unknown key is refused here
    except (MalformedMessage, Unsupported, ValueError) as malformed:
        raise UsageError("this is no exported Kerberos context, or one of another version") from malformed
    return context
