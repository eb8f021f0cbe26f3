"""A client between its KDC and a server, in memory, with everything on record that leaves it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from securestream.credentials import Accounts, Credential
from securestream.drive import Services, respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine, owed_token
from securestream.negotiation import Negotiation
from securestream.options import Clock, ContextFlags, Options
from securestream.provider import Established, FirstUse, SecurityPackage, TargetName
from securestream.redaction import Secret
from securestream.services.replay import MemoryReplay
from securestream_providers.kerberos import EmbeddedKdc
from securestream_providers.kerberos.client import ClientSettings, PasswordKeys, Session, initial_ticket
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.krb5.messages import KrbError, PrincipalName
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.tickets import CachedTicket
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.providers.kerberos.driving import drive

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REALM = "CORP.EXAMPLE"
PASSWORD = "correct horse"
SPN = "host/files.corp.example"
TARGET = TargetName(SPN)
NTLM_ONLY = Negotiate(Ntlm())
ACCOUNTS = Accounts.memory(alice=PASSWORD)

Ask = Callable[[KdcRequest], bytes]
"""Whoever answers as a KDC."""

Alter = Callable[[bytes], bytes]
"""Somebody between the two ends."""


def unaltered(token: bytes) -> bytes:
    """Nobody."""
    return token


def corp(clock: Clock = lambda: NOW, **attributes: object) -> EmbeddedKdc:
    """The realm, with alice, who has the same password on the server, and the service."""
    kdc = EmbeddedKdc(REALM, clock=clock)
    kdc.add_principal("alice", PASSWORD)
    kdc.add_service(SPN, **attributes)
    return kdc


def kdc_error(code: int, *, ahead: timedelta = timedelta(0), realm: str | None = None, name: str = SPN) -> bytes:
    """A KRB-ERROR, as anybody can make it.

    Args:
        code: which.
        ahead: how far the clock of its maker is ahead.
        realm: of the client, as WRONG_REALM states it.
        name: of the service.
    """
    moment = NOW + ahead
    server = PrincipalName(2, tuple(name.split("/")))
    return KrbError(5, 30, None, None, moment, 0, code, realm, None, REALM, server).encode()


def always(code: int, *, ahead: timedelta = timedelta(0), realm: str | None = None) -> Ask:
    """A KDC that answers everything by one error."""
    return lambda _: kdc_error(code, ahead=ahead, realm=realm)


def is_for_a_service(effect: KdcRequest) -> bool:
    """Whether a request is a TGS-REQ."""
    return effect.message[:1] == b"\x6c"


def logged_on(kdc: EmbeddedKdc, name: str = "alice", password: str = PASSWORD) -> CachedTicket:
    """A ticket-granting ticket, as kinit gets it."""
    session = Session(ClientSettings(kdc.config), options(clock=kdc.clock))
    running = initial_ticket(session, KerberosName.parse(f"{name}@{REALM}"), PasswordKeys(Secret(password)))
    return drive(running, {KdcRequest: kdc.answer}).ticket


def options(*, flags: ContextFlags = ContextFlags.MUTUAL, clock: Clock = lambda: NOW) -> Options:
    """Options whose clock stands."""
    return Options(clock=clock, random=os.urandom, flags=flags)


@dataclass
class Attempt:
    """How it went.

    Args:
        initiator: the client's outcome.
        acceptor: the server's.
        error: what the client raised.
        refused: what the server raised.
        sent: the client's tokens, and whatever it owed the server in the end.
        asked: its requests to KDCs.
    """

    initiator: Established | None = None
    acceptor: Established | None = None
    error: SecureStreamError | None = None
    refused: SecureStreamError | None = None
    sent: list[bytes] = field(default_factory=list[bytes])
    asked: list[KdcRequest] = field(default_factory=list[KdcRequest])

    @property
    def report(self) -> Negotiation:
        """What the client's end tells of it, whether it failed or not."""
        found = self.initiator.negotiation if self.initiator is not None else None
        if found is None and self.error is not None:
            found = self.error.negotiation
        assert found is not None, self.error
        return found

    @property
    def chosen(self) -> str | None:
        """The name of the mechanism that does the work at both ends."""
        if self.initiator is None or self.acceptor is None or self.report.chosen is None:
            return None
        return self.report.chosen.mechanism

    @property
    def ntlm_left(self) -> bool:
        """Whether one octet of NTLM left the client, whoever it was sent to."""
        return any(b"NTLMSSP" in octets for octets in (*self.sent, *(effect.message for effect in self.asked)))


def attempt(
    client: SecurityPackage,
    credential: Credential | None,
    *,
    kdc: Ask | None = None,
    server: SecurityPackage = NTLM_ONLY,
    accepting: Credential = ACCOUNTS,
    target: TargetName | None = TARGET,
    mine: Options | None = None,
    theirs: Options | None = None,
    to_server: Alter = unaltered,
    to_client: Alter = unaltered,
) -> Attempt:
    """Let a client authenticate to a server.

    Args:
        client: its package.
        credential: as whom.
        kdc: answers its requests to KDCs; `None` for the real performer, which asks who is configured.
        server: the server's package.
        accepting: the server's credential.
        target: the service.
        mine: the client's options.
        theirs: the server's.
        to_server: changes tokens on their way.
        to_client: likewise.
    """
    found = Attempt()
    services = Services()
    ask = Services().performer_of(KdcRequest).perform_blocking if kdc is None else kdc

    def noted(effect: KdcRequest) -> bytes:
        found.asked.append(effect)
        return ask(effect)

    services.register(KdcRequest, blocking=noted)
    services.register_performer(FirstUse, MemoryReplay(clock=(theirs or options()).clock))
    mine = mine or options()
    initiator = HandshakeMachine(client.initiate(credential, target, mine), mine.limits)
    acceptor = HandshakeMachine(server.accept(accepting, theirs or options()), mine.limits)
    reply: bytes | None = None
    for _ in itertools.count():
        try:
            step = respond_blocking(initiator, reply, services)
            token, found.initiator = step.token, step.established
        except SecureStreamError as error:
            found.error, token = error, owed_token(error)
        if token is not None:
            found.sent.append(token)
        if found.error is not None or token is None or found.acceptor is not None:
            return found
        try:
            step = respond_blocking(acceptor, to_server(token), services)
            answer, found.acceptor = step.token, step.established
        except SecureStreamError as error:
            found.refused, answer = error, owed_token(error)
        if answer is None or found.initiator is not None:
            return found
        reply = to_client(answer)
    return found
