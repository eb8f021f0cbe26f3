"""The interface between handshakes, the packages that make them, and whoever drives them.

A *package* makes a *handshake*: a generator that yields *effects* and returns what was *established*. The generator is
the state machine: its locals are the values valid in each state. It performs no I/O; a driver performs its effects::

    reply = yield from Exchange(token)       # deliver a token, resume with the peer's next one

Plain ``yield`` is linted away, since ``yield from`` gives each reply its exact type.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from securestream.credentials import Credential
from securestream.errors import ContextExpired, Unsupported
from securestream.fork import discard_in_child
from securestream.negotiation import Negotiation
from securestream.options import ContextFlags, Options, Role
from securestream.principal import Principal
from securestream.redaction import Redacted
from securestream.values import made_quickly
from securestream.wire.cursor import Buffer as Buffer

if TYPE_CHECKING:
    from securestream.records.base import RecordConnection

R = TypeVar("R")


# --- effects -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Effect(Redacted, Generic[R]):
    """A need of a running handshake. Whoever drives it performs the need and sends back an R.

    `performer` names, as ``module:factory``, who performs the effect where the `Services` in use have nothing else: a
    factory of a `securestream.drive.Performer`, called once per `Services`; as a name it keeps I/O out of imports.
    `loads` says that it only reads how this end is set up, as a keytab: a listener performs it once when it begins.
    """

    performer: ClassVar[str | None] = None
    loads: ClassVar[bool] = False

    def __iter__(self) -> Generator[Effect[Any], Any, R]:
        reply: R = yield self
        return reply


@made_quickly
@dataclass(frozen=True, repr=False)
class Exchange(Effect[bytes]):
    """Deliver `token` to the peer and resume with its next token.

    Args:
        token: `None` sends nothing and only listens; ``b""`` sends an empty token.
    """

    token: bytes | None = None


@made_quickly
@dataclass(frozen=True, repr=False)
class FirstUse(Effect[bool]):
    """ONE atomic question to the replay cache: record `key` until `expires`; False if it was there already.

    Args:
        key: what must be used once, hashed by the mechanism with its own name in it.
        expires: from when on the mechanism refuses it anyway, aware UTC.
    """

    performer = "securestream.services.replay:memory_performer"

    key: bytes
    expires: datetime


@dataclass(frozen=True, repr=False)
class Compute(Effect[R]):
    """Expensive pure work (above about 1 ms: PBKDF2, RSA, DH). The anyio driver runs it in a worker thread."""

    performer = "securestream.drive:compute_performer"

    function: Callable[[], R] = field(repr=False)


@dataclass(frozen=True, repr=False)
class VerifyKeys(Effect[None]):
    """Announces that a mechanism's keys became known, for an outer handshake that signs with them (NEGOEX).

    Args:
        own: the key with which this end signs.
        peer: the key with which the peer signs; often the same.
        etype: the number of the RFC 3961 encryption type that both keys are of; 18 is aes256-cts-hmac-sha1-96, whose
            keys are any 32 octets.
    """

    performer = "securestream.drive:ignoring_performer"

    own: bytes
    peer: bytes
    etype: int = 18


@dataclass(frozen=True, repr=False)
class Metadata(Effect[bytes | None]):
    """Offers a mechanism's metadata to the outer handshake (NEGOEX) and asks for the peer's.

    The reply is what the peer sent, or `None` when nothing has come, or there is no such outer. Asked by an initiator
    before its first token, nothing can have come: it may ask again later, with the same `own`.

    Args:
        own: this end's metadata for the peer.
        wait: resume only when the peer has spoken; an initiator then sends no optimistic token.
    """

    performer = "securestream.drive:ignoring_performer"

    own: bytes
    wait: bool = False


@dataclass(frozen=True, repr=False)
class Admission(Effect[None]):
    """Asks for the verdict on the peer while the handshake can still tell it, or before anything is entrusted to it.

    For mechanisms whose last message the peer does not answer (CredSSP); those whose carrier tells how it ended ask
    nothing, and are judged at the end. Whoever judges raises a `HandshakeError` (`NotAuthorized`) to refuse, which is
    thrown into the handshake. A carrier judges by its `admit`, and again at the end only where the outcome is not what
    was submitted; where nobody judges, everybody is admitted.

    Args:
        established: what is about to be established: the result and the peer, without what is still to come (`token`,
            `delegated`).
    """

    performer = "securestream.drive:ignoring_performer"

    established: Established


# --- what is established ---------------------------------------------------------------------------------------------


class Unwrapped(NamedTuple):
    """The plaintext of a wrapped token, and whether it came encrypted."""

    data: bytes
    encrypted: bool


class Cover(Enum):
    """How `SecurityContext.seal` treats one part of a message."""

    SEALED = "sealed"
    """Encrypted and signed (SECBUFFER_DATA)."""
    SIGNED = "signed"
    """Signed, sent in clear (SECBUFFER_READONLY_WITH_CHECKSUM)."""
    UNTOUCHED = "untouched"
    """Neither (SECBUFFER_READONLY)."""


Part: TypeAlias = tuple[Buffer, Cover]


class Sealed(NamedTuple):
    """The parts of a sealed message, each of the length it had, and the signature that goes beside them."""

    parts: tuple[bytes, ...]
    signature: bytes


@dataclass(frozen=True)
class ContextSizes:
    """What a wrapped token adds, in octets (SecPkgContext_Sizes).

    Args:
        signature: the length of `SecurityContext.sign`'s result.
        wrap_overhead: the most that `SecurityContext.wrap` adds to its data.
        block: the cipher's block; 1 for a stream cipher.
        max_token: the longest handshake token.
    """

    signature: int
    wrap_overhead: int
    block: int
    max_token: int


class SecurityContext(ABC):
    """What an established mechanism signs and seals with: pure, synchronous and sensitive to order.

    Both directions have their own sequence; every method that makes or takes a message advances one of them. A context
    belongs to one process: after a fork the child's copy is discarded. Its `repr` shows package and role only.

    Args:
        package: name of the security package.
        role: this end's role.
        flags: what was established, never more than was proved.
        bound: whether channel bindings were verified (acceptor) or sent (initiator).
        expires: from when on the context refuses to work, aware UTC; `None` for never.
    """

    # no __slots__ here: subclasses on hot paths hold closures as instance attributes

    def __init__(
        self,
        package: str,
        role: Role,
        flags: ContextFlags,
        *,
        bound: bool = False,
        expires: datetime | None = None,
    ) -> None:
        self.package = package
        self.role = role
        self.flags = flags
        self.bound = bound
        self.expires = expires
        discard_in_child(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.package} {self.role.value}>"

    def __reduce_ex__(self, protocol: object) -> Any:
        raise TypeError("a security context refuses pickling: use export()")

    @property
    @abstractmethod
    def sizes(self) -> ContextSizes:
        """What wrapped tokens and signatures cost."""

    @abstractmethod
    def wrap(self, data: Buffer, *, encrypt: bool = True) -> bytes:
        """Protect `data` as one token, sealed or (``encrypt=False``) signed only.

        Raises:
            ContextExpired: the context was closed, exported or discarded, or is beyond its lifetime.
        """

    @abstractmethod
    def unwrap(self, token: Buffer) -> Unwrapped:
        """Check and open the peer's next token.

        Raises:
            BadSignature: the token is malformed or altered, or was made by this end (reflection).
            OutOfSequence: the token is not the next one.
            ContextExpired: as for `wrap`.
        """

    @abstractmethod
    def sign(self, data: Buffer) -> bytes:
        """The detached signature (MIC) of `data`."""

    @abstractmethod
    def verify(self, data: Buffer, signature: Buffer) -> None:
        """Check the peer's detached signature of `data`.

        Raises:
            BadSignature: it does not fit.
            OutOfSequence: it is not the next one.
        """

    def seal(self, parts: Sequence[Part], *, sequence: int | None = None) -> Sealed:
        """Protect a message of several parts in place, for DCE/RPC, LDAP and WS-Management.

        Args:
            parts: buffers with their cover, in order; each keeps its length.
            sequence: the number of the message, for datagram contexts only.

        Raises:
            Unsupported: the mechanism has no such form.
        """
        raise Unsupported(f"{self.package} cannot seal messages in parts")

    def unseal(self, parts: Sequence[Part], signature: Buffer, *, sequence: int | None = None) -> tuple[bytes, ...]:
        """Check and open what the peer's `seal` gave.

        Raises:
            BadSignature: the parts or the signature were altered.
        """
        raise Unsupported(f"{self.package} cannot unseal messages in parts")

    def signature_size(self, parts: Sequence[Part]) -> int:
        """Octets of the signature that `seal` will give for `parts`.

        Raises:
            Unsupported: the mechanism seals no messages in parts.
        """
        raise Unsupported(f"{self.package} cannot seal messages in parts")

    @property
    def session_key(self) -> bytes:
        """The key shared by both ends (SecPkgContext_SessionKey).

        Raises:
            Unsupported: the mechanism gives none.
        """
        raise Unsupported(f"{self.package} gives no session key")

    def derive(self, label: bytes, length: int) -> bytes:
        """`length` octets of keying material for `label`, equal at both ends.

        Raises:
            Unsupported: the mechanism derives none.
        """
        raise Unsupported(f"{self.package} derives no further keys")

    @property
    def delegated(self) -> Credential | None:
        """The credential that the initiator delegated, fit to open the next connection; `None` if it did not."""
        return None

    @property
    def needs_negotiation_mic(self) -> bool:
        """Whether SPNEGO must exchange mechListMICs even for its first choice ([MS-SPNG] 3.3.5.1)."""
        return False

    def negotiation_mic(self, octets: Buffer) -> bytes:
        """This end's mechListMIC over `octets`."""
        return self.sign(octets)

    def check_negotiation_mic(self, octets: Buffer, mic: Buffer) -> None:
        """Check the peer's mechListMIC.

        Raises:
            BadSignature: it does not fit.
        """
        self.verify(octets, mic)

    def export(self) -> bytes:
        """Give the state away and end this context; `securestream.extensions.ContextImporter` revives it elsewhere.

        Raises:
            Unsupported: the mechanism cannot.
        """
        raise Unsupported(f"{self.package} contexts cannot be exported")

    @abstractmethod
    def discard(self) -> None:
        """Drop the keys. Every later use raises `ContextExpired`. Idempotent."""

    def expired(self) -> ContextExpired:
        """The error of a context that was discarded."""
        return ContextExpired(f"this {self.package} context has ended; authenticate again")


