"""Remote desktop's logon: X.224's choice of a protocol, then Network Level Authentication ([MS-RDPBCGR] 1.3.1.1).

``python examples/rdp_nla.py connect HOST USER [--trust authority.pem]`` logs on to a server and says how.

``python examples/rdp_nla.py serve FOLDER USER [--to HOST:PORT]`` takes that user's logons and says what each client
delegates; with --to it is a gateway, which logs on to HOST by what was delegated and passes the session on. FOLDER
holds server.pem with server.key, and authority.pem, which is trusted where HOST's certificate comes from it.

The password is SECURESTREAM_PASSWORD, or is asked for. Here ends what is example: a desktop has much more to it.
"""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

import securestream as ss
from securestream.provider import Admit
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel

PORT = 3389
SECONDS = 15
"""For each end's part before CredSSP, which has its own time limit."""
LONGEST = 512
"""Octets of a packet before the logon; real ones have fewer than 100."""

TPKT = 3
CONNECTION_REQUEST, CONNECTION_CONFIRM = 0xE0, 0xD0
REQUEST, RESPONSE, FAILURE = 1, 2, 3
RESTRICTED_ADMIN = 0x01
RESTRICTED_ADMIN_SUPPORTED = 0x08


class Protocols(IntFlag):
    """What may come after X.224 ([MS-RDPBCGR] 2.2.1.1.1): TLS alone, CredSSP, CredSSP with an early verdict."""

    TLS = 1
    HYBRID = 2
    HYBRID_EX = 8


class Refusal(IntEnum):
    """Why a server refuses what the client offers (2.2.1.2.2)."""

    SSL_REQUIRED_BY_SERVER = 1
    SSL_NOT_ALLOWED_BY_SERVER = 2
    SSL_CERT_NOT_ON_SERVER = 3
    INCONSISTENT_FLAGS = 4
    HYBRID_REQUIRED_BY_SERVER = 5
    SSL_WITH_USER_AUTH_REQUIRED_BY_SERVER = 6


class NegotiationError(Exception):
    """The other end did not speak X.224, or would not have what this end wants.

    Args:
        message: what is wrong.
        answer: what the other end is told.
    """

    def __init__(self, message: str, answer: bytes = b"") -> None:
        super().__init__(message)
        self.answer = answer


@dataclass(frozen=True)
class Request:
    """A client's X.224 connection request.

    Args:
        protocols: what it offers; `None` where it knows nothing but RDP's own security.
        restricted_admin: whether it means to delegate nothing.
        cookie: what a load balancer looks at, such as ``mstshash=alice``.
    """

    protocols: Protocols | None
    restricted_admin: bool = False
    cookie: str = ""

    def encode(self) -> bytes:
        """As a packet."""
        cookie = f"Cookie: {self.cookie}\r\n".encode("ascii") if self.cookie else b""
        if self.protocols is None:
            return packet(CONNECTION_REQUEST, cookie)
        flags = RESTRICTED_ADMIN if self.restricted_admin else 0
        return packet(CONNECTION_REQUEST, cookie + negotiation(REQUEST, flags, self.protocols))

    @classmethod
    def decode(cls, tpdu: bytes) -> Request:
        """Read what stands in a packet; a correlation identifier behind the offer is passed over."""
        rest = variable_part(tpdu, CONNECTION_REQUEST)
        text, end, offer = rest.partition(b"\r\n")
        if not end:
            text, offer = b"", rest
        cookie = text.decode("ascii", "replace").removeprefix("Cookie: ")
        if not offer:
            return cls(None, cookie=cookie)
        flags, protocols = read_negotiation(offer, REQUEST)
        return cls(Protocols(protocols), bool(flags & RESTRICTED_ADMIN), cookie)


