"""The logon that an NTLM acceptor asks for, and how an account store answers it ([MS-NLMP] 3.3, 3.2.5.1.2).

The acceptor hands over challenge and response and receives a session key and a principal, never a password's hash: a
local store computes (`verify_locally`), a domain is asked by pass-through, and the hash never leaves it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import ClassVar, Final

from securestream.credentials import Accounts, Credential, find_form
from securestream.errors import LogonDenied, NoCredentials
from securestream.principal import NameType, Principal
from securestream.provider import Effect
from securestream.redaction import Redacted, Secret
from securestream.values import made_quickly
from securestream_providers.ntlm.crypto import desl, ess_challenge, keyed_md5, md4, ntowf_v2, proof_v2

REFUSED: Final = (
    "the NTLM logon was refused: check user, domain and password, and that the account is neither disabled nor locked"
)
"""The same words whatever the reason was (SECURITY: logon)."""


class ResponseKind(Enum):
    """What a client answered with ([MS-NLMP] 3.3)."""

    NTLM_V2 = "NTLMv2"
    LM_V2 = "LMv2 alone"
    NTLM_V1 = "NTLMv1"
    NTLM_V1_EXTENDED = "NTLMv1 with extended session security"
    LM_V1 = "LM alone"
    ANONYMOUS = "anonymous"

    @property
    def version2(self) -> bool:
        """Whether its session keys are those of NTLMv2."""
        return self in _VERSION2


_VERSION2: Final = (ResponseKind.NTLM_V2, ResponseKind.LM_V2, ResponseKind.ANONYMOUS)

LEVELS: Final[dict[ResponseKind, int]] = {
    ResponseKind.NTLM_V2: 5,
    ResponseKind.LM_V2: 5,
    ResponseKind.NTLM_V1: 4,
    ResponseKind.NTLM_V1_EXTENDED: 4,
    ResponseKind.LM_V1: 3,
    ResponseKind.ANONYMOUS: 5,
}
"""The highest LmCompatibilityLevel at which an acceptor takes each kind."""


@made_quickly
@dataclass(frozen=True, repr=False)
class LogonResult(Redacted):
    """What a logon gives to the acceptor.

    Args:
        session_base_key: 16 octets ([MS-NLMP] 3.3); NetrLogonSamLogon calls it UserSessionKey.
        principal: who logged on.
        kind: what the response proved to be.
        lm_session_key: the first 8 octets of LMOWFv1, for sessions with LM keys; `None` where it is not known.
    """

    session_base_key: Secret[bytes]
    principal: Principal
    kind: ResponseKind = ResponseKind.NTLM_V2
    lm_session_key: Secret[bytes] | None = None


@made_quickly
@dataclass(frozen=True, repr=False)
class NtlmLogon(Effect[LogonResult]):
    """Is this response to this challenge that of this user?

    Whoever performs it raises `LogonDenied` for no, in words and in time the same for every reason.

    Args:
        credential: the acceptor's own, which says where the accounts are.
        user: the name as sent.
        domain: the domain as sent.
        workstation: the client's name as sent; proves nothing.
        server_challenge: 8 octets.
        lm_response: the LM field as sent.
        nt_response: the NT field as sent, with everything that follows the AV pairs.
        extended: whether extended session security was agreed, which changes what NTLMv1 encrypts.
        level: LmCompatibilityLevel: which responses count.
        source: the peer's address; empty where unknown.
        now: the present moment.
    """

    performer: ClassVar[str | None] = "securestream_providers.ntlm.performers:logon_performer"

    credential: Credential
    user: str
    domain: str
    workstation: str
    server_challenge: bytes
    lm_response: bytes
    nt_response: bytes
    extended: bool
    level: int
    source: str
    now: datetime = field(repr=False)


@made_quickly
@dataclass(frozen=True, repr=False)
class _Proof(Redacted):
    kind: ResponseKind
    session_base_key: bytes


def verify_locally(logon: NtlmLogon) -> LogonResult:
    """Verify a logon against the account store of its credential.

    Unknown, disabled, locked, throttled and wrong ask the store the same questions, compute the same HMACs, and end in
    the same error.

    Raises:
        LogonDenied: no.
        NoCredentials: the credential names no account store.
        ServiceFailed: the store cannot be read.
    """
    accounts = find_form(logon.credential, Accounts)
    if accounts is None:
        raise NoCredentials("an NTLM acceptor needs an account store: give it a credential of type Accounts")
    store = accounts.store
    account = store.find(logon.user, logon.domain, logon.source, logon.now)
    throttled = store.throttled(logon.user, account, logon.source, logon.now)
    decoy = store.decoy
    hash_ = (decoy if account is None else account.nt_hash).reveal()
    lm = account.lm_hash if account is not None else None
    proof = _prove(logon, hash_, None if lm is None else lm.reveal(), decoy.reveal())
    if account is None or proof is None or throttled or account.is_closed(logon.now):
        store.failed(logon.user, account, logon.source, logon.now, wrong=proof is None)
        raise LogonDenied(REFUSED)
    if not store.succeeded(logon.user, account, logon.source, logon.now):
        raise LogonDenied(REFUSED)
    principal = Principal(account.name, "NTLM", account.domain, NameType.USER, sid=account.sid)
    return LogonResult(
        Secret(proof.session_base_key), principal, proof.kind, None if lm is None else Secret(lm.reveal()[:8])
    )


def _prove(logon: NtlmLogon, hash_: bytes, lm: bytes | None, decoy: bytes) -> _Proof | None:
    """What the response proves with these hashes, or `None`; the work depends on the response alone."""
    response, challenge = logon.nt_response, logon.server_challenge
    if len(response) > 24:
        key = ntowf_v2(hash_, logon.user, logon.domain)
        return _prove_v2(ResponseKind.NTLM_V2, key, challenge, response[16:], response[:16])
    if len(response) == 24:
        kind = ResponseKind.NTLM_V1_EXTENDED if logon.extended else ResponseKind.NTLM_V1
        if logon.extended:
            challenge = ess_challenge(challenge, logon.lm_response[:8])
        right = hmac.compare_digest(desl(hash_, challenge), response)
        return _Proof(kind, md4(hash_)) if right and logon.level <= LEVELS[kind] else None
    answer = logon.lm_response
    if response or len(answer) != 24:
        return None
    key = ntowf_v2(hash_, logon.user, logon.domain)
    proof = _prove_v2(ResponseKind.LM_V2, key, challenge, answer[16:], answer[:16])
    if logon.extended or logon.level > LEVELS[ResponseKind.LM_V1]:
        return proof
    right = hmac.compare_digest(desl(decoy if lm is None else lm, challenge), answer)
    return _Proof(ResponseKind.LM_V1, md4(hash_)) if right and lm is not None else proof


def _prove_v2(kind: ResponseKind, key: bytes, challenge: bytes, octets: bytes, given: bytes) -> _Proof | None:
    proof, session_base_key = proof_v2(keyed_md5(key), challenge, octets)
    return _Proof(kind, session_base_key) if hmac.compare_digest(proof, given) else None
