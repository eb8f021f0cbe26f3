"""The security package NTLM: what it says of itself, and its two roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from securestream.credentials import (
    Accounts,
    Anonymous,
    Certificate,
    Credential,
    CredentialCache,
    Keytab,
    NtHash,
    Password,
    find_form,
)
from securestream.inspection import Inspection, Node
from securestream.options import Options, Role
from securestream.provider import Capability, Handshake, PackageInfo, TargetName, Unusable
from securestream_providers.ntlm import acceptor, initiator
from securestream_providers.ntlm.context import MAX_TOKEN, NAME, NtlmContext, import_session
from securestream_providers.ntlm.describe import describe
from securestream_providers.ntlm.policy import Policy, ServerNames

__all__ = ["INFO", "Ntlm", "ServerNames"]

INFO: Final = PackageInfo(
    name=NAME,
    comment="NTLM Security Package",
    capabilities=(
        Capability.INTEGRITY
        | Capability.PRIVACY
        | Capability.TOKEN_ONLY
        | Capability.CONNECTION
        | Capability.MULTI_REQUIRED
        | Capability.IMPERSONATION
        | Capability.ACCEPT_WIN32_NAME
        | Capability.NEGOTIABLE
        | Capability.LOGON
        | Capability.RESTRICTED_TOKENS
    ),
    max_token=MAX_TOKEN,
    oids=("1.3.6.1.4.1.311.2.2.10",),
    rpc_id=10,
)
"""As Windows lists it."""


_NO_ACCOUNTS: Final = Unusable("an NTLM acceptor needs an account store: give it a credential of type Accounts")
_NO_LOGON: Final = Unusable("NTLM needs a Password, an NtHash or Anonymous()")


@dataclass(frozen=True, kw_only=True)
class Ntlm(Policy):
    """The security package NTLM ([MS-NLMP]). Without arguments it is as strong as NTLM gets.

    Args:
        level: LmCompatibilityLevel. An initiator sends NTLMv2 from 3 on, NTLMv1 below, with an LM response below 2; an
            acceptor takes NTLMv2 alone at 5, NTLMv1 too at 4, LM too below.
        mic: ``"required"`` by default. ``"optional"`` gives up the proof that flags, bindings and names were not
            altered on the way; gss-ntlmssp outside SPNEGO (.NET on Linux at level None) and every NTLMv1 client need
            it. An initiator then sends a MIC only where the server's CHALLENGE has a timestamp.
        spn: whether an acceptor compares the service name that the client meant with `served`: ``"checked"`` refuses
            another one, ``"required"`` also absence and names of which the client is not sure, ``"off"`` lets a logon
            meant for another service be relayed here.
        served: names of this acceptor: whole service principal names, hosts, or service classes; without regard
            to case.
        key_exchange: whether sessions that sign or seal have a random key. Without it the key follows from the
            password and the two challenges, and checksums are not encrypted.
        extended_security: extended session security. Without it signatures are CRC-32 under RC4, and both directions
            share one stream.
        key_bits: the strengths of the sealing key that may be agreed; 56 and 40 are broken in hours.
        lm_keys: allow session keys from the LM hash, where extended security is not agreed; practically no key.
        unicode: names in Unicode.
        oem: a code page of Python's for names, offered or taken where Unicode is not agreed.
        datagram: the connectionless form: the acceptor speaks first, and each message has a number and an RC4 stream of
            its own.
        allow_anonymous: admit logons of nobody; so does ``Accounts(allow_anonymous=True)``.
        names: how an acceptor introduces itself.
        workstation: how an initiator introduces its machine; proves nothing.

    Raises:
        UsageError: arguments that contradict each other.
    """

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        return INFO

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why it cannot work with `credential` in `role`, or `None` when it can."""
        if role is Role.ACCEPTOR:
            if find_form(credential, Accounts) is not None:
                return None
            others = find_form(credential, Password, NtHash, Certificate, Keytab, CredentialCache)
            if credential is None or others is not None:
                return _NO_ACCOUNTS
            return None
        if find_form(credential, Password, NtHash, Anonymous) is None:
            return _NO_LOGON
        if self.level == 0 and self.extended_security == "required":
            return Unusable('level 0 never uses extended session security: give extended_security="off"')
        return None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake; see `initiator.initiate`.

        Args:
            credential: a `Password`, an `NtHash` or `Anonymous`.
            target: the service to reach; goes into the response, where the acceptor may compare it.
            options: what is wanted.
        """
        return initiator.initiate(self, credential, target, options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake; see `acceptor.accept`.

        Args:
            credential: `Accounts`, or whatever the performer registered for `NtlmLogon` understands.
            options: what is wanted.
        """
        return acceptor.accept(self, credential, options)

    def import_context(self, exported: bytes) -> NtlmContext:
        """Revive a context that `NtlmContext.export` gave away.

        Raises:
            UsageError: this is no exported NTLM context of this version.
        """
        return import_session(exported)

    def describe_token(self, token: bytes) -> str:
        """One readable line on a token: its kind, flags and names; nothing that proves or seals."""
        return describe(token)

    def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
        """The tree of a token; see `inspect.inspect`."""
        from securestream_providers.ntlm.inspect import inspect  # only who looks at tokens needs it

        return inspect(token, inspection)
