"""Our ends of Negotiate with foreign ones, token by token: who knows what, and what an attacker between them alters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, Self, TypeAlias

from securestream.ambient import system_options
from securestream.credentials import Accounts, Credential, CredentialCache, Credentials, Keytab, Password
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.negotiation import Negotiation
from securestream.options import BindingPolicy, ContextFlags, Options, Protection
from securestream.provider import Established, SecurityContext, SecurityPackage, TargetName
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    MechTypeList,
    NegState,
    NegTokenInit,
    NegTokenResp,
    frame,
    is_response,
    unframe,
)
from securestream_providers.ntlm import Ntlm
from tests.interop.kerberos_ends import Realm, bound_to, service_of
from tests.interop.peers.accounts import NAME, ntlm_environment
from tests.interop.peers.mit_kdc import HOST, MitKdc

Theirs: TypeAlias = Literal["initiator", "acceptor"]
ROLES: tuple[Theirs, ...] = ("initiator", "acceptor")
KERBEROS, NTLM = "1.2.840.113554.1.2.2", "1.3.6.1.4.1.311.2.2.10"
SERVICE = service_of(18)
TARGET = f"{SERVICE}@{HOST}"
"""The service with a key of AES-256, as GSS-API calls it."""

Alteration: TypeAlias = Callable[[bytes], bytes]


class Unfinished(Exception):
    """The foreign end has nothing more to say, while ours still waits: on a connection, until its time is over."""


class Stepped(Protocol):
    """What a conversation needs of the foreign end."""

    @property
    def complete(self) -> bool:
        """Whether it sees the handshake as complete."""
        ...

    def step(self, token: bytes | None) -> bytes | None:
        """Take a token, give the next one if there is one."""
        ...


@dataclass
class Conversation:
    """A handshake that came to its end at both ends.

    Args:
        established: what our end established.
        ours: the tokens that we sent.
        theirs: the tokens that they sent.
    """

    established: Established
    ours: list[bytes] = field(default_factory=list[bytes])
    theirs: list[bytes] = field(default_factory=list[bytes])

    @property
    def context(self) -> SecurityContext:
        """Our security context."""
        assert isinstance(self.established.result, SecurityContext)
        return self.established.result

    @property
    def negotiation(self) -> Negotiation:
        """Our report of the choice."""
        assert self.established.negotiation is not None
        return self.established.negotiation

    def responses(self, whose: Literal["ours", "theirs"]) -> list[NegTokenResp]:
        """The messages after the first, decoded."""
        tokens = self.ours if whose == "ours" else self.theirs
        return [NegTokenResp.decode(token) for token in tokens if is_response(token)]

    def mics(self) -> tuple[int, int]:
        """How many MICs of the list we and they sent."""
        return sum(has_mic(one) for one in self.responses("ours")), sum(
            has_mic(one) for one in self.responses("theirs")
        )

    def states(self) -> set[NegState | None]:
        """The states that the acceptor told."""
        return {one.neg_state for one in (*self.responses("ours"), *self.responses("theirs"))}


def has_mic(message: NegTokenResp) -> bool:
    """Whether a message has a MIC."""
    return bool(message.mech_list_mic)


def _untouched(token: bytes) -> bytes:
    return token


def converse(
    ours: HandshakeMachine,
    theirs: Stepped,
    role: Theirs,
    *,
    greeting: bytes | None = None,
    server_first: bool = False,
    alter_ours: Alteration = _untouched,
    alter_theirs: Alteration = _untouched,
) -> Conversation:
    """Run a handshake to its end; both have begun.

    Args:
        ours: our end.
        theirs: the foreign end.
        role: the foreign end's.
        greeting: what makes a foreign acceptor speak first; see `server_first`.
        server_first: the acceptor speaks first.
        alter_ours: what an attacker makes of our tokens.
        alter_theirs: and of theirs.

    Raises:
        Unfinished: it came to no end.
    """
    services, sent, received = Services(), list[bytes](), list[bytes]()
    token = None
    if (role == "initiator") is not server_first:
        token = theirs.step(greeting)
        assert token is not None
    while True:
        if token is not None:
            received.append(token)
            token = alter_theirs(token)
        step = respond_blocking(ours, token, services)
        if step.token is not None:
            sent.append(step.token)
            token = theirs.step(alter_ours(step.token))
        if step.established is not None:
            break
        if token is None:
            raise Unfinished
    assert theirs.complete
    return Conversation(step.established, sent, received)


@dataclass
class Parties:
    """What both ends know: a realm with its user and services, and an account of NTLM.

    Args:
        realm: the realm.
        password: of the account.
    """

    realm: Realm
    password: str

    @classmethod
    def of(cls, kdc: MitKdc) -> Self:
        """An account, and a realm whose principals are added to that KDC."""
        realm = Realm(kdc)
        realm.populate()
        return cls(realm, "an account's password")

    def environment(self) -> Mapping[str, str]:
        """Where a foreign end has the user's ticket, the services' keys and the account."""
        return {**self.realm.environment(18), **ntlm_environment(self.realm.kdc.folder, {account(): self.password})}

    def packages(self, *names: str) -> tuple[SecurityPackage, ...]:
        """Our mechanisms, in this order."""
        made: dict[str, SecurityPackage] = {"krb5": self.realm.package(), "ntlm": Ntlm()}
        return tuple(made[name] for name in names)

    def initiator(
        self,
        *names: str,
        password: str | None = None,
        credential: Credential | None = None,
        flags: ContextFlags = ContextFlags.MUTUAL,
        bindings: bytes | None = None,
        protection: Protection = Protection.ENCRYPT_AND_SIGN,
        service: str = SERVICE,
        server_first: bool = False,
    ) -> HandshakeMachine:
        """Our initiator, which has the user's tickets and the account's password."""
        options = self._options(flags, bindings, protection)
        cache = CredentialCache(f"FILE:{self.realm.environment(18)['KRB5CCNAME']}")
        used = Credentials(cache, Password(NAME, self.password if password is None else password))
        package = Negotiate(*self.packages(*names), ntlm="always", server_first=server_first)
        return HandshakeMachine(package.initiate(credential or used, TargetName(f"{service}/{HOST}"), options))

    def acceptor(
        self,
        *names: str,
        password: str | None = None,
        bindings: bytes | None = None,
        policy: BindingPolicy = BindingPolicy.WHEN_ADVERTISED,
        protection: Protection = Protection.ENCRYPT_AND_SIGN,
        keytab: Keytab | None = None,
        server_first: bool = False,
        ntlm: Ntlm | None = None,
    ) -> HandshakeMachine:
        """Our acceptor, which has the services' keytab and the account."""
        options = replace(self._options(ContextFlags.NONE, bindings, protection), binding_policy=policy)
        accounts = Accounts.memory(**{NAME: self.password if password is None else password})
        credential = Credentials(keytab or Keytab(self.realm.kdc.default_keytab), accounts)
        packages = self.packages(*names) if ntlm is None else (ntlm,)
        return HandshakeMachine(Negotiate(*packages, server_first=server_first).accept(credential, options))

    @staticmethod
    def _options(flags: ContextFlags, bindings: bytes | None, protection: Protection) -> Options:
        return system_options(flags=flags, protection=protection, channel_bindings=bound_to(bindings))


