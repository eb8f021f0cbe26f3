"""What a Kerberos end is configured with, allows and refuses: the arguments of the package."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal, cast

from securestream.arguments import check_choice, check_kind, check_sequence
from securestream.credentials import Credential, Keytab, find_form
from securestream.errors import UsageError
from securestream.options import ContextFlags, Options
from securestream.provider import Effect, TargetName
from securestream_providers.kerberos.client import ClientSettings, service_name
from securestream_providers.kerberos.effects import LoadConfiguration
from securestream_providers.kerberos.known_tickets import KnownTickets
from securestream_providers.krb5.config import KdcAddress, Krb5Config, RealmConfig
from securestream_providers.krb5.config_parser import parse_address
from securestream_providers.krb5.gss_checksum import GssFlag
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import EncryptionType
from securestream_providers.krb5.tickets import CachedTicket, KeytabEntry

WEAK: Final = {"rc4-hmac": EncryptionType.RC4_HMAC, "des3-cbc-sha1-kd": EncryptionType.DES3_CBC_SHA1_KD}
"""Encryption types that are used only where they are allowed by name."""
STRONG: Final = frozenset(EncryptionType) - frozenset(WEAK.values())
_PRIVATE: Final = frozenset(("krbtgt", "kadmin"))
"""First components of principals whose keys open tickets that are never for an application (SECURITY 15)."""

_NAMES_KEPT: Final = 256
_GIVEN: Final = "realm= of the package"
_READ_CONFIG: Final = (
    "name the file in KRB5_CONFIG instead, or read it by "
    "securestream_providers.kerberos.storage.configuration.load_configuration([path])"
)

GSS_FLAGS: Final = (
    (ContextFlags.MUTUAL, GssFlag.MUTUAL),
    (ContextFlags.REPLAY, GssFlag.REPLAY),
    (ContextFlags.SEQUENCE, GssFlag.SEQUENCE),
    (ContextFlags.CONFIDENTIALITY, GssFlag.CONFIDENTIALITY),
    (ContextFlags.INTEGRITY, GssFlag.INTEGRITY),
    (ContextFlags.DCE_STYLE, GssFlag.DCE_STYLE),
    (ContextFlags.IDENTIFY, GssFlag.IDENTIFY),
    (ContextFlags.EXTENDED_ERROR, GssFlag.EXTENDED_ERROR),
)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The arguments of `Kerberos`, which documents them, and what follows from them."""

    config: Krb5Config | None = None
    realm: str | None = None
    kdc: str | tuple[str, ...] | None = None
    weak: frozenset[str] | Iterable[str] = ()
    served: tuple[str, ...] = ()
    ignore_case: bool = True
    pac: Literal["checked", "required"] = "checked"
    checksum: Literal["required", "optional"] = "required"
    delegation: Literal["trusted", "always"] = "trusted"
    canonicalize: bool | None = None
    enterprise: bool = False
    armor: CachedTicket | None = None
    armor_policy: Literal["required", "offered"] = "required"
    allow_anonymous: bool = False
    _kept: dict[str, Any] = field(default_factory=dict[str, Any], init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weak = frozenset((self.weak,) if isinstance(self.weak, str) else self.weak)
        if unknown := weak - WEAK.keys():
            raise UsageError(f"weak takes some of {', '.join(WEAK)}, not {', '.join(sorted(unknown))}")
        object.__setattr__(self, "weak", weak)
        check_choice("pac", self.pac, ("checked", "required"))
        check_choice("checksum", self.checksum, ("required", "optional"))
        check_choice("delegation", self.delegation, ("trusted", "always"))
        check_choice("armor_policy", self.armor_policy, ("required", "offered"))
        check_sequence("served", self.served, '["HTTP/www.example.com"]')
        if self.config is not None:
            check_kind("config", self.config, Krb5Config, _READ_CONFIG)
        if self.kdc is not None and self.realm is None:
            raise UsageError("kdc= says where the KDCs of a realm are: give realm=, too")

    # --- configuration -----------------------------------------------------------------------------------------------

    def configuration(self) -> Generator[Effect[Any], Any, Krb5Config]:
        """The configuration: the one given, or the system's; in it realm and KDC as given."""
        config = self.config
        if config is None:
            config = yield from LoadConfiguration()
        if self.realm is None:
            return config
        kept = self._kept.get("config")
        if kept is None or kept[0] is not config:
            kept = self._kept["config"] = (config, self._with_realm(config, self.realm))
        return cast("Krb5Config", kept[1])

    def _with_realm(self, config: Krb5Config, realm: str) -> Krb5Config:
        given = (self.kdc,) if isinstance(self.kdc, str) else self.kdc or ()
        if not given:
            return replace(config, default_realm=realm, default_realm_from=_GIVEN)
        known = config.realms.get(realm, RealmConfig())
        changed = replace(known, kdcs=tuple(_address(text) for text in given))
        realms = {**config.realms, realm: changed}
        return replace(config, default_realm=realm, default_realm_from=_GIVEN, realms=realms)

    def etypes(self, config: Krb5Config) -> tuple[int, ...]:
        """The encryption types that are allowed, the preferred first."""
        kept: tuple[Krb5Config, tuple[int, ...]] | None = self._kept.get("etypes")
        if kept is None or kept[0] is not config:
            kept = self._kept["etypes"] = (config, self._etypes(config))
        return kept[1]

    def _etypes(self, config: Krb5Config) -> tuple[int, ...]:
        allowed = STRONG | {WEAK[name] for name in self.weak}
        named = tuple(etype for etype in config.permitted_etypes if etype in allowed)
        return named + tuple(WEAK[name] for name in sorted(self.weak) if WEAK[name] not in named)

    def settings(self, config: Krb5Config) -> ClientSettings:
        """How KDCs are asked."""
        kept = self._kept.get("settings")
        if kept is None or kept[0] is not config:
            settings = ClientSettings(
                config,
                etypes=self.etypes(config),
                canonicalize=self.canonicalize,
                enterprise=self.enterprise,
                armor=self.armor,
                armor_policy=self.armor_policy,
            )
            kept = self._kept["settings"] = (config, settings)
        return cast("ClientSettings", kept[1])

    def service_name(self, target: TargetName, config: Krb5Config) -> KerberosName:
        """The principal of a target; the names that were asked for last are kept.

        Raises:
            TargetUnknown: it is no name of a service.
        """
        kept: tuple[Krb5Config, dict[str, KerberosName]] | None = self._kept.get("names")
        if kept is None or kept[0] is not config:
            fresh: dict[str, KerberosName] = {}
            kept = self._kept["names"] = (config, fresh)
        names = kept[1]
        found = names.get(target)
        if found is None:
            if len(names) >= _NAMES_KEPT:
                names.clear()
            found = names[target] = service_name(target, config)
        return found

    # --- what an acceptor serves -------------------------------------------------------------------------------------

    def serves(self, name: KerberosName) -> bool:
        """Whether an acceptor answers to a principal (SECURITY 15); what is in its keytab is asked elsewhere."""
        if len(name.components) < 2 or name.components[0] in _PRIVATE:
            return False
        return not self.served or any(self._matches(KerberosName.parse(text), name) for text in self.served)

    def _matches(self, served: KerberosName, name: KerberosName) -> bool:
        if served.realm and served.realm != name.realm:
            return False
        own = served.components
        return self.folded(own) == self.folded(name.components[: len(own)]) and len(own) in (1, len(name.components))

    def folded(self, components: tuple[str, ...]) -> tuple[str, ...]:
        """Components for comparison: .NET asks for ``HOST/name``, and hosts are written in any case."""
        return tuple(part.casefold() for part in components) if self.ignore_case else components

    def unchanging(self, credential: Credential | None) -> tuple[KeytabEntry, ...] | None:
        """The entries of a keytab that was given as octets, once they were read: no file can change under it."""
        kept = self._kept.get("keys")
        form = find_form(credential, Keytab)
        if kept is None or kept[1] is not credential or form is None or form.octets is None:
            return None
        return cast("tuple[KeytabEntry, ...]", kept[0])

    def keys(self, entries: tuple[KeytabEntry, ...], credential: Credential | None) -> ServiceKeys:
        """The keys that an acceptor serves with, in order; kept as long as the keytab is the same."""
        kept = self._kept.get("keys")
        if kept is None or kept[0] is not entries or kept[1] is not credential:
            form = find_form(credential, Keytab)
            own = form.principal if form is not None else None
            only = None if own is None else KerberosName.parse(own)
            chosen = [entry for entry in entries if self.serves(entry.principal)]
            if only is not None:
                chosen = [entry for entry in chosen if self._matches(only, entry.principal)]
            kept = self._kept["keys"] = (entries, credential, ServiceKeys(self, tuple(chosen)))
        return cast("ServiceKeys", kept[2])


class ServiceKeys:
    """The keys of an acceptor, found by the name in a ticket.

    Args:
        policy: says how names are compared.
        entries: those that are served.

    Attributes:
        known: tickets that these keys opened.
    """

    __slots__ = ("_by_name", "_policy", "entries", "known")

    def __init__(self, policy: Policy, entries: tuple[KeytabEntry, ...]) -> None:
        self._policy = policy
        self.entries = entries
        self.known = KnownTickets()
        self._by_name: dict[tuple[str, tuple[str, ...]], list[KeytabEntry]] = {}
        for entry in entries:
            self._by_name.setdefault(self._index(entry.principal), []).append(entry)

    def _index(self, name: KerberosName) -> tuple[str, tuple[str, ...]]:
        return name.realm, self._policy.folded(name.components)

    def of(self, name: KerberosName) -> list[KeytabEntry] | None:
        """The keys of a principal, `None` where it is not served.

        A name that was served explicitly and has no keys of its own is an alias: any key of its realm may fit.
        """
        found = self._by_name.get(self._index(name))
        if found is not None:
            return found
        if self._policy.served and self._policy.serves(name):
            return [entry for entry in self.entries if entry.principal.realm == name.realm]
        return None


@lru_cache(maxsize=256)
def gss_flags(flags: ContextFlags) -> int:
    """Flags as an authenticator's checksum carries them."""
    return sum(octets for flag, octets in GSS_FLAGS if flag in flags)


@lru_cache(maxsize=256)  # each operation on members of an enum costs a microsecond
def context_flags(flags: int) -> ContextFlags:
    """Flags of an authenticator's checksum; delegation is shown by what came."""
    found = ContextFlags.NONE
    for flag, octets in GSS_FLAGS:
        if flags & octets:
            found |= flag
    return found


def lifetime_end(end: datetime, options: Options) -> datetime:
    """Until when a context lives: its ticket's end, with the skew that clocks are allowed."""
    return end + max(options.max_skew, timedelta(0))


def _address(text: str) -> KdcAddress:
    """Where a KDC is, as krb5.conf would say it."""
    try:
        return parse_address(text)
    except ValueError as wrong:
        raise UsageError(f"{text!r} is no address of a KDC: {wrong}") from None
