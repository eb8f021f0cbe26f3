"""From arguments to a package, a credential and a level: what both ends of a connection are made of."""

from __future__ import annotations

import inspect
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from securestream.ambient import system_options
from securestream.cli.passwords import read_password
from securestream.credentials import (
    Accounts,
    Certificate,
    Credential,
    CredentialCache,
    Credentials,
    Keytab,
    Password,
)
from securestream.errors import UsageError
from securestream.extensions import Composed, Discouraged, Negotiating
from securestream.options import Protection, Role
from securestream.provider import Capability, SecurityPackage, Unusable
from securestream.redaction import Secret
from securestream.registry import Registry
from securestream.rehearsal import rehearse_blocking

LEVEL_OF = {"none": Protection.NONE, "sign": Protection.SIGN, "encrypt": Protection.ENCRYPT_AND_SIGN}
NAME_OF = {level: name for name, level in LEVEL_OF.items()}
SENTENCE_OF = {
    Protection.NONE: "not protected",
    Protection.SIGN: "signed",
    Protection.ENCRYPT_AND_SIGN: "encrypted and signed",
}

SMBPASSWD = "smbpasswd:"

_SASL, _SERVICES, _REALMS = "sasl", "services", "realms"
"""Arguments of a package that carries a SASL mechanism, and of such a mechanism."""


def is_record_package(package: SecurityPackage) -> bool:
    """Whether the package's channel is a record connection (TLS) rather than sealed frames."""
    return Capability.STREAM in package.info.capabilities


def package_of(asked: Namespace, role: Role, registry: Registry | None = None) -> SecurityPackage:
    """The package that was asked for, with the arguments that the command line has for it.

    Where it negotiates, each of its mechanisms gets those that it takes; so do packages that work inside another.

    Raises:
        UsageError: there is no such package, or nothing takes one of the arguments.
    """
    package = (Registry.installed() if registry is None else registry)[asked.package]
    if is_record_package(package):
        _check_record_arguments(asked)
    elif asked.framing == "raw":
        raise UsageError(f"tokens of {package.info.name} need --framing nns: nothing on a raw wire says where one ends")
    said = _said(asked, role)
    if role is Role.INITIATOR and "delegate_to" in _parameters(package) and not asked.delegate:
        raise UsageError(
            f"{package.info.name} hands your password to the server: name who may have it, --delegate HOST"
        )
    carried: frozenset[str] = frozenset()
    if _SASL in _parameters(package):
        mechanism, carried = _mechanism(asked, package, role, said)
        said.append(Said("--sasl", {_SASL: mechanism}))
    elif asked.sasl is not None:
        raise UsageError(f"--sasl means nothing to {package.info.name}: leave it out")
    configured, taken = _assembled(package, said)
    for one in said:
        if one.arguments.keys().isdisjoint(taken | carried):
            raise UsageError(f"{one.option} means nothing to {package.info.name}: leave it out")
    return configured


class Said(NamedTuple):
    """What one option says of packages.

    Args:
        option: as it is typed.
        arguments: what it says, by every name that a class of a package may have for it: each gets those that it takes.
    """

    option: str
    arguments: Mapping[str, Any]


def _said(asked: Namespace, role: Role) -> list[Said]:
    """All that was said of packages. What stands by itself must be taken by somebody."""
    said: list[Said] = []
    if asked.ca is not None:
        said.append(Said("--ca", {"trust": asked.ca}))
        if role is Role.ACCEPTOR:
            said.append(Said("--ca", {"client_certificates": "required"}))
    if role is Role.ACCEPTOR and asked.ntlm_mic != "required":
        said.append(Said("--ntlm-mic", {"mic": asked.ntlm_mic}))
    if role is Role.ACCEPTOR and asked.service:
        said.append(Said("--service", {"served": tuple(asked.service), _SERVICES: tuple(asked.service)}))
    if asked.realm is not None:
        said.append(Said("--realm", {"realm": asked.realm, _REALMS: (asked.realm,)}))
    if asked.kdc:
        said.append(Said("--kdc", {"kdc": tuple(asked.kdc)}))
    if asked.ntlm is not None:
        said.append(Said("--ntlm", {"ntlm": asked.ntlm}))
    if role is Role.INITIATOR and asked.delegate:
        said.append(Said("--delegate", {"delegate_to": tuple(asked.delegate)}))
    return said


