"""What the user is told."""

from __future__ import annotations

import io
import json

import pytest

from securestream.cli.report import Report, sentence_of
from securestream.errors import ErrorKind, LogonDenied, NoCommonMechanism
from securestream.negotiation import Consideration, Negotiation, Verdict
from securestream.options import Role
from securestream.readable import printable


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


def _nothing_left() -> NoCommonMechanism:
    kerberos = Consideration("Kerberos", "1.2", Verdict.PASSED_OVER, "no KDC\nof R", ErrorKind.NO_AUTHORITY)
    report = Negotiation(Role.INITIATOR, (kerberos, Consideration("NTLM", "1.3", Verdict.PASSED_OVER, "policy")))
    return NoCommonMechanism("no mechanism is left", negotiation=report)


@pytest.mark.parametrize(("prefix", "before"), [({}, ""), ({"prefix": "192.0.2.1 refused"}, "192.0.2.1 refused: ")])
def test_what_became_of_each_mechanism_stands_before_the_error_in_a_line_each(
    prefix: dict[str, str], before: str
) -> None:
    err = io.StringIO()
    Report(io.StringIO(), err, verbose=True).fail(_nothing_left(), **prefix)
    *lines, last = err.getvalue().splitlines()
    assert lines == [f"{before}Kerberos: passed over: no KDC\\nof R", f"{before}NTLM: passed over: policy"]
    assert "no mechanism is left" in last
    Report(io.StringIO(), err := io.StringIO()).fail(_nothing_left())
    assert err.getvalue().count("\n") == 1


def test_machines_find_the_mechanisms_in_the_error_itself() -> None:
    err = io.StringIO()
    Report(io.StringIO(), err, as_json=True, verbose=True).fail(_nothing_left())
    (line,) = err.getvalue().splitlines()
    assert json.loads(line)["negotiation"] == [
        {
            "mechanism": "Kerberos",
            "identifier": "1.2",
            "verdict": "passed over",
            "reason": "no KDC\nof R",
            "kind": "NO_AUTHORITY",
        },
        {"mechanism": "NTLM", "identifier": "1.3", "verdict": "passed over", "reason": "policy", "kind": None},
    ]


def test_a_reader_that_has_gone_does_not_end_what_is_served() -> None:
    class Gone(io.StringIO):
        def write(self, s: str) -> int:
            raise BrokenPipeError

    Report(Gone(), Gone()).say("connection", "text")
