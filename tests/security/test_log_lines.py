"""No peer writes the log: what its names and messages hold is shown as escapes, in one line."""

from __future__ import annotations

import pytest

from securestream.credentials import Accounts
from securestream.errors import TargetUnknown
from securestream.http.asgi import AuthenticationMiddleware, Receive, Scope, Send
from securestream.streams.connect import listen
from securestream_providers.krb5.names import KerberosName
from securestream_providers.ntlm import Ntlm
from tests.core.http.conversations import one_leg

HOSTILE = KerberosName("EXAMPLE", ("HTTP", "\r2030-01-01 INFO all is well\x1b[2J\x85\n"))
"""What an AP-REQ may ask for, before anybody is authenticated."""


async def _application(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("it is not called")


@pytest.mark.anyio
async def test_a_name_forges_no_line_and_moves_no_cursor(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "securestream")
    error = TargetUnknown(f"the client asked for {HOSTILE}")
    await AuthenticationMiddleware(_application, [one_leg()]).handle_handshake_error(error, "unix\r\x1b]0;")
    async with await listen("127.0.0.1", 0, package=Ntlm(), credential=Accounts.memory()) as listener:
        await listener.handle_handshake_error(error, "192.0.2.1")
    assert len(caplog.messages) == 2
    for line in caplog.messages:
        assert line.isprintable()
        assert r"\r2030-01-01 INFO all is well\x1b[2J\x85\n" in line
