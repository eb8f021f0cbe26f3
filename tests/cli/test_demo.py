"""`make demo`: right when everything is, and not otherwise."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEMO = (sys.executable, "-W", "error", "-m", "securestream.cli.demo")


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *arguments], capture_output=True, text=True, timeout=300, check=False)


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


def test_kerberos_is_shown_with_its_kdc_and_every_alteration_is_refused(installed: None) -> None:
    done = demo("--package", "kerberos", "--backend", "trio")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    shown = done.stdout
    assert shown.count(r"the server saw    DEMO.EXAMPLE\alice from ") == 2
    assert "UDP  client -> the KDC  AS-REQ alice@DEMO.EXAMPLE" in shown
    assert "TCP  the KDC -> client  TGS-REP alice@DEMO.EXAMPLE" in shown
    assert "client -> server  Kerberos AP-REQ" in shown
    assert "server -> client  Kerberos AP-REP" in shown
    assert shown.count("| Line 1 of this r") == 4
    assert shown.count("one octet flipped in a") == 4, "requests and replies of the KDC, too"
    assert shown.count("refused by the") == 12


def test_negotiate_is_shown_with_what_it_chose_and_neither_list_nor_mic_can_be_tampered_with(installed: None) -> None:
    done = demo("--package", "negotiate", "--scene", "2", "--scene", "3", "--backend", "trio")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    shown = done.stdout
    assert shown.count(r"the server saw    DEMO.EXAMPLE\alice from ") == 1
    assert "the server saw    alice from " in shown
    assert "negotiated        Kerberos: passed over: alice has no realm" in shown
    assert shown.count("negotiated        NTLM: chosen") == 1
    assert "SPNEGO NegTokenInit" in shown
    assert shown.count("one octet flipped") == shown.count("refused by the") == 4 + 4 + 1
    tampered = [line for line in shown.splitlines() if "MIC, by the" in line or "list of mechanisms in" in line]
    assert len(tampered) == 5
    assert all("Downgrade (SEC_E_DOWNGRADE_DETECTED)" in line for line in tampered)


def test_credssp_is_shown_with_what_it_delegated_and_nothing_sealed_can_be_tampered_with(installed: None) -> None:
    done = demo("--package", "credssp", "--backend", "trio")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    shown = done.stdout
    assert "it was delegated  Password of alice" in shown
    assert "negotiated        NTLM: chosen" in shown
    assert shown.count("one octet flipped") == shown.count("refused by the") == 4 + 2
    tampered = [line for line in shown.splitlines() if "handshake's" in line]
    assert [line.rpartition(": refused by ")[2].partition(":")[0] for line in tampered] == ["the server", "the client"]


@pytest.mark.parametrize("sabotage", ["leak", "blind"])
def test_a_fault_of_kerberos_would_be_found(installed: None, sabotage: str) -> None:
    done = demo("--package", "kerberos", "--scene", "1", "--backend", "asyncio", "--sabotage", sabotage)
    assert done.returncode == 1
    assert ("stand in the wire" if sabotage == "leak" else "a reply of the KDC: accepted") in done.stdout


@pytest.mark.parametrize(
    ("sabotage", "found"), [("leak", "stand in the wire"), ("blind", "accepted: the echo came back")]
)
def test_a_leak_or_an_alteration_that_passes_is_found(installed: None, sabotage: str, found: str) -> None:
    done = demo("--package", "ntlm", "--backend", "asyncio", "--sabotage", sabotage)
    assert done.returncode == 1
    assert found in done.stdout
    assert "FAILED" in done.stdout


def test_a_package_without_a_scene_is_named_and_nothing_run_is_no_success(installed: None) -> None:
    done = demo("--package", "somebody-elses")
    assert done.returncode == 1
    assert "somebody-elses: not demonstrated" in done.stdout
