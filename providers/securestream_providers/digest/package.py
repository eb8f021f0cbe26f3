"""The package Digest: what configures it, its HTTP schemes, and SASL's DIGEST-MD5 where that is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, get_args

from securestream.arguments import check_choice, check_secret, check_sequence, hidden, members
from securestream.credentials import Credential
from securestream.errors import Unsupported, UsageError
from securestream.extensions import Discouraged
from securestream.http.schemes import ServerProof
from securestream.options import Options, Role
from securestream.provider import Capability, Handshake, PackageInfo, SecurityPackage, TargetName, Unusable
from securestream.redaction import Secret
from securestream.registry import check_package
from securestream_providers.digest.algorithms import CLIENT_ALGORITHMS, SERVER_ALGORITHMS, Algorithm, Qop
from securestream_providers.digest.client import DigestClient
from securestream_providers.digest.context import MECHANISM, PACKAGE
from securestream_providers.digest.describe import describe
from securestream_providers.digest.nonces import check_lifetime
from securestream_providers.digest.server import LIFETIME, DigestServer

if TYPE_CHECKING:
    from securestream.inspection import Inspection, Node

INFO: Final = PackageInfo(
    name=PACKAGE,
    comment="Digest authentication for HTTP, and for SASL where it is named",
    capabilities=Capability.INTEGRITY
    | Capability.PRIVACY
    | Capability.CONNECTION
    | Capability.IMPERSONATION
    | Capability.ACCEPT_WIN32_NAME
    | Capability.ASCII_BUFFERS
    | Capability.MUTUAL_AUTH,
    max_token=4096,
    rpc_id=21,  # RPC_C_AUTHN_DIGEST
)

_UNNAMED: Final = (
    "Digest belongs to HTTP (securestream.http) and to SASL, where it is the weak and historic DIGEST-MD5, not to "
    "connections that authenticate by themselves: for SASL name it, Digest(sasl=DigestMd5(...)), or use SCRAM-SHA-256"
)


@dataclass(frozen=True, init=False)
class Digest:
    """Digest: HTTP's of RFC 7616 through `http_client` and `http_server`; as a package, SASL's where it is named.

    Args:
        algorithms: what a client answers and a server offers, the preferred one first; `None` is SHA-256 and
            SHA-512-256 for clients, SHA-256 for servers. MD5, which is broken, is for those who name it.
        qops: what may be used, the preferred one first. ``Qop.AUTH_INT`` covers contents, which must be at hand.
        userhash: whether a client sends names hashed where the server asks for that, and a server asks; `None`: a
            client does (RFC 7616 3.4.4), and a server does not ask.
        lifetime: how long a server's nonce is good.
        key: 32 octets under which a server signs nonces; processes that serve one origin need the same.
        server_proof: whether a client takes a response without the server's proof; see `DigestClient`.
        served: names of a server, of which a client that names a service must mean one; see `DigestServer`.
        sasl: the mechanism DIGEST-MD5, with its options, for `initiate` and `accept`; no other mechanism.

    Raises:
        UsageError: a value cannot be one, or `sasl` is another mechanism.
    """

    algorithms: Sequence[Algorithm] | None
    qops: Sequence[Qop]
    userhash: bool | None
    lifetime: timedelta
    key: Secret[bytes] | None = field(repr=False)
    server_proof: ServerProof
    served: Sequence[str]
    sasl: SecurityPackage | None

    def __init__(
        self,
        algorithms: Sequence[Algorithm] | None = None,
        qops: Sequence[Qop] = (Qop.AUTH,),
        userhash: bool | None = None,
        lifetime: timedelta = LIFETIME,
        key: bytes | Secret[bytes] | None = None,
        server_proof: ServerProof = "required",
        served: Sequence[str] = (),
        sasl: SecurityPackage | None = None,
    ) -> None:
        secret = None if key is None else hidden(key)
        del key  # an error raised here shows the locals of this frame to crash reporters
        check_secret("key", secret, bytes)
        check_lifetime(lifetime)
        check_choice("server_proof", server_proof, get_args(ServerProof))
        check_sequence("served", served, '["HTTP/www.example.com"]')
        if sasl is not None:
            _check_mechanism(sasl)
        known = None if algorithms is None else members("algorithms", algorithms, Algorithm)
        object.__setattr__(self, "algorithms", known)
        object.__setattr__(self, "qops", members("qops", qops, Qop))
        object.__setattr__(self, "userhash", userhash)
        object.__setattr__(self, "lifetime", lifetime)
        object.__setattr__(self, "key", secret)
        object.__setattr__(self, "server_proof", server_proof)
        object.__setattr__(self, "served", tuple(served))
        object.__setattr__(self, "sasl", sasl)

    @property
    def warning(self) -> str | None:
        """Why not to use the mechanism that was named; HTTP's Digest has nothing to be told of."""
        if self.sasl is None:
            return None
        return self.sasl.warning if isinstance(self.sasl, Discouraged) else None

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        return INFO

    # --- HTTP

    def http_client(self, credential: Credential) -> DigestClient:
        """HTTP Digest as a client's scheme; one serves any number of requests.

        Args:
            credential: a `Password`.

        Raises:
            UsageError: it is none.
        """
        return DigestClient(
            credential,
            algorithms=CLIENT_ALGORITHMS if self.algorithms is None else self.algorithms,
            qops=self.qops,
            userhash=self.userhash is not False,
            server_proof=self.server_proof,
        )

    def http_server(self, credential: Credential, realm: str, *, domain: Sequence[str] = ()) -> DigestServer:
        """HTTP Digest as a server's scheme; one serves any number of requests.

        Args:
            credential: `Accounts` whose store keeps verifiers of the realm.
            realm: the realm.
            domain: URIs or paths of the protection space; none for the whole origin.

        Raises:
            UsageError: the realm or the key cannot be one.
        """
        return DigestServer(
            credential,
            realm,
            algorithms=SERVER_ALGORITHMS if self.algorithms is None else self.algorithms,
            qops=self.qops,
            userhash=self.userhash is True,
            lifetime=self.lifetime,
            key=self.key,
            domain=domain,
            served=self.served,
        )

    # --- SASL

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work as a package with `credential` in `role`, or `None` when it can."""
        return Unusable(_UNNAMED) if self.sasl is None else self.sasl.usable(credential, role)

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake of SASL's DIGEST-MD5.

        Raises:
            Unsupported: the mechanism was not named.
        """
        if self.sasl is None:
            raise Unsupported(_UNNAMED)
        return self.sasl.initiate(credential, target, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake of SASL's DIGEST-MD5.

        Raises:
            Unsupported: the mechanism was not named.
        """
        if self.sasl is None:
            raise Unsupported(_UNNAMED)
        return self.sasl.accept(credential, options)

    def describe_token(self, token: bytes) -> str:
        """One readable line on a field value or SASL message; nothing that proves."""
        return describe(token)

    def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
        """The tree of a field value or SASL message; see `inspect.inspect`."""
        from securestream_providers.digest.inspect import inspect  # only who looks at tokens needs it

        return inspect(token, inspection)


def _check_mechanism(sasl: SecurityPackage) -> None:
    check_package(sasl, "Digest(sasl=...)", "sasl=DigestMd5(...)")
    if sasl.info.name != MECHANISM:
        raise UsageError(
            f"Digest carries the SASL mechanism {MECHANISM} and no other: {sasl.info.name} belongs into a protocol's "
            "own profile (securestream.sasl)"
        )