def packet(code: int, variable: bytes) -> bytes:
    """A TPDU of X.224 (13.3, 13.4) in a TPKT (RFC 1006 6)."""
    fixed = bytes((code, 0, 0, 0, 0, 0))
    tpdu = bytes((len(fixed) + len(variable),)) + fixed + variable
    return bytes((TPKT, 0)) + (4 + len(tpdu)).to_bytes(2, "big") + tpdu


def variable_part(tpdu: bytes, code: int) -> bytes:
    """What follows the fixed part of a TPDU, which must be a `code`."""
    if len(tpdu) < 7 or tpdu[0] != len(tpdu) - 1 or tpdu[1] & 0xF0 != code:
        raise NegotiationError("this is no connection request, or no answer to one: is it a remote desktop?")
    return tpdu[7:]


def negotiation(kind: int, flags: int, value: int) -> bytes:
    """RDP_NEG_REQ, RDP_NEG_RSP and RDP_NEG_FAILURE, which look alike."""
    return bytes((kind, flags, 8, 0)) + value.to_bytes(4, "little")


def read_negotiation(octets: bytes, kind: int) -> tuple[int, int]:
    """The flags and the value of `negotiation`."""
    if len(octets) >= 8 and octets[0] == FAILURE and kind == RESPONSE:
        code = int.from_bytes(octets[4:8], "little")
        known = Refusal(code).name if code in set(Refusal) else str(code)
        raise NegotiationError(f"the server refuses: {known}")
    if len(octets) < 8 or octets[0] != kind or octets[2:4] != b"\x08\0":
        raise NegotiationError("the choice of a protocol is damaged")
    return octets[1], int.from_bytes(octets[4:8], "little")


def choose(request: Request, supported: Protocols) -> tuple[bytes, Protocols]:
    """A server's answer to `request`, and the protocol that it chose."""
    if request.protocols is None:  # such a client would not understand a refusal
        raise NegotiationError("the client knows no CredSSP")
    for protocol in (Protocols.HYBRID_EX, Protocols.HYBRID):
        if protocol in request.protocols & supported:
            flags = RESTRICTED_ADMIN_SUPPORTED if request.restricted_admin else 0
            return packet(CONNECTION_CONFIRM, negotiation(RESPONSE, flags, protocol)), protocol
    refusal = packet(CONNECTION_CONFIRM, negotiation(FAILURE, 0, Refusal.HYBRID_REQUIRED_BY_SERVER))
    raise NegotiationError("the client offers no CredSSP that this server takes", refusal)


def chosen(tpdu: bytes, offered: Protocols) -> Protocols:
    """The protocol that the server chose; less than was offered is refused, whoever asks for it."""
    rest = variable_part(tpdu, CONNECTION_CONFIRM)
    protocol = Protocols(read_negotiation(rest, RESPONSE)[1]) if rest else Protocols(0)
    if protocol not in (Protocols.HYBRID, Protocols.HYBRID_EX) or protocol not in offered:
        raise NegotiationError("the server chose a protocol without CredSSP, or one that was not offered")
    return protocol


async def receive_packet(octets: BufferedByteReceiveStream) -> bytes:
    """The TPDU of the next packet."""
    head = await octets.receive_exactly(4)
    size = int.from_bytes(head[2:], "big")
    if head[0] != TPKT or not 4 < size <= LONGEST:
        raise NegotiationError("this is no packet of X.224: is it a remote desktop?")
    return await octets.receive_exactly(size - 4)


@asynccontextmanager
async def closed_on_failure(transport: ByteStream) -> AsyncGenerator[None]:
    """Allow the block `SECONDS`, and close the connection if it fails."""
    try:
        with anyio.fail_after(SECONDS):
            yield
    except BaseException:  # whatever it is, cancellation too, no half-made connection stays open
        await anyio.aclose_forcefully(transport)
        raise


