"""Asking KDCs over the network: fake servers on loopback that lose, refuse, babble, stall, overflow and redirect."""

from __future__ import annotations

import importlib.util
import socket
import ssl
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.errors import NoAuthority
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.kerberos.network.performer import KdcPerformer
from securestream_providers.kerberos.network.servers import servers_of
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.kkdcp import unwrap_proxied, wrap_proxied
from securestream_providers.krb5.messages import KrbError, PrincipalName
from tests.certificates import authority
from tests.ports import free_port
from tests.providers.kerberos.scripted_kdc import NOW

pytestmark = pytest.mark.anyio

REALM = "NET.EXAMPLE"
QUESTION = b"\x6a\x03\x02\x01\x05"
ANSWER = b"\x6b\x03\x02\x01\x05"


def error(code: int) -> bytes:
    """A KRB-ERROR."""
    return KrbError(5, 30, None, None, NOW, 0, code, None, None, REALM, PrincipalName(2, ("krbtgt", REALM))).encode()


def request(*addresses: KdcAddress, **changes: object) -> KdcRequest:
    """A request to servers at `addresses`; `changes` are of the configuration."""
    fields: dict[str, object] = {"kdc_timeout": 0.2, "dns_lookup_kdc": False, **changes}
    config = replace(Krb5Config(realms={REALM: RealmConfig(addresses)}), **fields)  # type: ignore[arg-type]  # by name
    return KdcRequest(REALM, QUESTION, config)


def at(port: int, transport: str = "any") -> KdcAddress:
    return KdcAddress("127.0.0.1", port, transport)


