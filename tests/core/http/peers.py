"""Real mechanisms for the adapters' tests: alice has Kerberos, bob has NTLM, and a server takes both and Digest."""

from __future__ import annotations

from dataclasses import dataclass, field

from securestream.credentials import Accounts, Credentials, Keytab, Password
from securestream.drive import Services
from securestream.http.tokens import TokenScheme
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import DigestClient, DigestServer
from securestream_providers.kerberos import EmbeddedKdc, Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

ALICE = Password("alice@EXAMPLE.COM", "correct horse")
BOB = Password("bob", "battery staple")
WRONG = Password("bob", "wrong")


def _accounts() -> Accounts:
    """Bob's. Wrong passwords of many tests come from one address, and are no attack on the tests after them."""
    store = MemoryAccounts(throttle=None)
    store.add("bob", BOB.password.reveal())
    return Accounts(store)


@dataclass
class Realm:
    """A KDC in this process, and what both ends make of it."""

    kdc: EmbeddedKdc = field(default_factory=lambda: EmbeddedKdc("EXAMPLE.COM"))
    keytab: Keytab = field(init=False)
    negotiate: Negotiate = field(init=False)
    services: Services = field(init=False)
    accounts: Accounts = field(default_factory=_accounts)

    def __post_init__(self) -> None:
        self.kdc.add_principal("alice", "correct horse")
        self.keytab = self.kdc.add_service("HTTP/localhost")
        self.negotiate = Negotiate(Kerberos(config=self.kdc.config), Ntlm(), ntlm="always")
        self.services = self.kdc.services()

    def offered(self) -> list[TokenScheme | DigestServer]:
        """What a server offers."""
        return [
            TokenScheme("Negotiate", self.negotiate, Credentials(self.keytab, self.accounts)),
            TokenScheme("NTLM", Ntlm(), self.accounts),
            DigestServer(self.accounts, "example"),
        ]

    def as_(self, who: Password) -> TokenScheme:
        """Negotiate as somebody."""
        return TokenScheme("Negotiate", self.negotiate, who)


def ntlm(who: Password) -> TokenScheme:
    """NTLM as somebody."""
    return TokenScheme("NTLM", Ntlm(), who)


def digest(who: Password) -> DigestClient:
    """Digest as somebody."""
    return DigestClient(who)
