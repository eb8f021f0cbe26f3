"""The default performers of what Kerberos needs from outside: thin factories, which load their edge when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securestream.drive import Performer


def configuration_performer() -> Performer:
    """The default performer of `LoadConfiguration`."""
    from securestream_providers.kerberos.storage.configuration import ConfigurationPerformer

    return ConfigurationPerformer()


def keytab_performer() -> Performer:
    """The default performer of `LoadKeytab`."""
    from securestream_providers.kerberos.storage.keytabs import KeytabPerformer

    return KeytabPerformer()


def tickets_performer() -> Performer:
    """The default performer of both `RecallTickets` and `RememberTickets`, which share what it keeps in memory."""
    from securestream_providers.kerberos.storage.tickets import TicketsPerformer

    return TicketsPerformer()


def kdc_performer() -> Performer:
    """The default performer of `KdcRequest`."""
    from securestream_providers.kerberos.network import performer

    return performer()
