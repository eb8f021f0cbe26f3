"""Our ends of remote desktops' logons with FreeRDP, and somebody in between who opens TLS."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio
from anyio import to_thread
from anyio.abc import ByteStream, SocketAttribute, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from examples.rdp_nla import NegotiationError, Protocols, log_on, receive_packet, take_logon
from securestream.credentials import Accounts, Credential, Credentials
from securestream.errors import SecureStreamError
from securestream.provider import Admit, SecurityPackage
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.credssp import CredSspStream
from securestream.streams.tls import TlsStream
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.credssp.messages import TSRequest
from securestream_providers.credssp.policy import NEWEST, Use
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.certificates import Pair, authority
from tests.interop.peers import freerdp
from tests.interop.peers.freerdp import Visit

DOMAIN, USER, PASSWORD = "CORP", "alice", "alice's password"
ALICE: Final = f"{DOMAIN}\\{USER}"
HOST: Final = "localhost"
TARGET: Final = f"TERMSRV/{HOST}"
CA = authority("interop authority", rsa_key=True)
OTHER = authority("another authority")
LEAF = CA.leaf([HOST], key=CA.key)
"""With an RSA key: FreeRDP's server takes no other."""
CURVE = CA.leaf([HOST])
EVIL = OTHER.leaf([HOST])

CONNECT_INITIAL, CONNECT_RESPONSE = b"\x7f\x65", b"\x7f\x66"
"""The elements of MCS (T.125) with which a desktop begins after the logon, behind a header of X.224 data."""
DATA_HEADER: Final = b"\x02\xf0\x80"


def begins_with(octets: bytes, element: bytes) -> bool:
    """Whether `octets` are a packet of X.224 data whose content is an element of MCS."""
    return octets[4:7] == DATA_HEADER and octets[7:9] == element


@dataclass(frozen=True)
class Taken:
    """What our server saw of one client.

    Args:
        peer: ``DOMAIN\\name`` of the user, and the package.
        delegated: what the client delegated.
        went_on: the first octets after the logon.
        error: why it is not served.
        version: of TLS.
    """

    peer: str | None = None
    delegated: Credential | None = None
    went_on: bytes = b""
    error: Exception | None = None
    version: str = ""


def server(own: Pair = LEAF) -> Credential:
    """What our server has: its certificate, and the accounts."""
    return Credentials(own.credential, Accounts.memory(**{ALICE: PASSWORD}))


def acceptor(version: int = NEWEST, *, restricted_admin: bool = False, tls: Schannel | None = None) -> CredSsp:
    """Our server's package of one version."""
    old: Use = "accepted" if version < 5 else "refused"
    return CredSsp(tls=tls, version=version, vulnerable_peers=old, restricted_admin=restricted_admin)


def initiator(
    version: int = NEWEST,
    *,
    tls: Schannel | None = None,
    delegation: Delegation | None = None,
    restricted_admin: bool = False,
) -> CredSsp:
    """Our client's package of one version: NTLM without SPNEGO, in a TLS that knows our authority."""
    old: Use = "accepted" if version < 5 else "refused"
    return CredSsp(
        Ntlm(),
        Schannel(trust=CA.pem) if tls is None else tls,
        delegation=Delegation(TARGET) if delegation is None else delegation,
        version=version,
        vulnerable_peers=old,
        restricted_admin=restricted_admin,
    )


