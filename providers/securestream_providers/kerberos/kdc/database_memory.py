"""Principals in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from securestream.errors import UsageError
from securestream.options import Random
from securestream_providers.kerberos.kdc.policy import Lockout
from securestream_providers.kerberos.kdc.principals import FIRST_RID, Activity, KdcPrincipal
from securestream_providers.krb5.names import KerberosName


@dataclass
class _Attempts:
    failures: int = 0
    failed_at: datetime | None = None
    locked_until: datetime | None = None
    last_success: datetime | None = None


class MemoryPrincipals:
    """A store of principals that ends with the process.

    Args:
        random: for the realm's SID.
        principals: to begin with.
    """

    blocking = False

    def __init__(self, random: Random, principals: Iterable[KdcPrincipal] = ()) -> None:
        self.domain_sid = new_domain_sid(random)
        self._principals: dict[KerberosName, KdcPrincipal] = {}
        self._aliases: dict[str, KerberosName] = {}
        self._attempts: dict[KerberosName, _Attempts] = {}
        self._lock = threading.Lock()
        self._next_rid = FIRST_RID
        for principal in principals:
            self.put(principal)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._principals)}>"

    def find(self, name: KerberosName) -> KdcPrincipal | None:
        """The principal of exactly this name, or `None`."""
        return self._principals.get(name)

    def find_alias(self, alias: str) -> KdcPrincipal | None:
        """The principal with this alias, or `None`."""
        name = self._aliases.get(alias)
        return None if name is None else self._principals.get(name)

    def put(self, principal: KdcPrincipal) -> None:
        """Store a new principal, or exchange the one of its name.

        Raises:
            UsageError: one of its aliases belongs to another principal.
        """
        with self._lock:
            for alias in principal.aliases:
                if self._aliases.get(alias, principal.name) != principal.name:
                    raise UsageError(f"the alias {alias} belongs to {self._aliases[alias]}")
            old = self._principals.get(principal.name)
            if not principal.rid:
                rid = self._next_rid if old is None else old.rid
                principal = replace(principal, rid=rid)
            self._next_rid = max(self._next_rid, principal.rid + 1)
            for alias in old.aliases if old is not None else ():
                self._aliases.pop(alias, None)
            self._principals[principal.name] = principal
            self._aliases |= dict.fromkeys(principal.aliases, principal.name)

    def remove(self, name: KerberosName) -> None:
        """Remove a principal.

        Raises:
            UsageError: there is none of that name.
        """
        with self._lock:
            old = self._principals.pop(name, None)
            if old is None:
                raise UsageError(f"there is no principal {name}")
            self._attempts.pop(name, None)
            for alias in old.aliases:
                self._aliases.pop(alias, None)

    def listing(self) -> tuple[KdcPrincipal, ...]:
        """All principals, by name."""
        with self._lock:
            return tuple(sorted(self._principals.values(), key=lambda principal: str(principal.name)))

    def begin_attempt(self, name: KerberosName, now: datetime, lockout: Lockout | None) -> bool:
        """Count an attempt as failed before it is judged; False while the principal is locked."""
        with self._lock:
            if lockout is None or name not in self._principals:
                return True
            known = self._attempts.setdefault(name, _Attempts())
            if known.locked_until is not None and now < known.locked_until:
                return False
            if known.failed_at is None or now - known.failed_at > lockout.window:
                known.failures = 0
            known.failures += 1
            known.failed_at = now
            if known.failures >= lockout.failures:
                known.failures, known.locked_until = 0, now + lockout.duration
            return True

    def attempt_succeeded(self, name: KerberosName, now: datetime) -> None:
        """Forget the failures of a principal who proved its key."""
        with self._lock:
            if name in self._principals:
                self._attempts[name] = _Attempts(last_success=now)

    def activity(self, name: KerberosName, now: datetime) -> Activity:
        """What is known of its logons."""
        with self._lock:
            known = self._attempts.get(name)
            if known is None:
                return Activity()
            locked = known.locked_until
            return Activity(locked if locked is not None and now < locked else None, known.last_success)


def new_domain_sid(random: Random) -> str:
    """A random SID of a domain ([MS-DTYP] 2.4.2)."""
    parts = (str(int.from_bytes(random(4), "big")) for _ in range(3))
    return "S-1-5-21-" + "-".join(parts)
