"""``--exec``: a program whose standard input and output are a secure stream."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, Process

from securestream.cli.passwords import VARIABLE
from securestream.cli.splice import splice
from securestream.errors import NotAuthorized, UsageError
from securestream.principal import Principal

GRACE = 5.0
"""Seconds between asking a program to end and ending it."""


def split_command(command: str) -> list[str]:
    """The words of `command`, quoted as in a shell; no shell ever sees them.

    Raises:
        UsageError: there are none, or a quotation is left open.
    """
    try:
        words = shlex.split(command, posix=os.name == "posix")
    except ValueError as error:
        raise UsageError(f"--exec {command!r} cannot be read: {error}") from None
    if not words:
        raise UsageError("--exec is empty: give a program and its arguments")
    return words


def environment(
    peer: Principal, address: str, package: str, protection: str, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The child's environment: the inherited one without the password, with who the peer is.

    Raises:
        NotAuthorized: the peer's name cannot stand in a variable.
    """
    told = {
        "SECURESTREAM_PEER": str(peer),
        "SECURESTREAM_PEER_NAME": peer.name,
        "SECURESTREAM_PEER_AUTHORITY": peer.authority,
        "SECURESTREAM_PEER_TYPE": peer.name_type.value,
        "SECURESTREAM_PEER_ADDRESS": address,
        "SECURESTREAM_PACKAGE": package,
        "SECURESTREAM_PROTECTION": protection,
    }
    if any("\0" in value for value in told.values()):
        raise NotAuthorized("the peer's name holds a NUL and cannot be handed to a program")
    kept = os.environ if inherited is None else inherited
    return {name: value for name, value in kept.items() if name != VARIABLE} | told


async def run_child(words: list[str], stream: ByteStream, variables: dict[str, str]) -> int:
    """Run a program with `stream` as its standard input and output. Its end is the end of the connection.

    Returns:
        Its exit status.

    Raises:
        OSError: it cannot be started.
        BrokenResourceError, ContextError, FramingError: the stream broke.

    When the stream breaks, or on cancellation, the program is terminated, and killed after `GRACE` seconds.
    """
    process = await anyio.open_process(words, stderr=None, env=variables)
    try:
        await splice(stream, _Pipes(process), until_far_ends=True)
        return await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


class _Pipes(ByteStream):
    """A program's standard input and output. What it does not want to read any more is dropped."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._wanted = True

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self._process.stdout is None:
            raise anyio.EndOfStream
        return await self._process.stdout.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        if self._process.stdin is None or not self._wanted:
            await anyio.lowlevel.checkpoint()
            return
        try:
            await self._process.stdin.send(item)
        except (anyio.BrokenResourceError, BrokenPipeError, ConnectionResetError):
            self._wanted = False

    async def send_eof(self) -> None:
        if self._process.stdin is not None:
            await self._process.stdin.aclose()

    async def aclose(self) -> None:
        await self._process.aclose()


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(GRACE):
            await process.wait()
        if process.returncode is None:
            process.kill()
    await process.aclose()
