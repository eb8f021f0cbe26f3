"""The security context of an established NTLM session ([MS-NLMP] 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

from securestream.errors import BadSignature, MalformedMessage, Unsupported, UsageError
from securestream.options import ContextFlags, Role
from securestream.provider import Buffer, ContextSizes, Cover, Part, Sealed, SecurityContext, Unwrapped
from securestream.wire.packed import U8, U32, U64, Octets, Packed
from securestream_providers.ntlm.crypto import sealing_key, signing_key
from securestream_providers.ntlm.messages import Flag
from securestream_providers.ntlm.sealing import (
    SIGNATURE_SIZE,
    DummyHalf,
    ExchangedHalf,
    ExtendedHalf,
    Half,
    Keystream,
)

NAME: Final = "NTLM"
MAX_TOKEN: Final = 2888
"""What Windows states as the longest token (SecPkgInfo.cbMaxToken)."""

_new: Final[Callable[[type[Unwrapped], tuple[bytes, bool]], Unwrapped]] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  of any tuple
"""Makes an `Unwrapped` without the call of Python that its constructor is: 4 % of a small message."""
_BOUND: Final = 1
_MIC: Final = 2
_ANONYMOUS: Final = 4


@dataclass(frozen=True, repr=False)
class ExportedSession(Packed, prefix=b"securestream NTLM\1"):
    """An exported context. The last octet of the prefix is the version of the layout.

    Args:
        flags: NegotiateFlags of the session.
        role: 0 initiator, 1 acceptor.
        facts: whether it was bound, had a MIC, is anonymous.
        session_key: the exported session key.
        sent: messages sent.
        sent_octets: octets spent of the RC4 stream of what is sent.
        received: messages received.
        received_octets: octets spent of the RC4 stream of what is received.
    """

    flags: Annotated[int, U32]
    role: Annotated[int, U8]
    facts: Annotated[int, U8]
    session_key: Annotated[bytes, Octets(16)]
    sent: Annotated[int, U64] = 0
    sent_octets: Annotated[int, U64] = 0
    received: Annotated[int, U64] = 0
    received_octets: Annotated[int, U64] = 0


@lru_cache(maxsize=256)
def established_flags(flags: int, *, anonymous: bool) -> ContextFlags:
    """What NegotiateFlags of a session prove.

    Never `ContextFlags.MUTUAL`: a server that passes a logon on to a domain need not know any key beforehand. Nothing
    of an anonymous session is protected from anybody: whoever listens knows its key-exchange key, which is zero.
    """
    found = ContextFlags.NONE
    if flags & Flag.IDENTIFY:
        found |= ContextFlags.IDENTIFY
    if flags & Flag.DATAGRAM:
        found |= ContextFlags.DATAGRAM
    if anonymous:
        return found | ContextFlags.ANONYMOUS
    if flags & (Flag.SIGN | Flag.SEAL):
        found |= ContextFlags.INTEGRITY
        if not flags & Flag.DATAGRAM:  # the application numbers datagrams, and must look at the numbers
            found |= ContextFlags.REPLAY | ContextFlags.SEQUENCE
    if flags & Flag.SEAL:
        found |= ContextFlags.CONFIDENTIALITY
    return found


class NtlmContext(SecurityContext):
    """Signs and seals with the keys of an NTLM session.

    A message that does not verify leaves the RC4 stream out of step, so the context ends with it; a datagram context,
    whose messages stand alone, goes on. Whether a token is encrypted cannot be seen: it is taken to be where sealing
    was agreed. ``wrap(encrypt=False)`` gives the signature and then the plaintext, as .NET does at level Sign; where
    sealing was agreed the peer opens that with `verify`, not with `unwrap`.

    Args:
        role: this end's role.
        flags: NegotiateFlags of the session.
        session_key: the exported session key, 16 octets.
        bound: whether channel bindings were bound.
        mic: whether the handshake was protected by a MIC.
        anonymous: whether nobody in particular logged on.
        state: where an exported context stood.
    """

    def __init__(
        self,
        role: Role,
        flags: int,
        session_key: bytes,
        *,
        bound: bool = False,
        mic: bool = False,
        anonymous: bool = False,
        state: ExportedSession | None = None,
    ) -> None:
        super().__init__(NAME, role, established_flags(flags, anonymous=anonymous), bound=bound)
        self._ntlm_flags = flags
        self._mic = mic
        self._facts = bound * _BOUND | mic * _MIC | anonymous * _ANONYMOUS
        self._datagram = bool(flags & Flag.DATAGRAM)
        self._session_key: bytes | None = session_key
        self._state = state
        self._halves: tuple[Half, Half] | None = None
        self._seal: Callable[[Buffer], bytes] | None = None
        self._unseal: Callable[[Buffer], bytes] | None = None

    def _make(self) -> tuple[Half, Half]:
        """The two directions, made at first use: a connection at `Protection.NONE` never needs their ciphers.

        Also binds what the hot methods call: one look-up in place of a series of questions for each message.
        """
        if self._halves is None:
            if self._session_key is None:
                raise self.expired()
            self._halves = _halves(self.role, self._ntlm_flags, self._session_key, self._state)
            if self._ntlm_flags & Flag.SEAL:
                self._seal, self._unseal = self._halves[0].seal, self._halves[1].unseal
        return self._halves

    def _first_seal(self, data: Buffer) -> bytes:
        half = self._make()[0]
        if not self._ntlm_flags & Flag.SEAL:
            raise Unsupported("sealing was not agreed in this NTLM session: ask for Protection.ENCRYPT_AND_SIGN")
        return half.seal(data)

    # --- messages ----------------------------------------------------------------------------------------------------

    @property
    def sizes(self) -> ContextSizes:
        """What wrapped tokens and signatures cost."""
        return ContextSizes(SIGNATURE_SIZE, SIGNATURE_SIZE, 1, MAX_TOKEN)

    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Protect `data` as one token: the signature (16 octets), then the data, encrypted or in clear.

        Raises:
            ContextExpired: the context has ended.
            Unsupported: what was agreed does not allow it.
        """
        if encrypt:
            seal = self._seal
            return self._first_seal(data) if seal is None else seal(data)
        return b"".join((self._outgoing().sign((data,)), data))

    def unwrap(self, token: Buffer) -> Unwrapped:
        """Check and open the peer's next token.

        Raises:
            BadSignature: the token is malformed or altered, or was made by this end.
            OutOfSequence: the token is not the next one.
            ContextExpired: the context has ended.
        """
        unseal = self._unseal
        if unseal is None and self._ntlm_flags & Flag.SEAL:
            unseal = self._make()[1].unseal
        try:
            if unseal is not None:
                return _new(Unwrapped, (unseal(token), True))
            half = self._incoming()
            data = bytes(token[SIGNATURE_SIZE:])
            half.verify((data,), bytes(token[:SIGNATURE_SIZE]))
        except BadSignature:
            self._break()
            raise
        return Unwrapped(data, False)

    def sign(self, data: Buffer) -> bytes:
        """The detached signature of `data`, 16 octets.

        Raises:
            ContextExpired: the context has ended.
            Unsupported: no signatures were agreed.
        """
        return self._outgoing().sign((data,))

    def verify(self, data: Buffer, signature: Buffer) -> None:
        """Check the peer's detached signature of `data`.

        Raises:
            BadSignature: it does not fit.
            OutOfSequence: it is not the next one.
            ContextExpired: the context has ended.
        """
        try:
            self._incoming().verify((data,), bytes(signature))
        except BadSignature:
            self._break()
            raise

    def seal(self, parts: Sequence[Part], *, sequence: int | None = None) -> Sealed:
        """Protect a message of several parts in place.

        Args:
            parts: buffers with their cover, in order; each keeps its length.
            sequence: the number of the message, which datagram contexts need and others refuse.

        Raises:
            ContextExpired: the context has ended.
            Unsupported: sealing or signing was not agreed.
            UsageError: `sequence` is given or missing.
        """
        half = self._outgoing()
        self._check_parts(parts, sequence)
        number = half.begin(sequence)
        sealed = tuple(
            half.stream.crypt(bytes(data)) if cover is Cover.SEALED else bytes(data) for data, cover in parts
        )
        signature = half.signature([data for data, cover in parts if cover is not Cover.UNTOUCHED], number)
        return Sealed(sealed, signature)

    def unseal(self, parts: Sequence[Part], signature: Buffer, *, sequence: int | None = None) -> tuple[bytes, ...]:
        """Check and open what the peer's `seal` gave.

        Raises:
            BadSignature: the parts or the signature were altered.
            OutOfSequence: it is not the message that is due.
            ContextExpired: the context has ended.
            UsageError: `sequence` is given or missing.
        """
        half = self._incoming()
        self._check_parts(parts, sequence)
        signature = bytes(signature)
        try:
            half.check(signature, sequence)
            number = half.begin(sequence)
            opened = tuple(
                half.stream.crypt(bytes(data)) if cover is Cover.SEALED else bytes(data) for data, cover in parts
            )
            signed = [data for data, (_, cover) in zip(opened, parts, strict=True) if cover is not Cover.UNTOUCHED]
            half.compare(half.signature(signed, number), signature)
        except BadSignature:
            self._break()
            raise
        return opened

    def signature_size(self, parts: Sequence[Part]) -> int:
        """Octets of the signature that `seal` will give: always 16."""
        return SIGNATURE_SIZE

    def _check_parts(self, parts: Sequence[Part], sequence: int | None) -> None:
        if sequence is not None and not self._datagram:
            raise UsageError("only datagram contexts take a sequence number from outside")
        if sequence is None and self._datagram:
            raise UsageError("a datagram context needs the sequence number of each message")
        if not self._ntlm_flags & Flag.SEAL and any(cover is Cover.SEALED for _, cover in parts):
            raise Unsupported("sealing was not agreed in this NTLM session: ask for Protection.ENCRYPT_AND_SIGN")

    # --- keys --------------------------------------------------------------------------------------------------------

    @property
    def session_key(self) -> bytes:
        """The exported session key, 16 octets.

        Raises:
            ContextExpired: the context has ended.
        """
        if self._session_key is None:
            raise self.expired()
        return self._session_key

    # --- inside SPNEGO -----------------------------------------------------------------------------------------------

    @property
    def needs_negotiation_mic(self) -> bool:
        """True when AUTHENTICATE carried a MIC: SPNEGO then exchanges mechListMICs ([MS-SPNG] 3.3.5.1)."""
        return self._mic

    def negotiation_mic(self, octets: Buffer) -> bytes:
        """This end's mechListMIC; the RC4 stream of what is sent begins anew after it, the numbers go on."""
        half = self._outgoing()
        half.stream.keep_start()
        mic = half.sign((octets,))
        half.stream.reset()
        return mic

    def check_negotiation_mic(self, octets: Buffer, mic: Buffer) -> None:
        """Check the peer's mechListMIC; the RC4 stream of what is received begins anew after it.

        Raises:
            BadSignature: it does not fit.
        """
        half = self._incoming()
        half.stream.keep_start()
        self.verify(octets, mic)
        half.stream.reset()

    # --- the end -----------------------------------------------------------------------------------------------------

    def export(self) -> bytes:
        """Give the state away and end this context. The octets hold its key: treat them as a secret.

        Raises:
            ContextExpired: the context has ended.
        """
        out, received = self._make()
        exported = ExportedSession(
            flags=self._ntlm_flags,
            role=int(self.role is Role.ACCEPTOR),
            facts=self._facts,
            session_key=self.session_key,
            sent=out.sequence,
            sent_octets=out.stream.used,
            received=received.sequence,
            received_octets=received.stream.used,
        ).pack()
        self.discard()
        return exported

    def discard(self) -> None:
        """Drop the keys. Every later use raises `ContextExpired`. Idempotent."""
        self._halves = self._session_key = self._state = self._seal = self._unseal = None

    def _break(self) -> None:
        if not self._datagram:
            self.discard()

    def _outgoing(self) -> Half:
        return self._usable()[0]

    def _incoming(self) -> Half:
        return self._usable()[1]

    def _usable(self) -> tuple[Half, Half]:
        halves = self._make()
        if not self._ntlm_flags & (Flag.SIGN | Flag.SEAL | Flag.ALWAYS_SIGN):
            raise Unsupported("signing was not agreed in this NTLM session: ask for Protection.SIGN")
        return halves


