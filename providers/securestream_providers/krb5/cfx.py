"""Per-message tokens of RFC 4121 (AES, Camellia), plain and in the parts of DCE ([MS-KILE] 3.4.5.4)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final

from securestream.errors import BadSignature, MalformedMessage
from securestream.options import Role
from securestream.provider import Buffer, Cover, Part, Sealed, Unwrapped
from securestream_providers.krb5.cfx_sealing import LARGE, Sealer, Signer, Unsealer, make_signer
from securestream_providers.krb5.keys import profile_of
from securestream_providers.krb5.message_tokens import (
    MessageTokens,
    Seal,
    TokenSettings,
    Unseal,
    altered,
    cut_like,
    reflected,
)
from securestream_providers.krb5.numbers import KeyUsage
from securestream_providers.krb5.sequence import Window

_HEADER: Final = 16
_BLOCK: Final = 16
_WRAP: Final = b"\x05\x04"
_MIC: Final = b"\x04\x04"
_SENT_BY_ACCEPTOR: Final = 1
_SEALED: Final = 2
_ACCEPTOR_SUBKEY: Final = 4
_SEAL_USAGES: Final = {Role.INITIATOR: KeyUsage.INITIATOR_SEAL, Role.ACCEPTOR: KeyUsage.ACCEPTOR_SEAL}
_SIGN_USAGES: Final = {Role.INITIATOR: KeyUsage.INITIATOR_SIGN, Role.ACCEPTOR: KeyUsage.ACCEPTOR_SIGN}
_new: Final[Callable[[type[Unwrapped], tuple[bytes, bool]], Unwrapped]] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  of any tuple
"""Makes an `Unwrapped` without the call of Python that its constructor is."""


class CfxTokens(MessageTokens):
    """Tokens of RFC 4121. Those that are received may have any EC and RRC.

    Args:
        settings: key, role, numbers.
    """

    def __init__(self, settings: TokenSettings) -> None:
        role, key = settings.role, settings.key
        self._dce = settings.dce
        subkey = _ACCEPTOR_SUBKEY if settings.acceptor_subkey else 0
        self._own = subkey | (_SENT_BY_ACCEPTOR if role is Role.ACCEPTOR else 0)
        self._due = subkey | (_SENT_BY_ACCEPTOR if role is Role.INITIATOR else 0)
        self._checksum = profile_of(key.etype).checksum_size
        self.signature = _HEADER + self._checksum
        self._numbers = count(settings.sent)
        self._window = settings.window
        self._sealer = Sealer(key, _SEAL_USAGES[role], settings.random)
        self._unsealer = Unsealer(key, _SEAL_USAGES[role.other])
        self._integrity = (key, _SEAL_USAGES[role]), (key, _SEAL_USAGES[role.other])
        self._signing = (key, _SIGN_USAGES[role]), (key, _SIGN_USAGES[role.other])
        self._signers: dict[int, Signer] = {}
        self._mac = self._sealer.overhead - _BLOCK
        self.wrap_overhead = _HEADER + self._sealer.overhead + _HEADER

    def sealing(self) -> Seal:
        """What makes sealed tokens (RFC 4121 4.2.4): a closure, since each message looks up what it needs."""
        seal, numbers = self._sealer.seal, self._numbers
        prefix = _WRAP + bytes((self._own | _SEALED, 0xFF, 0, 0, 0, 0))

        def wrap(data: Buffer) -> bytes:
            header = prefix + next(numbers).to_bytes(8, "big")
            return seal(data, header, header)

        return wrap

    def opening(self) -> Unseal:
        """What opens tokens of either kind."""
        unseal, window, otherwise = self._unsealer.unseal, self._window, self._unwrap_any
        prefix = _WRAP + bytes((self._due | _SEALED, 0xFF, 0, 0, 0, 0))
        new, kind = _new, Unwrapped

        def unwrap(token: Buffer) -> Unwrapped:
            if type(token) is not bytes and len(token) < LARGE:
                token = bytes(token)
            header = prefix + window.due.to_bytes(8, "big")
            if token[:_HEADER] != header:
                return otherwise(bytes(token))
            data, copy = unseal(token, _HEADER, _HEADER)
            if copy != header:
                raise altered()
            window.take_due()
            return new(kind, (data, True))

        return unwrap

    def _signer(self, usage: int) -> Signer:
        found = self._signers.get(usage)
        if found is None:
            key = self._signing[0][0]
            found = self._signers[usage] = make_signer(key, usage)
        return found

    def take_number(self) -> int:
        """Take the number of the next message away, which ends the use of this object."""
        return next(self._numbers)

    @property
    def window(self) -> Window:
        """What was received."""
        return self._window

    def discard(self) -> None:
        """Drop the keys."""
        self._sealer.discard()
        self._unsealer.discard()
        self._signers.clear()

    # --- tokens of one piece -----------------------------------------------------------------------------------------

    def wrap_clear(self, data: Buffer) -> bytes:
        """A token in clear with its checksum, which covers a header without EC and RRC (RFC 4121 4.2.4)."""
        number = next(self._numbers).to_bytes(8, "big")
        start = _WRAP + bytes((self._own, 0xFF))
        checksum = self._signer(self._integrity[0][1])(data, start + bytes(4) + number)
        return b"".join((start, len(checksum).to_bytes(2, "big"), bytes(2), number, data, checksum))

    def _unwrap_any(self, token: bytes) -> Unwrapped:
        if token[:2] != _WRAP or len(token) < _HEADER:
            raise BadSignature("this is no wrap token of RFC 4121")
        sealed, extra, rotation = self._check_header(token[:_HEADER])
        if self._dce and sealed:
            rotation += extra  # as Windows counts it ([MS-KILE] 3.4.5.4.1)
        body = token[_HEADER:]
        if body:
            rotation %= len(body)
            body = body[rotation:] + body[:rotation]
        if sealed:
            data = self._unseal_rotated(token[:_HEADER], body, extra)
        else:
            data = self._check_clear(token[:_HEADER], body, extra)
        self._window.take(int.from_bytes(token[8:_HEADER], "big"))
        return Unwrapped(data, sealed)

    def _check_header(self, header: bytes) -> tuple[bool, int, int]:
        """Whether it is sealed, EC and RRC (RFC 4121 4.2.6.2)."""
        flags = header[2]
        if (flags ^ self._due) & _SENT_BY_ACCEPTOR:
            raise reflected()
        if flags & ~_SEALED != self._due or header[3] != 0xFF:
            raise altered()
        return bool(flags & _SEALED), int.from_bytes(header[4:6], "big"), int.from_bytes(header[6:8], "big")

    def _unseal_rotated(self, header: bytes, body: bytes, extra: int) -> bytes:
        if len(body) < self._sealer.overhead + _HEADER + extra:
            raise altered()
        data, trailer = self._unsealer.unseal(body, 0, extra + _HEADER)
        if trailer[extra:] != header[:6] + bytes(2) + header[8:]:
            raise altered()
        return data

    def _check_clear(self, header: bytes, body: bytes, extra: int) -> bytes:
        if extra != self._checksum or len(body) < extra:
            raise altered()
        data = body[: len(body) - extra]
        due = self._signer(self._integrity[1][1])(data, header[:4] + bytes(4) + header[8:])
        if not hmac.compare_digest(due, body[len(body) - extra :]):
            raise altered()
        return data

    # --- MIC ---------------------------------------------------------------------------------------------------------

    def sign(self, data: Sequence[Buffer]) -> bytes:
        """The MIC token of all of `data` (RFC 4121 4.2.6.1)."""
        header = b"".join((_MIC, bytes((self._own,)), b"\xff" * 5, next(self._numbers).to_bytes(8, "big")))
        return header + self._signer(self._signing[0][1])(*data, header)

    def verify(self, data: Sequence[Buffer], token: Buffer) -> None:
        """Check a MIC token."""
        token = bytes(token)
        if token[:2] != _MIC or len(token) != self.signature or token[3:8] != b"\xff" * 5:
            raise BadSignature("this is no MIC token of RFC 4121, or one of another key")
        if (token[2] ^ self._due) & _SENT_BY_ACCEPTOR:
            raise reflected()
        due = self._signer(self._signing[1][1])(*data, token[:_HEADER])
        if token[2] != self._due or not hmac.compare_digest(due, token[_HEADER:]):
            raise altered()
        self._window.take(int.from_bytes(token[8:_HEADER], "big"))

    # --- in parts ----------------------------------------------------------------------------------------------------

    def signature_size(self, parts: Sequence[Part]) -> int:
        """Octets of the signature of `seal`."""
        return self.wrap_overhead + (_BLOCK if self._dce else 0)

    def seal(self, parts: Sequence[Part]) -> Sealed:
        """Seal in parts: all but the data stands in the signature, rotated there as Windows does it.

        In DCE style EC is a block and RRC what follows it; otherwise EC is 0, and the signature and the data laid side
        by side are a token that any receiver opens ([MS-KILE] 3.4.5.4.1).
        """
        extra = _BLOCK if self._dce else 0
        rotation = _HEADER + self._mac
        number = next(self._numbers).to_bytes(8, "big")
        start = _WRAP + bytes((self._own | _SEALED, 0xFF)) + extra.to_bytes(2, "big")
        trailer = b"".join((bytes(extra), start, bytes(2), number))
        front, pieces, behind = self._sealer.seal_parts(_parts(parts), trailer)
        signature = b"".join((start, rotation.to_bytes(2, "big"), number, behind, front))
        return Sealed(cut_like(parts, b"".join(pieces)), signature)

    def unseal(self, parts: Sequence[Part], token: Buffer) -> tuple[bytes, ...]:
        """Open what `seal` gave, or Windows."""
        token = bytes(token)
        if token[:2] != _WRAP or len(token) < self.wrap_overhead:
            raise BadSignature("this is no signature of a message that was sealed in parts")
        sealed, extra, rotation = self._check_header(token[:_HEADER])
        behind = _HEADER + extra + self._mac
        if not sealed or len(token) != _HEADER + behind + _BLOCK or rotation not in (behind, behind - extra):
            raise altered()
        front, trailing = token[-_BLOCK:], token[_HEADER:-_BLOCK]
        pieces, trailer = self._unsealer.unseal_parts(front, _parts(parts), trailing)
        if trailer[extra:] != token[:6] + bytes(2) + token[8:_HEADER]:
            raise altered()
        self._window.take(int.from_bytes(token[8:_HEADER], "big"))
        return cut_like(parts, b"".join(pieces))


def _parts(parts: Sequence[Part]) -> list[tuple[Buffer, bool]]:
    return [(data, cover is Cover.SEALED) for data, cover in parts if cover is not Cover.UNTOUCHED]


def read_header(token: bytes) -> str:
    """One line on a token of RFC 4121, for those who look at the wire.

    Raises:
        MalformedMessage: it is none.
    """
    kind = {_WRAP: "wrap", _MIC: "MIC"}.get(token[:2])
    if kind is None or len(token) < _HEADER:
        raise MalformedMessage("no token of RFC 4121")
    flags = token[2]
    facts = [
        "from the acceptor" if flags & _SENT_BY_ACCEPTOR else "from the initiator",
        f"number {int.from_bytes(token[8:_HEADER], 'big')}",
    ]
    if flags & _ACCEPTOR_SUBKEY:
        facts.append("acceptor subkey")
    if kind == "wrap":
        facts.append("sealed" if flags & _SEALED else "in clear")
        facts.append(f"EC {int.from_bytes(token[4:6], 'big')}, RRC {int.from_bytes(token[6:8], 'big')}")
    return f"Kerberos {kind} token ({len(token)} octets): {', '.join(facts)}"
