"""`listen` tells at once what each of its clients would have met: a keytab, a store or a certificate that is absent."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from securestream.ambient import system_options
from securestream.cli.setup import check_acceptor
from securestream.credentials import Accounts, Certificate, Credential, Credentials, Keytab
from securestream.drive import Services
from securestream.errors import (
    HandshakeTimeout,
    NoCredentials,
    SecureStreamError,
    ServiceFailed,
    UsageError,
)
from securestream.options import BindingPolicy, Options, Role
from securestream.provider import Effect, Exchange, Handshake, SecurityPackage, Unusable
from securestream.rehearsal import rehearse_blocking
from securestream.streams._dial import connect_tcp
from securestream.streams.connect import connect, listen
from securestream_providers.credssp import CredSsp
from securestream_providers.kerberos import Kerberos
from securestream_providers.kerberos.effects import LoadKeytab
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.ports import free_port
from tests.streams.pairs import SERVER as PAIR
from tests.streams.test_listener import echo
from tests.streams.toy import ALICE, Toy

pytestmark = pytest.mark.anyio

SERVER = PAIR.credential
ABSENT = Keytab("/absent/keytab")
NOTHING = Certificate("/absent/server.pem")
ACCOUNTS = Accounts.memory(alice="correct horse")


@pytest.fixture(autouse=True)
def no_realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was never set up for Kerberos."""
    config = tmp_path / "krb5.conf"
    config.write_text("[libdefaults]\n dns_lookup_kdc = false\n", encoding="utf-8")
    monkeypatch.setenv("KRB5_CONFIG", str(config))
    monkeypatch.setenv("KRB5_KTNAME", "/absent/system.keytab")


CANNOT: list[tuple[SecurityPackage, Credential | None, type[SecureStreamError], str]] = [
    (Negotiate(), ABSENT, NoCredentials, "there is no keytab /absent/keytab"),
    (Negotiate(), Credentials(ABSENT, ACCOUNTS), NoCredentials, "there is no keytab /absent/keytab"),
    (Negotiate(), None, NoCredentials, "there is no keytab /absent/system.keytab"),
    (Kerberos(), ABSENT, NoCredentials, "there is no keytab /absent/keytab"),
    (Kerberos(), None, NoCredentials, "there is no keytab /absent/system.keytab"),
    (Schannel(), NOTHING, UsageError, "/absent/server.pem cannot be read"),
    (CredSsp(), Credentials(NOTHING, ACCOUNTS), UsageError, "/absent/server.pem cannot be read"),
    (CredSsp(), Credentials(SERVER, ABSENT), NoCredentials, "there is no keytab /absent/keytab"),
    (CredSsp(Kerberos()), Credentials(SERVER, ABSENT), NoCredentials, "there is no keytab /absent/keytab"),
]
by_what_is_absent = pytest.mark.parametrize(("package", "credential", "error", "sentence"), CANNOT)


@by_what_is_absent
async def test_a_server_that_could_serve_nobody_does_not_listen(
    package: SecurityPackage, credential: Credential | None, error: type[SecureStreamError], sentence: str
) -> None:
    port = free_port()
    with pytest.raises(error, match=sentence):
        await listen("127.0.0.1", port, package=package, credential=credential)
    with pytest.raises(OSError, match="cannot connect"):
        await connect_tcp("127.0.0.1", port)


