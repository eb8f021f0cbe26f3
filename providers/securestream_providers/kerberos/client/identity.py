"""As whom: the principal of a credential and its long-term keys; and which principal a target's name means."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, Final

from securestream.credentials import Credential, CredentialCache, Keytab, Password, find_form
from securestream.errors import ErrorKind, HandshakeError, NoAuthorityKnown, NoCredentials, TargetUnknown, UsageError
from securestream.provider import Effect, TargetName
from securestream_providers.kerberos.client.keys import KeytabKeys, LongTermKeys, PasswordKeys
from securestream_providers.kerberos.client.settings import ClientSettings
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.effects import LoadKeytab
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import NameType

_LONGEST_NAME: Final = 1024
_MARSHALLED: Final = "1uwhrc"
"""How credential target information begins that Windows marshals into a name, in small letters (CVE-2025-33073)."""


def client_name(credential: Password, settings: ClientSettings) -> KerberosName:
    r"""The principal of a password: of ``user@REALM``, of ``REALM\user``, or in the default realm.

    Raises:
        NoAuthorityKnown: there is no realm.
    """
    default = settings.config.default_realm
    if settings.enterprise:
        realm = credential.domain.upper() or default
        return _in_a_realm(KerberosName(realm, (credential.user,), NameType.ENTERPRISE))
    if credential.domain:
        return KerberosName.parse(credential.user, _configured(settings.config, credential.domain))
    name, separator, realm = credential.user.rpartition("@")
    if not separator or name.endswith("\\"):
        return _in_a_realm(KerberosName.parse(credential.user, default))
    if "@" in name:  # what stands before the last @ is the name, with its own @ in it
        return _in_a_realm(KerberosName(realm, (name,)))
    return _in_a_realm(KerberosName.parse(name, realm))


def _configured(config: Krb5Config, domain: str) -> str:
    return domain if domain in config.realms else domain.upper()


def _in_a_realm(name: KerberosName) -> KerberosName:
    if not name.realm:
        raise NoAuthorityKnown(f"{name} has no realm: write {name}@REALM, or set default_realm in krb5.conf")
    return name


def tell_default_realm(error: HandshakeError, credential: Credential | None, settings: ClientSettings) -> None:
    """Have an error say whose word its realm is, where the user wrote none: perhaps nobody ever chose it.

    Args:
        error: what came of asking that realm's KDCs.
        credential: the user's.
        settings: how they were asked.
    """
    config, form = settings.config, client_form(credential)
    if not isinstance(form, Password) or not config.default_realm_from:
        return
    try:
        client_name(form, replace(settings, config=replace(config, default_realm="")))
    except NoAuthorityKnown:
        error.args = (f"{error} ({config.default_realm} is the {config.default_realm_from})",)


def client_form(credential: Credential | None) -> Credential | None:
    """The form of an identity that a client uses, which is the first that it can, or `None`: the default cache."""
    return find_form(credential, Password, Keytab, CredentialCache, Tickets)


def long_term(
    credential: Credential | None, settings: ClientSettings
) -> Generator[Effect[Any], Any, tuple[KerberosName, LongTermKeys] | None]:
    """The principal and the keys of a password or keytab; `None` for other credentials.

    Raises:
        NoAuthorityKnown: there is no realm.
        NoCredentials: there is no key of that principal.
    """
    form = client_form(credential)
    if isinstance(form, Password):
        return client_name(form, settings), PasswordKeys(form.password)
    if not isinstance(form, Keytab):
        return None
    entries = yield from LoadKeytab(form, settings.config, initiating=True)
    if not entries:
        raise NoCredentials("the keytab is empty; add a key (ktadd)")
    if form.principal is None:
        name = entries[0].principal
    else:
        name = _in_a_realm(
            KerberosName.parse(form.principal, settings.config.default_realm or entries[0].principal.realm)
        )
    own = tuple(entry for entry in entries if entry.principal == name)
    if not own:
        raise NoCredentials(f"the keytab has no key of {name}; klist -k shows whose it has")
    return name, KeytabKeys(own)


def service_name(target: KerberosName | TargetName | str, config: Krb5Config) -> KerberosName:
    """The principal of a target: ``class/host``, ``class/host/name``, a host, each also with ``@REALM``.

    The name is used as the caller typed it; DNS is not asked. The realm is that of ``@REALM`` or of [domain_realm],
    else empty: referrals find it.

    Raises:
        TargetUnknown: the name has data marshalled into it, or cannot be a service's name.
    """
    if isinstance(target, KerberosName):
        return target
    text = str(target)
    if len(text) > _LONGEST_NAME or not text.isprintable():
        raise TargetUnknown("the target is no name of a service; give class/host, such as HTTP/web.example.com")
    try:
        name = KerberosName.parse(text)
    except UsageError as problem:
        raise TargetUnknown(f"the target is no name of a service: {problem}") from problem
    if any(_MARSHALLED in part.casefold() for part in name.components):
        raise TargetUnknown(
            f"the target {text!r} has marshalled data in its name and is refused; give the plain name",
            kind=ErrorKind.WRONG_PRINCIPAL,  # no other mechanism is to be tried with it
        )
    parts = name.components if len(name.components) > 1 else ("host", *name.components)
    if not all(parts):
        raise TargetUnknown(f"the target {text!r} lacks a part; give class/host, such as HTTP/web.example.com")
    realm = name.realm or ("" if parts[0] == "krbtgt" else realm_of_host(config, parts[1]))
    return KerberosName(realm, parts, NameType.SRV_INST if parts[0] == "krbtgt" else NameType.SRV_HST)


def realm_of_host(config: Krb5Config, host: str) -> str:
    """The realm of a host by [domain_realm]: its own entry, else the nearest domain's; empty where there is none."""
    rest = host.lower().rstrip(".")
    while rest:
        found = config.domain_realm.get(rest)
        if found is not None:
            return found
        # "a.b.c" is followed by ".b.c", that by "b.c"
        rest = rest[1:] if rest.startswith(".") else rest[rest.find(".") :] if "." in rest else ""
    return ""
