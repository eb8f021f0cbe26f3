"""The security package Kerberos: what it says of itself, and its two roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securestream.credentials import Credential, CredentialCache, Keytab, Password, find_form
from securestream.inspection import Inspection, Node
from securestream.options import Options, Role
from securestream.provider import Capability, Handshake, PackageInfo, TargetName, Unusable
from securestream_providers.kerberos import acceptor, initiator
from securestream_providers.kerberos.context import MAX_TOKEN, NAME, KerberosContext, import_session
from securestream_providers.kerberos.credentials import Tickets
from securestream_providers.kerberos.describe import describe
from securestream_providers.kerberos.policy import Policy
from securestream_providers.krb5.gss_token import KERBEROS, MS_KERBEROS

INFO: Final = PackageInfo(
    name=NAME,
    comment="Microsoft Kerberos V1.0",
    capabilities=(
        Capability.INTEGRITY
        | Capability.PRIVACY
        | Capability.TOKEN_ONLY
        | Capability.CONNECTION
        | Capability.MULTI_REQUIRED
        | Capability.EXTENDED_ERROR
        | Capability.IMPERSONATION
        | Capability.ACCEPT_WIN32_NAME
        | Capability.NEGOTIABLE
        | Capability.GSS_COMPATIBLE
        | Capability.LOGON
        | Capability.MUTUAL_AUTH
        | Capability.DELEGATION
        | Capability.READONLY_WITH_CHECKSUM
    ),
    max_token=MAX_TOKEN,
    oids=(KERBEROS, MS_KERBEROS),
    rpc_id=16,
)
"""As Windows lists it, without what it has for datagrams and restricted tokens."""


@dataclass(frozen=True, kw_only=True)
class Kerberos(Policy):
    """The security package Kerberos (RFC 4121, [MS-KILE]).

    Args:
        config: the configuration; `None`: the system's krb5.conf.
        realm: the default realm, in place of the configuration's.
        kdc: where the KDCs of `realm` are: ``host``, ``host:port``, ``tcp/host:port`` or ``https://host/path``.
        weak: encryption types that are used only where they are named: ``"rc4-hmac"``, which gives up passwords of
            ordinary strength to whoever listens, and ``"des3-cbc-sha1-kd"``.
        served: what an acceptor answers to: a service class, ``class/host`` or ``class/host@REALM``. Empty: every
            service in its keytab. Keys of users, krbtgt and kadmin are never used.
        ignore_case: whether class and host of those names are compared without regard to case.
        pac: an acceptor verifies the PAC of a ticket that has one (``"checked"``), or also demands it (``"required"``).
        checksum: ``"optional"`` lets an acceptor admit authenticators without the GSS checksum, whose flags and
            bindings are then unproven.
        delegation: ``"always"`` delegates to services that the KDC does not mark as trusted for it, too.
        canonicalize: whether a KDC may answer with other names; `None`: as configured.
        enterprise: the user's name is an enterprise name, such as an e-mail address.
        armor: a ticket-granting ticket that armors requests (FAST).
        armor_policy: ``"offered"`` uses it only where the KDC says that it knows FAST.
        allow_anonymous: admit clients of tickets without a name.

    Raises:
        UsageError: arguments that contradict each other.
    """

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        return INFO

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        if credential is None or find_form(credential, Keytab, Tickets, CredentialCache) is not None:
            return None
        if find_form(credential, Password) is not None:
            return None  # an acceptor's is good for user-to-user
        if role is Role.ACCEPTOR:
            return Unusable("a Kerberos acceptor needs a Keytab")
        return Unusable("Kerberos needs a Password, a Keytab, a CredentialCache or Tickets")

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake; see `initiator.initiate`.

        Args:
            credential: a `Password`, `Keytab`, `CredentialCache` or `Tickets`; `None`: the default cache.
            target: the service to reach.
            options: what is wanted.
        """
        return initiator.initiate(self, credential, target, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake; see `acceptor.accept`.

        Args:
            credential: a `Keytab`; `None`: the default one.
            options: what is wanted.
        """
        return acceptor.accept(self, credential, options)

    def import_context(self, exported: bytes, options: Options | None = None) -> KerberosContext:
        """Revive a context that `KerberosContext.export` gave away.

        Args:
            exported: what it gave.
            options: clock and randomness; `None`: the machine's.

        Raises:
            UsageError: this is no exported Kerberos context of this version.
        """
        if options is None:
            from securestream.ambient import system_options

            options = system_options()
        return import_session(exported, options.clock, options.random)

    def describe_token(self, token: bytes) -> str:
        """One readable line on a token: its kind, names and types; nothing that proves or seals."""
        return describe(token)

    def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
        """The tree of a token; see `inspect.inspect`."""
        from securestream_providers.kerberos.inspect import inspect  # only who looks at tokens needs it

        return inspect(token, inspection)
