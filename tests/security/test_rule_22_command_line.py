"""Rule 22: no secret in an argument; nothing runs or is forwarded for strangers beyond this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from securestream.cli import serve
from securestream.cli.arguments import parser
from securestream.cli.provided import Commands
from securestream.cli.setup import package_of
from securestream.errors import UsageError
from securestream.options import Role
from tests.certificates import authority
from tests.cli.processes import run

CA = authority("command line")


def _options(of: Any) -> Iterator[str]:
    """Every option with a value of a parser and of its commands; argparse shows them nowhere else."""
    for action in of._actions:
        if action.nargs != 0:
            yield from action.option_strings
        choices: Any = action.choices
        for inner in getattr(choices, "values", tuple)():
            yield from _options(inner)


def test_no_option_takes_a_secret() -> None:
    names = set(_options(parser()))
    suspicious = {name for name in names if any(word in name for word in ("pass", "secret", "hash", "pin", "token"))}
    assert suspicious == {"--password-file", "--new-password-file", "--password-port"}


@pytest.mark.parametrize("command", ["kinit", "kpasswd", "kvno", "klist", "kdestroy", "kdc"])
@pytest.mark.parametrize("option", ["--password", "--new-password", "--key-octets", "--hash"])
def test_the_commands_of_kerberos_take_no_secret_either(command: str, option: str) -> None:
    if command not in Commands.installed():
        pytest.skip(f"this installation of securestream is older than {command}: pip install -e . again")
    done = run(command, f"{option}=hunter2")
    assert done.returncode == 2
    assert done.stdout == b""


@pytest.mark.parametrize("arguments", [("kinit", "alice@R.EXAMPLE"), ("kpasswd", "alice@R.EXAMPLE")])
def test_without_a_terminal_a_password_is_never_read_from_elsewhere(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Standard input is the peer's data or a script's: what stands there is no password."""
    (tmp_path / "krb5.conf").touch()
    environ = {"KRB5_CONFIG": str(tmp_path / "krb5.conf"), "KRB5CCNAME": f"FILE:{tmp_path}/absent"}
    done = run(*arguments, "--realm", "R.EXAMPLE", "--kdc", "127.0.0.1:1", stdin=b"hunter2\n", environ=environ)
    assert done.returncode == 2
    assert b"no terminal to ask at" in done.stderr
    assert b"hunter2" not in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "files.example"])
@pytest.mark.parametrize("action", [("--exec", "cat"), ("--forward", "127.0.0.1:1")])
@pytest.mark.parametrize("package", ["ntlm", "schannel", "schannel with --ca"])
def test_beyond_this_machine_nothing_runs_or_is_forwarded_for_strangers(
    host: str, action: tuple[str, str], package: str, tmp_path: Path
) -> None:
    certificate, key = CA.leaf().write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    words = ["serve", f"{host}:0", "--package", package.split()[0], *action]
    if package.startswith("schannel"):
        words += ["--certificate", str(certificate), "--key", str(key)]
    if package.endswith("--ca"):
        words += ["--ca", str(tmp_path / "ca.pem")]
    asked = parser().parse_args(words)
    with pytest.raises(UsageError, match="beyond this machine"):
        serve._check(asked, package_of(asked, Role.ACCEPTOR))  # pyright: ignore[reportPrivateUsage]  # what every `serve` asks first


def test_the_command_itself_refuses(tmp_path: Path) -> None:
    done = run("serve", "0.0.0.0:0", "--package", "ntlm", "--accounts", str(tmp_path / "a.db"), "--exec", "cat")
    assert done.returncode != 0
    assert b"--allow" in done.stderr
    assert done.stderr.count(b"\n") == 1
