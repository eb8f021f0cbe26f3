"""``securestream serve``: accept secure connections and echo, run a program, or forward."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute

from securestream.cli.addresses import Address
from securestream.cli.child import environment, run_child, split_command
from securestream.cli.observe import Observed
from securestream.cli.report import Report, is_expected, negotiation_of
from securestream.cli.running import run_until_signal
from securestream.cli.setup import (
    NAME_OF,
    SENTENCE_OF,
    check_acceptor,
    is_record_package,
    level_of,
    package_of,
    served_credential,
    warnings_of,
)
from securestream.cli.splice import CHUNK, leaves, splice
from securestream.credentials import Credential, Password, join_name
from securestream.drive import Services
from securestream.errors import NotAuthorized, UsageError
from securestream.extensions import Composed
from securestream.machine import told_to_peer
from securestream.negotiation import Negotiation
from securestream.options import ContextFlags, Role
from securestream.principal import Principal
from securestream.provider import Established, FirstUse, SecurityContext, SecurityPackage
from securestream.services.replay import SqliteReplay
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.connect import listen
from securestream.streams.listeners import SecureListener


def serve(asked: Namespace, report: Report) -> int:
    """Serve until a signal comes.

    Raises:
        UsageError: the arguments cannot work together.
        OSError: the address cannot be listened on.
    """
    forbid_core_dumps()
    package = package_of(asked, Role.ACCEPTOR)
    _check(asked, package)
    server = Server(asked, package, report)
    for warning in warnings_of(package):
        report.warn(warning)
    status, _ = run_until_signal(server.run, asked.backend)
    return status


def _check(asked: Namespace, package: SecurityPackage) -> None:
    proves_clients = not is_record_package(package) or isinstance(package, Composed) or asked.ca is not None
    if asked.allow and not proves_clients:
        raise UsageError("--allow needs clients that prove who they are: give --ca FILE, the authorities of theirs")
    if _is_risky(asked) and not asked.address.is_loopback and not proves_clients:
        raise UsageError("--exec or --forward beyond this machine needs clients that prove who they are: give --ca")
    _check_reach(asked, [asked.address])


def _is_risky(asked: Namespace) -> bool:
    return asked.execute is not None or asked.forward is not None


def _check_reach(asked: Namespace, addresses: Sequence[Address]) -> None:
    """Refuse to run programs or to forward for whomever an account admits, if others than this machine's users can ask.

    Raises:
        UsageError: ``--allow`` is missing.
    """
    if _is_risky(asked) and not asked.allow:
        for address in addresses:
            if not address.is_loopback:
                raise UsageError(f"--exec or --forward on {address}, beyond this machine, needs --allow PRINCIPAL")


def forbid_core_dumps() -> None:
    """Let no crash write keys to a disk, where the system has such a limit (SECURITY: secrets in reports)."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Server:
    """The listener and what it does with its connections.

    Args:
        asked: the arguments.
        package: the package, configured.
        report: where events go.
    """

    def __init__(self, asked: Namespace, package: SecurityPackage, report: Report) -> None:
        self._asked = asked
        self._package = package
        self._report = report
        self._credential = served_credential(asked, package)
        check_acceptor(package, self._credential)
        self._services = _services(asked.replay_cache)
        self._words = None if asked.execute is None else split_command(asked.execute)

    def _admit(self, established: Established) -> None:
        """Judge the peer before the last token leaves (``--allow``)."""
        allowed: list[str] | None = self._asked.allow
        peer = established.peer
        if allowed is not None and not (peer.is_authenticated and str(peer) in allowed):
            raise NotAuthorized(f"{peer} is not admitted: name it with --allow if it should be")

    async def run(self) -> int:
        """Listen and serve."""
        asked = self._asked
        package = self._package
        if self._report.verbose:
            package = Observed(package, self._step)
        try:
            listener = await listen(
                asked.address.host,
                asked.address.port,
                package=package,
                credential=self._credential,
                protection=level_of(asked),
                admit=self._admit,
                services=self._services,
                handshake_timeout=asked.handshake_timeout,
                max_connections=asked.max_connections,
                listener=self._listener,
            )
        except OSError as error:
            raise cannot_listen(asked.address, error) from error
        async with listener:
            addresses = [Address(host, port) for host, port in listener.addresses]
            _check_reach(asked, addresses)  # whatever a name has come to
            for address in addresses:
                tell_ready(address, self._report)
            await listener.serve(self._handle)
        return 0

    def _listener(self, *arguments: Any, **limits: Any) -> SecureListener:
        return _ReportingListener(self._report, *arguments, **limits)

    def _step(self, source: str, text: str, size: int) -> None:
        self._report.step(f"{source}: {text}", address=source, step=text, octets=size)

    async def _handle(self, stream: ByteStream) -> None:
        peer: Principal = stream.extra(SecurityAttribute.peer)
        address = remote_address(stream)
        level = stream.extra(SecurityAttribute.protection)
        package: str = stream.extra(SecurityAttribute.package)
        negotiation: Negotiation | None = stream.extra(SecurityAttribute.negotiation, None)
        if negotiation is not None:
            self._report.negotiated(negotiation, f"{address}: ")
        by = package if negotiation is None else f"{self._package.info.name}: {_mechanism(package, negotiation)}"
        delegated: Credential | None = stream.extra(SecurityAttribute.delegated, None)
        given = "" if delegated is None else f"  delegated {delegated_name(delegated)}"
        self._report.say(
            "connection",
            f"{peer}  {by}  {SENTENCE_OF[level]}  from {address}{given}",
            peer=str(peer),
            package=package,
            level=NAME_OF[level],
            protection=SENTENCE_OF[level],
            detail=detail_of(stream),
            address=address,
            **negotiation_facts(stream),
            **({} if delegated is None else {"delegated": delegated_name(delegated)}),
        )
        try:
            await self._act(stream, peer, address, NAME_OF[level])
        except Exception as error:  # what ends one connection is told and ends no other; a bug is raised
            told = leaves(error)
            if not all(is_expected(leaf) for leaf in told):
                raise
            self._report.fail(told[0], event="ended", prefix=f"{peer} from {address}", peer=str(peer), address=address)
        else:
            self._report.detail("ended", f"{peer} from {address} has ended", peer=str(peer), address=address)

    async def _act(self, stream: ByteStream, peer: Principal, address: str, level: str) -> None:
        if self._words is not None:
            variables = environment(peer, address, stream.extra(SecurityAttribute.package), level)
            await run_child(self._words, stream, variables)
        elif self._asked.forward is not None:
            target: Address = self._asked.forward
            async with await anyio.connect_tcp(target.host, target.port) as far:
                await splice(stream, far)
        else:
            await _echo(stream)


