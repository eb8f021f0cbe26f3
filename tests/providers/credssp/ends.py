"""Two ends of CredSSP in memory, with somebody in between who may do as he likes."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from securestream.ambient import system_clock, system_random
from securestream.credentials import Accounts, Credential, Credentials, Password
from securestream.drive import respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine, Step, owed_token
from securestream.options import Options, Role
from securestream.provider import Admit, Established, SecurityPackage, TargetName
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.krb5.names import KerberosName
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.certificates import authority
from tests.providers.credssp.clear import Clear
from tests.providers.kerberos.ends import REALM, Realm
from tests.providers.kerberos.ends import package as kerberos_package

HOST = "server.example.com"
TARGET = TargetName(f"TERMSRV/{HOST}")
ALLOWED = Delegation(f"TERMSRV/{HOST}")
SECRET = "Canary-7d1e-Pässword"
ALICE = Password("alice", SECRET)
CA = authority("CredSSP's authority")
SERVER = CA.leaf([HOST])
OTHER = CA.leaf([HOST])
"""Another certificate for the same name, of the same authority: what a man in the middle may hold."""
_STORE = MemoryAccounts(throttle=None)
_STORE.add("alice", SECRET)
ACCOUNTS = Accounts(_STORE)
SERVING = Credentials(SERVER.credential, ACCOUNTS)

Meddle = Callable[[Role, int, bytes], bytes | None]
"""What becomes of a token: who sent it, how many the sender had sent before, the token. `None` ends the connection."""


def options(seed: int | None = None) -> Options:
    """The machine's options; with a seed its randomness repeats."""
    return Options(clock=system_clock, random=system_random if seed is None else random.Random(seed).randbytes)


@functools.cache
def realm() -> Realm:
    """A realm with the server's key."""
    return Realm(service=KerberosName.parse(f"TERMSRV/{HOST}@{REALM}"))


def tickets() -> Credential:
    """Alice's ticket for the server, with her password beside it to delegate."""
    now = system_clock().replace(microsecond=0)
    part = realm().part(authtime=now - timedelta(hours=1), endtime=now + timedelta(hours=9))
    return Credentials(realm().tickets(part, end_time=part.endtime), ALICE)


def kerberos() -> SecurityPackage:
    """Kerberos that knows of no KDC."""
    return kerberos_package()


def serving_tickets() -> Credential:
    """The server's keytab and certificate."""
    return Credentials(SERVER.credential, realm().keytab)


@dataclass(frozen=True)
class Mechanism:
    """What negotiates inside, and with which credentials."""

    package: Callable[[], SecurityPackage]
    initiating: Callable[[], Credential]
    accepting: Callable[[], Credential]
    proves_host: bool


MECHANISMS = {
    "NTLM": Mechanism(Ntlm, lambda: ALICE, lambda: SERVING, proves_host=False),
    "NTLM in SPNEGO": Mechanism(lambda: Negotiate(Ntlm()), lambda: ALICE, lambda: SERVING, proves_host=False),
    "Kerberos": Mechanism(kerberos, tickets, serving_tickets, proves_host=True),
    "Kerberos in SPNEGO": Mechanism(lambda: Negotiate(kerberos(), Ntlm()), tickets, serving_tickets, proves_host=True),
}


@dataclass
class End:
    """What became of one end."""

    machine: HandshakeMachine
    role: Role
    established: Established | None = None
    error: SecureStreamError | None = None
    sent: list[bytes] = field(default_factory=list[bytes])

    def step(self, token: bytes | None = None) -> bytes | None:
        """Go on; give what is for the peer."""
        try:
            step: Step = respond_blocking(self.machine, token)
        except SecureStreamError as error:
            self.error = error
            out = owed_token(error)
        else:
            self.established = step.established
            out = step.token
        if out is not None:
            self.sent.append(out)
        return out

    @property
    def over(self) -> bool:
        return self.established is not None or self.error is not None

    @property
    def outcome(self) -> Established:
        if self.error is not None:
            raise self.error
        assert self.established is not None
        return self.established


@dataclass
class Ends:
    """Both ends after their handshake."""

    client: End
    server: End

    @property
    def delegated(self) -> Credential | None:
        return self.server.outcome.delegated

    def raise_any(self) -> Ends:
        """Raise the first error."""
        for end in (self.client, self.server):
            _ = end.outcome
        return self


def start(
    client: SecurityPackage,
    server: SecurityPackage,
    *,
    initiating: Credential | None = ALICE,
    accepting: Credential | None = SERVING,
    target: TargetName | None = TARGET,
    asked: Options | None = None,
    client_admits: Admit | None = None,
    server_admits: Admit | None = None,
) -> Ends:
    """Both ends, not yet stepped."""
    asked = options() if asked is None else asked
    return Ends(
        End(HandshakeMachine(client.initiate(initiating, target, asked), admit=client_admits), Role.INITIATOR),
        End(HandshakeMachine(server.accept(accepting, asked), admit=server_admits), Role.ACCEPTOR),
    )


def meet(
    client: SecurityPackage, server: SecurityPackage, meddle: Meddle = lambda role, number, token: token, **more: Any
) -> Ends:
    """Run both ends against each other until nobody has anything to say."""
    ends = start(client, server, **more)
    for sender, receiver, token in _tokens(ends):
        passed = meddle(sender.role, len(sender.sent) - 1, token)
        if passed is None or receiver.over:
            break
        receiver.step(passed)
    return ends


def _tokens(ends: Ends) -> Generator[tuple[End, End, bytes]]:
    """Each token in its turn; the receiver is stepped between two."""
    sender, receiver = ends.client, ends.server
    sender.step()
    seen = {Role.INITIATOR: 0, Role.ACCEPTOR: 0}
    while len(sender.sent) > seen[sender.role]:
        seen[sender.role] += 1
        yield sender, receiver, sender.sent[-1]
        sender, receiver = receiver, sender


def clear_ends(mechanism: str = "NTLM", **more: Any) -> tuple[CredSsp, CredSsp]:
    """Both packages over the stand-in for TLS."""
    package = MECHANISMS[mechanism].package()
    return CredSsp(package, Clear(SERVER), delegation=ALLOWED, **more), CredSsp(package, Clear(SERVER), **more)


def tls_ends(mechanism: str = "NTLM", **more: Any) -> tuple[CredSsp, CredSsp]:
    """Both packages over TLS."""
    package = MECHANISMS[mechanism].package()
    return CredSsp(package, Schannel(trust=CA.pem), delegation=ALLOWED, **more), CredSsp(package, Schannel(), **more)