@by_what_is_absent
def test_the_command_line_and_listen_rehearse_alike(
    package: SecurityPackage, credential: Credential | None, error: type[SecureStreamError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        check_acceptor(package, credential)
    with pytest.raises(error, match=sentence):
        rehearse_blocking(package, credential, system_options())


def test_a_store_that_is_absent_is_told_where_it_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        Accounts.smbpasswd("/absent/smbpasswd")
    with pytest.raises(ServiceFailed, match=r"/absent/accounts\.db cannot be opened"):
        Accounts.sqlite("/absent/accounts.db")


class Anybody(Toy):
    """A package that needs no credential."""

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return None if credential is None else Unusable("it takes nothing")

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        return super().accept(ALICE, options)

    @property
    def info(self) -> Any:
        return replace(super().info, oids=("1.3.6.1.4.1.311.0.1",))


CAN: list[Callable[[], tuple[SecurityPackage, Credential | None]]] = [
    lambda: (Negotiate(), ACCOUNTS),  # Kerberos cannot be used with them, and is passed over
    lambda: (Negotiate(Kerberos(), Anybody()), None),  # who has no keytab still has the other mechanism
    lambda: (CredSsp(), Credentials(SERVER, ACCOUNTS)),
    lambda: (Schannel(), SERVER),
    lambda: (Schannel(_context()), None),
    lambda: (Kerberos(), ALICE),  # for user-to-user: nothing is asked of a KDC before a client comes
]


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.mark.parametrize("make", CAN)
async def test_a_server_that_can_serve_somebody_listens(
    make: Callable[[], tuple[SecurityPackage, Credential | None]],
) -> None:
    package, credential = make()
    async with await listen("127.0.0.1", 0, package=package, credential=credential):
        check_acceptor(package, credential)


async def test_bindings_that_are_the_outer_packages_to_give_are_not_missed() -> None:
    serving = Credentials(SERVER, ACCOUNTS)
    policy = BindingPolicy.ALWAYS
    async with await listen("127.0.0.1", 0, package=CredSsp(), credential=serving, binding_policy=policy):
        pass
    with pytest.raises(UsageError, match=r"BindingPolicy\.ALWAYS needs"):
        await listen("127.0.0.1", 0, package=Negotiate(Ntlm()), credential=ACCOUNTS, binding_policy=policy)


@dataclass(frozen=True, repr=False)
class Ask(Effect[str]):
    """What others are asked before the first token."""


class Asking(Toy):
    """An acceptor whose first effect loads nothing."""

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        yield from Ask()
        return (yield from super().accept(credential, options))


async def test_nothing_is_asked_of_others_before_a_client_comes() -> None:
    asked: list[Ask] = []
    services = Services()

    async def answer(effect: Ask) -> str:
        asked.append(effect)
        return "yes"

    services.register(Ask, answer)
    async with (
        await listen("127.0.0.1", 0, package=Asking(), credential=ALICE, services=services) as listener,
        anyio.create_task_group() as group,
    ):
        assert not asked
        group.start_soon(listener.serve, echo)
        with anyio.fail_after(10):
            async with await connect("127.0.0.1", listener.port, package=Toy(), credential=ALICE):
                assert len(asked) == 1
        group.cancel_scope.cancel()


async def test_what_loads_is_performed_by_the_servers_own_services() -> None:
    loaded: list[LoadKeytab] = []
    services = Services()

    async def load(effect: LoadKeytab) -> tuple[Any, ...]:
        loaded.append(effect)
        return ()

    services.register(LoadKeytab, load)
    async with await listen("127.0.0.1", 0, credential=ABSENT, package=Negotiate(), services=services):
        assert [effect.credential for effect in loaded] == [ABSENT]


async def test_loading_has_the_time_of_a_handshake() -> None:
    services = Services()

    async def load(effect: LoadKeytab) -> tuple[Any, ...]:
        await anyio.sleep(30)
        return ()

    services.register(LoadKeytab, load)
    with pytest.raises(HandshakeTimeout, match=r"within 0\.05 seconds"):
        await listen("127.0.0.1", 0, package=Kerberos(), credential=ABSENT, services=services, handshake_timeout=0.05)


class Speaking(Toy):
    """An acceptor that speaks first."""

    closed = 0

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        try:
            yield from Exchange(b"greetings")
        finally:
            Speaking.closed += 1
        raise AssertionError("nobody answers a rehearsal")


async def test_a_rehearsal_ends_with_the_first_token() -> None:
    before = Speaking.closed
    async with await listen("127.0.0.1", 0, package=Speaking(), credential=ALICE):
        assert Speaking.closed == before + 1
