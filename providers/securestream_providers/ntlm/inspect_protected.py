"""Messages that NTLM protects, as trees: opened by the session keys that are known, whichever end sent them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from securestream.errors import SecureStreamError
from securestream.inspection import Node, octets_text
from securestream.options import Role
from securestream.redaction import Redacted, Secret
from securestream_providers.ntlm.context import ExportedSession, NtlmContext
from securestream_providers.ntlm.messages import Flag
from securestream_providers.ntlm.sealing import SIGNATURE_SIZE, VERSION

FURTHEST: Final = 1 << 18
"""Octets of an RC4 stream that are passed over to reach a message: each message starts from its beginning."""

_CHECKSUM: Final = 8


@dataclass(frozen=True, repr=False)
class Session(Redacted):
    """A session whose key is known.

    Args:
        flags: what was negotiated.
        key: the exported session key.
        origin: where the key comes from.
        places: by the sender, the number of its next message and the octets spent of its RC4 stream.
    """

    flags: int
    key: Secret[bytes]
    origin: str
    places: dict[Role, tuple[int, int]] = field(default_factory=dict[Role, tuple[int, int]])

    def open(self, token: bytes, number: int) -> tuple[bytes, Role] | None:
        """The data of a message, and who sent it; `None` where neither end of this session did.

        What was not seen is taken for signatures without data. A stream begins anew after a mechListMIC of SPNEGO.
        """
        spent_by_signature = _CHECKSUM if self.flags & Flag.KEY_EXCH else 0
        for sender in Role:
            due, spent = self.places.get(sender, (0, 0))
            places = {spent + spent_by_signature * (number - due) if number >= due else 0, 0}
            for place in sorted(places, reverse=True):
                data = self._opened(token, sender, number, place) if place <= FURTHEST else None
                if data is not None:
                    spent_by_data = len(data) if self.flags & Flag.SEAL else 0
                    self.places[sender] = number + 1, place + spent_by_data + spent_by_signature
                    return data, sender
        return None

    def _opened(self, token: bytes, sender: Role, number: int, place: int) -> bytes | None:
        key = self.key.reveal()
        state = ExportedSession(self.flags, 0, 0, key, received=number, received_octets=place)
        try:
            return NtlmContext(sender.other, self.flags, key, state=state).unwrap(token).data
        except SecureStreamError:
            return None
        finally:
            del key, state  # of no traceback's business


def is_protected(token: bytes) -> bool:
    """Whether a token may be a signature, alone or with data behind it ([MS-NLMP] 2.2.2.9)."""
    return token.startswith(VERSION) and len(token) >= SIGNATURE_SIZE


def protected(token: bytes, sessions: Sequence[Session]) -> Node:
    """A signature, and the data behind it where there is some."""
    number = int.from_bytes(token[12:SIGNATURE_SIZE], "little")
    children = [Node("checksum", token[4:12]), Node("sequence number", number)]
    if len(token) == SIGNATURE_SIZE:
        return Node("NTLM signature", None, octets_text(len(token)), tuple(children))
    children.append(Node("body", token[SIGNATURE_SIZE:], "sealed, or signed only"))
    children.extend(_data(token, number, sessions))
    return Node("message protected by NTLM", None, octets_text(len(token)), tuple(children))


def _data(token: bytes, number: int, sessions: Sequence[Session]) -> Iterator[Node]:
    """What the ends wanted nobody to read counts as a secret."""
    for session in sessions:
        found = session.open(token, number)
        if found is not None:
            data, sender = found
            how = "opened" if session.flags & Flag.SEAL else "proved"
            yield Node("data", data, f"from the {sender.value}, {how} with {session.origin}", secret=True)
            return
