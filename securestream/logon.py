"""Logons that prove a password by a verifier that the store keeps of it: what Digest and SCRAM servers ask for.

The server hands over a pure function that tests a verifier; who performs the effect finds the account's verifier, or a
decoy, calls it once, and tells who logged on. The verifier never leaves the store's side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final, Generic, TypeVar

from securestream.credentials import Accounts, Credential, find_form, split_name
from securestream.errors import LogonDenied, NoCredentials
from securestream.principal import NameType, Principal
from securestream.provider import Effect
from securestream.redaction import Redacted
from securestream.services.accounts import Account, VerifierStore, name_key
from securestream.services.verifiers import SCRAM_SHA_256, ScramVerifier, VerifierKey, decoy_verifier

T = TypeVar("T")

REFUSED: Final = (
    "the logon was refused: check user, realm and password, and that the account is neither disabled nor locked"
)
"""The same words whatever the reason was (SECURITY: logon)."""

_PERFORMER: Final = "securestream.services.verifier_logon:verifier_performer"


@dataclass(frozen=True, repr=False)
class Found(Redacted):
    """What may be told of a verifier before anything is proved.

    Args:
        parameters: for SCRAM, a packed `securestream.services.verifiers.ScramParameters`; empty for digests.
    """

    parameters: bytes


@dataclass(frozen=True, repr=False)
class FindVerifier(Effect[Found]):
    """What must a client know of this user's verifier? Unknown users have stable parameters, too (RFC 5802 9).

    Args:
        credential: the acceptor's own, which says where the accounts are.
        user: the name as sent.
        kind: of the verifier, see `securestream.services.verifiers.VerifierKey`.
        realm: of the verifier.
        source: the peer's address; empty where unknown.
        now: the present moment.
    """

    performer: ClassVar[str | None] = _PERFORMER

    credential: Credential
    user: str
    kind: str
    realm: str
    source: str
    now: datetime = field(repr=False)


@dataclass(frozen=True, repr=False)
class LogonResult(Redacted, Generic[T]):
    """What a logon gives to the acceptor.

    Args:
        principal: who logged on.
        proof: what `VerifierLogon.prove` gave.
    """

    principal: Principal
    proof: T = field(repr=False)


@dataclass(frozen=True, repr=False)
class VerifierLogon(Effect[LogonResult[T]], Generic[T]):
    """Does this user's verifier prove the response?

    Whoever performs it raises `LogonDenied` for no, in words and in time the same for every reason.

    Args:
        credential: the acceptor's own, which says where the accounts are.
        user: the name as sent, ``DOMAIN\\user`` or ``user``; with `hashed`, the hexadecimal H(user:realm).
        kind: of the verifier, see `securestream.services.verifiers.VerifierKey`.
        realm: of the verifier.
        prove: pure; from the verifier's octets to whatever the acceptor needs then, or `None` if the response does not
            fit. It is called once, for unknown users, too.
        source: the peer's address; empty where unknown.
        now: the present moment.
        package: the security package that the principal names.
        hashed: whether `user` is a hash (RFC 7616 3.4.4).
    """

    performer: ClassVar[str | None] = _PERFORMER

    credential: Credential
    user: str
    kind: str
    realm: str
    prove: Callable[[bytes], T | None] = field(repr=False)
    source: str
    now: datetime = field(repr=False)
    package: str
    hashed: bool = False


def verifier_store(credential: Credential | None) -> VerifierStore:
    """The store of a credential that is asked for verifiers.

    Raises:
        NoCredentials: the credential names no account store, or one that keeps no verifiers.
    """
    accounts = find_form(credential, Accounts)
    if accounts is None:
        raise NoCredentials("the acceptor needs an account store: give it a credential of type Accounts")
    if not isinstance(accounts.store, VerifierStore):
        raise NoCredentials("this account store keeps no verifiers of passwords: use one in memory or SQLite")
    return accounts.store


def find_locally(asked: FindVerifier) -> Found:
    """Answer `FindVerifier` from the account store of its credential.

    Raises:
        NoCredentials: as for `verifier_store`.
        ServiceFailed: the store cannot be read.
    """
    store = verifier_store(asked.credential)
    user, domain = split_name(asked.user)
    account = store.find(user, domain, asked.source, asked.now)
    verifier = _verifier(store, account, VerifierKey(asked.kind, asked.realm), user)[0]
    return Found(ScramVerifier.unpack(verifier).parameters.pack() if asked.kind == SCRAM_SHA_256 else b"")


def verify_locally(logon: VerifierLogon[T]) -> LogonResult[T]:
    """Verify a logon against the account store of its credential.

    Unknown, disabled, locked, throttled and wrong ask the store the same questions, compute the same, and end in the
    same error.

    Raises:
        LogonDenied: no.
        NoCredentials: as for `verifier_store`.
        ServiceFailed: the store cannot be read.
    """
    store = verifier_store(logon.credential)
    user, domain = split_name(logon.user)
    key = VerifierKey(logon.kind, logon.realm)
    if logon.hashed:
        account = store.find_hashed(_octets(logon.user), key, logon.source, logon.now)
    else:
        account = store.find(user, domain, logon.source, logon.now)
    throttled = store.throttled(logon.user, account, logon.source, logon.now)
    verifier, own = _verifier(store, account, key, user)
    proof = logon.prove(verifier)
    del verifier
    if account is None or not own or proof is None or throttled or account.is_closed(logon.now):
        store.failed(logon.user, account, logon.source, logon.now, wrong=own and proof is None)
        raise LogonDenied(REFUSED)
    if not store.succeeded(logon.user, account, logon.source, logon.now):
        raise LogonDenied(REFUSED)
    return LogonResult(Principal(account.name, logon.package, account.domain, NameType.USER, sid=account.sid), proof)


def _verifier(store: VerifierStore, account: Account | None, key: VerifierKey, user: str) -> tuple[bytes, bool]:
    """The account's verifier, or a decoy, and whether it is the account's own."""
    kept = store.verifier(account, key)
    decoy = decoy_verifier(store.decoy.reveal(), key, name_key(user))
    return (decoy, False) if kept is None else (kept.reveal(), True)


def _octets(hexadecimal: str) -> bytes:
    """The octets of a hash as sent; of what is none, octets that are no user's hash."""
    try:
        return bytes.fromhex(hexadecimal)
    except ValueError:
        return b""
