"""`make demo`: right when everything is, and not otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEMO = (sys.executable, "-W", "error", "-m", "securestream.cli.demo")


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *arguments], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(("package", "backend"), [("ntlm", "asyncio"), ("schannel", "trio")])
def test_every_exchange_is_right_and_shown(installed: None, package: str, backend: str) -> None:
    done = demo("--package", package, "--backend", backend)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    shown = done.stdout
    assert "alice" in shown
    assert "encrypted and signed" in shown
    assert ("NTLM AUTHENTICATE" if package == "ntlm" else "ClientHello") in shown
    assert "| Line 1 of this r" in shown
    assert shown.count("one octet flipped") == 4
    assert shown.count("refused by the") == 4


@pytest.mark.parametrize(
    ("sabotage", "found"), [("leak", "stand in the wire"), ("blind", "accepted: the echo came back")]
)
def test_a_leak_or_an_alteration_that_passes_is_found(installed: None, sabotage: str, found: str) -> None:
    done = demo("--package", "ntlm", "--backend", "asyncio", "--sabotage", sabotage)
    assert done.returncode == 1
    assert found in done.stdout
    assert "FAILED" in done.stdout


def test_a_package_without_a_scenario_is_named_and_nothing_run_is_no_success(installed: None) -> None:
    done = demo("--package", "somebody-elses")
    assert done.returncode == 1
    assert "somebody-elses: not demonstrated" in done.stdout
