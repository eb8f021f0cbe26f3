"""Principals as a KDC knows them, and what a store of them offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from securestream.options import Random
from securestream.redaction import Redacted
from securestream_providers.kerberos.kdc.policy import Lockout
from securestream_providers.krb5.keys import Key, random_key, string_to_key
from securestream_providers.krb5.names import KerberosName, tgs_name
from securestream_providers.krb5.numbers import NameType
from securestream_providers.krb5.preauth import default_salt

DEFAULT_ETYPES: Final = (18, 17, 20, 19)
"""Encryption types of new keys."""

FIRST_RID: Final = 1000
"""The relative identifier of the first principal of a store ([MS-SAMR] keeps lower ones for built-in accounts)."""


@dataclass(frozen=True, repr=False)
class StoredKey(Redacted):
    """A key of a principal.

    Args:
        kvno: its version.
        key: the key.
        salt: with which a password makes it; `None` for a random key, or one without salt.
    """

    kvno: int
    key: Key
    salt: str | None = None


@dataclass(frozen=True, repr=False)
class KdcPrincipal(Redacted):
    """A principal, with its keys and what it may do.

    Args:
        name: with the realm.
        keys: the newest version first; older ones open tickets that were issued with them.
        service: others may get tickets for it in its key. Users have no such tickets, for these are made to guess
            their passwords with: user-to-user serves them.
        disabled: gets no ticket, and nobody gets one for it.
        requires_preauth: gets no ticket before it proved its key.
        as_only: tickets for it come from the AS alone, never for a TGT (kadmin/changepw).
        forwardable: may get forwardable tickets.
        proxiable: may get proxiable tickets.
        renewable: may get renewable tickets.
        not_delegated: no service may act in its name towards another.
        ok_as_delegate: clients may delegate to this service.
        trusted_to_auth: S4U2self gives this service forwardable tickets ([MS-SFU] 3.2.5.1.2).
        delegate_to: names (without realm) of services that this one may ask for in a user's name (S4U2proxy).
        delegate_from: names of services that may ask for this one in a user's name (resource-based).
        max_life: of its tickets; `None`: the policy's.
        max_renew: likewise.
        expires: when the principal ends.
        password_expires: when its password must be changed.
        aliases: further names, found when canonicalisation is asked for, and enterprise names.
        rid: relative identifier for the SID in PACs; 0 gets one of the store.
        groups: relative identifiers of its groups.
    """

    name: KerberosName
    keys: tuple[StoredKey, ...] = ()
    service: bool = False
    disabled: bool = False
    requires_preauth: bool = True
    as_only: bool = False
    forwardable: bool = True
    proxiable: bool = True
    renewable: bool = True
    not_delegated: bool = False
    ok_as_delegate: bool = False
    trusted_to_auth: bool = False
    delegate_to: tuple[str, ...] = ()
    delegate_from: tuple[str, ...] = ()
    max_life: timedelta | None = None
    max_renew: timedelta | None = None
    expires: datetime | None = None
    password_expires: datetime | None = None
    aliases: tuple[str, ...] = ()
    rid: int = 0
    groups: tuple[int, ...] = (513,)

    @property
    def kvno(self) -> int:
        """The newest version of its keys; 0 without keys."""
        return max((stored.kvno for stored in self.keys), default=0)

    def current(self, etypes: Sequence[int]) -> tuple[StoredKey, ...]:
        """The keys of the newest version whose types are among `etypes`, in their order."""
        newest = self.kvno
        found = {stored.key.etype: stored for stored in self.keys if stored.kvno == newest}
        return tuple(found[etype] for etype in etypes if etype in found)

    def of_version(self, kvno: int | None, etype: int) -> tuple[Key, ...]:
        """The keys that may open a ticket: of its version and type, all of its type where it names none."""
        return tuple(
            stored.key for stored in self.keys if stored.key.etype == etype and (not kvno or stored.kvno == kvno)
        )


@dataclass(frozen=True)
class Activity:
    """What a store knows of a principal's logons.

    Args:
        locked_until: until when it is locked, if it is.
        last_success: when it last proved its key.
    """

    locked_until: datetime | None = None
    last_success: datetime | None = None


class PrincipalDatabase(Protocol):
    """Where a KDC looks principals up. Several threads may use it."""

    @property
    def blocking(self) -> bool:
        """Whether its calls may wait for a disk or a network: the server then makes them in threads."""
        ...

    @property
    def domain_sid(self) -> str:
        """The SID of the realm, of which PACs speak."""
        ...

    def find(self, name: KerberosName) -> KdcPrincipal | None:
        """The principal of exactly this name, or `None`."""
        ...

    def find_alias(self, alias: str) -> KdcPrincipal | None:
        """The principal with this alias (the text of a name without realm, or an enterprise name), or `None`."""
        ...

    def begin_attempt(self, name: KerberosName, now: datetime, lockout: Lockout | None) -> bool:
        """Count an attempt as failed, in one atomic step, before it is judged; False while the principal is locked."""
        ...

    def attempt_succeeded(self, name: KerberosName, now: datetime) -> None:
        """Forget the failures of a principal who proved its key."""
        ...

    def activity(self, name: KerberosName, now: datetime) -> Activity:
        """What is known of its logons."""
        ...

    def put(self, principal: KdcPrincipal) -> None:
        """Store a new principal, or exchange the one of its name."""
        ...


def password_keys(
    name: KerberosName, password: str, kvno: int = 1, etypes: Sequence[int] = DEFAULT_ETYPES
) -> tuple[StoredKey, ...]:
    """The keys of a password, with the default salt (expensive: some 50 ms)."""
    salt = default_salt(name)
    return tuple(StoredKey(kvno, string_to_key(etype, password, salt), salt) for etype in etypes)


def random_keys(random: Random, kvno: int = 1, etypes: Sequence[int] = DEFAULT_ETYPES) -> tuple[StoredKey, ...]:
    """Fresh random keys."""
    return tuple(StoredKey(kvno, random_key(etype, random)) for etype in etypes)


def changepw_name(realm: str) -> KerberosName:
    """The password service of a realm."""
    return KerberosName(realm, ("kadmin", "changepw"), NameType.SRV_INST)


def own_principals(realm: str, random: Random) -> tuple[KdcPrincipal, ...]:
    """What every realm needs: its ticket-granting service and its password service, with random keys."""
    return (
        KdcPrincipal(tgs_name(realm), random_keys(random), service=True),
        KdcPrincipal(
            changepw_name(realm),
            random_keys(random),
            service=True,
            as_only=True,
            max_life=timedelta(minutes=5),
            forwardable=False,
            proxiable=False,
            renewable=False,
        ),
    )
