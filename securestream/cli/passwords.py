"""Where passwords come from: a file, the variable SECURESTREAM_PASSWORD, or a prompt; never an argument."""

from __future__ import annotations

import getpass
import os
import warnings
from collections.abc import MutableMapping

from securestream.errors import UsageError

VARIABLE = "SECURESTREAM_PASSWORD"
LONGEST = 4096
"""Octets of a password file that are looked at."""

HOW = f"give --password-file FILE, set {VARIABLE}, or run the command at a terminal"


def read_password(
    purpose: str,
    file: str | None = None,
    *,
    confirm: bool = False,
    environ: MutableMapping[str, str] | None = None,
) -> str:
    """A password for `purpose`: of `file` if given, else of the variable, else asked at the terminal.

    The variable is taken out of the environment, so that no child inherits it.

    Args:
        purpose: what the password is for, as the prompt says it.
        file: a file whose first line is the password; it must be its owner's alone.
        confirm: whether a prompt asks twice.
        environ: the environment; `None` for the process's.

    Raises:
        UsageError: there is no password, or the file is open to others.
        OSError: the file cannot be read.
    """
    variable = (os.environ if environ is None else environ).pop(VARIABLE, None)
    if file is not None:
        return _of_file(file)
    if variable is not None:
        return variable
    password = _ask(f"Password for {purpose}: ")
    if confirm and _ask("Once more: ") != password:
        raise UsageError("the two passwords differ: run the command again")
    return password


def _of_file(path: str) -> str:
    from securestream.files import read_private

    octets = read_private(path, largest=LONGEST)
    line = octets.partition(b"\n")[0].removesuffix(b"\r")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no UTF-8 text: write the password on its first line") from None


def _ask(prompt: str) -> str:
    with warnings.catch_warnings():
        # Without a terminal getpass would echo what is typed, or read a pipe that is meant for the peer.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (getpass.GetPassWarning, EOFError):
            raise UsageError(f"there is no password and no terminal to ask at: {HOW}") from None
