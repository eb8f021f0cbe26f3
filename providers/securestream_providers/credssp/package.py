"""The security package CredSSP: its arguments, and the two handshakes made from them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from securestream.arguments import check_sequence
from securestream.credentials import Certificate, Credential, Credentials, find_form
from securestream.errors import NoCredentials, UsageError
from securestream.extensions import ListenerScoped
from securestream.inspection import Inspection, Node
from securestream.options import Options, Role
from securestream.provider import Capability, Handshake, PackageInfo, SecurityPackage, TargetName, Unusable
from securestream.registry import check_package
from securestream_providers.credssp import acceptor, initiator
from securestream_providers.credssp.credentials import to_delegate
from securestream_providers.credssp.policy import NEWEST, Delegation, Policy, Use

INFO: Final = PackageInfo(
    name="CREDSSP",
    comment="Microsoft CredSSP Security Provider",
    capabilities=Capability.INTEGRITY
    | Capability.PRIVACY
    | Capability.CONNECTION
    | Capability.MULTI_REQUIRED
    | Capability.IMPERSONATION
    | Capability.ACCEPT_WIN32_NAME
    | Capability.STREAM
    | Capability.MUTUAL_AUTH
    | Capability.DELEGATION,
    max_token=90567,  # what EnumerateSecurityPackages tells for CREDSSP
)

_NEGOTIATE: Final = "securestream_providers.negotiate:Negotiate"
_SCHANNEL: Final = "securestream_providers.schannel:Schannel"


class CredSsp:
    """CredSSP ([MS-CSSP]): TLS, a negotiation inside that is bound to the TLS key, and a credential delegated by both.

    What it establishes is the live TLS connection. At the acceptor `Established.delegated`
    (``SecurityAttribute.delegated`` of a stream) is the client's credential, which opens the next connection as that
    client: a `Password`, a `SmartCard` or a `RemoteGuard`. Nothing ties the name in it to the user who authenticated;
    whom the client is, `Established.peer` says.

    An initiator's credential is what `negotiation` takes; a `Password` is delegated as it is, a `SmartCard` or a
    `RemoteGuard` beside what authenticates, in `Credentials`. A `Certificate` among them is for TLS. An acceptor's
    credential is `Credentials` of a `Certificate` and of what `negotiation` takes.

    Each end asks for the verdict on its peer (`Admission`; ``admit`` of streams and listeners) once it verified the
    peer's proof of the key: an initiator before its credentials leave, an acceptor before they come, so that it can
    tell.

    Args:
        negotiation: the package inside, `Negotiate` by default; `Ntlm` or `Kerberos` for tokens without SPNEGO.
        tls: the package around it, `Schannel` by default. With ``Schannel(verify="none")`` it proves no host, and
            Kerberos must. An initiator's sessions are never resumed ones, with which Windows' servers fail.
        delegation: to whom an initiator delegates; to nobody by default.
        delegate_to: patterns of targets, for ``Delegation(*delegate_to)``; instead of `delegation`.
        restricted_admin: an initiator authenticates and delegates nothing; an acceptor lets such clients in.
        version: this end's version, 2 to 6.
        vulnerable_peers: ``"accepted"`` talks to peers older than version 5, whom CVE-2018-0886 lets somebody in
            between act as their client.
        early_authorization: the server tells its verdict on the user behind the credentials, as it was agreed by
            PROTOCOL_HYBRID_EX of X.224; both ends must know. Without it an error code in their place tells a client
            that it is refused, which versions 2 and 5 do not have.

    Raises:
        UsageError: the arguments contradict each other.
    """

    def __init__(
        self,
        negotiation: SecurityPackage | None = None,
        tls: SecurityPackage | None = None,
        *,
        delegation: Delegation | None = None,
        delegate_to: Sequence[str] = (),
        restricted_admin: bool = False,
        version: int = NEWEST,
        vulnerable_peers: Use = "refused",
        early_authorization: bool = False,
    ) -> None:
        self._negotiation = _made(_NEGOTIATE) if negotiation is None else negotiation
        self._tls = _made(_SCHANNEL) if tls is None else tls
        check_package(self._negotiation, "CredSsp", "CredSsp(Negotiate())")
        check_package(self._tls, "CredSsp(tls=...)", "tls=Schannel()")
        if Capability.STREAM in self._negotiation.info.capabilities:
            raise UsageError(f"{self._negotiation.info.name} cannot negotiate inside CredSSP: give Negotiate")
        if Capability.STREAM not in self._tls.info.capabilities:
            raise UsageError(f"{self._tls.info.name} is no TLS to run CredSSP in: give Schannel")
        if delegate_to:
            check_sequence("delegate_to", delegate_to, '["TERMSRV/server.example.com"]')
            if delegation is not None:
                raise UsageError("delegate_to stands in place of delegation: give one of them")
            delegation = Delegation(*delegate_to)
        self._policy = Policy(delegation, restricted_admin, version, vulnerable_peers, early_authorization)

    def __repr__(self) -> str:
        return f"CredSsp({self._negotiation.info.name}, {self._tls.info.name}, version={self._policy.version})"

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        return INFO

    @property
    def parts(self) -> Mapping[str, SecurityPackage]:
        """The packages inside, by the arguments that they are."""
        return {"negotiation": self._negotiation, "tls": self._tls}

    def for_listener(self) -> CredSsp:
        """This package for one listener: its TLS shares no sessions with another one's."""
        if not isinstance(self._tls, ListenerScoped):
            return self
        policy = self._policy
        return CredSsp(
            self._negotiation,
            self._tls.for_listener(),
            delegation=policy.delegation,
            restricted_admin=policy.restricted_admin,
            version=policy.version,
            vulnerable_peers=policy.vulnerable_peers,
            early_authorization=policy.early_authorization,
        )

    def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
        """The tree of a message; see `inspect.inspect`."""
        from securestream_providers.credssp.inspect import inspect  # only who looks at tokens needs it

        return inspect(token, inspection)

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        if unusable := self._negotiation.usable(credential, role):
            return unusable
        if role is Role.ACCEPTOR:
            return self._tls.usable(_certificates(credential), role)
        if self._policy.restricted_admin:
            return None
        if self._policy.delegation is None:
            return Unusable(
                "it delegates to nobody unless told: name the targets, "
                'CredSsp(delegation=Delegation("TERMSRV/server.example.com"))'
            )
        if to_delegate(credential) is None:
            return Unusable("there is nothing to delegate: give a Password, a SmartCard or a RemoteGuard")
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake; see `initiator.initiate`.

        Args:
            credential: as whom, and what is delegated.
            target: the service to reach, ``TERMSRV/host`` or ``HTTP/host``: what TLS verifies, Kerberos asks for and
                `delegation` must allow.
            options: what is wanted.
        """
        self._require(credential, Role.INITIATOR)
        return (yield from initiator.initiate(self._policy, self._negotiation, self._tls, credential, target, options))

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake; see `acceptor.accept`.

        Args:
            credential: ``Credentials(Certificate(...), Accounts(...))``, with a `Keytab` for Kerberos.
            options: what is wanted.
        """
        self._require(credential, Role.ACCEPTOR)
        certificate = _certificates(credential)
        return (
            yield from acceptor.accept(self._policy, self._negotiation, self._tls, credential, certificate, options)
        )

    def _require(self, credential: Credential | None, role: Role) -> None:
        if unusable := self.usable(credential, role):
            raise NoCredentials(unusable.reason)


def _certificates(credential: Credential | None) -> Credential | None:
    """The forms that are TLS's, or `None`."""
    if not isinstance(credential, Credentials):
        return find_form(credential, Certificate)
    own = tuple(form for form in credential if isinstance(form, Certificate))
    return Credentials(*own) if own else None


def _made(place: str) -> SecurityPackage:
    """The default package; named, since no provider imports another."""
    module, _, name = place.partition(":")
    factory = cast("Callable[[], SecurityPackage]", getattr(importlib.import_module(module), name))
    return factory()