def _mechanism(
    asked: Namespace, package: SecurityPackage, role: Role, said: Sequence[Said]
) -> tuple[SecurityPackage, frozenset[str]]:
    """The SASL mechanism that `package` carries, with what it takes of what was said, and the names of that.

    Raises:
        UsageError: it was not named, there is none of that name, or a server lacks what it needs.
    """
    if asked.sasl is None:
        known = " or ".join(f"--sasl {one.info.name.lower()}{_but(one)}" for one in carried_by(package))
        raise UsageError(
            f"{package.info.name} carries a SASL mechanism, which must be named: {known or 'none is here'}"
        )
    from securestream.sasl.choice import find_mechanism  # only who names a mechanism needs them all

    named = find_mechanism(asked.sasl)
    if role is Role.ACCEPTOR:
        takes = _parameters(named)
        if _SERVICES in takes and not asked.service:
            raise UsageError(
                f"{named.info.name} has clients say which service they mean: give this server's names for it, "
                "--service CLASS/HOST, or CLASS alone"
            )
        if _REALMS in takes and asked.realm is None:
            raise UsageError(
                f"{named.info.name} verifies passwords by realm: give that of the accounts, --realm REALM, as in "
                "`accounts add --realm REALM`"
            )
    return _configured(named, said)


def _but(mechanism: SecurityPackage) -> str:
    warning = mechanism.warning if isinstance(mechanism, Discouraged) else None
    return "" if warning is None else f", but {warning}"


def carried_by(package: SecurityPackage) -> Iterator[SecurityPackage]:
    """The SASL mechanisms that `package` carries: it is asked about each that there is."""
    if _SASL not in _parameters(package):
        return
    from securestream.sasl.choice import ENTRY_POINTS, find_mechanism, mechanisms

    factory: Callable[..., SecurityPackage] = type(package)
    for name in (*mechanisms(), *(point.name for point in entry_points(group=ENTRY_POINTS))):
        try:
            mechanism = find_mechanism(name)
            factory(**{_SASL: mechanism})
        except UsageError:  # it cannot be loaded, or is none for this package
            continue
        yield mechanism


def warnings_of(package: SecurityPackage) -> list[str]:
    """Why `package`, or one inside it, should not be used; mostly nothing."""
    found = [package.warning] if isinstance(package, Discouraged) and package.warning else []
    inside: list[SecurityPackage] = list(package.parts.values()) if isinstance(package, Composed) else []
    if isinstance(package, Negotiating):
        inside += package.mechanisms
    return found + [warning for one in inside for warning in warnings_of(one)]


def _assembled(package: SecurityPackage, said: Sequence[Said]) -> tuple[SecurityPackage, frozenset[str]]:
    """`package` and those inside it, each with what it takes of what was said, and the names of all that was taken."""
    parts: Mapping[str, SecurityPackage] = package.parts if isinstance(package, Composed) else {}
    assembled = {name: _assembled(part, said) for name, part in parts.items()}
    inside = {name: part for name, (part, _) in assembled.items()}
    configured, taken = _configured(package, said, inside)
    taken = taken.union(*(own for _, own in assembled.values()))
    if isinstance(package, Negotiating):
        inner = [_configured(mechanism, said) for mechanism in package.mechanisms]
        taken = taken.union(*(own for _, own in inner))
        if isinstance(configured, Negotiating):
            configured = configured.with_mechanisms(*(mechanism for mechanism, _ in inner))
    return configured, taken


def _parameters(package: SecurityPackage) -> Mapping[str, inspect.Parameter]:
    """What the class of `package` takes."""
    factory: Callable[..., SecurityPackage] = type(package)
    return inspect.signature(factory).parameters


