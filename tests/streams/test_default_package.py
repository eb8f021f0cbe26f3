"""What streams and blocking sockets speak where nobody names a package: Negotiate, and what it came to is told."""

from __future__ import annotations

import inspect
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import securestream as ss
from securestream import blocking
from securestream.registry import DEFAULT_PACKAGE, Registry

pytestmark = pytest.mark.anyio

ALICE = ss.Password("alice", "correct horse")


@pytest.fixture(autouse=True)
def no_realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Kerberos is configured: the one case in which NTLM stands in for it without being asked for."""
    if DEFAULT_PACKAGE not in Registry.installed():
        pytest.skip("securestream is not installed in this environment: pip install -e .")
    path = tmp_path / "krb5.conf"
    path.write_text("[libdefaults]\n dns_lookup_kdc = false\n", encoding="utf-8")
    monkeypatch.setenv("KRB5_CONFIG", str(path))


@pytest.mark.parametrize(
    "function",
    [
        ss.connect,
        ss.listen,
        ss.SecureConnectable,
        ss.NegotiateStream.wrap_client,
        ss.NegotiateStream.wrap_server,
        ss.SecureSocket.wrap_client,
        ss.SecureSocket.wrap_server,
        blocking.connect,
    ],
)
def test_everything_that_takes_a_package_has_the_same_default(function: Callable[..., Any]) -> None:
    assert inspect.signature(function).parameters["package"].default == DEFAULT_PACKAGE == "negotiate"


async def echo(stream: ss.SecureStream) -> None:
    async for data in stream:
        await stream.send(data)


async def test_connect_and_listen_negotiate_and_tell_what_and_why() -> None:
    accounts = ss.Accounts.memory(alice="correct horse")
    async with await ss.listen("127.0.0.1", 0, credential=accounts) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        one = ss.SecureConnectable(("127.0.0.1", listener.port), credential=ALICE)
        for stream in (await ss.connect("127.0.0.1", listener.port, credential=ALICE), await one.connect()):
            async with stream:
                await stream.send(b"hello")
                assert await stream.receive() == b"hello"
                assert stream.extra(ss.SecurityAttribute.package) == "NTLM"
                report = stream.extra(ss.SecurityAttribute.negotiation)
                assert report.chosen is not None
                assert report.chosen.mechanism == "NTLM"
                assert "alice has no realm" in report.reason_against("kerberos")
                assert report.protected
        tasks.cancel_scope.cancel()


async def test_a_named_realm_never_becomes_ntlm() -> None:
    accounts = ss.Accounts.memory(alice="correct horse")
    async with await ss.listen("127.0.0.1", 0, credential=accounts) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        with pytest.raises(ss.NoCommonMechanism, match=r"NOWHERE\.EXAMPLE") as caught:
            await ss.connect("127.0.0.1", listener.port, credential=ss.Password("alice@NOWHERE.EXAMPLE", "x"))
        assert caught.value.negotiation is not None
        assert caught.value.negotiation.chosen is None
        tasks.cancel_scope.cancel()


def test_blocking_sockets_negotiate_and_tell_what_and_why() -> None:
    accounts = ss.Accounts.memory(alice="correct horse")
    seen: list[ss.Negotiation | None] = []

    def serve(listener: socket.socket) -> None:
        plain, _ = listener.accept()
        with ss.SecureSocket.wrap_server(plain, credential=accounts) as secure:
            seen.append(secure.negotiation)
            secure.sendall(secure.recv())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        with blocking.connect("127.0.0.1", listener.getsockname()[1], credential=ALICE) as secure:
            secure.sendall(b"hello")
            assert secure.recv() == b"hello"
            assert secure.package == "NTLM"
            assert secure.negotiation is not None
            assert "alice has no realm" in secure.negotiation.reason_against("Kerberos")
        server.join()
    (report,) = seen
    assert report is not None
    assert report.chosen is not None
    assert report.chosen.mechanism == "NTLM"