def account() -> tuple[str, str]:
    """The account of `NAME`: its domain and user."""
    domain, _, user = NAME.partition("\\")
    return domain, user


# --- an attacker between the ends -------------------------------------------------------------------------------------


def shorten_the_list(token: bytes) -> bytes:
    """Takes the first mechanism out of an offer, with its token; leaves other tokens alone."""
    if is_response(token):
        return token
    message = unframe(token)
    assert isinstance(message, NegTokenInit)
    return frame(NegTokenInit(MechTypeList(message.mech_types.mech_types[1:])))


def drop_the_first_token(token: bytes) -> bytes:
    """Takes the optimistic token out of an offer, as an initiator may that makes none; leaves other tokens alone."""
    if is_response(token):
        return token
    message = unframe(token)
    assert isinstance(message, NegTokenInit)
    return frame(NegTokenInit(message.mech_types))


def strip_the_mic(token: bytes) -> bytes:
    """Takes the MIC out, and leaves other tokens alone."""
    if not is_response(token):
        return token
    return replace(NegTokenResp.decode(token), mech_list_mic=None).encode()


def demand_the_mic(token: bytes) -> bytes:
    """Makes the acceptor's first message ask for a MIC, as it must where it takes another than the first choice."""
    if not is_response(token):
        return token
    message = NegTokenResp.decode(token)
    if message.supported_mech is None:
        return token
    return replace(message, neg_state=NegState.REQUEST_MIC).encode()


def damage_the_mic(token: bytes) -> bytes:
    """Alters the MIC, and leaves other tokens alone."""
    if not is_response(token):
        return token
    message = NegTokenResp.decode(token)
    if not message.mech_list_mic:
        return token
    damaged = message.mech_list_mic[:4] + bytes((message.mech_list_mic[4] ^ 1,)) + message.mech_list_mic[5:]
    return replace(message, mech_list_mic=damaged).encode()
