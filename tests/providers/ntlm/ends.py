"""Two NTLM ends in memory, with somebody in between; a hand-made client; a store that counts what it is asked."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Accounts, Credential, Password
from securestream.drive import Services, respond_blocking
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, ContextFlags, Options, Protection
from securestream.principal import Principal
from securestream.provider import SecurityContext, TargetName
from securestream.redaction import Secret
from securestream.services.accounts import Account
from securestream_providers.ntlm import Ntlm, NtlmContext, crypto
from securestream_providers.ntlm.messages import (
    MIC_END,
    MIC_OFFSET,
    Authenticate,
    AvFlag,
    AvId,
    AvPairs,
    Challenge,
    ClientChallenge,
    Flag,
    Negotiate,
    pack_pairs,
    unpack_pairs,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PASSWORD = "correct horse"
ALICE = Password(r"CORP\alice", PASSWORD)
TARGET = TargetName("host/files.example")
BINDINGS = ChannelBindings(b"tls-exporter:" + bytes(range(32)))
OTHER_BINDINGS = ChannelBindings(b"tls-exporter:" + bytes(32))
NEGOTIATE, CHALLENGE, AUTHENTICATE = range(3)

Alter = Callable[[int, bytes], bytes]
"""What somebody in between makes of the token of that number."""


def options(
    seed: int = 0,
    *,
    protection: Protection = Protection.ENCRYPT_AND_SIGN,
    bindings: ChannelBindings | None = None,
    policy: BindingPolicy = BindingPolicy.WHEN_SUPPORTED,
    flags: ContextFlags = ContextFlags.NONE,
    source: str = "192.0.2.1",
) -> Options:
    """Options whose clock stands and whose randomness repeats."""
    return Options(
        clock=lambda: NOW,
        random=random.Random(seed).randbytes,
        protection=protection,
        flags=flags,
        channel_bindings=bindings,
        binding_policy=policy,
        source=source,
    )


@dataclass
class CountingStore:
    """A store in memory that writes down what it is asked."""

    accounts: dict[str, Account] = field(default_factory=dict[str, Account])
    throttle: bool = False
    stands: bool = True
    calls: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    blocking: bool = False

    def add(self, name: str, password: str, **more: Any) -> None:
        lm = crypto.lm_hash(password)
        account = Account(name, Secret(crypto.nt_hash(password)), lm_hash=Secret(lm) if lm else None)
        self.accounts[name.upper()] = replace(account, **more)

    @property
    def decoy(self) -> Secret[bytes]:
        self.calls.append(("decoy",))
        return Secret(b"\x5c" * 16)

    def find(self, user: str, domain: str, source: str, now: datetime) -> Account | None:
        self.calls.append(("find",))
        return self.accounts.get(user.upper())

    def throttled(self, user: str, account: Account | None, source: str, now: datetime) -> bool:
        self.calls.append(("throttled",))
        return self.throttle

    def failed(self, user: str, account: Account | None, source: str, now: datetime, *, wrong: bool = True) -> None:
        self.calls.append(("failed", wrong))

    def succeeded(self, user: str, account: Account, source: str, now: datetime) -> bool:
        self.calls.append(("succeeded",))
        return self.stands


def store(*, lm: bool = True) -> CountingStore:
    """A store that knows alice."""
    made = CountingStore()
    made.add("alice", PASSWORD)
    if not lm:
        made.accounts["ALICE"] = replace(made.accounts["ALICE"], lm_hash=None)
    return made


@dataclass(frozen=True)
class Ends:
    """An established pair."""

    initiator: NtlmContext
    acceptor: NtlmContext
    peer: Principal
    tokens: list[bytes]


def _context(context: object) -> NtlmContext:
    assert isinstance(context, SecurityContext)
    assert isinstance(context, NtlmContext)
    return context


def handshake(
    client: Ntlm | None = None,
    server: Ntlm | None = None,
    *,
    credential: Credential = ALICE,
    accounts: Credential | None = None,
    target: TargetName | None = TARGET,
    client_options: Options | None = None,
    server_options: Options | None = None,
    alter: Alter = lambda _, token: token,
) -> Ends:
    """Run a handshake; raises what either end raises."""
    client, server = client or Ntlm(), server or Ntlm()
    services = Services()
    accounts = accounts or Accounts(store())
    initiator = HandshakeMachine(client.initiate(credential, target, client_options or options(1)))
    acceptor = HandshakeMachine(server.accept(accounts, server_options or options(2)))
    tokens: list[bytes] = []

    def passed(number: int, token: bytes | None) -> bytes:
        assert token is not None
        tokens.append(alter(number, token))
        return tokens[-1]

    first, opening = respond_blocking(initiator).token, respond_blocking(acceptor, services=services).token
    if opening is None:  # connection-oriented: the initiator speaks first
        opening = respond_blocking(acceptor, passed(NEGOTIATE, first), services).token
    ended = respond_blocking(initiator, passed(CHALLENGE, opening))
    accepted = respond_blocking(acceptor, passed(AUTHENTICATE, ended.token), services)
    assert ended.established is not None
    assert accepted.established is not None
    assert accepted.token is None
    return Ends(
        _context(ended.established.result), _context(accepted.established.result), accepted.established.peer, tokens
    )


def flip_flags(number: int, bits: int) -> Alter:
    """Somebody who changes these NegotiateFlags of one message."""
    place = {NEGOTIATE: 12, CHALLENGE: 20, AUTHENTICATE: 60}[number]

    def alter(current: int, token: bytes) -> bytes:
        if current != number:
            return token
        flags = int.from_bytes(token[place : place + 4], "little") ^ bits
        return token[:place] + flags.to_bytes(4, "little") + token[place + 4 :]

    return alter


def with_pairs(change: Callable[[AvPairs], Iterable[tuple[int, bytes]]]) -> Alter:
    """Somebody who changes the AV pairs of the CHALLENGE."""

    def alter(number: int, token: bytes) -> bytes:
        if number != CHALLENGE:
            return token
        challenge = Challenge.unpack(token)
        pairs = unpack_pairs(challenge.target_info or b"", 64)
        return replace(challenge, target_info=pack_pairs(change(pairs))).pack()

    return alter


@dataclass
class HandMade:
    """A client made by hand, which says what an honest one would not.

    Args:
        pairs: AV pairs of its response besides those of the server.
        keep: whether the server's pairs are repeated.
        mic: whether a MIC is computed.
        trailing: octets after the AV pairs.
        flags: added to what it offers.
    """

    pairs: tuple[tuple[int, bytes], ...] = ((AvId.FLAGS, AvFlag.MIC.to_bytes(4, "little")),)
    keep: bool = True
    mic: bool = True
    trailing: bytes = bytes(4)
    flags: int = 0
    negotiate: bytes = b""
    user: str = "alice"
    domain: str = "CORP"
    password: str = PASSWORD
    more: dict[str, Any] = field(default_factory=dict[str, Any])

    OFFER = (
        Flag.UNICODE
        | Flag.REQUEST_TARGET
        | Flag.SIGN
        | Flag.SEAL
        | Flag.NTLM
        | Flag.ALWAYS_SIGN
        | Flag.EXTENDED_SESSION_SECURITY
        | Flag.VERSION
        | Flag.BITS_128
        | Flag.KEY_EXCH
    )
    session_key = bytes(range(16))

    def answer(self, received: bytes) -> bytes:
        """The AUTHENTICATE for that CHALLENGE."""
        challenge = Challenge.unpack(received)
        theirs = unpack_pairs(challenge.target_info or b"", 64).items() if self.keep else ()
        timestamp = dict(theirs).get(AvId.TIMESTAMP, bytes(8))
        pairs = pack_pairs(itertools.chain(theirs, self.pairs)) + self.trailing
        blob = ClientChallenge(1, 1, 0, 0, int.from_bytes(timestamp, "little"), b"clientch", 0, pairs).pack()
        key = crypto.ntowf_v2(crypto.nt_hash(self.password), self.user, self.domain)
        proof, session = crypto.proof_v2(crypto.keyed_md5(key), challenge.server_challenge, blob)
        message = Authenticate(
            lm_response=bytes(24),
            nt_response=proof + blob,
            domain=crypto.utf16(self.domain),
            user=crypto.utf16(self.user),
            workstation=b"",
            encrypted_session_key=crypto.rc4(session).update(self.session_key),
            flags=(challenge.flags & self.OFFER) | self.flags,
            mic=bytes(16) if self.mic else None,
        )
        token = replace(message, **self.more).pack()
        if not self.mic:
            return token
        mic = crypto.hmac_md5(self.session_key, self.negotiate + received + token)
        return token[:MIC_OFFSET] + mic + token[MIC_END:]

    def logon(self, server: Ntlm | None = None, server_options: Options | None = None) -> NtlmContext:
        """Log on to our acceptor."""
        services = Services()
        machine = HandshakeMachine((server or Ntlm()).accept(Accounts(store()), server_options or options(2)))
        respond_blocking(machine, services=services)
        self.negotiate = self.negotiate or Negotiate(self.OFFER | self.flags).pack()
        challenge = respond_blocking(machine, self.negotiate, services).token
        assert challenge is not None
        step = respond_blocking(machine, self.answer(challenge), services)
        assert step.established is not None
        return _context(step.established.result)
