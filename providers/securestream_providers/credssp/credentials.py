"""What CredSSP delegates: credentials as values, and as the structures of [MS-CSSP] 2.2.1.2."""

from __future__ import annotations

from dataclasses import dataclass, field

from securestream.credentials import Credential, Password, find_form, join_name
from securestream.errors import MalformedMessage, Unsupported, UsageError
from securestream.redaction import Redacted, Secret
from securestream_providers.credssp.messages import (
    CredentialType,
    TSCredentials,
    TSCspDataDetail,
    TSPasswordCreds,
    TSRemoteGuardCreds,
    TSRemoteGuardPackageCred,
    TSSmartCardCreds,
)


@dataclass(frozen=True, repr=False, init=False)
class SmartCard(Credential):
    """A smart card that is delegated by its PIN: the server reads the card through the client's reader.

    Args:
        pin: the PIN.
        key_spec: which key of the container: 1 for key exchange (AT_KEYEXCHANGE), 2 for signatures.
        card_name: name of the card.
        reader_name: name of the reader.
        container_name: name of the key container.
        csp_name: name of the cryptographic service provider.
        user_hint: the user that the card belongs to.
        domain_hint: that user's domain.
    """

    pin: Secret[str]
    key_spec: int = 1
    card_name: str | None = None
    reader_name: str | None = None
    container_name: str | None = None
    csp_name: str | None = None
    user_hint: str | None = None
    domain_hint: str | None = None

    def __init__(
        self,
        pin: str | Secret[str],
        key_spec: int = 1,
        card_name: str | None = None,
        reader_name: str | None = None,
        container_name: str | None = None,
        csp_name: str | None = None,
        user_hint: str | None = None,
        domain_hint: str | None = None,
    ) -> None:
        secret = pin if isinstance(pin, Secret) else Secret(pin)
        del pin  # an error raised here shows the locals of this frame to crash reporters
        object.__setattr__(self, "pin", secret)
        object.__setattr__(self, "key_spec", key_spec)
        object.__setattr__(self, "card_name", card_name)
        object.__setattr__(self, "reader_name", reader_name)
        object.__setattr__(self, "container_name", container_name)
        object.__setattr__(self, "csp_name", csp_name)
        object.__setattr__(self, "user_hint", user_hint)
        object.__setattr__(self, "domain_hint", domain_hint)


@dataclass(frozen=True, repr=False, init=False)
class PackageCredential(Redacted):
    """What a package at the server needs to use credentials that stay at the client.

    Args:
        package: name of the package.
        buffer: its own octets.
    """

    package: str
    buffer: Secret[bytes]

    def __init__(self, package: str, buffer: bytes | Secret[bytes]) -> None:
        secret = buffer if isinstance(buffer, Secret) else Secret(buffer)
        del buffer  # as for a PIN
        object.__setattr__(self, "package", package)
        object.__setattr__(self, "buffer", secret)


@dataclass(frozen=True, repr=False)
class RemoteGuard(Credential):
    """Credentials that stay at the client (Remote Credential Guard, [MS-RDPEAR]).

    Args:
        logon: for the package that logs on, Kerberos.
        supplemental: for further packages, NTLM.
    """

    logon: PackageCredential
    supplemental: tuple[PackageCredential, ...] = field(default=())


def to_delegate(credential: Credential | None) -> Credential | None:
    """The form of `credential` that an initiator delegates: a smart card or a remote guard where one is given, else the
    password; `None` where there is nothing.
    """
    return find_form(credential, SmartCard, RemoteGuard) or find_form(credential, Password)


