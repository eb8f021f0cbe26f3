"""Rule 8: a real relay. The victim logs on to our man in the middle, who logs on with it to our server.

The man in the middle alters nothing: he only carries tokens, over plain TCP or out of one TLS session into another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.ambient import system_options
from securestream.credentials import Accounts, Certificate, Password
from securestream.errors import BadBindings, ErrorKind, PeerRefused, SecureStreamError, TargetUnknown
from securestream.options import BindingPolicy, Options, Protection, Role
from securestream.records.endpoints import Engine
from securestream.streams._handshake import make_settings
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from securestream.streams.tls import TlsStream
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.streams.pairs import tcp_pair

pytestmark = pytest.mark.anyio

CA = authority("relay")
SERVER = CA.leaf(["server.example"])
MIDDLE = CA.leaf(["middle.example"])
PASSWORD = "correct horse battery staple"
ALICE = Password("alice", PASSWORD)

Result = NegotiateStream | SecureStreamError
P = BindingPolicy


@dataclass(frozen=True)
class Case:
    """How victim and server are set up.

    Args:
        tls: whether both connections are TLS.
        kind: the bindings that victim and server use.
        policy: the server's; `None` for its default.
        binds: whether the victim binds to its channel.
        protection: what both ask for.
        server: the server's package.
    """

    tls: bool = True
    kind: str = "tls-server-end-point"
    policy: BindingPolicy | None = None
    binds: bool = True
    protection: Protection = Protection.ENCRYPT_AND_SIGN
    server: Ntlm = Ntlm()  # noqa: RUF009  an immutable value

    @property
    def engine(self) -> Engine:
        return "pyopenssl" if self.kind == "tls-exporter" else "stdlib"

    def options(self, channel: ByteStream) -> Options:
        """Named bindings must be taken from the channel by hand; without a name the streams do it."""
        options = system_options(protection=self.protection)
        if not self.tls or self.kind == "tls-server-end-point":
            return options
        connection = channel.extra(SecurityAttribute.record_connection)
        return replace(options, channel_bindings=connection.channel_bindings(self.kind))

    async def connect(self, transport: ByteStream, host: str) -> NegotiateStream:
        """Log on as the victim, who means to speak with `host`."""
        channel = await self.tls_client(transport, host)
        return await NegotiateStream.wrap_client(
            channel,
            package=Ntlm(),
            credential=ALICE,
            target=f"host/{host}",
            options=self.options(channel) if self.binds else system_options(protection=self.protection),
            bind_to_channel=self.binds,
        )

    async def accept(self, transport: ByteStream) -> NegotiateStream:
        channel = await self.tls_server(transport, SERVER.credential)
        return await NegotiateStream.wrap_server(
            channel,
            package=self.server,
            credential=Accounts.memory(alice=PASSWORD),
            options=self.options(channel),
            binding_policy=self.policy,
        )

    async def tls_client(self, transport: ByteStream, host: str) -> ByteStream:
        if not self.tls:
            return transport
        package = Schannel(trust=CA.pem, engine=self.engine)
        return await TlsStream.wrap_client(transport, package=package, target=host)

    async def tls_server(self, transport: ByteStream, credential: Certificate) -> ByteStream:
        if not self.tls:
            return transport
        return await TlsStream.wrap_server(transport, package=Schannel(engine=self.engine), credential=credential)


@dataclass
class Relay:
    """The man in the middle: two channels of his own, and what he carried."""

    near: ByteStream
    far: ByteStream

    async def carry(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_copy, self.near, self.far)
            group.start_soon(_copy, self.far, self.near)


async def _copy(source: ByteStream, sink: ByteStream) -> None:
    try:
        while True:
            await sink.send(await source.receive())
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await anyio.aclose_forcefully(sink)


Then = Callable[[Relay, Result, Result], Awaitable[None]]


async def attack(case: Case, then: Then | None = None) -> tuple[Result, Result]:
    """What the victim and the server came to; `then` goes on while the relay runs."""
    victim_end, near = await tcp_pair()
    far, server_end = await tcp_pair()
    results: dict[str, Result] = {}

    async def play(name: str, part: Callable[[], Awaitable[NegotiateStream]]) -> None:
        try:
            results[name] = await part()
        except SecureStreamError as error:
            results[name] = error

    async with anyio.create_task_group() as group:
        relay = Relay(near, far)

        async def middle() -> None:
            relay.near = await case.tls_server(near, MIDDLE.credential)
            relay.far = await case.tls_client(far, "server.example")
            await relay.carry()

        group.start_soon(middle)
        async with anyio.create_task_group() as ends:
            ends.start_soon(play, "victim", lambda: case.connect(victim_end, "middle.example"))
            ends.start_soon(play, "server", lambda: case.accept(server_end))
        if then is not None:
            await then(relay, results["victim"], results["server"])
        group.cancel_scope.cancel()
    for stream in (victim_end, near, far, server_end):
        stream.close()
    return results["victim"], results["server"]


def _refused(victim: Result, server: Result) -> None:
    """The server says why in its own log; the other end learns no more than from a wrong password."""
    assert isinstance(server, BadBindings)
    assert isinstance(victim, PeerRefused)
    assert victim.kind is ErrorKind.LOGON_DENIED


@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-exporter"])
@pytest.mark.parametrize("policy", [None, P.WHEN_SUPPORTED, P.WHEN_ADVERTISED, P.ALWAYS])
async def test_a_logon_is_not_carried_from_one_tls_session_into_another(
    kind: str, policy: BindingPolicy | None
) -> None:
    _refused(*await attack(Case(kind=kind, policy=policy)))


@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-exporter"])
async def test_a_server_that_never_looks_at_bindings_takes_the_relayed_logon(kind: str) -> None:
    """What the policy NEVER gives up."""
    victim, server = await attack(Case(kind=kind, policy=P.NEVER))
    assert isinstance(victim, NegotiateStream)
    assert isinstance(server, NegotiateStream)
    assert not server.extra(SecurityAttribute.bound)


@pytest.mark.parametrize(
    ("policy", "refused"), [(None, False), (P.WHEN_SUPPORTED, False), (P.WHEN_ADVERTISED, False), (P.ALWAYS, True)]
)
async def test_a_victim_that_binds_nothing_is_protected_by_always_alone(
    policy: BindingPolicy | None, *, refused: bool
) -> None:
    """An NTLM client without AV pair 10 does not claim to support bindings: only ALWAYS turns its logon down."""
    victim, server = await attack(Case(policy=policy, binds=False))
    if refused:
        _refused(victim, server)
    else:
        assert isinstance(server, NegotiateStream)
        assert not server.extra(SecurityAttribute.bound)


@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-exporter"])
async def test_without_anybody_in_between_the_strictest_policy_admits(kind: str) -> None:
    case = Case(kind=kind, policy=P.ALWAYS)
    client_end, server_end = await tcp_pair()
    bound: list[bool] = []

    async def end(part: Awaitable[NegotiateStream]) -> None:
        async with await part as stream:
            bound.append(stream.extra(SecurityAttribute.bound))

    async with anyio.create_task_group() as group:
        group.start_soon(end, case.connect(client_end, "server.example"))
        group.start_soon(end, case.accept(server_end))
    assert bound == [True, True]


# --- plain TCP: there is no channel to bind to ------------------------------------------------------------------------


async def test_over_plain_tcp_a_logon_can_be_relayed_but_sealed_data_neither_read_nor_altered() -> None:
    """What NTLM over plain TCP does not give: the server cannot know for whom the logon was meant. What it does give:
    the session's keys are those of victim and server alone."""
    seen: list[str] = []

    async def then(relay: Relay, victim: Result, server: Result) -> None:
        assert isinstance(victim, NegotiateStream)
        assert isinstance(server, NegotiateStream)
        seen.append(server.extra(SecurityAttribute.peer).name)
        await relay.far.send((17 + 3).to_bytes(4, "little") + bytes(20))  # a frame of his own making
        with pytest.raises(SecureStreamError):
            await server.receive()

    await attack(Case(tls=False), then)
    assert seen == ["alice"]


