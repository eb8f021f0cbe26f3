"""Starting gss-ntlmssp and MIT krb5 beside the run, where Debian's packages are there."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import pairs

_PYTHON = "/usr/bin/python3"
_PROGRAM = Path(__file__).with_name("gss_ntlmssp.py")


class GssPeer:
    """A process with both ends of a mechanism of MIT's GSS-API.

    Args:
        program: what it runs, with its arguments.
        variables: what its environment has beside this one's.
    """

    def __init__(self, program: Sequence[str], variables: Mapping[str, str]) -> None:
        environment = {**os.environ, **variables}
        self._process = subprocess.Popen(
            [_PYTHON, "-I", *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, **request: object) -> dict[str, float]:
        """The seconds that the request took.

        Raises:
            OSError: the process is not there.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise OSError("the process with MIT's GSS-API ended")
        reply: dict[str, Any] = json.loads(line)
        return reply


@functools.cache
def gss_ntlmssp() -> GssPeer | None:
    """The process, or `None` where gss-ntlmssp or python3-gssapi is not installed."""
    try:
        peer = GssPeer([str(_PROGRAM), rf"DOM\{pairs.USER}"], pairs.ntlm_environment())
        peer.ask(do="handshake", times=1)
    except OSError:
        return None
    return peer