def encode(credential: Credential | None) -> bytes:
    """`TSCredentials` of a credential; `None` is that of restricted admin mode, with all texts empty.

    Raises:
        Unsupported: there is no structure for it.
    """
    if credential is None:
        return TSCredentials(CredentialType.PASSWORD, TSPasswordCreds(b"", b"", b"").encode()).encode()
    if isinstance(credential, Password):
        creds = TSPasswordCreds(
            _octets(credential.domain), _octets(credential.user), _octets(credential.password.reveal())
        )
        return TSCredentials(CredentialType.PASSWORD, creds.encode()).encode()
    if isinstance(credential, SmartCard):
        return TSCredentials(CredentialType.SMART_CARD, _smart_card(credential).encode()).encode()
    if isinstance(credential, RemoteGuard):
        return TSCredentials(CredentialType.REMOTE_GUARD, _remote_guard(credential).encode()).encode()
    raise Unsupported(f"CredSSP delegates passwords, smart cards and remote guards, not {type(credential).__name__}")


def decode(octets: bytes) -> Credential | None:
    """The credential in `TSCredentials`; `None` for restricted admin mode.

    Raises:
        MalformedMessage: it is none.
        Unsupported: it is of a type that is not known here.
    """
    outer = TSCredentials.decode(octets)
    if outer.cred_type == CredentialType.PASSWORD:
        return _password(TSPasswordCreds.decode(outer.credentials))
    if outer.cred_type == CredentialType.SMART_CARD:
        return _read_smart_card(TSSmartCardCreds.decode(outer.credentials))
    if outer.cred_type == CredentialType.REMOTE_GUARD:
        guard = TSRemoteGuardCreds.decode(outer.credentials)
        return RemoteGuard(_package(guard.logon_cred), tuple(_package(one) for one in guard.supplemental_creds or ()))
    raise Unsupported(f"the client delegates credentials of the type {int(outer.cred_type)}, which is not known here")


def _password(creds: TSPasswordCreds) -> Password | None:
    domain, user = _text(creds.domain_name), _text(creds.user_name)
    if not (domain or user or creds.password):
        return None
    if not user or "\\" in domain:
        raise MalformedMessage("the delegated password has no name, or one that cannot be")
    try:
        return Password(join_name(user, domain), _text(creds.password))
    except UsageError as error:
        raise MalformedMessage("the delegated password has no name, or one that cannot be") from error


def _smart_card(card: SmartCard) -> TSSmartCardCreds:
    return TSSmartCardCreds(
        pin=_octets(card.pin.reveal()),
        csp_data=TSCspDataDetail(
            card.key_spec,
            _maybe_octets(card.card_name),
            _maybe_octets(card.reader_name),
            _maybe_octets(card.container_name),
            _maybe_octets(card.csp_name),
        ),
        user_hint=_maybe_octets(card.user_hint),
        domain_hint=_maybe_octets(card.domain_hint),
    )


def _read_smart_card(creds: TSSmartCardCreds) -> SmartCard:
    where = creds.csp_data
    return SmartCard(
        pin=Secret(_text(creds.pin)),
        key_spec=where.key_spec,
        card_name=_maybe_text(where.card_name),
        reader_name=_maybe_text(where.reader_name),
        container_name=_maybe_text(where.container_name),
        csp_name=_maybe_text(where.csp_name),
        user_hint=_maybe_text(creds.user_hint),
        domain_hint=_maybe_text(creds.domain_hint),
    )


def _remote_guard(guard: RemoteGuard) -> TSRemoteGuardCreds:
    return TSRemoteGuardCreds(
        _package_message(guard.logon), tuple(_package_message(one) for one in guard.supplemental) or None
    )


def _package_message(credential: PackageCredential) -> TSRemoteGuardPackageCred:
    return TSRemoteGuardPackageCred(_octets(credential.package), credential.buffer.reveal())


def _package(message: TSRemoteGuardPackageCred) -> PackageCredential:
    return PackageCredential(_text(message.package_name), Secret(message.cred_buffer))


def _octets(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-16-le")
    except UnicodeDecodeError:  # it carries the octets, which may be a password: nothing is raised from it
        pass
    raise MalformedMessage("a text among the delegated credentials is not UTF-16LE")


def _maybe_octets(text: str | None) -> bytes | None:
    return None if text is None else _octets(text)


def _maybe_text(octets: bytes | None) -> str | None:
    return None if octets is None else _text(octets)
