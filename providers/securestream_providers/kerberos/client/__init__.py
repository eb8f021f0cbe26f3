"""The client of KDCs, as sub-handshakes: they yield `KdcRequest` and return tickets.

`obtain` is all that an initiator needs. The exchanges by themselves take a `Session`: one use of KDCs, with what was
learned on the way.
"""

from securestream_providers.kerberos.client.as_exchange import initial_ticket
from securestream_providers.kerberos.client.further import (
    forwarded_tgt,
    renew,
    s4u2proxy,
    s4u2self,
    user_to_user,
    validate,
)
from securestream_providers.kerberos.client.identity import (
    client_form,
    client_name,
    long_term,
    realm_of_host,
    service_name,
    tell_default_realm,
)
from securestream_providers.kerberos.client.keys import KeytabKeys, LongTermKeys, PasswordKeys
from securestream_providers.kerberos.client.obtain import obtain, own_tgt, remember
from securestream_providers.kerberos.client.passwords import change_password, password_service, set_password
from securestream_providers.kerberos.client.referrals import ServiceTicket, service_ticket
from securestream_providers.kerberos.client.settings import ClientSettings, InitialTicket, Obtained, Session
from securestream_providers.kerberos.client.tgs_exchange import TicketRequest, tgs_exchange

__all__ = [
    "ClientSettings",
    "InitialTicket",
    "KeytabKeys",
    "LongTermKeys",
    "Obtained",
    "PasswordKeys",
    "ServiceTicket",
    "Session",
    "TicketRequest",
    "change_password",
    "client_form",
    "client_name",
    "forwarded_tgt",
    "initial_ticket",
    "long_term",
    "obtain",
    "own_tgt",
    "password_service",
    "realm_of_host",
    "remember",
    "renew",
    "s4u2proxy",
    "s4u2self",
    "service_name",
    "service_ticket",
    "set_password",
    "tell_default_realm",
    "tgs_exchange",
    "user_to_user",
    "validate",
]
