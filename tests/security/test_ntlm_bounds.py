"""What a hostile NTLM peer reaches with numbers at their limits: errors of the family, nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securestream.errors import ContextError, ContextExpired, InvalidToken
from securestream_providers.ntlm.context import ExportedSession, import_session
from securestream_providers.ntlm.messages import Challenge, pack_pairs, unpack_pairs
from tests.providers.ntlm.ends import CHALLENGE, HandMade, handshake

LAST = (1 << 32) - 1


@pytest.mark.parametrize("size", [32768, 60000, 65400])
def test_target_information_that_no_response_could_repeat_is_malformed(size: int) -> None:
    """The response would not fit its field: that is the server's doing and no mistake of the caller."""

    def alter(number: int, token: bytes) -> bytes:
        if number != CHALLENGE:
            return token
        challenge = Challenge.unpack(token)
        pairs = unpack_pairs(challenge.target_info or b"", 64)
        return replace(challenge, target_info=pack_pairs([*pairs.items(), (0x999, bytes(size))])).pack()

    with pytest.raises(InvalidToken):
        handshake(alter=alter)


@pytest.mark.parametrize("size", [1, 100000])
def test_after_the_last_message_number_nothing_is_opened(size: int) -> None:
    state = ExportedSession(flags=HandMade.OFFER, role=1, facts=0, session_key=bytes(16), received=LAST)
    receiver = import_session(state.pack())
    sender = import_session(replace(state, role=0, received=0, sent=LAST).pack())
    last = sender.wrap(bytes(size))
    assert receiver.unwrap(last).data == bytes(size)
    with pytest.raises(ContextExpired):
        sender.wrap(b"one more")
    with pytest.raises(ContextError):
        receiver.unwrap(last)
