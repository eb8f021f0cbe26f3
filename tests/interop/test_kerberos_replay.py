"""The same AP-REQ at several processes at once: one accepts it (SECURITY: replay)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.interop.expected_kerberos import GSSAPI
from tests.interop.kerberos_ends import Realm, service_of
from tests.interop.matrix import Filler
from tests.interop.peers import gssapi_krb5 as peers
from tests.interop.peers.gssapi_krb5 import PROTECTED, KerberosPeer
from tests.interop.peers.mit_kdc import HOST, MitKdc

PROCESSES = 8
TIMES = int(os.environ.get("SECURESTREAM_REPLAYS", "100"))
"""Tokens in a run; the full count is 1,000."""


@pytest.mark.interop
def test_one_of_eight_processes_accepts_a_token(
    mit_kdc: MitKdc, require: Callable[[ModuleType], str], matrix: Filler, tmp_path: Path
) -> None:
    version = require(peers)
    realm = Realm(mit_kdc)
    realm.populate()
    command = [sys.executable, "-m", "tests.interop.replay_worker", mit_kdc.realm]
    command += [str(mit_kdc.default_keytab), str(tmp_path / "replays")]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    try:
        outcomes = Counter(_line(worker) for worker in workers)
        assert outcomes == {"ready": PROCESSES}
        with KerberosPeer(realm.environment(18)) as theirs:
            for _ in range(TIMES):
                theirs.initiate(f"{service_of(18)}@{HOST}", flags=PROTECTED)
                token = theirs.step(None)
                assert token is not None
                for worker in workers:
                    assert worker.stdin is not None
                    worker.stdin.write(token.hex() + "\n")
                for worker in workers:
                    assert worker.stdin is not None
                    worker.stdin.flush()
                outcomes = Counter(_line(worker) for worker in workers)
                assert outcomes == {"accepted": 1, "Replay": PROCESSES - 1}
    finally:
        for worker in workers:
            worker.communicate(timeout=60)
    matrix.fill(GSSAPI, peers.NAME, version, "initiator", "replay in 8 processes", "accepted once each")


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()