@dataclass
class Desk:
    """Serves one client on a port of its own.

    Args:
        package: ours.
        credential: ours.
        admit: judges the client.
    """

    package: SecurityPackage
    credential: Credential
    admit: Admit | None = None
    port: int = 0
    taken: Taken = field(default_factory=Taken)
    done: anyio.Event = field(default_factory=anyio.Event)

    async def handle(self, transport: ByteStream) -> None:
        """Let the client log on, and wait for how it goes on."""
        try:
            packages = {Protocols.HYBRID: self.package}
            stream, _ = await take_logon(transport, self.credential, packages, admit=self.admit)
            async with stream:
                self.taken = await self._look_at(stream)
        except (NegotiationError, SecureStreamError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            self.taken = Taken(error=error)
        self.done.set()

    async def _look_at(self, stream: CredSspStream) -> Taken:
        peer = stream.extra(SecurityAttribute.peer)
        return Taken(
            f"{peer} by {peer.package}",
            stream.delegated,
            await stream.receive(),
            version=stream.extra(SecurityAttribute.tls_session).version,
        )


@asynccontextmanager
async def listening(handler: Callable[[ByteStream], Awaitable[None]]) -> AsyncGenerator[int]:
    """The port of 127.0.0.1 on which `handler` serves."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handler)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def serving(
    package: SecurityPackage, credential: Credential, *, admit: Admit | None = None
) -> AsyncGenerator[Desk]:
    """Our server."""
    desk = Desk(package, credential, admit)
    async with listening(desk.handle) as desk.port:
        yield desk


async def visited(
    desk: Desk,
    port: int,
    environment: Mapping[str, str],
    *options: str,
    password: str | bytes = PASSWORD,
    user: str = USER,
) -> tuple[Taken, Visit]:
    """Let xfreerdp log on at `desk`: what our server saw, and what it saw itself."""
    visit = await to_thread.run_sync(lambda: freerdp.visit(port, user, password, environment, *options, domain=DOMAIN))
    with anyio.fail_after(freerdp.TIMEOUT):
        await desk.done.wait()
    return desk.taken, visit


async def logged_on(port: int, credential: Credential, package: SecurityPackage) -> CredSspStream:
    """Log on as a client at 127.0.0.1."""
    transport = await anyio.connect_tcp("127.0.0.1", port)
    stream, _ = await log_on(transport, TARGET, credential, {Protocols.HYBRID: package})
    return stream


@dataclass
class Between:
    """A man in the middle with a certificate of his own: he reads everything, and passes it on."""

    server_port: int
    port: int = 0
    seen: dict[str, bytearray] = field(
        default_factory=lambda: {"to server": bytearray(), "to client": bytearray()},
    )

    async def handle(self, client: ByteStream) -> None:
        """Pass X.224 on, then be the server of one TLS connection and the client of another one."""
        server = await anyio.connect_tcp("127.0.0.1", self.server_port)
        async with client, server:
            await self._pass_packet(client, server)
            await self._pass_packet(server, client)
            try:
                inner = await TlsStream.wrap_server(client, package=Schannel(), credential=EVIL.credential)
                outer = await TlsStream.wrap_client(server, package=Schannel(verify="none"), target=HOST)
            except SecureStreamError:
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._copy, inner, outer, "to server", tasks)
                tasks.start_soon(self._copy, outer, inner, "to client", tasks)

    async def _pass_packet(self, source: ByteStream, sink: ByteStream) -> None:
        tpdu = await receive_packet(BufferedByteReceiveStream(source))
        await sink.send(b"\x03\0" + (len(tpdu) + 4).to_bytes(2, "big") + tpdu)

    async def _copy(self, source: ByteStream, sink: ByteStream, way: str, tasks: TaskGroup) -> None:
        try:
            async for data in source:
                self.seen[way] += data
                await sink.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        await sink.aclose()
        await source.aclose()

    def credentials_seen(self) -> int:
        """How many messages with credentials passed, sealed or not."""
        rest, found = bytes(self.seen["to server"]), 0
        while rest:
            message, rest = _first(rest)
            found += message.auth_info is not None
        return found


def _first(octets: bytes) -> tuple[TSRequest, bytes]:
    size, at = octets[1], 2
    if size & 0x80:
        at = 2 + (size & 0x7F)
        size = int.from_bytes(octets[2:at], "big")
    return TSRequest.decode(octets[: at + size]), octets[at + size :]


@asynccontextmanager
async def between(server_port: int) -> AsyncGenerator[Between]:
    """The man in the middle before `server_port`."""
    man = Between(server_port)
    async with listening(man.handle) as man.port:
        yield man
