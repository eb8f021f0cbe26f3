"""Credentials: values that say as whom to initiate, or with what to verify."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from securestream.arguments import check_kind, check_secret, hidden, what_is
from securestream.errors import UsageError
from securestream.redaction import Redacted, Secret

if TYPE_CHECKING:
    from pathlib import Path

    from securestream.services.accounts import AccountStore

C = TypeVar("C", bound="Credential")


@dataclass(frozen=True, repr=False)
class Credential(Redacted):
    """Base of all credentials. Each is an immutable value; its `repr` shows no secret."""


def split_name(name: str) -> tuple[str, str]:
    r"""User and domain of ``DOMAIN\user``, of ``user@domain`` (left whole, as Windows does for a UPN), or of ``user``.

    Returns:
        The user and the domain; the domain is empty where the name has none or is a UPN.
    """
    domain, separator, user = name.partition("\\")
    return (user, domain) if separator else (name, "")


def join_name(user: str, domain: str) -> str:
    r"""``DOMAIN\user``, or ``user`` where the domain is empty: what `split_name` takes apart."""
    return f"{domain}\\{user}" if domain else user


@dataclass(frozen=True, repr=False, init=False)
class Password(Credential):
    r"""A name and its password.

    Args:
        name: ``DOMAIN\user``, ``user@realm`` or ``user``.
        password: the password.
    """

    user: str
    domain: str
    password: Secret[str]

    def __init__(self, name: str, password: str | Secret[str]) -> None:
        secret: Secret[str] = hidden(password)
        del password  # an error raised here shows the locals of this frame to crash reporters
        check_kind("a name", name, str, "give it as text")
        check_secret("a password", secret, str)
        user, domain = split_name(name)
        if not user:
            raise UsageError("a password needs a user name; use Anonymous() for none")
        object.__setattr__(self, "user", user)
        object.__setattr__(self, "domain", domain)
        object.__setattr__(self, "password", secret)


@dataclass(frozen=True, repr=False, init=False)
class NtHash(Credential):
    r"""A name and the NT hash (MD4 of the password in UTF-16LE), which NTLM accepts in place of a password.

    Args:
        name: ``DOMAIN\user`` or ``user``.
        nt_hash: 16 octets.
    """

    user: str
    domain: str
    nt_hash: Secret[bytes]

    def __init__(self, name: str, nt_hash: bytes | Secret[bytes]) -> None:
        secret: Secret[bytes] = hidden(nt_hash)
        del nt_hash  # as for a password
        check_secret("an NT hash", secret, bytes)
        user, domain = split_name(name)
        if len(secret.reveal()) != 16:
            raise UsageError(f"an NT hash is 16 octets, not {len(secret.reveal())}")
        object.__setattr__(self, "user", user)
        object.__setattr__(self, "domain", domain)
        object.__setattr__(self, "nt_hash", secret)


@dataclass(frozen=True, repr=False)
class Anonymous(Credential):
    """Nobody: a handshake that proves no identity. Acceptors refuse it unless told otherwise."""


@dataclass(frozen=True, repr=False)
class Certificate(Credential):
    """A certificate chain with the leaf's private key, as files or as PEM octets.

    Args:
        certificate: path of a PEM file with the leaf first and its chain after it, or those PEM octets.
        key: path of the PEM private key, or its octets; `None` when `certificate` holds it, too.
        password: of an encrypted key.
    """

    certificate: Path | str | bytes
    key: Path | str | bytes | None = field(default=None, repr=False)
    password: Secret[str] | None = None

    def __post_init__(self) -> None:
        for source in (self.certificate, self.key):
            if isinstance(source, str) and source.lstrip().startswith("-----BEGIN"):
                raise UsageError("a certificate or key given as text is a path: give PEM as bytes")


@dataclass(frozen=True, repr=False, init=False)
class Keytab(Credential):
    """The keys of a keytab file: an acceptor serves with them, an initiator logs on with one.

    Args:
        path: the file; `None`, without `octets` either, is the system's keytab.
        principal: ``service/host@REALM``, whose key an initiator logs on with; `None`: that of the first entry. An
            acceptor serves this principal alone.
        octets: the content of a keytab, in place of a file.

    Raises:
        UsageError: both a path and octets.
    """

    path: str | Path | None
    principal: str | None
    octets: Secret[bytes] | None

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        principal: str | None = None,
        octets: bytes | Secret[bytes] | None = None,
    ) -> None:
        secret: Secret[bytes] | None = None if octets is None else hidden(octets)
        del octets  # as for a password
        check_secret("the content of a keytab", secret, bytes)
        if path is not None and secret is not None:
            raise UsageError("a keytab is a path or octets, not both")
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "principal", principal)
        object.__setattr__(self, "octets", secret)


@dataclass(frozen=True, repr=False)
class CredentialCache(Credential):
    """The tickets of a credential cache, as kinit fills it. Tickets that are fetched with them are added to it.

    Args:
        name: ``FILE:path``, ``DIR:path``, ``DIR::path of one in it``, ``MEMORY:name``, or a path; `None` is the user's
            default cache.
    """

    name: str | None = None


@dataclass(frozen=True, repr=False)
class Accounts(Credential):
    """An acceptor's credential: the store of accounts against which logons are verified.

    Args:
        store: the store; `Accounts.memory`, `Accounts.sqlite` and `Accounts.smbpasswd` make the usual ones.
        allow_anonymous: whether anonymous logons are admitted.
    """

    store: AccountStore
    allow_anonymous: bool = False

    def __post_init__(self) -> None:
        if not hasattr(self.store, "succeeded"):
            raise UsageError(
                f"Accounts takes a store, not {what_is(self.store)}: write Accounts.sqlite(path), "
                "Accounts.smbpasswd(path) or Accounts.memory(alice=password)"
            )

    @classmethod
    def memory(cls, **passwords: str) -> Accounts:
        """A store in memory; each keyword is an account and its password. For tests and demonstrations."""
        from securestream.services.accounts_memory import MemoryAccounts

        store = MemoryAccounts()
        for name, password in passwords.items():
            store.add(name, password)
        return cls(store)

    @classmethod
    def sqlite(cls, path: str | Path) -> Accounts:
        """The SQLite store at `path`, made if absent; hashes lie encrypted, with the master key in ``<path>.key``."""
        from securestream.services.accounts_sqlite import SqliteAccounts

        return cls(SqliteAccounts(path))

    @classmethod
    def smbpasswd(cls, path: str | Path) -> Accounts:
        """A Samba ``smbpasswd`` file, read-only."""
        from securestream.services.smbpasswd import SmbpasswdAccounts

        return cls(SmbpasswdAccounts(path))


@dataclass(frozen=True, repr=False, init=False)
class Credentials(Credential):
    """One identity known in several forms; each package takes the first form that it can use."""

    forms: tuple[Credential, ...]

    def __init__(self, *forms: Credential) -> None:
        for form in forms:
            check_kind("a form of Credentials", form, Credential, "write Credentials(Keytab(), accounts)")
        object.__setattr__(self, "forms", forms)

    def __iter__(self) -> Iterator[Credential]:
        return iter(self.forms)


def find_form(credential: Credential | None, *kinds: type[C]) -> C | None:
    """The first form of `credential` that is one of `kinds`, or `None`."""
    for form in credential if isinstance(credential, Credentials) else (credential,):
        if isinstance(form, kinds):
            return form
    return None