def _halves(role: Role, flags: int, session_key: bytes, state: ExportedSession | None) -> tuple[Half, Half]:
    """What is sent and what is received."""
    datagram = bool(flags & Flag.DATAGRAM)
    numbers = (0, 0) if state is None else (state.sent, state.received)
    used = (0, 0) if state is None or datagram else (state.sent_octets, state.received_octets)
    if not flags & (Flag.SIGN | Flag.SEAL):
        idle = Keystream(bytes(16))
        return DummyHalf(idle, sequence=numbers[0]), DummyHalf(idle, sequence=numbers[1])
    if not flags & Flag.EXTENDED_SESSION_SECURITY:
        shared = Keystream(sealing_key(flags, session_key, role), used[0])
        out = Half(shared, sequence=numbers[0], datagram=datagram)
        return out, Half(shared, sequence=numbers[1], datagram=datagram)
    out = _extended(flags, session_key, role, numbers[0], used[0])
    return out, _extended(flags, session_key, role.other, numbers[1], used[1])


def _extended(flags: int, session_key: bytes, sender: Role, number: int, used: int) -> Half:
    """What `sender` sends, with extended session security."""
    stream, key = Keystream(sealing_key(flags, session_key, sender), used), signing_key(session_key, sender)
    datagram, exchanged = bool(flags & Flag.DATAGRAM), bool(flags & Flag.KEY_EXCH)
    if exchanged and not datagram:
        return ExchangedHalf(stream, key, sequence=number)
    return ExtendedHalf(stream, key, exchanged=exchanged, sequence=number, datagram=datagram)


def import_session(exported: bytes) -> NtlmContext:
    """Revive an exported context; the RC4 streams are spent up to where they stood, at about 300 MB/s.

    Raises:
        UsageError: this is no exported NTLM context of this version.
    """
    try:
        state = ExportedSession.unpack(exported)
    except MalformedMessage as malformed:
        raise UsageError("this is no exported NTLM context, or one of another version") from malformed
    return NtlmContext(
        Role.ACCEPTOR if state.role else Role.INITIATOR,
        state.flags,
        state.session_key,
        bound=bool(state.facts & _BOUND),
        mic=bool(state.facts & _MIC),
        anonymous=bool(state.facts & _ANONYMOUS),
        state=state,
    )