async def test_without_protection_a_relayed_connection_belongs_to_the_man_in_the_middle() -> None:
    """What `Protection.NONE` gives up over plain TCP; nobody gets it without asking."""
    seen: list[bytes] = []

    async def then(relay: Relay, victim: Result, server: Result) -> None:
        assert isinstance(server, NegotiateStream)
        await relay.far.send(b"delete everything")
        seen.append(await server.receive())

    await attack(Case(tls=False, protection=Protection.NONE), then)
    assert seen == [b"delete everything"]


@pytest.mark.parametrize("spn", ["checked", "required"])
async def test_over_plain_tcp_a_server_that_knows_its_names_refuses_a_logon_meant_for_another(spn: str) -> None:
    strict = Ntlm(served=("server.example",), spn=spn)  # type: ignore[arg-type]  # one of the words
    victim, server = await attack(Case(tls=False, server=strict))
    assert isinstance(server, TargetUnknown)
    assert isinstance(victim, PeerRefused)
    assert victim.kind is ErrorKind.LOGON_DENIED


async def test_options_given_for_another_reason_weaken_no_policy() -> None:
    """Inside TLS the default is WHEN_ADVERTISED, whether or not the caller gave options of his own."""
    transport, other = await tcp_pair()
    own, theirs = Case(), Case()
    streams: list[ByteStream] = []

    async def end(part: Awaitable[ByteStream]) -> None:
        streams.append(await part)

    async with anyio.create_task_group() as group:
        group.start_soon(end, own.tls_server(transport, SERVER.credential))
        group.start_soon(end, theirs.tls_client(other, "server.example"))
    for options in (None, system_options(protection=Protection.SIGN)):
        settings = make_settings(package=Ntlm(), credential=Accounts.memory(alice=PASSWORD), options=options)
        for stream in streams:
            if isinstance(stream, TlsStream):
                chosen = settings.for_connection(stream, Role.ACCEPTOR).options
                assert chosen.channel_bindings is not None
                assert chosen.binding_policy is BindingPolicy.WHEN_ADVERTISED
    for stream in streams:
        await anyio.aclose_forcefully(stream)
