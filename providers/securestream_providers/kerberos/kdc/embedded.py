"""A KDC inside a program, for its tests, its demonstrations, or its own realm."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from securestream.ambient import system_clock, system_random
from securestream.credentials import Keytab
from securestream.drive import Services
from securestream.errors import ServiceFailed, UsageError
from securestream.options import Clock, Random
from securestream_providers.kerberos.effects import KdcRequest, KdcService
from securestream_providers.kerberos.kdc.core import Kdc
from securestream_providers.kerberos.kdc.database_memory import MemoryPrincipals
from securestream_providers.kerberos.kdc.passwords import PasswordService
from securestream_providers.kerberos.kdc.policy import KdcPolicy
from securestream_providers.kerberos.kdc.principals import (
    DEFAULT_ETYPES,
    KdcPrincipal,
    PrincipalDatabase,
    StoredKey,
    own_principals,
    password_keys,
    random_keys,
)
from securestream_providers.kerberos.kdc.server import KdcServer, ServerLimits
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.keytab import write_keytab
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.tickets import KeytabEntry

SETTINGS = KdcPolicy(least_password=1)


class EmbeddedKdc:
    """A realm of one's own: principals in memory, a KDC and a password service on free ports of loopback.

    ``async with EmbeddedKdc("EXAMPLE.COM") as kdc: ...`` serves on asyncio and on trio. Without the ``async with`` it
    still answers: `services` performs what clients ask of it without sockets.

    Args:
        realm: the realm's name.
        clock: gives the present time; one's own makes tickets expire at will.
        random: for keys and confounders.
        policy: what is allowed.
        database: where principals are kept; it needs ``put``. `None`: in memory.
        host: the address to listen at.
        port: of the KDC; 0 lets the system choose.
        password_port: of the password service.
        https: the TLS configuration of an HTTPS proxy for Kerberos ([MS-KKDCP]); `None` for none.
        etypes: encryption types of new keys.
        limits: what is spent on strangers.
    """

    def __init__(
        self,
        realm: str = "EXAMPLE.COM",
        *,
        clock: Clock = system_clock,
        random: Random = system_random,
        policy: KdcPolicy = SETTINGS,
        database: PrincipalDatabase | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        password_port: int = 0,
        https: ssl.SSLContext | None = None,
        etypes: Sequence[int] = DEFAULT_ETYPES,
        limits: ServerLimits = ServerLimits(),  # noqa: B008  an immutable value
    ) -> None:
        self.realm = realm
        self.clock = clock
        self.etypes = tuple(etypes)
        self.database: PrincipalDatabase = MemoryPrincipals(random) if database is None else database
        self._random = random
        if self.database.find(tgs_name(realm)) is None:
            for principal in own_principals(realm, random):
                self.database.put(principal)
        self.kdc = Kdc(self.database, realm, random, policy)
        self.passwords = PasswordService(self.database, realm, random, policy)
        self._settings = {
            "host": host,
            "port": port,
            "password_port": password_port,
            "https": https,
            "limits": limits,
        }
        self._server: KdcServer | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.realm}, {'serving' if self._server else 'without sockets'}>"

    async def __aenter__(self) -> Self:
        settings: dict[str, Any] = self._settings
        server = KdcServer(self.kdc, self.passwords, clock=lambda: self.clock(), **settings)
        self._server = await server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        server, self._server = self.server, None
        return await server.__aexit__(kind, error, trace)

    @property
    def server(self) -> KdcServer:
        """The running server.

        Raises:
            UsageError: it does not run.
        """
        if self._server is None:
            raise UsageError("the KDC does not serve yet: use it in `async with`")
        return self._server

    # --- principals

    def name(self, name: str | KerberosName) -> KerberosName:
        """A principal of this realm by its text."""
        return name if isinstance(name, KerberosName) else KerberosName.parse(name, self.realm)

    def add_principal(
        self,
        name: str | KerberosName,
        password: str | None = None,
        *,
        etypes: Sequence[int] | None = None,
        service: bool | None = None,
        **attributes: Any,
    ) -> KerberosName:
        """Add a principal, or exchange one.

        One that is exchanged is the same account with other keys: it keeps its SID, and its tickets. For another
        account of the same name, take the old one out of the database first.

        Args:
            name: ``alice``, ``HTTP/www.example.com``, with or without the realm.
            password: its password; `None` gives it random keys.
            etypes: of its keys; `None`: the KDC's.
            service: whether others get tickets for it in its key; `None`: if it has random keys, or two components.
            attributes: further fields of `KdcPrincipal`.
        """
        principal = self.name(name)
        kinds = self.etypes if etypes is None else tuple(etypes)
        if password is None:
            keys = random_keys(self._random, etypes=kinds)
        else:
            keys = password_keys(principal, password, etypes=kinds)
        if service is None:
            service = password is None or len(principal.components) > 1
        self.database.put(KdcPrincipal(principal, keys, service, **attributes))
        return principal

    def add_service(self, name: str | KerberosName, **attributes: Any) -> Keytab:
        """Add a service with random keys, and give its keytab; ``add_service("host/server.example.com")``."""
        principal = self.add_principal(name, **attributes)
        return self.keytab(principal)

    def trust(self, realm: str, password: str, *, inbound: bool = True, outbound: bool = True) -> None:
        """Share keys with another realm's KDC, made of one password at both ends.

        Args:
            realm: the other realm.
            password: the same there.
            inbound: its clients get tickets here.
            outbound: our clients get tickets there.
        """
        for asked, name in ((inbound, tgs_name(self.realm, realm)), (outbound, tgs_name(realm, self.realm))):
            if asked:
                self.add_principal(name, password, service=True)

    def change(self, name: str | KerberosName, **attributes: Any) -> None:
        """Change fields of a principal.

        Raises:
            UsageError: there is none of that name.
        """
        self.database.put(replace(self._existing(name), **attributes))

    def roll_keys(self, name: str | KerberosName, *, keep: int = 1) -> None:
        """Give a principal new random keys; `keep` earlier versions still open tickets that were made with them.

        Raises:
            UsageError: there is none of that name.
        """
        old = self._existing(name)
        etypes = [stored.key.etype for stored in old.keys if stored.kvno == old.kvno]
        self.database.put(replace(old, keys=rolled(old, random_keys(self._random, old.kvno + 1, etypes), keep)))

    def set_password(self, name: str | KerberosName, password: str) -> None:
        """Give a principal a new password.

        Raises:
            UsageError: there is none of that name.
        """
        old = self._existing(name)
        etypes = [stored.key.etype for stored in old.keys if stored.kvno == old.kvno]
        keys = password_keys(old.name, password, old.kvno + 1, etypes)
        self.database.put(replace(old, keys=keys, password_expires=None))

    def entries(self, *names: str | KerberosName) -> tuple[KeytabEntry, ...]:
        """The present and kept keys of principals, as a keytab holds them."""
        now = self.clock().replace(microsecond=0)
        return tuple(
            KeytabEntry(found.name, stored.kvno, stored.key, now)
            for found in (self._existing(name) for name in names)
            for stored in found.keys
        )

    def keytab(self, *names: str | KerberosName) -> Keytab:
        """The keytab of principals, as a credential."""
        return Keytab(octets=write_keytab(self.entries(*names)))

    def _existing(self, name: str | KerberosName) -> KdcPrincipal:
        principal = self.name(name)
        found = self.database.find(principal)
        if found is None:
            raise UsageError(f"there is no principal {principal}: add it first")
        return found

    # --- for clients

    @property
    def config(self) -> Krb5Config:
        """The configuration of clients of this realm: its addresses, no DNS."""
        kdcs: tuple[KdcAddress, ...] = ()
        passwords: tuple[KdcAddress, ...] = ()
        if self._server is not None:
            kdcs = (KdcAddress(self._server.host, self._server.port),)
            passwords = (KdcAddress(self._server.host, self._server.password_port),)
        return Krb5Config(
            default_realm=self.realm,
            realms={self.realm: RealmConfig(kdcs, passwords)},
            dns_lookup_kdc=False,
        )

    def krb5_conf(self, *others: EmbeddedKdc, **settings: object) -> str:
        """The same as a krb5.conf, for other people's programs.

        Args:
            others: further realms.
            settings: of [libdefaults].
        """
        defaults: dict[str, object] = {
            "default_realm": self.realm,
            "dns_lookup_realm": "false",
            "dns_lookup_kdc": "false",
            "dns_canonicalize_hostname": "false",
            "rdns": "false",
        }
        lines = ["[libdefaults]", *(f"    {name} = {value}" for name, value in (defaults | settings).items())]
        lines.append("[realms]")
        for kdc in (self, *others):
            server = kdc.server
            lines += [
                f"    {kdc.realm} = {{",
                f"        kdc = {_address(server.host, server.port)}",
                f"        kpasswd_server = {_address(server.host, server.password_port)}",
                "    }",
            ]
        return "\n".join(lines) + "\n"

    async def perform(self, effect: KdcRequest) -> bytes:
        """Perform a `KdcRequest` without sockets; see `services`.

        Raises:
            ServiceFailed: it is for another realm, or the KDC has nothing to say.
        """
        return self.answer(effect)

    def answer(self, effect: KdcRequest) -> bytes:
        """`perform` for blocking callers."""
        if effect.realm != self.realm:
            raise ServiceFailed(f"this is the KDC of {self.realm}, not of {effect.realm}")
        now = self.clock()
        if effect.service is KdcService.PASSWORD:
            reply = self.passwords.handle(effect.message, now=now, source="127.0.0.1", local="127.0.0.1")
        else:
            reply = self.kdc.handle(effect.message, now=now, source="127.0.0.1", stream=True)
        if reply is None:
            raise ServiceFailed(f"the KDC of {self.realm} does not answer")
        return reply

    def services(self) -> Services:
        """Services whose KDC is this one, without sockets; everything else is performed as usual."""
        services = Services()
        services.register(KdcRequest, self.perform, blocking=self.answer)
        return services


def rolled(old: KdcPrincipal, keys: tuple[StoredKey, ...], keep: int) -> tuple[StoredKey, ...]:
    """New keys, and those of the latest `keep` versions before them."""
    versions = sorted({stored.kvno for stored in old.keys}, reverse=True)[:keep] if keep else []
    return (*keys, *(stored for stored in old.keys if stored.kvno in versions))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
