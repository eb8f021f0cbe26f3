"""What a name server says, or keeps from saying, about a realm's KDCs: dnspython itself against one on loopback."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from securestream.errors import NoAuthority, NoAuthorityKnown
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.kerberos.network import servers
from securestream_providers.kerberos.network.servers import servers_of
from securestream_providers.krb5.config import Krb5Config

resolver: Any = pytest.importorskip("dns.resolver", reason="SRV records are looked up by dnspython: install .[dns]")

pytestmark = pytest.mark.anyio

NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME, REFUSED = 0, 2, 3, 5
_RESPONSE = 0x8180
_SRV = 33


def srv(host: str, port: int) -> bytes:
    """An SRV record of the name in the question."""
    target = b"".join(bytes((len(label),)) + label.encode() for label in host.split(".")) + b"\0"
    data = struct.pack("!HHH", 0, 0, port) + target
    return struct.pack("!HHHIH", 0xC00C, _SRV, 1, 60, len(data)) + data


@contextmanager
def name_server(
    monkeypatch: pytest.MonkeyPatch, code: int | None, *records: bytes, tcp: int | None = -1
) -> Generator[None]:
    """The machine's name server for a while.

    Args:
        monkeypatch: sets it.
        code: what it answers; `None`: nothing.
        records: that it gives.
        tcp: what it answers to questions about servers by TCP, where that is another code.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                question, sender = udp.recvfrom(512)
                if not question:
                    return
                answered = tcp if tcp != -1 and b"\x04_tcp" in question else code
                if answered is None:
                    continue
                given = records if answered == NO_ERROR else ()
                head = question[:2] + struct.pack("!HHHHH", _RESPONSE | answered, 1, len(given), 0, 0)
                end = question.index(b"\0", 12) + 5  # what follows is EDNS
                udp.sendto(head + question[12:end] + b"".join(given), sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        ours = resolver.Resolver(configure=False)
        ours.nameservers, ours.port = ["127.0.0.1"], udp.getsockname()[1]
        monkeypatch.setattr(resolver, "default_resolver", ours)
        monkeypatch.setattr(servers, "_LOOKUP_SECONDS", 0.3 if None in (code, tcp) else 30.0)
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", udp.getsockname())
            thread.join(5)


def asked(realm: str = "OFFICE", **configured: str) -> KdcRequest:
    return KdcRequest(realm, b"", Krb5Config(**configured))  # type: ignore[arg-type]  # a default realm


@pytest.mark.parametrize("code", [NO_SUCH_NAME, NO_ERROR])
async def test_no_such_name_is_an_answer(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    with name_server(monkeypatch, code):
        with pytest.raises(NoAuthorityKnown, match="no KDC of OFFICE is configured, and DNS knows none"):
            await servers_of(asked())
        with pytest.raises(NoAuthority, match="DNS knows none") as of_a_configured_one:
            await servers_of(asked(default_realm="OFFICE"))
    assert not isinstance(of_a_configured_one.value, NoAuthorityKnown)


@pytest.mark.parametrize("code", [None, SERVER_FAILURE, REFUSED])
async def test_silence_and_failure_are_none(monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    with (
        name_server(monkeypatch, code),
        pytest.raises(NoAuthority, match=r"no KDC of OFFICE .*DNS did not answer") as failed,
    ):
        await servers_of(asked())
    assert not isinstance(failed.value, NoAuthorityKnown)


async def test_half_an_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with name_server(monkeypatch, NO_SUCH_NAME, tcp=None), pytest.raises(NoAuthority, match="did not answer") as failed:
        await servers_of(asked())
    assert not isinstance(failed.value, NoAuthorityKnown)


async def test_what_was_found_is_used_whatever_else_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with name_server(monkeypatch, NO_ERROR, srv("kdc.office.example", 88), tcp=SERVER_FAILURE):
        found = (await servers_of(asked())).addresses
    assert [(one.host, one.port, one.transport) for one in found] == [("kdc.office.example", 88, "udp")]


@pytest.mark.parametrize(("service", "what"), [(KdcService.KDC, "KDC"), (KdcService.PASSWORD, "password server")])
async def test_without_the_extra_a_realm_that_nobody_configured_is_unknown(
    monkeypatch: pytest.MonkeyPatch, service: KdcService, what: str
) -> None:
    monkeypatch.setitem(sys.modules, "dns.resolver", None)
    told = rf"no {what} of OFFICE is configured; .*, or by kdc=, or install securestream\[dns\]"
    with pytest.raises(NoAuthorityKnown, match=told):
        await servers_of(replace(asked(), service=service))
