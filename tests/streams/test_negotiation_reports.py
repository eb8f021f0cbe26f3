"""Over streams, too, a session of NTLM and every failure tell what became of each mechanism."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from securestream import SecureStream, connect, listen
from securestream.credentials import Accounts, Credential, Credentials, Password
from securestream.errors import ErrorKind, NoCommonMechanism, PeerRefused, SecureStreamError
from securestream.negotiation import Negotiation, Verdict
from securestream.streams.attributes import SecurityAttribute
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

pytestmark = pytest.mark.anyio

REALM = "CORP.EXAMPLE"
SPN = "host/files.corp.example"
PASSWORD = "correct horse"
ACCOUNTS = Accounts.memory(alice=PASSWORD)
NOWHERE = Krb5Config(dns_lookup_kdc=False)


@asynccontextmanager
async def corp() -> AsyncGenerator[EmbeddedKdc]:
    """The realm, on loopback."""
    async with EmbeddedKdc(REALM) as kdc:
        kdc.add_principal("alice", PASSWORD)
        kdc.add_service(SPN)
        yield kdc


async def met(
    client: Negotiate, credential: Credential, accepting: Credential, *, config: Krb5Config = NOWHERE, target: str = SPN
) -> Negotiation | SecureStreamError:
    """What the client's stream tells, or what it raised."""
    server = Negotiate(Kerberos(config=config), Ntlm())

    async def echo(stream: SecureStream) -> None:
        async for data in stream:
            await stream.send(data)

    async with (
        await listen("127.0.0.1", 0, package=server, credential=accepting) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        try:
            stream = await connect("127.0.0.1", listener.port, package=client, credential=credential, target=target)
            async with stream:
                await stream.send(b"data")
                assert await stream.receive() == b"data"
                return stream.extra(SecurityAttribute.negotiation)
        except SecureStreamError as error:
            return error
        finally:
            tasks.cancel_scope.cancel()
    raise AssertionError("the task group was cancelled from outside")


async def test_kerberos_where_there_is_a_realm() -> None:
    async with corp() as kdc:
        client = Negotiate(Kerberos(config=kdc.config), Ntlm())
        both = Credentials(kdc.keytab(SPN), ACCOUNTS)
        told = await met(client, Password("alice", PASSWORD), both, config=kdc.config)
    assert isinstance(told, Negotiation)
    assert told.chosen is not None
    assert told.chosen.mechanism == "Kerberos"
    assert "no KDC is known" in told.reason_against("NTLM")


async def test_ntlm_where_nobody_is_known() -> None:
    told = await met(Negotiate(Kerberos(config=NOWHERE), Ntlm()), Password("alice", PASSWORD), ACCOUNTS)
    assert isinstance(told, Negotiation)
    assert [(one.mechanism, one.verdict) for one in told.mechanisms] == [
        ("Kerberos", Verdict.PASSED_OVER),
        ("NTLM", Verdict.CHOSEN),
    ]
    assert told.reason_against("Kerberos").startswith("alice has no realm")


async def test_an_unknown_service_is_named_where_ntlm_is_always_allowed() -> None:
    async with corp() as kdc:
        client = Negotiate(Kerberos(config=kdc.config), Ntlm(), ntlm="always")
        told = await met(client, Password("alice", PASSWORD), ACCOUNTS, target="host/other.corp.example")
    assert isinstance(told, Negotiation)
    assert f"does not know the service host/other.corp.example@{REALM}" in told.reason_against("Kerberos")


async def test_nothing_left_names_every_reason() -> None:
    async with corp() as kdc:
        client = Negotiate(Kerberos(config=kdc.config), Ntlm())
        told = await met(client, Password("alice", PASSWORD), ACCOUNTS, target="host/other.corp.example")
    assert isinstance(told, NoCommonMechanism)
    assert told.kind is ErrorKind.TARGET_UNKNOWN
    assert re.search(rf"Kerberos: .*host/other\.corp\.example@{REALM}.*; NTLM: .*no KDC is known", str(told))
    assert told.negotiation is not None
    assert told.negotiation.chosen is None


async def test_a_servers_refusal_says_what_was_not_offered() -> None:
    async with corp() as kdc:
        client = Negotiate(Kerberos(config=kdc.config), Ntlm())
        told = await met(client, Password("alice", PASSWORD), ACCOUNTS)
    assert isinstance(told, PeerRefused)
    assert "not offered: NTLM: it stands in for Kerberos only where no KDC is known" in str(told)
    assert told.negotiation is not None
    assert told.negotiation.offered == (Kerberos().info.oids[0],)


async def test_a_wrong_password_tells_why_ntlm_refused_it() -> None:
    told = await met(Negotiate(Kerberos(config=NOWHERE), Ntlm()), Password("alice", "wrong"), ACCOUNTS)
    assert isinstance(told, PeerRefused)
    assert told.kind is ErrorKind.LOGON_DENIED
    assert told.negotiation is not None
    assert told.negotiation.reason_against("Kerberos").startswith("alice has no realm")