@made_quickly
@dataclass(frozen=True, repr=False)
class Established(Redacted):
    """What a handshake returns.

    Args:
        result: a security context, or the live record connection of a package whose channel is TLS.
        peer: who the peer is.
        token: the last token for the peer; the mechanism awaits no reply to it, the carrier may.
        negotiation: how the mechanism was negotiated, where it was.
        delegated: the credential that the initiator delegated beside a record connection (CredSSP), fit to open the
            next connection; a security context has its own, `SecurityContext.delegated`.
    """

    result: SecurityContext | RecordConnection
    peer: Principal
    token: bytes | None = None
    negotiation: Negotiation | None = None
    delegated: Credential | None = None


Handshake: TypeAlias = Generator[Effect[Any], Any, Established]

Admit: TypeAlias = Callable[[Established], None]
"""Judges what is established before the peer can rely on it; raises a `HandshakeError` (`NotAuthorized`) to refuse, and
returns nothing: a plain function, never an async one."""


# --- packages --------------------------------------------------------------------------------------------------------


class Capability(Flag):
    """What a package can do: SecPkgInfo.fCapabilities, with SSPI's bits."""

    NONE = 0
    INTEGRITY = 0x1
    PRIVACY = 0x2
    TOKEN_ONLY = 0x4
    DATAGRAM = 0x8
    CONNECTION = 0x10
    MULTI_REQUIRED = 0x20
    CLIENT_ONLY = 0x40
    EXTENDED_ERROR = 0x80
    IMPERSONATION = 0x100
    ACCEPT_WIN32_NAME = 0x200
    STREAM = 0x400
    NEGOTIABLE = 0x800
    GSS_COMPATIBLE = 0x1000
    LOGON = 0x2000
    ASCII_BUFFERS = 0x4000
    FRAGMENT = 0x8000
    MUTUAL_AUTH = 0x10000
    DELEGATION = 0x20000
    READONLY_WITH_CHECKSUM = 0x40000
    RESTRICTED_TOKENS = 0x80000
    NEGO_EXTENDER = 0x100000
    NEGOTIABLE2 = 0x200000