async def log_on(
    transport: ByteStream,
    target: str,
    credential: ss.Credential,
    packages: Mapping[Protocols, ss.SecurityPackage],
    *,
    restricted_admin: bool = False,
) -> tuple[ss.CredSspStream, Protocols]:
    """Log on over an open connection, as a client.

    Args:
        transport: the connection; it is closed if the logon fails.
        target: ``TERMSRV/host``.
        credential: as whom.
        packages: what is offered, and CredSSP as each of them wants it; see `initiators`.
        restricted_admin: as `packages` have it.

    Returns:
        The stream on which the desktop's own protocol begins, and what was chosen.
    """
    offered = Protocols(sum(packages))
    octets = BufferedByteReceiveStream(transport)
    async with closed_on_failure(transport):
        await transport.send(Request(Protocols.TLS | offered, restricted_admin).encode())
        protocol = chosen(await receive_packet(octets), offered)
    stream = await ss.CredSspStream.wrap_client(
        transport, package=packages[protocol], credential=credential, target=target, received=octets.buffer
    )
    return stream, protocol


async def take_logon(
    transport: ByteStream,
    credential: ss.Credential,
    packages: Mapping[Protocols, ss.SecurityPackage],
    *,
    admit: Admit | None = None,
) -> tuple[ss.CredSspStream, Protocols]:
    """Let a client log on over an open connection; arguments and result as for `log_on`.

    `admit` raises `NotAuthorized` for users who may not log on here, and the client is told.
    """
    octets = BufferedByteReceiveStream(transport)
    async with closed_on_failure(transport):
        request = Request.decode(await receive_packet(octets))
        try:
            answer, protocol = choose(request, Protocols(sum(packages)))
        except NegotiationError as error:
            await transport.send(error.answer)
            raise
        await transport.send(answer)
    stream = await ss.CredSspStream.wrap_server(
        transport, package=packages[protocol], credential=credential, received=octets.buffer, admit=admit
    )
    return stream, protocol


def initiators(target: str, tls: ss.SecurityPackage, *, bare: bool = False) -> dict[Protocols, ss.SecurityPackage]:
    """CredSSP that delegates to `target`; `bare` has NTLM inside, without SPNEGO, which is all that FreeRDP 2 takes."""
    negotiation = Ntlm() if bare else Negotiate()
    delegation = Delegation(target)
    return {
        Protocols.HYBRID: CredSsp(negotiation, tls, delegation=delegation),
        Protocols.HYBRID_EX: CredSsp(negotiation, tls, delegation=delegation, early_authorization=True),
    }


def acceptors() -> dict[Protocols, ss.SecurityPackage]:
    """CredSSP for clients that know of the early verdict, and for those that do not."""
    tls = Schannel()
    return {Protocols.HYBRID: CredSsp(tls=tls), Protocols.HYBRID_EX: CredSsp(tls=tls, early_authorization=True)}


@dataclass(frozen=True)
class Gateway:
    """The server to which sessions are passed on."""

    name: str
    port: int
    tls: ss.SecurityPackage
    bare: bool = False

    async def carry(self, client: ss.CredSspStream, protocol: Protocols) -> None:
        """Log on as the client did, and pass the session on until an end closes."""
        if client.delegated is None:
            raise NegotiationError("the client delegates nothing, so there is nothing to log on with")
        target = f"TERMSRV/{self.name}"
        packages = {
            protocol: initiators(target, self.tls, bare=self.bare)[protocol]
        }  # the client repeats what was chosen
        transport = await anyio.connect_tcp(self.name, self.port)
        server, _ = await log_on(transport, target, client.delegated, packages)
        async with server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._copy, client, server, tasks.cancel_scope)
            tasks.start_soon(self._copy, server, client, tasks.cancel_scope)

    async def _copy(self, source: ByteStream, sink: ByteStream, scope: anyio.CancelScope) -> None:
        try:
            async for data in source:
                await sink.send(data)
        except anyio.BrokenResourceError:  # remote desktops seldom end TLS politely
            pass
        scope.cancel()