def _configured(
    package: SecurityPackage, said: Sequence[Said], inside: Mapping[str, SecurityPackage] | None = None
) -> tuple[SecurityPackage, frozenset[str]]:
    """`package` with what it takes of what was said, and the names of that; it is made anew over the packages `inside`.

    A package announces a factory without arguments; what configures its mechanism are arguments of its class.
    """
    factory: Callable[..., SecurityPackage] = type(package)
    known = _parameters(package)
    taken = {name: value for one in said for name, value in one.arguments.items() if name in known}
    return (factory(**(inside or {}), **taken) if taken or inside else package), frozenset(taken)


def _check_record_arguments(asked: Namespace) -> None:
    if asked.framing == "nns":
        raise UsageError(f"{asked.package} is its own framing: leave --framing out, or give raw")
    if asked.level != "encrypt":
        raise UsageError(f"{asked.package} always encrypts: leave --level out")


def level_of(asked: Namespace) -> Protection:
    """The protection that was asked for."""
    return LEVEL_OF[asked.level]


def server_credential(asked: Namespace, package: SecurityPackage) -> Credential | None:
    """The account store, the keytab, the tickets or the certificate with which a server verifies or proves.

    A package that negotiates takes accounts beside a keytab or tickets; one with packages inside takes what those do.

    Raises:
        UsageError: several were given of which one is of no use, or what was given is not there.
    """
    if isinstance(package, Composed):
        _check_one(asked, "keytab", "ccache", why="each says by itself who you are")
    elif isinstance(package, Negotiating):
        _check_one(asked, "accounts", "certificate", why="nothing that is negotiated uses a certificate")
        _check_one(asked, "certificate", "keytab", "ccache", why="each says by itself who you are")
    else:
        _check_one(asked, "accounts", "certificate", "keytab", "ccache", why="a listener runs one package")
    forms: list[Credential] = []
    if asked.keytab is not None:
        forms.append(Keytab(asked.keytab))
    if asked.ccache is not None:
        forms.append(CredentialCache(asked.ccache))
    if asked.accounts is not None:
        forms.append(_accounts(asked.accounts))
    if not forms or isinstance(package, Composed):
        own = _certificate(asked)
        forms += [] if own is None else [own]
    if not forms:
        return None
    return forms[0] if len(forms) == 1 else Credentials(*forms)


def _accounts(place: str) -> Accounts:
    if place.startswith(SMBPASSWD):
        return Accounts.smbpasswd(place.removeprefix(SMBPASSWD))
    from securestream.cli.accounts import open_store

    return Accounts(open_store(place))


def served_credential(asked: Namespace, package: SecurityPackage) -> Credential | None:
    """`server_credential`; where none was given and `package` serves with keytabs, the system's keytab.

    Raises:
        UsageError: as for `server_credential`.
    """
    credential = server_credential(asked, package)
    if credential is None and all(package.usable(one, Role.ACCEPTOR) is None for one in (None, Keytab())):
        return Keytab()
    return credential


def client_credential(asked: Namespace, package: SecurityPackage) -> Credential | None:
    """The password, the key, the tickets or the certificate with which a client proves who it is.

    For packages that work inside another, tickets and a certificate may stand beside the password.

    Returns:
        `None` for the package's default.

    Raises:
        UsageError: several were given, or there is no password.
    """
    if isinstance(package, Composed):
        return _composed_credential(asked)
    _check_one(asked, "user", "certificate", "ccache", why="each says by itself who you are")
    _check_one(asked, "keytab", "certificate", "ccache", why="each says by itself who you are")
    if asked.keytab is not None:
        return Keytab(asked.keytab, principal=asked.user)
    if asked.ccache is not None:
        return CredentialCache(asked.ccache)
    if asked.user is None:
        return _certificate(asked)
    return Password(asked.user, read_password(asked.user, asked.password_file))


