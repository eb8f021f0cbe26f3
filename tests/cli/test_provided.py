"""Commands that providers bring: found, run, listed, and told of in one sentence where they cannot be."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from securestream.cli import main
from securestream.cli.arguments import parser
from securestream.cli.provided import ENTRY_POINTS, Command, Commands
from securestream.errors import UsageError

HELLO = "tests.cli.hello_command"


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, ENTRY_POINTS)


@pytest.fixture
def provided(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands(
        {
            "hello": [point("hello", HELLO)],
            "absent": [point("absent", "no.such.module")],
            "empty": [point("empty", "tests.cli.keys")],
            "twice": [point("twice", HELLO), point("twice", "tests.cli.other")],
            "serve": [point("serve", HELLO)],
        }
    )
    monkeypatch.setattr(Commands, "installed", lambda: commands)
    return commands


def test_a_provider_s_command_runs_and_its_status_is_the_status(
    provided: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hello", "alice"]) == 0
    assert main(["hello", "alice", "--status", "3"]) == 3
    assert capsys.readouterr() == ("hello, alice\nhello, alice\n", "")


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("nobody", 2, "securestream: nobody is there\n"),
        ("stranger", 1, "securestream: a stranger is not greeted (SEC_E_LOGON_DENIED)\n"),
    ],
)
def test_its_failure_is_one_sentence(
    name: str, status: int, sentence: str, provided: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hello", name]) == status
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "cannot be loaded: No module named 'no'"),
        ("empty", "has no add_arguments"),
        ("twice", "two installed packages bring a command 'twice'"),
    ],
)
@pytest.mark.parametrize("argument", ["--help", "--anything"])
def test_one_that_cannot_be_loaded_is_one_sentence(
    name: str, reason: str, argument: str, provided: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, argument]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("securestream: ")
    assert told.err.count("\n") == 1
    assert reason in told.err


def test_the_help_lists_them_all(provided: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "hello greet, 100% politely" in shown
    assert "'absent' (no.such.module) cannot be loaded" in shown
    assert main(["hello", "--help"]) == 0
    assert "SECURESTREAM_PASSWORD" in capsys.readouterr().out


def test_a_word_that_is_no_command_is_answered_with_those_there_are(
    provided: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["helo"]) == 2
    assert "'hello'" in capsys.readouterr().err


def test_own_commands_look_for_no_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Looking through what is installed takes longer than ``packages``, and nobody takes a command's place."""

    def search() -> Commands:
        raise AssertionError("the installed distributions were searched")

    monkeypatch.setattr(Commands, "installed", search)
    for command in ("packages", "serve", "connect", "accounts"):
        assert main([command, "--help"]) == 0


def test_one_command_loads_no_other(provided: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = Commands.load

    def noted(self: Commands, name: str) -> Command:
        loaded.append(name)
        return load(self, name)

    monkeypatch.setattr(Commands, "load", noted)
    assert main(["hello", "alice"]) == 0
    assert loaded == ["hello"]


def test_an_unknown_command_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="no command is called 'hello'"):
        Commands({}).load("hello")


def test_a_parser_for_any_command_knows_them_all(provided: Commands) -> None:
    assert parser().parse_args(["hello", "alice"]).name == "alice"


def test_installed_commands_are_found_once() -> None:
    names = list(Commands.installed())
    assert names == sorted(set(names))
    assert all(name in Commands.installed() for name in names)
