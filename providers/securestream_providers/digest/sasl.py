"""The SASL mechanism DIGEST-MD5 (RFC 2831), which is weak and historic (RFC 6331): off unless it is asked for by name.

It rests on MD5, RC4 and DES, has no channel bindings, and lets whoever listens guess at passwords at full speed. Who
stands between can take a stronger quality or cipher out of the server's offer unseen: ask for what is needed by
`Options.protection`, and name no cipher that is not good enough. SCRAM-SHA-256 over TLS has none of these faults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from securestream.arguments import check_sequence, members
from securestream.credentials import Accounts, Credential, Password, find_form
from securestream.errors import UsageError
from securestream.options import Options, Role
from securestream.provider import Capability, Handshake, PackageInfo, TargetName, Unusable
from securestream.sasl.gssapi import check_buffer
from securestream.sasl.mechanism import DEFAULT_BUFFER, Authorize, check_authzid, mechanism_info, own_identity
from securestream.services.verifiers import checked_realm
from securestream_providers.digest.context import MECHANISM
from securestream_providers.digest.sasl_client import initiate
from securestream_providers.digest.sasl_crypto import Cipher
from securestream_providers.digest.sasl_server import accept
from securestream_providers.digest.sasl_sessions import Subsequent

NAME: Final = MECHANISM
CIPHERS: Final = (Cipher.RC4, Cipher.TRIPLE_DES)
"""What encrypts unless told otherwise; 3des is the second, since Cyrus SASL offers it and fails at it where it is built
on OpenSSL 3. Keys of 40 and 56 bits are for those who name them."""

_WARNING: Final = (
    "DIGEST-MD5 is weak and historic (RFC 6331): whoever listens can guess at the password at full speed, and what "
    "seals is RC4 or DES; use it only with a peer that knows nothing better"
)
_INFO: Final = mechanism_info(
    NAME,
    "Digest for SASL, weak and historic (RFC 2831)",
    Capability.INTEGRITY | Capability.PRIVACY | Capability.MUTUAL_AUTH | Capability.LOGON,
    max_token=4096,
)


@dataclass(frozen=True, kw_only=True)
class DigestMd5:
    """The SASL mechanism DIGEST-MD5, for those who have to.

    A client has a `Password`, a server `Accounts` whose store keeps verifiers of the realm. A domain goes before the
    name, ``DOMAIN\\user``; where it is the realm, as with Cyrus SASL, name it in `realms` and not in the password.

    The layer is the least that both ends allow: an end asks for `Options.protection`, or more.

    Args:
        realms: a server's realms; a client takes the first of these that the server offers, and no other. A client that
            names none takes the domain of its password where the server offers that, else the only realm, else the one
            that is called as the server's host.
        services: for what a server answers: ``ldap/dc1.example.com``, or ``ldap`` for any name of its host.
        ciphers: what may encrypt, the preferred one first.
        authzid: as whom a client wants to act; empty for itself.
        authorize: whether a server lets a client act as another identity that it asks for.
        max_buffer: octets of the longest protected buffer that this end takes.
        subsequent: lets exchanges without a layer continue earlier ones (RFC 2831 2.2), where the profile has initial
            responses; `None`: each stands alone.

    Raises:
        UsageError: a realm or a buffer cannot be sent, or there is no cipher.
    """

    realms: Sequence[str] = ()
    services: Sequence[str] = ()
    ciphers: Sequence[Cipher] = CIPHERS
    authzid: str = ""
    authorize: Authorize = own_identity
    max_buffer: int = DEFAULT_BUFFER
    subsequent: Subsequent | None = None

    def __post_init__(self) -> None:
        check_sequence("realms", self.realms, '["EXAMPLE.COM"]')
        check_sequence("services", self.services, '["ldap/dc1.example.com"]')
        ciphers = members("ciphers", self.ciphers, Cipher)
        for realm in self.realms:
            checked_realm(realm)
        check_buffer(self.max_buffer)
        object.__setattr__(self, "ciphers", ciphers)
        if not ciphers:
            raise UsageError("DIGEST-MD5 needs at least one cipher; Options.protection tells whether one is used")
        check_authzid(self.authzid)

    @property
    def info(self) -> PackageInfo:
        """What the mechanism is."""
        return _INFO

    @property
    def warning(self) -> str:
        """Why not to use it."""
        return _WARNING

    @property
    def client_first(self) -> bool:
        """The server speaks first, unless the client continues an earlier exchange."""
        return False

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        if role is Role.INITIATOR:
            found = find_form(credential, Password)
            return None if found is not None else Unusable("a DIGEST-MD5 client needs a Password")
        if find_form(credential, Accounts) is None:
            return Unusable("a DIGEST-MD5 server needs Accounts that keep verifiers of passwords")
        if not self.services:
            return Unusable("a DIGEST-MD5 server needs to know its own name: services=['ldap/dc1.example.com']")
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The client's handshake.

        Args:
            credential: a `Password`.
            target: the service, ``ldap/dc1.example.com``.
            options: what is wanted.

        Raises:
            InvalidToken: the server's messages are none, or do not belong to this exchange.
            LogonDenied: the server does not prove that it knows the password's verifier.
            NoCredentials: there is no password, or the server offers no realm that it is for.
            QualityNotMet: the server offers no layer or cipher that is good enough; nothing was proved to it.
            TargetUnknown: no target was named.
        """
        return initiate(self, credential, target, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The server's handshake.

        Args:
            credential: `Accounts`.
            options: what is wanted.

        Raises:
            BadBindings: channel bindings are demanded, which DIGEST-MD5 has not.
            InvalidToken: the client's response is none, or chooses what was not offered.
            LogonDenied: no.
            NoCredentials: as `usable` says.
            NotAuthorized: the client may not act as it asks.
            TargetUnknown: the client wants another service.
        """
        return accept(self, credential, options)