@asynccontextmanager
async def udp_server(answer: Callable[[bytes], list[bytes]], port: int = 0) -> AsyncGenerator[int]:
    """Answers datagrams, by default at a port that a TCP server can have, too."""
    port = port or free_port()
    async with await anyio.create_udp_socket(local_host="127.0.0.1", local_port=port) as udp:

        async def serve() -> None:
            async for packet, sender in udp:
                for reply in answer(packet):
                    await udp.sendto(reply, *sender)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            yield udp.extra(anyio.abc.SocketAttribute.local_port)
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def tcp_server(
    serve: Callable[[ByteStream], Awaitable[None]], port: int = 0, context: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """Serves streams."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    bound = listener.extra(anyio.abc.SocketAttribute.local_port)

    async def handle(stream: ByteStream) -> None:
        async with stream:
            try:
                await serve(stream)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return

    async with anyio.create_task_group() as tasks:
        if context is None:
            tasks.start_soon(listener.serve, handle)
        else:
            from anyio.streams.tls import TLSListener

            tasks.start_soon(TLSListener(listener, context, standard_compatible=False).serve, handle)
        yield bound
        tasks.cancel_scope.cancel()
    await listener.aclose()


def framed(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets


def answering(octets: bytes, wait: float = 0.0) -> Callable[[ByteStream], Awaitable[None]]:
    """A TCP service that answers one request with these octets, as they are."""

    async def serve(stream: ByteStream) -> None:
        await stream.receive()
        await anyio.sleep(wait)
        await stream.send(octets)

    return serve


async def test_a_datagram_is_answered() -> None:
    async with udp_server(lambda packet: [ANSWER] if packet == QUESTION else []) as port:
        assert await KdcPerformer().perform(request(at(port))) == ANSWER


async def test_a_lost_datagram_is_sent_again() -> None:
    seen: list[bytes] = []

    def second_time(packet: bytes) -> list[bytes]:
        seen.append(packet)
        return [ANSWER] if len(seen) > 1 else []

    async with udp_server(second_time) as port:
        assert await KdcPerformer().perform(request(at(port, "udp"))) == ANSWER
    assert seen == [QUESTION, QUESTION]


async def test_silence_by_udp_falls_back_to_tcp() -> None:
    async with udp_server(lambda _: []) as port, tcp_server(answering(framed(ANSWER)), port):
        before = time.monotonic()
        assert await KdcPerformer().perform(request(at(port))) == ANSWER
        assert time.monotonic() - before < 8


async def test_too_big_for_udp_falls_back_to_tcp_at_once() -> None:
    async with udp_server(lambda _: [error(52)]) as port, tcp_server(answering(framed(ANSWER)), port):
        before = time.monotonic()
        assert await KdcPerformer().perform(request(at(port), kdc_timeout=20.0)) == ANSWER
        assert time.monotonic() - before < 10


async def test_garbage_by_udp_is_as_if_nothing_had_come() -> None:
    async with udp_server(lambda _: [b"", b"garbage", b"\x6a\x00\x00", ANSWER]) as port:
        assert await KdcPerformer().perform(request(at(port))) == ANSWER


async def test_a_datagram_from_another_address_is_ignored() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
            port = udp.extra(anyio.abc.SocketAttribute.local_port)

            async def serve() -> None:
                async for _, sender in udp:
                    stranger.sendto(error(6), sender)
                    await anyio.sleep(0.05)
                    await udp.sendto(ANSWER, *sender)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                assert await KdcPerformer().perform(request(at(port))) == ANSWER
                tasks.cancel_scope.cancel()


async def test_a_large_request_goes_by_tcp_first() -> None:
    datagrams: list[bytes] = []

    def note(packet: bytes) -> list[bytes]:
        datagrams.append(packet)
        return [ANSWER]

    async with udp_server(note) as port, tcp_server(answering(framed(ANSWER)), port):
        assert await KdcPerformer().perform(request(at(port), udp_preference_limit=1, kdc_timeout=20.0)) == ANSWER
    assert not datagrams


async def test_a_refused_server_costs_no_time() -> None:
    async with tcp_server(answering(framed(ANSWER))) as port:
        before = time.monotonic()
        asked = request(at(free_port(), "tcp"), at(port, "tcp"), kdc_timeout=20.0)
        assert await KdcPerformer().perform(asked) == ANSWER
        assert time.monotonic() - before < 10


async def test_a_refused_datagram_costs_no_time() -> None:
    async with tcp_server(answering(framed(ANSWER))) as port:
        before = time.monotonic()
        assert await KdcPerformer().perform(request(at(port), kdc_timeout=20.0)) == ANSWER
        assert time.monotonic() - before < 10


async def test_a_dead_server_costs_a_moment_and_the_next_one_answers() -> None:
    async with udp_server(lambda _: []) as dead, udp_server(lambda _: [ANSWER]) as alive:
        before = time.monotonic()
        assert await KdcPerformer().perform(request(at(dead, "udp"), at(alive, "udp"))) == ANSWER
        assert 0.15 < time.monotonic() - before < 8


async def test_a_slow_server_may_still_win() -> None:
    async with tcp_server(answering(framed(ANSWER), 0.5)) as slow, udp_server(lambda _: []) as dead:
        assert await KdcPerformer().perform(request(at(slow, "tcp"), at(dead, "udp"))) == ANSWER


async def test_a_server_that_cannot_answer_now_is_passed_over() -> None:
    async with tcp_server(answering(framed(error(29)))) as ill, tcp_server(answering(framed(ANSWER))) as well:
        assert await KdcPerformer().perform(request(at(ill, "tcp"), at(well, "tcp"))) == ANSWER


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\0\0",
        b"\0\0\0\0",
        b"\x80\0\0\5" + ANSWER,
        b"\x7f\xff\xff\xff" + ANSWER,
        b"\0\0\1\0" + ANSWER,
        framed(b"HTTP/1.1 400"),
    ],
)
async def test_what_is_no_answer_by_tcp_is_refused(octets: bytes) -> None:
    async with tcp_server(answering(octets)) as port:
        with pytest.raises(NoAuthority, match="can be reached"):
            await KdcPerformer().perform(request(at(port, "tcp")))


async def test_nobody_is_waited_for_forever() -> None:
    async with udp_server(lambda _: []) as dead:
        before = time.monotonic()
        with pytest.raises(NoAuthority, match="in time"):
            await KdcPerformer(0.5).perform(request(at(dead, "udp")))
        assert time.monotonic() - before < 8


async def test_only_configured_realms_are_asked() -> None:
    asked = replace(request(at(1)), realm="OTHER.EXAMPLE")
    with pytest.raises(NoAuthority, match=r"krb5\.conf"):
        await KdcPerformer().perform(asked)


async def test_without_dnspython_the_extra_is_named() -> None:
    asked = replace(request(dns_lookup_kdc=True), realm="OTHER.EXAMPLE")
    if importlib.util.find_spec("dns") is None:
        with pytest.raises(NoAuthority, match=r"securestream\[dns\]"):
            await KdcPerformer().perform(asked)


async def test_password_servers_are_the_kdcs_hosts_by_default() -> None:
    asked = replace(request(at(88), KdcAddress("h", 443, "https")), service=KdcService.PASSWORD)
    assert [address.port for address in (await servers_of(asked)).addresses] == [464, 443]


async def test_blocking_callers_are_answered_too() -> None:
    async with udp_server(lambda _: [ANSWER]) as port:
        assert await anyio.to_thread.run_sync(KdcPerformer().perform_blocking, request(at(port))) == ANSWER


# --- proxies ---------------------------------------------------------------------------------------------------------


def proxy(answer: Callable[[bytes], bytes]) -> Callable[[ByteStream], Awaitable[None]]:
    """An HTTPS proxy: `answer` makes the whole response of the proxied message."""

    async def serve(stream: ByteStream) -> None:
        octets = b""
        while b"\r\n\r\n" not in octets:
            octets += await stream.receive()
        head, _, body = octets.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /KdcProxy HTTP/1.1\r\n")
        size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < size:
            body += await stream.receive()
        message, realm = unwrap_proxied(body)
        assert (message, realm) == (QUESTION, REALM)
        await stream.send(answer(message))

    return serve


def response(body: bytes, head: str | None = None) -> bytes:
    return (head or f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the authority's certificate, and the server's with its key."""
    made = tmp_path_factory.mktemp("proxy")
    root = authority()
    root.write(made, "ca")
    root.leaf(["127.0.0.1"]).write(made, "server")
    root.leaf(["other.example"]).write(made, "other")
    authority("stranger").write(made, "stranger")
    return made


def served_by(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def via_proxy(port: int, anchor: Path) -> KdcRequest:
    address = KdcAddress("127.0.0.1", port, "https", "/KdcProxy")
    config = Krb5Config(realms={REALM: RealmConfig((address,), http_anchors=(f"FILE:{anchor}",))}, kdc_timeout=0.2)
    return KdcRequest(REALM, QUESTION, config)


def chunked(body: bytes) -> bytes:
    parts = b"".join(f"{len(part):x};x=y\r\n".encode() + part + b"\r\n" for part in (body[:3], body[3:]))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


def to_the_end(body: bytes) -> bytes:
    return response(body, "HTTP/1.1 200 OK\r\n\r\n")


@pytest.mark.parametrize("form", [response, chunked, to_the_end])
async def test_a_proxy_carries_the_message(folder: Path, form: Callable[[bytes], bytes]) -> None:
    serve = proxy(lambda _: form(wrap_proxied(ANSWER)))
    async with tcp_server(serve, context=served_by(folder, "server")) as port:
        assert await KdcPerformer().perform(via_proxy(port, folder / "ca.pem")) == ANSWER


@pytest.mark.parametrize(("certificate", "anchor"), [("server", "stranger"), ("other", "ca")])
async def test_a_proxy_that_is_not_trusted_gets_no_message(folder: Path, certificate: str, anchor: str) -> None:
    asked: list[bytes] = []

    def note(message: bytes) -> bytes:
        asked.append(message)
        return response(wrap_proxied(ANSWER))

    async with tcp_server(proxy(note), context=served_by(folder, certificate)) as port:
        with pytest.raises(NoAuthority):
            await KdcPerformer().perform(via_proxy(port, folder / f"{anchor}.pem"))
    assert not asked


@pytest.mark.parametrize(
    "octets",
    [
        response(b"", "HTTP/1.1 404 Not Found\r\n\r\n"),
        response(b"", "HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\n\r\n"),
        response(b"x", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
        response(b"x", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        response(b"x", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        response(b"ffffffff\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        response(b"zz\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        response(b"not DER"),
        response(wrap_proxied(b"not Kerberos")),
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10000,
    ],
)
async def test_what_a_proxy_must_not_answer_is_refused(folder: Path, octets: bytes) -> None:
    async with tcp_server(proxy(lambda _: octets), context=served_by(folder, "server")) as port:
        with pytest.raises(NoAuthority):
            await KdcPerformer(5).perform(via_proxy(port, folder / "ca.pem"))


# --- DNS -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """An SRV record as dnspython gives it."""

    host: str
    port: int
    priority: int
    weight: int

    @property
    def target(self) -> Record:
        return self

    def to_text(self, omit_final_dot: bool) -> str:
        return self.host if omit_final_dot else self.host + "."


async def test_srv_records_find_servers_by_priority_and_never_txt(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    records = [Record("second", 88, 10, 0), Record("light", 88, 0, 1), Record("heavy", 89, 0, 9), Record("", 0, 0, 0)]

    def resolve(name: str, kind: str, lifetime: float) -> list[Record]:
        asked.append((name, kind))
        return records if "_udp" in name else []

    stub = ModuleType("dns.resolver")
    stub.resolve = resolve  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "dns", ModuleType("dns"))
    monkeypatch.setitem(sys.modules, "dns.resolver", stub)
    found = await servers_of(replace(request(dns_lookup_kdc=True), realm="OTHER.EXAMPLE"))
    assert [(one.host, one.port, one.transport) for one in found.addresses] == [
        ("heavy", 89, "udp"),
        ("light", 88, "udp"),
        ("second", 88, "udp"),
    ]
    assert asked == [("_kerberos._udp.OTHER.EXAMPLE.", "SRV"), ("_kerberos._tcp.OTHER.EXAMPLE.", "SRV")]
    records.clear()
    with pytest.raises(NoAuthority, match="DNS knows none"):
        await servers_of(replace(request(dns_lookup_kdc=True), realm="OTHER.EXAMPLE"))
