"""Where passwords come from (SECURITY: command line)."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from securestream.cli.passwords import VARIABLE, read_password
from securestream.errors import UsageError


def test_the_variable_is_taken_out_of_the_environment() -> None:
    environ = {VARIABLE: "from the variable"}
    assert read_password("alice", environ=environ) == "from the variable"
    assert not environ


def test_a_file_goes_before_the_variable_and_its_first_line_counts(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes("pässword \r\nsecond line\n".encode())
    path.chmod(0o600)
    environ = {VARIABLE: "x"}
    assert read_password("alice", str(path), environ=environ) == "pässword "
    assert not environ


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2")
    path.chmod(0o644)
    with pytest.raises(UsageError) as refused:
        read_password("alice", str(path), environ={})
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"\xff\xfesecret")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="UTF-8") as refused:
        read_password("alice", str(path), environ={})
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_prompt_asks_twice_for_a_new_password(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "two", "same", "same"])

    def answer(prompt: str) -> str:
        return next(answers)

    monkeypatch.setattr(getpass, "getpass", answer)
    with pytest.raises(UsageError, match="differ"):
        read_password("alice", confirm=True, environ={})
    assert read_password("alice", confirm=True, environ={}) == "same"


def test_without_a_terminal_the_peer_s_data_is_not_read_as_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(prompt: str) -> str:
        import warnings

        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=2)
        return "what was piped in"

    monkeypatch.setattr(getpass, "getpass", no_terminal)
    with pytest.raises(UsageError, match="--password-file"):
        read_password("alice", environ={})
