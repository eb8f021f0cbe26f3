"""Rule 8 for Kerberos: the victim has a ticket for our server and speaks with a man in the middle, who carries it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from securestream.ambient import system_clock, system_options
from securestream.errors import BadBindings, ErrorKind, PeerRefused, SecureStreamError, TargetUnknown
from securestream.options import BindingPolicy, Protection
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.negotiate import NegotiateStream
from securestream_providers.krb5.names import KerberosName
from tests.providers.kerberos.ends import REALM, Realm, package
from tests.security.test_rule_08_relay import SERVER, Case, Relay, Result, attack
from tests.streams.pairs import tcp_pair

pytestmark = pytest.mark.anyio

P = BindingPolicy
SERVER_NAME = KerberosName.parse(f"host/server.example@{REALM}")
MIDDLE_NAME = KerberosName.parse(f"host/middle.example@{REALM}")


def now_valid(realm: Realm) -> dict[str, Any]:
    """Times of a ticket that is valid by the machine's clock."""
    now = system_clock().replace(microsecond=0)
    return {"authtime": now - timedelta(hours=1), "endtime": now + timedelta(hours=9)}


@dataclass(frozen=True)
class KerberosCase(Case):
    """How victim and server are set up.

    Args:
        realm: whose KDC gave the victim its ticket.
        name: the service that the victim asks for: our server, as a spoofed name service has it, or the middle itself.
    """

    realm: Realm = field(default_factory=lambda: Realm(service=SERVER_NAME))
    name: KerberosName = SERVER_NAME

    async def connect(self, transport: ByteStream, host: str) -> NegotiateStream:
        """Authenticate as the victim, to `name`, at `host`."""
        channel = await self.tls_client(transport, host)
        part = self.realm.part(**now_valid(self.realm))
        ticket = self.realm.seal(part, name=self.name)
        held = self.realm.tickets(part, ticket=ticket, server=self.name, end_time=part.endtime)
        return await NegotiateStream.wrap_client(
            channel,
            package=package(),
            credential=held,
            target="/".join(self.name.components),
            options=self.options(channel) if self.binds else system_options(protection=self.protection),
            bind_to_channel=self.binds,
        )

    async def accept(self, transport: ByteStream) -> NegotiateStream:
        """The server."""
        channel = await self.tls_server(transport, SERVER.credential)
        return await NegotiateStream.wrap_server(
            channel,
            package=package(),
            credential=self.realm.keytab,
            options=self.options(channel),
            binding_policy=self.policy,
        )


def _refused(victim: Result, server: Result) -> None:
    assert isinstance(server, BadBindings)
    assert isinstance(victim, PeerRefused)


@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-exporter"])
@pytest.mark.parametrize("policy", [None, P.WHEN_SUPPORTED, P.WHEN_ADVERTISED, P.ALWAYS])
async def test_a_ticket_is_not_carried_from_one_tls_session_into_another(
    kind: str, policy: BindingPolicy | None
) -> None:
    _refused(*await attack(KerberosCase(kind=kind, policy=policy)))


@pytest.mark.parametrize(
    ("policy", "refused"), [(None, False), (P.WHEN_SUPPORTED, False), (P.WHEN_ADVERTISED, False), (P.ALWAYS, True)]
)
async def test_a_victim_that_binds_nothing_is_protected_by_always_alone(
    policy: BindingPolicy | None, *, refused: bool
) -> None:
    """It does not claim to support bindings either (AD 143)."""
    victim, server = await attack(KerberosCase(policy=policy, binds=False))
    if refused:
        _refused(victim, server)
    else:
        assert isinstance(server, NegotiateStream)
        assert not server.extra(SecurityAttribute.bound)


@pytest.mark.parametrize("kind", ["tls-server-end-point", "tls-exporter"])
async def test_without_anybody_in_between_the_strictest_policy_admits(kind: str) -> None:
    case = KerberosCase(kind=kind, policy=P.ALWAYS)
    client_end, server_end = await tcp_pair()
    seen: list[tuple[bool, str]] = []

    async def end(stream: NegotiateStream) -> None:
        async with stream:
            seen.append((stream.extra(SecurityAttribute.bound), stream.extra(SecurityAttribute.peer).name))

    async with anyio.create_task_group() as group:

        async def connect() -> None:
            await end(await case.connect(client_end, "server.example"))

        async def accept() -> None:
            await end(await case.accept(server_end))

        group.start_soon(connect)
        group.start_soon(accept)
    assert sorted(seen) == [(True, "alice"), (True, "host/server.example")]


async def test_over_plain_tcp_a_relay_carries_what_it_neither_reads_nor_alters() -> None:
    async def then(relay: Relay, victim: Result, server: Result) -> None:
        assert isinstance(victim, NegotiateStream)
        assert isinstance(server, NegotiateStream)
        await victim.send(b"secret")
        assert await server.receive() == b"secret"
        await anyio.wait_all_tasks_blocked()
        await relay.far.send((60).to_bytes(4, "little") + bytes(60))  # a frame of his own making
        with pytest.raises(SecureStreamError):
            await server.receive()

    await attack(KerberosCase(tls=False), then)


async def test_a_ticket_for_another_service_is_refused_by_its_name() -> None:
    """Even where both services share a key, as those of one account do."""
    victim, server = await attack(KerberosCase(tls=False, name=MIDDLE_NAME))
    assert isinstance(server, TargetUnknown)
    assert isinstance(victim, PeerRefused)
    assert victim.kind in (ErrorKind.TARGET_UNKNOWN, ErrorKind.WRONG_PRINCIPAL)


@pytest.mark.parametrize("level", list(Protection))
async def test_streams_carry_data_at_every_level(level: Protection) -> None:
    case = replace(KerberosCase(tls=False), protection=level)
    client_end, server_end = await tcp_pair()
    got: list[bytes] = []

    async with anyio.create_task_group() as group:

        async def connect() -> None:
            async with await case.connect(client_end, "server.example") as stream:
                await stream.send(b"x" * 100_000)

        async def accept() -> None:
            async with await case.accept(server_end) as stream:
                while sum(map(len, got)) < 100_000:
                    got.append(await stream.receive())

        group.start_soon(connect)
        group.start_soon(accept)
    assert b"".join(got) == b"x" * 100_000
