"""What a negotiation allows: the arguments of `Negotiate`, and when NTLM may stand in for Kerberos."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

from securestream.credentials import Anonymous, Credential, Credentials, NtHash, Password
from securestream.errors import ErrorKind, HandshakeError, NoAuthorityKnown, UsageError
from securestream.options import ContextFlags, Options, Role
from securestream.provider import SecurityPackage
from securestream_providers.negotiate.mechanism import Mechanism, default_packages, mechanisms_of

NtlmUse = Literal["never", "no-kdc", "always"]
Bare = Literal["accepted", "refused"]

FALLBACK: Final = frozenset(
    (
        ErrorKind.NO_AUTHORITY,
        ErrorKind.SERVICE_FAILED,
        ErrorKind.TIMED_OUT,
        ErrorKind.NO_CREDENTIALS,
        ErrorKind.UNKNOWN_CREDENTIALS,
        ErrorKind.TARGET_UNKNOWN,
        ErrorKind.TIME_SKEW,
        ErrorKind.CONTEXT_EXPIRED,
        ErrorKind.UNSUPPORTED,
    )
)
"""The kinds of error after which an initiator goes on to its next mechanism. Any other ends the negotiation: a wrong
password is not tried on the server when a KDC has refused it, nor is a name that no mechanism may be asked for."""


@dataclass(frozen=True, init=False, eq=False)
class Policy:
    """The arguments of `Negotiate`, which documents them, and what follows from them."""

    mechanisms: tuple[SecurityPackage, ...]
    ntlm: NtlmUse | None
    bare: Bare
    server_first: bool
    candidates: tuple[Mechanism, ...] = field(repr=False, compare=False)

    def __init__(
        self,
        *mechanisms: SecurityPackage,
        ntlm: NtlmUse | None = None,
        bare: Bare = "accepted",
        server_first: bool = False,
    ) -> None:
        if ntlm is not None and ntlm not in get_args(NtlmUse):
            raise UsageError(f'ntlm is "never", "no-kdc" or "always", not {ntlm!r}')
        if bare not in get_args(Bare):
            raise UsageError(f'bare is "accepted" or "refused", not {bare!r}')
        packages = mechanisms or default_packages()
        candidates = mechanisms_of(packages)
        if ntlm == "never" and all(one.is_ntlm for one in candidates):
            raise UsageError('ntlm="never" leaves no mechanism: name another one, or allow NTLM')
        object.__setattr__(self, "mechanisms", packages)
        object.__setattr__(self, "ntlm", ntlm)
        object.__setattr__(self, "bare", bare)
        object.__setattr__(self, "server_first", server_first)
        object.__setattr__(self, "candidates", candidates)

    # --- NTLM ---------------------------------------------------------------------------------------------------------

    def ntlm_use(self, credential: Credential | None) -> NtlmUse:
        """When an initiator may use NTLM (SECURITY: Negotiate).

        Where the caller did not say: always, if the caller put no Kerberos before it; where no KDC is known, for a
        password without a realm; never for tickets, keys, and users of a named realm.
        """
        if self.ntlm is not None:
            return self.ntlm
        for mechanism in self.candidates:
            if mechanism.is_kerberos:
                break
            if mechanism.is_ntlm:
                return "always"
        return "no-kdc" if _names_no_realm(credential) else "never"

    def allows(self, mechanism: Mechanism) -> bool:
        """Whether an acceptor may choose `mechanism`."""
        return not (mechanism.is_ntlm and self.ntlm == "never")

    def objection(self, credential: Credential | None, failures: dict[Mechanism, HandshakeError | None]) -> str:
        """Why NTLM may not be offered by an initiator; empty where it may.

        Args:
            credential: as whom.
            failures: the mechanisms that were passed over, with the error; `None` where the credential is not for them.
        """
        if self.ntlm != "always" and self._stands_behind_negoex(failures):
            return (
                "nothing proves which schemes of NEGOEX arrived where an acceptor goes on as if it had none of them; "
                'ntlm="always" would let it'
            )
        use = self.ntlm_use(credential)
        if use == "always":
            return ""
        if use == "never":
            return (
                'policy forbids it: ntlm="never"'
                if self.ntlm == "never"
                else 'it does not stand in for a ticket, a key or a named realm; ntlm="always" would let it'
            )
        for mechanism in self.candidates:
            if mechanism.is_kerberos and not _excused(mechanism, failures):
                return (
                    'it stands in for Kerberos only where no KDC is known (ntlm="no-kdc"); ntlm="always" would let it'
                )
        return ""

    def _stands_behind_negoex(self, failures: dict[Mechanism, HandshakeError | None]) -> bool:
        """Whether NEGOEX, with a scheme that can be used, stands before NTLM. The MIC of the list does not cover its
        schemes, and its VERIFY only a negotiation that goes on: whoever alters them on the way is not found out.
        """
        for mechanism in self.candidates:
            if mechanism.is_ntlm:
                break
            if mechanism.is_negoex and mechanism not in failures:
                return True
        return False


def _excused(mechanism: Mechanism, failures: dict[Mechanism, HandshakeError | None]) -> bool:
    """Whether Kerberos had nobody to ask. An error of a KDC, or its silence, is no excuse: anybody can forge it."""
    if mechanism not in failures:
        return False
    failure = failures[mechanism]
    return failure is None or isinstance(failure, NoAuthorityKnown)


def _names_no_realm(credential: Credential | None) -> bool:
    r"""Whether a credential is nothing but passwords (or their hashes) of users without a realm.

    ``DOMAIN\user`` names none, ``domain.example\user`` does: that is a realm, as DNS writes it.
    """
    forms = credential.forms if isinstance(credential, Credentials) else (credential,)
    return bool(forms) and all(
        isinstance(form, NtHash | Anonymous)
        or (isinstance(form, Password) and "@" not in form.user and "." not in form.domain)
        for form in forms
    )


def with_integrity(options: Options) -> Options:
    """`options` that ask for integrity at every level of protection: a mechListMIC needs it (SECURITY: Negotiate)."""
    if ContextFlags.INTEGRITY in options.wanted:
        return options
    return replace(options, flags=options.flags | ContextFlags.INTEGRITY)


def unusable_reason(mechanism: Mechanism, credential: Credential | None, role: Role) -> str:
    """Why a mechanism cannot be used with a credential; empty where it can."""
    unusable = mechanism.package.usable(credential, role)
    return "" if unusable is None else unusable.reason