def _composed_credential(asked: Namespace) -> Credential | None:
    """A password, and beside it what else proves who the client is."""
    _check_one(asked, "keytab", "ccache", why="each says by itself who you are")
    forms: list[Credential] = []
    if asked.keytab is not None:
        forms.append(Keytab(asked.keytab, principal=asked.user))
    if asked.ccache is not None:
        forms.append(CredentialCache(asked.ccache))
    if asked.user is not None:
        forms.append(Password(asked.user, read_password(asked.user, asked.password_file)))
    certificate = _certificate(asked) if asked.user is None or asked.certificate is None else _of_files(asked)
    if certificate is not None:
        forms.append(certificate)
    return Credentials(*forms) if forms else None


def _of_files(asked: Namespace) -> Certificate:
    """A certificate whose key is in clear, since the password that is given is that of ``--user``."""
    if _is_encrypted(asked.key or asked.certificate):
        raise UsageError("the one password that a command takes is that of --user: give a --key that is in clear")
    return Certificate(asked.certificate, asked.key)


def _check_one(asked: Namespace, *names: str, why: str) -> None:
    """Refuse two options of which each stands for itself."""
    given = [f"--{name}" for name in names if getattr(asked, name) is not None]
    if len(given) > 1:
        raise UsageError(f"give {given[0]} or {given[1]}, not both: {why}")


def check_acceptor(package: SecurityPackage, credential: Credential | None) -> None:
    """Refuse a credential that the package cannot use, and rehearse a handshake: what is absent is told at the start.

    Raises:
        UsageError: the package cannot use the credential.
        SecureStreamError, OSError: what else the first client would have met.
    """
    if unusable := package.usable(credential, Role.ACCEPTOR):
        raise UsageError(
            f"{package.info.name} cannot serve so: {_complaint(package, unusable, Role.ACCEPTOR, credential)}"
        )
    rehearse_blocking(package, credential, system_options())


def check_initiator(package: SecurityPackage, credential: Credential | None) -> None:
    """Refuse a credential that the package cannot use, before anything is connected to.

    Raises:
        UsageError: it cannot.
    """
    if unusable := package.usable(credential, Role.INITIATOR):
        raise UsageError(
            f"{package.info.name} cannot connect so: {_complaint(package, unusable, Role.INITIATOR, credential)}"
        )


def _complaint(package: SecurityPackage, unusable: Unusable, role: Role, credential: Credential | None) -> str:
    """Why, and with which options it would be otherwise: the package itself is asked about each.

    Where packages work inside another, what is there already counts, too.
    """
    beside = credential if isinstance(package, Composed) else None
    known: dict[str, Credential] = {
        "--certificate FILE --key FILE": Certificate("file"),
        "--keytab FILE": Keytab("file"),
        "--ccache NAME": CredentialCache("file"),
    }
    if role is Role.ACCEPTOR:
        known["--accounts FILE"] = Accounts.memory()
    else:
        known["--user NAME"] = Password("name", "")
    options = [option for option, more in known.items() if package.usable(_both(beside, more), role) is None]
    return f"{unusable.reason} ({' or '.join(options)})" if options else unusable.reason


def _both(one: Credential | None, other: Credential) -> Credential:
    if one is None:
        return other
    return Credentials(*(one if isinstance(one, Credentials) else (one,)), other)


def _certificate(asked: Namespace) -> Certificate | None:
    if asked.certificate is None:
        if asked.key is not None:
            raise UsageError("--key needs its certificate: give --certificate FILE")
        return None
    password = None
    if asked.password_file is not None or _is_encrypted(asked.key or asked.certificate):
        password = Secret(read_password(f"the key of {asked.certificate}", asked.password_file))
    return Certificate(asked.certificate, asked.key, password)


def _is_encrypted(path: str) -> bool:
    """Whether a PEM file says that its key is encrypted (RFC 7468 11, RFC 1421 4.6.1.1)."""
    with open(path, "rb") as file:
        text = file.read(1 << 20)
    return b"BEGIN ENCRYPTED PRIVATE KEY" in text or b"Proc-Type: 4,ENCRYPTED" in text
