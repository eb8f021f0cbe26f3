"""Rule 2: one deadline spans what a handshake waits for, an account store that hangs included."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime

import pytest

from securestream.credentials import Accounts, Password
from securestream.errors import HandshakeTimeout, PeerGone, PeerRefused
from securestream.services.accounts import Account
from securestream.services.accounts_memory import MemoryAccounts
from securestream.streams.connect import connect
from securestream_providers.ntlm import Ntlm
from tests.security.live import PASSWORD, serving


class _Hanging(MemoryAccounts):
    """A store on a disk that does not answer."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.asked = threading.Event()

    def find(self, user: str, domain: str, source: str, now: datetime) -> Account | None:
        self.asked.set()
        self.answers.wait()
        return super().find(user, domain, source, now)


@pytest.fixture
def store() -> Iterator[_Hanging]:
    hanging = _Hanging()
    hanging.add("alice", PASSWORD)
    yield hanging
    hanging.answers.set()


@pytest.mark.anyio
async def test_a_store_that_hangs_does_not_hold_a_handshake_beyond_its_time(store: _Hanging) -> None:
    async with serving(credential=Accounts(store), handshake_timeout=1) as listener:
        with pytest.raises((PeerRefused, PeerGone)):
            await connect("127.0.0.1", listener.port, package=Ntlm(), credential=Password("alice", PASSWORD))
        assert isinstance(await listener.error(), HandshakeTimeout)
        assert store.asked.is_set()
        store.answers.set()
        stream = await connect("127.0.0.1", listener.port, package=Ntlm(), credential=Password("alice", PASSWORD))
        await stream.aclose()
