"""--exec (SECURITY: command line)."""

from __future__ import annotations

import json
import sys

import anyio
import pytest

from securestream.cli.child import environment, run_child, split_command
from securestream.errors import NotAuthorized, UsageError
from securestream.principal import NameType, Principal
from tests.cli.pairs import MemoryStream

ALICE = Principal("alice", "NTLM", "CORP")


def test_words_are_quoted_as_in_a_shell_and_no_shell_sees_them() -> None:
    assert split_command("prog 'one word' $HOME; rm * `x`") == ["prog", "one word", "$HOME;", "rm", "*", "`x`"]


@pytest.mark.parametrize("command", ["", "  ", "prog 'open"])
def test_a_command_that_cannot_be_read_is_refused(command: str) -> None:
    with pytest.raises(UsageError):
        split_command(command)


def test_the_environment_says_who_the_peer_is_and_hides_the_password() -> None:
    inherited = {"PATH": "/bin", "SECURESTREAM_PASSWORD": "hunter2", "SECURESTREAM_PEER": "forged"}
    assert environment(ALICE, "127.0.0.1:5", "NTLM", "encrypt", inherited) == {
        "PATH": "/bin",
        "SECURESTREAM_PEER": "CORP\\alice",
        "SECURESTREAM_PEER_NAME": "alice",
        "SECURESTREAM_PEER_AUTHORITY": "CORP",
        "SECURESTREAM_PEER_TYPE": "user",
        "SECURESTREAM_PEER_ADDRESS": "127.0.0.1:5",
        "SECURESTREAM_PACKAGE": "NTLM",
        "SECURESTREAM_PROTECTION": "encrypt",
    }


def test_a_name_that_no_variable_can_hold_is_not_admitted() -> None:
    with pytest.raises(NotAuthorized):
        environment(Principal("alice\0root", "Schannel", name_type=NameType.DNS), "x", "Schannel", "encrypt", {})


async def _talk(script: str, *sent: bytes) -> tuple[bytes, int]:
    peer, stream = MemoryStream.pair()
    got, status = b"", -1

    async def run() -> None:
        nonlocal status
        variables = environment(ALICE, "127.0.0.1:5", "NTLM", "encrypt")
        status = await run_child([sys.executable, "-c", script], stream, variables)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for data in sent:
                await peer.send(data)
            await peer.send_eof()
            try:
                while True:
                    got += await peer.receive()
            except anyio.EndOfStream:
                pass
    peer.close_everything()
    return got, status


@pytest.mark.anyio
async def test_the_stream_is_the_program_s_input_and_output() -> None:
    script = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)"
    assert await _talk(script, b"hello ", b"there") == (b"HELLO THERE", 3)


@pytest.mark.anyio
async def test_the_program_sees_the_peer_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "hunter2")
    output, _ = await _talk("import json, os; print(json.dumps(dict(os.environ)))")
    told = json.loads(output)
    assert told["SECURESTREAM_PEER"] == "CORP\\alice"
    assert b"hunter2" not in output


@pytest.mark.anyio
async def test_a_program_that_reads_nothing_still_answers() -> None:
    assert await _talk("print('done')", b"x" * 1_000_000) == (b"done\n", 0)


@pytest.mark.anyio
async def test_the_program_does_not_outlive_its_connection() -> None:
    peer, stream = MemoryStream.pair()
    script = "import sys, time; print('here', flush=True); time.sleep(600)"
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_child, [sys.executable, "-c", script], stream, environment(ALICE, "", "", ""))
            assert (await peer.receive()).startswith(b"h")
            tasks.cancel_scope.cancel()
    peer.close_everything()


@pytest.mark.anyio
async def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    peer, stream = MemoryStream.pair()
    with pytest.raises(FileNotFoundError):
        await run_child(["/nonexistent/program"], stream, {})
    peer.close_everything()