def told(credential: ss.Credential | None) -> str:
    """A credential without what is secret in it."""
    if isinstance(credential, ss.Password):
        return f"the password of {credential.domain}\\{credential.user}"
    return type(credential).__name__


async def serve_one(
    transport: ByteStream,
    credential: ss.Credential,
    packages: Mapping[Protocols, ss.SecurityPackage],
    gateway: Gateway | None = None,
) -> None:
    """Serve one client, and say what became of it."""
    try:
        stream, protocol = await take_logon(transport, credential, packages)
        async with stream:
            peer, delegated = stream.extra(ss.SecurityAttribute.peer), stream.delegated
            print(f"{peer} logged on by {protocol.name} and {peer.package}, delegating {told(delegated)}", flush=True)
            if gateway is not None:
                await gateway.carry(stream, protocol)
            else:
                print(f"the desktop would begin with {len(await stream.receive())} octets", flush=True)
    except (anyio.EndOfStream, anyio.IncompleteRead):
        print("the client left", flush=True)
    except (NegotiationError, ss.SecureStreamError, anyio.BrokenResourceError, OSError) as error:
        print(f"the client is not served: {error}", flush=True)


async def serve(asked: argparse.Namespace, password: str) -> None:
    """Listen, and serve every client."""
    folder: Path = asked.folder
    own = ss.Certificate(folder / "server.pem", folder / "server.key")
    credential = ss.Credentials(own, ss.Accounts.memory(**{asked.user: password}))
    packages, gateway = acceptors(), None
    if asked.to:
        name, _, port = asked.to.rpartition(":")
        gateway = Gateway(name, int(port), Schannel(trust=folder / "authority.pem"), asked.bare)

    async def handler(transport: ByteStream) -> None:
        await serve_one(transport, credential, packages, gateway)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=asked.port) as listener:
        print(f"listening on port {listener.extra(SocketAttribute.local_port)}", flush=True)
        await listener.serve(handler)


async def connect(asked: argparse.Namespace, password: str) -> None:
    """Log on, and leave."""
    target = f"TERMSRV/{asked.host}"
    packages = initiators(target, Schannel(trust=asked.trust or "system"), bare=asked.bare)
    transport = await anyio.connect_tcp(asked.address or asked.host, asked.port)
    stream, protocol = await log_on(transport, target, ss.Password(asked.user, password), packages)
    async with stream:
        version = stream.extra(ss.SecurityAttribute.tls_session).version
        print(f"logged on at {stream.extra(ss.SecurityAttribute.peer)} by {protocol.name} in {version}")


def main() -> None:
    """Run what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    client = commands.add_parser("connect", help="log on to a server")
    client.add_argument("host", help="the server's name")
    client.add_argument("user", help=r"DOMAIN\USER or USER@REALM")
    client.add_argument("--address", help="of the server, instead of its name's")
    client.add_argument("--port", type=int, default=PORT)
    client.add_argument("--trust", type=Path, help="the authority of its certificate, PEM; by default the system's")
    client.add_argument("--bare", action="store_true", help="NTLM without SPNEGO, for FreeRDP's server")
    server = commands.add_parser("serve", help="take logons")
    server.add_argument("folder", type=Path, help="of server.pem, server.key and authority.pem")
    server.add_argument("user", help=r"who may log on: DOMAIN\USER")
    server.add_argument("--port", type=int, default=0, help="0 for one of the system's choice")
    server.add_argument("--to", help="HOST:PORT of the server behind")
    server.add_argument("--bare", action="store_true", help="the server behind takes NTLM without SPNEGO alone")
    asked = parser.parse_args()
    password = os.environ.get("SECURESTREAM_PASSWORD") or getpass.getpass()
    try:
        anyio.run(connect if asked.command == "connect" else serve, asked, password)
    except (NegotiationError, ss.SecureStreamError, OSError) as error:
        raise SystemExit(f"not logged on: {error}") from error


if __name__ == "__main__":
    main()
