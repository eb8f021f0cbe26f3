"""Passwords asked for at a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.processes import PATIENCE, environment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")

SPAWN = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]))"


def test_the_prompt_asks_twice_and_shows_nothing(tmp_path: Path, installed: None) -> None:
    from securestream.services.accounts_sqlite import SqliteAccounts

    store = str(tmp_path / "accounts.db")
    command = (sys.executable, "-m", "securestream", "accounts", "add", "alice", "--store", store)
    process = subprocess.Popen(
        [sys.executable, "-c", SPAWN, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        shown = b""
        for prompt in (b"Password for alice: ", b"Once more: "):
            while not shown.endswith(prompt):
                octets = os.read(process.stdout.fileno(), 1000)
                assert octets, shown
                shown += octets
            process.stdin.write(b"typed secret\n")
            process.stdin.flush()
        shown += process.stdout.read()
        assert process.wait(PATIENCE) == 0, shown
    assert b"typed secret" not in shown
    assert [account.name for account in SqliteAccounts(store).listing()] == ["alice"]
