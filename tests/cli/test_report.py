"""What the user is told."""

from __future__ import annotations

import io
import json

import pytest

from securestream.cli.report import Report, printable, sentence_of
from securestream.errors import LogonDenied


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("alice", "alice"),
        ("ålice\n10.0.0.1 root", "ålice\\n10.0.0.1 root"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_peer_cannot_forge_a_line_or_command_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_an_error_is_one_sentence_with_its_code() -> None:
    assert sentence_of(LogonDenied("not\naccepted")) == "not accepted (SEC_E_LOGON_DENIED)"
    assert sentence_of(ValueError()) == "ValueError"


def test_machines_get_one_object_a_line() -> None:
    out, err = io.StringIO(), io.StringIO()
    report = Report(out, err, as_json=True)
    report.say("connection", "ignored", peer="a\nb")
    report.fail(LogonDenied("no"), event="refused", address="x")
    said, failed = json.loads(out.getvalue()), json.loads(err.getvalue())
    assert (said["event"], said["peer"]) == ("connection", "a\nb")
    assert (failed["event"], failed["error"], failed["sspi"], failed["hresult"], failed["address"]) == (
        "refused",
        "LogonDenied",
        "SEC_E_LOGON_DENIED",
        "0x8009030c",
        "x",
    )


def test_a_terminal_that_cannot_show_a_name_shows_its_escapes() -> None:
    octets = io.BytesIO()
    terminal = io.TextIOWrapper(octets, encoding="ascii")
    Report(terminal).say("connection", "\u00e5lice")
    assert octets.getvalue() == b"\\xe5lice\n"


def test_steps_are_shown_only_when_asked_for() -> None:
    err = io.StringIO()
    Report(io.StringIO(), err).step("a step")
    assert not err.getvalue()
    Report(io.StringIO(), err, verbose=True).step("a step")
    assert err.getvalue() == "a step\n"


def test_a_reader_that_has_gone_does_not_end_what_is_served() -> None:
    class Gone(io.StringIO):
        def write(self, s: str) -> int:
            raise BrokenPipeError

    Report(Gone(), Gone()).say("connection", "text")
