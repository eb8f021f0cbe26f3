"""``securestream connect``: standard input and output over a secure connection, or the client end of a tunnel."""

from __future__ import annotations

from argparse import Namespace

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream

from securestream.ambient import system_options
from securestream.cli.addresses import Address
from securestream.cli.observe import Observed
from securestream.cli.report import Report, is_expected
from securestream.cli.running import run_until_signal
from securestream.cli.serve import cannot_listen, detail_of, negotiation_facts, remote_address, tell_ready
from securestream.cli.setup import (
    NAME_OF,
    SENTENCE_OF,
    check_initiator,
    client_credential,
    level_of,
    package_of,
    warnings_of,
)
from securestream.cli.splice import leaves, splice
from securestream.cli.stdio import StandardStream
from securestream.errors import UsageError
from securestream.negotiation import Negotiation
from securestream.options import ContextFlags, Role
from securestream.principal import Principal
from securestream.provider import Established, SecurityPackage
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.connect import connect as open_stream


def connect(asked: Namespace, report: Report) -> int:
    """Connect, and copy until both ends have ended; or listen, and make one connection for each that comes.

    Raises:
        UsageError: the arguments cannot work together.
        HandshakeError, PeerRefused, PeerGone, ContextError, FramingError, OSError: the connection failed.
    """
    if asked.listen is not None and not asked.listen.is_loopback and not asked.share_identity:
        raise UsageError(
            f"whoever can reach {asked.listen} would act in your name: listen on 127.0.0.1, or give --share-identity"
        )
    package = package_of(asked, Role.INITIATOR)
    client = Client(asked, package, report)
    for warning in warnings_of(package):
        report.warn(warning)
    status, caught = run_until_signal(client.tunnel if asked.listen else client.copy, asked.backend)
    return status if caught is None or asked.listen else 128 + caught


class Client:
    """What a client connects with.

    Args:
        asked: the arguments.
        package: the package, configured.
        report: where events go.
    """

    def __init__(self, asked: Namespace, package: SecurityPackage, report: Report) -> None:
        self._asked = asked
        self._report = report
        self._package = Observed(package, self._step) if report.verbose else package
        self._credential = client_credential(asked, package)
        check_initiator(package, self._credential)
        self._flags = ContextFlags.MUTUAL
        if asked.user_to_user:
            self._flags |= ContextFlags.USE_SESSION_KEY

    def _admit(self, established: Established) -> None:
        """Refuse a package that passes over what was asked for."""
        flags = getattr(established.result, "flags", ContextFlags.NONE)
        if self._asked.user_to_user and ContextFlags.USE_SESSION_KEY not in flags:
            raise UsageError(f"--user-to-user means nothing to {self._package.info.name}: leave it out")

    def _step(self, source: str, text: str, size: int) -> None:
        self._report.step(text, step=text, octets=size)

    async def _open(self) -> ByteStream:
        address: Address = self._asked.address
        stream = await open_stream(
            address.host,
            address.port,
            package=self._package,
            credential=self._credential,
            target=self._asked.target or f"host/{address.host}",
            protection=level_of(self._asked),
            options=system_options(flags=self._flags),
            admit=self._admit,
            handshake_timeout=self._asked.handshake_timeout,
        )
        peer: Principal = stream.extra(SecurityAttribute.peer)
        level = stream.extra(SecurityAttribute.protection)
        name = str(peer) if peer.is_authenticated else "a server that proved no name"
        negotiation: Negotiation | None = stream.extra(SecurityAttribute.negotiation, None)
        if negotiation is not None:
            self._report.negotiated(negotiation)
        self._report.step(
            f"connected to {name} at {remote_address(stream)}: {SENTENCE_OF[level]}, {detail_of(stream)}",
            peer=str(peer),
            package=stream.extra(SecurityAttribute.package),
            level=NAME_OF[level],
            detail=detail_of(stream),
            **negotiation_facts(stream),
        )
        return stream

    async def copy(self) -> int:
        """Standard input to the peer, the peer to standard output."""
        async with await self._open() as stream, StandardStream() as terminal:
            await splice(terminal, stream, until_far_ends=True)
        return 0

    async def tunnel(self) -> int:
        """Accept plain connections and carry each over a secure one."""
        address: Address = self._asked.listen
        try:
            listener = await anyio.create_tcp_listener(local_host=address.host, local_port=address.port)
        except OSError as error:
            raise cannot_listen(address, error) from error
        async with listener:
            for one in listener.listeners:
                tell_ready(Address.of_socket(one.extra(SocketAttribute.local_address)), self._report)
            await listener.serve(self._carry)
        return 0

    async def _carry(self, near: SocketStream) -> None:
        source = remote_address(near)
        try:
            async with near, await self._open() as far:
                self._report.say("connection", f"{source} to {self._asked.address}", address=source)
                await splice(near, far)
        except Exception as error:  # what ends one connection is told and ends no other; a bug is raised
            told = leaves(error)
            if not all(is_expected(leaf) for leaf in told):
                raise
            self._report.fail(told[0], event="ended", prefix=source, address=source)
        else:
            self._report.detail("ended", f"{source} has ended", address=source)
