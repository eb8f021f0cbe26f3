"""What Kerberos handshakes need from outside: configuration, files, KDCs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from securestream.credentials import Credential
from securestream.provider import Effect
from securestream.values import made_quickly
from securestream_providers.krb5.config import Krb5Config
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.tickets import CachedTicket, KeytabEntry, TicketCache


class KdcService(Enum):
    """Which of a realm's servers is asked."""

    KDC = "kdc"
    PASSWORD = "kpasswd"  # noqa: S105  the name of a service


@dataclass(frozen=True, repr=False)
class LoadConfiguration(Effect[Krb5Config]):
    """The system's configuration: krb5.conf, or what ``KRB5_CONFIG`` names."""

    performer = "securestream_providers.kerberos.performers:configuration_performer"
    loads = True


@made_quickly
@dataclass(frozen=True, repr=False)
class LoadKeytab(Effect[tuple[KeytabEntry, ...]]):
    """The keys of a `Keytab` credential (`None`: the default keytab of `config`).

    Its performer raises `NoCredentials` where there is none or it is unreadable.

    Args:
        credential: the keytab.
        config: names the default one.
        initiating: the default is the client's keytab (``KRB5_CLIENT_KTNAME``), where there is one.
    """

    performer = "securestream_providers.kerberos.performers:keytab_performer"
    loads = True

    credential: Credential | None
    config: Krb5Config
    initiating: bool = False


@made_quickly
@dataclass(frozen=True, repr=False)
class RecallTickets(Effect[TicketCache | None]):
    """The tickets that are known for an initiator's credential, or `None`.

    A `CredentialCache` (and `None`, the default cache) is read; for a `Password` or `Keytab` it is what
    `RememberTickets` kept in memory.
    """

    performer = "securestream_providers.kerberos.performers:tickets_performer"

    credential: Credential | None
    config: Krb5Config


@dataclass(frozen=True, repr=False)
class RememberTickets(Effect[None]):
    """Keep tickets that were fetched for a credential: in its cache file, or in memory while the credential lives."""

    performer = "securestream_providers.kerberos.performers:tickets_performer"

    credential: Credential | None
    config: Krb5Config
    client: object = field(repr=False)
    tickets: tuple[CachedTicket, ...]
    kdc_offset: float = 0.0
    configuration: tuple[tuple[str, KerberosName | None, bytes], ...] = ()


@dataclass(frozen=True, repr=False)
class KdcRequest(Effect[bytes]):
    """Ask a server of a realm: one request, one reply, by whatever transport works.

    Its performer raises `NoAuthority` where no server of the realm is known or answers in time, and `NoAuthorityKnown`
    where none is known of a realm that nobody configured.

    Args:
        realm: whose server.
        message: the request, without a length in front.
        config: says where the servers are and how to reach them.
        service: which server.
        stream: skip UDP.
    """

    performer = "securestream_providers.kerberos.performers:kdc_performer"

    realm: str
    message: bytes
    config: Krb5Config
    service: KdcService = KdcService.KDC
    stream: bool = False
