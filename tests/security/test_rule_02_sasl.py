"""Rule 2, SASL: what a client says before it is authenticated costs a server little, however long it is."""

from __future__ import annotations

import pytest

from securestream.ambient import system_options
from securestream.credentials import Accounts
from securestream.drive import respond_blocking
from securestream.errors import InvalidToken
from securestream.options import Protection
from securestream.sasl import SaslServer, ScramSha256, scram
from securestream.sasl.scram_messages import LONGEST_USER


def test_a_name_that_takes_long_to_prepare_is_refused_unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalisation sorts the marks above a letter by insertion: 64 KiB of them take seconds, and the loop waits."""
    prepared: list[int] = []

    def counting(text: str) -> str:
        prepared.append(len(text))
        return text

    monkeypatch.setattr(scram, "saslprep", counting)
    for length in (LONGEST_USER, LONGEST_USER + 1, 30_000):
        marks = "\u0301" * (length // 2) + "\u0327" * (length - length // 2)
        server = SaslServer(
            ScramSha256(), options=system_options(protection=Protection.NONE), credential=Accounts.memory(alice="x")
        )
        token = server.received(f"n,,n={marks},r=abc".encode())
        if length <= LONGEST_USER:
            assert server.answer(respond_blocking(server.machine, token)).is_challenge
            continue
        with pytest.raises(InvalidToken, match="the most"):
            respond_blocking(server.machine, token)
    assert prepared == [LONGEST_USER]