@dataclass(frozen=True)
class PackageInfo:
    """What EnumerateSecurityPackages tells of a package (SecPkgInfo).

    Args:
        name: the package's name, as SSPI writes it; looked up without regard to case.
        comment: one line on what it is.
        capabilities: what it can do.
        max_token: the longest handshake token it makes, in octets.
        oids: GSS-API mechanism OIDs, dotted, the preferred one first.
        rpc_id: the DCE/RPC authentication service (RPC_C_AUTHN_*), or `None`.
        negoex_scheme: the authentication scheme by which NEGOEX knows it, or `None`.
        roles: the roles it plays.
        version: version of the package.
    """

    name: str
    comment: str
    capabilities: Capability
    max_token: int
    oids: tuple[str, ...] = ()
    rpc_id: int | None = None
    negoex_scheme: uuid.UUID | None = None
    roles: frozenset[Role] = frozenset(Role)
    version: int = 1


@dataclass(frozen=True)
class Unusable:
    """Why a package cannot be used with a credential in a role.

    Args:
        reason: a sentence for the caller: what is missing, and what to give instead.
    """

    reason: str


class TargetName(str):
    """The name of the service that an initiator wants to reach, ``class/host[/name]`` or a plain host."""

    __slots__ = ()

    @property
    def service_class(self) -> str:
        """What stands before the first slash; ``host`` where there is none."""
        service, separator, _ = self.partition("/")
        return service if separator else "host"

    @property
    def host(self) -> str:
        """The host alone."""
        parts = self.split("/")
        return parts[1] if len(parts) > 1 else parts[0]

    def is_among(self, served: Iterable[str]) -> bool:
        """Whether it is one of `served`: whole names, hosts, or service classes, without regard to case."""
        name, host = self.casefold(), self.host.casefold()
        service = name.partition("/")[0] if "/" in name else ""
        return any(own and own in (name, host, service) for own in map(str.casefold, served))


class SecurityPackage(Protocol):
    """A security package: makes handshakes for either role. Its instances hold only what configures the mechanism."""

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        ...

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can; asked before a handshake is made."""
        ...

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake. Nothing happens before it is driven.

        Args:
            credential: as whom; `None` for the package's default identity, which is found at the edge.
            target: the service to reach, or `None` where the mechanism allows it.
            options: what is wanted.
        """
        ...

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake. Nothing happens before it is driven."""
        ...