def _services(replay_cache: str | None) -> Services | None:
    """Who performs effects, where several processes share what was used once."""
    if replay_cache is None:
        return None
    services = Services()
    services.register_performer(FirstUse, SqliteReplay(replay_cache))
    return services


async def _echo(stream: ByteStream) -> None:
    while True:
        try:
            data = await stream.receive(CHUNK)
        except anyio.EndOfStream:
            return
        await stream.send(data)


class _ReportingListener(SecureListener):
    """Tells of each handshake that failed."""

    def __init__(self, report: Report, *arguments: Any, **limits: Any) -> None:
        super().__init__(*arguments, **limits)
        self._report = report

    async def handle_handshake_error(self, error: Exception, source: str) -> None:
        if not is_expected(error):
            # A bug: its traceback goes to the log, and the line says no more than the peer was told.
            await super().handle_handshake_error(error, source)
            error = told_to_peer(error)
        self._report.fail(error, event="refused", prefix=f"{source} refused", address=source)


def tell_ready(address: Address, report: Report) -> None:
    """Print an address that is listened on, so that scripts know when to begin, and where."""
    report.say("listening", f"listening on {address}", host=address.host, port=address.port)


def cannot_listen(address: Address, error: OSError) -> OSError:
    """`error` with the address in its sentence: the system's own names none, or names it as Python writes a tuple."""
    code = error.errno or 0
    reason = os.strerror(code) if code > 0 else error.strerror or str(error)  # a resolver's codes are negative
    return OSError(error.errno, f"cannot listen on {address}: {reason}")


def remote_address(stream: ByteStream) -> str:
    """The peer's address and port, as text; the system forgets them when the peer breaks the connection."""
    try:
        return str(Address.of_socket(stream.extra(SocketAttribute.remote_address)))
    except (OSError, anyio.TypedAttributeLookupError):
        return "an address that is gone"


def detail_of(stream: ByteStream) -> str:
    """What protects the channel, in the words of its mechanism."""
    session = stream.extra(SecurityAttribute.tls_session, None)
    if session is not None:
        return f"{session.version} with {session.cipher}"
    flags: ContextFlags = stream.extra(SecurityAttribute.flags)
    names = ", ".join(flag.name.lower().replace("_", " ") for flag in flags if flag.name)
    package: str = stream.extra(SecurityAttribute.package)
    negotiated = "" if stream.extra(SecurityAttribute.negotiation, None) is None else ", negotiated,"
    cipher = _cipher(stream.extra(SecurityAttribute.context, None))
    return f"{package}{negotiated} with {cipher}{names or 'no flags'}"


def _cipher(context: SecurityContext | None) -> str:
    """The cipher of a SASL layer that names the one it was negotiated to."""
    from securestream.sasl.mechanism import SaslLayer  # few serve with SASL

    return f"{context.cipher}, " if isinstance(context, SaslLayer) and context.cipher else ""


def _mechanism(package: str, negotiation: Negotiation) -> str:
    """What was chosen; a record connection is called by the package around it."""
    chosen = negotiation.chosen
    return package if chosen is None else chosen.mechanism


def delegated_name(credential: Credential) -> str:
    """Whose credential a client delegated, and of which kind; nothing of what it proves by."""
    kind = type(credential).__name__
    if isinstance(credential, Password):
        return f"{kind} of {join_name(credential.user, credential.domain)}"
    return kind


def negotiation_facts(stream: ByteStream) -> dict[str, Any]:
    """What became of each mechanism, for machines; nothing where the package was not negotiated."""
    negotiation: Negotiation | None = stream.extra(SecurityAttribute.negotiation, None)
    return {} if negotiation is None else {"negotiation": negotiation_of(negotiation)}
