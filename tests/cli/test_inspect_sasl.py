"""``securestream inspect`` of SASL's own tokens, as they stand in a protocol of lines."""

from __future__ import annotations

import base64

from securestream.cli.inspect import HIDDEN
from tests.cli.looking import run
from tests.core.sasl.test_scram import CLIENT_FINAL, CLIENT_FIRST, SERVER_FIRST


def test_an_exchange_of_scram() -> None:
    text = "\n\n".join(base64.b64encode(token).decode() for token in (CLIENT_FIRST, SERVER_FIRST, CLIENT_FINAL))
    status, shown = run("--base64", text)
    assert status == 0
    for line in ("username: user", "iterations: 4096", f"proof: <{HIDDEN}>"):
        assert line in shown


def test_a_message_of_scram_as_it_is() -> None:
    assert "SCRAM client-first-message" in run("--hex", CLIENT_FIRST.hex())[1]
