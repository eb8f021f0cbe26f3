"""The initiator's handshake ([MS-NLMP] 3.1.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.hmac import HMAC

from securestream.credentials import Anonymous, Credential, NtHash, Password, find_form
from securestream.errors import MalformedMessage, NoCredentials, QualityNotMet, Unsupported
from securestream.options import Options, Role
from securestream.principal import Principal, unauthenticated
from securestream.provider import Established, Exchange, Handshake, TargetName
from securestream.redaction import Redacted, Secret
from securestream.wire.times import to_filetime
from securestream_providers.ntlm import crypto
from securestream_providers.ntlm.context import NAME, NtlmContext
from securestream_providers.ntlm.messages import (
    END_OF_PAIRS,
    MIC_END,
    MIC_OFFSET,
    Authenticate,
    AvFlag,
    AvId,
    AvPairs,
    Challenge,
    Flag,
    Negotiate,
    fixed_pair,
    pack_pair,
    unpack_pairs,
)
from securestream_providers.ntlm.policy import Policy

_OURS: Final = (AvId.FLAGS, AvId.TARGET_NAME, AvId.CHANNEL_BINDINGS)
"""AV pairs that are never taken over from a server (SECURITY: NTLM)."""

_MIC_FLAG: Final = pack_pair(AvId.FLAGS, AvFlag.MIC.to_bytes(4, "little"))

_LONGEST_TARGET_INFO: Final = 32768
"""The response repeats it beside our own pairs, and neither a payload nor a frame carries more than 65535 octets."""

_PERSONAL: Final = (Password, NtHash)
_TYPES: Final = b"\1\1" + bytes(6)
"""How a `ClientChallenge` begins."""

_SERVER: Final[Principal] = unauthenticated(NAME)

_LM_KEYS: Final = Flag.LM_KEY | Flag.REQUEST_NON_NT_SESSION_KEY
_PROTECTING: Final = Flag.SIGN | Flag.SEAL
_FROM_SERVER: Final = Flag.TARGET_INFO
"""Flags that an acceptor adds to what was offered, and that stay in the session."""


@dataclass(frozen=True, repr=False)
class Identity(Redacted):
    """A credential as the responses need it.

    Args:
        user: the user's name; empty for anonymous.
        domain: its domain.
        nt_hash: NTOWFv1.
        mac: HMAC-MD5 under NTOWFv2.
    """

    user: str
    domain: str
    nt_hash: Secret[bytes]
    mac: Callable[[], HMAC] = field(repr=False)


_identities: WeakKeyDictionary[Credential, Identity] = WeakKeyDictionary()
"""MD4 in Python and an HMAC per handshake are most of its cost; an entry lives as long as its credential."""


def identify(credential: Credential | None) -> Identity | None:
    """The identity of a credential; `None` for anonymous.

    Raises:
        NoCredentials: it is none that NTLM can use.
    """
    form = find_form(credential, Password, NtHash, Anonymous)
    if isinstance(form, Anonymous):
        return None
    if not isinstance(form, _PERSONAL):
        raise NoCredentials("NTLM needs a Password, an NtHash or Anonymous()")
    found = _identities.get(form)
    if found is None:
        hash_ = form.nt_hash.reveal() if isinstance(form, NtHash) else crypto.nt_hash(form.password.reveal())
        mac = crypto.keyed_md5(crypto.ntowf_v2(hash_, form.user, form.domain))
        found = Identity(form.user, form.domain, Secret(hash_), mac)
        _identities[form] = found
    return found


@dataclass(repr=False, slots=True)
class _Answer:
    """The two responses and the key-exchange key."""

    lm_response: bytes
    nt_response: bytes
    key: bytes
    with_mic: bool = False


def initiate(policy: Policy, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
    """The initiator's handshake: NEGOTIATE, CHALLENGE, AUTHENTICATE; datagrams have no NEGOTIATE.

    Raises:
        NoCredentials: there is no password, NT hash or `Anonymous`.
        Unsupported: the server does not offer what policy needs.
        QualityNotMet: it does not agree to sign or seal.
        MalformedMessage: the CHALLENGE is none, or has an AV pair twice.
    """
    identity = identify(credential)
    offer = policy.offer(options, Role.INITIATOR)
    negotiate = b""
    if policy.datagram:
        received = yield from Exchange(None)
    else:
        negotiate = _negotiate(offer)
        received = yield from Exchange(negotiate)
    challenge = Challenge.unpack(received)
    flags = _agreed(policy, offer, challenge.flags)
    if identity is None:
        flags |= Flag.ANONYMOUS
        answer = _Answer(b"\0", b"", bytes(16))
    elif policy.level >= 3:
        answer = _answer_v2(policy, identity, challenge, target, options)
    else:
        answer = _answer_v1(policy, identity, challenge, flags, options, credential)
    session_key, sealed_key = answer.key, b""
    if flags & Flag.KEY_EXCH:
        session_key = options.random(16)
        sealed_key = crypto.rc4(answer.key).update(session_key)
    token = Authenticate(
        lm_response=answer.lm_response,
        nt_response=answer.nt_response,
        domain=policy.encode(identity.domain, flags) if identity else b"",
        user=policy.encode(identity.user, flags) if identity else b"",
        workstation=policy.encode(policy.workstation, flags),
        encrypted_session_key=sealed_key,
        flags=flags,
        mic=bytes(16) if answer.with_mic else None,
    ).pack()
    if answer.with_mic:
        mic = crypto.hmac_md5(session_key, negotiate + received + token)
        token = token[:MIC_OFFSET] + mic + token[MIC_END:]
    context = NtlmContext(
        Role.INITIATOR,
        flags,
        session_key,
        bound=options.channel_bindings is not None and len(answer.nt_response) > 24,
        mic=answer.with_mic,
        anonymous=identity is None,
    )
    return Established(context, _SERVER, token)


@lru_cache(maxsize=64)
def _negotiate(offer: int) -> bytes:
    """The NEGOTIATE message, in which nothing is new but the flags."""
    return Negotiate(offer).pack()


def _agreed(policy: Policy, offer: int, answered: int) -> int:
    """The flags of the session: what both ends have, and of exclusive ones the better."""
    flags = answered & (offer | _FROM_SERVER)
    if flags & Flag.UNICODE:
        flags &= ~Flag.OEM
    if flags & Flag.EXTENDED_SESSION_SECURITY:  # [MS-NLMP] 2.2.2.5: they exclude each other, and this one wins
        flags &= ~_LM_KEYS
    policy.check(flags)
    if offer & ~flags & _PROTECTING:
        raise QualityNotMet("the NTLM server does not agree to the signing or sealing that was asked for")
    return flags


def _answer_v2(
    policy: Policy, identity: Identity, challenge: Challenge, target: TargetName | None, options: Options
) -> _Answer:
    """The NTLMv2 response ([MS-NLMP] 3.1.5.1.2, 3.3.2)."""
    announced = challenge.flags & Flag.TARGET_INFO and challenge.target_info  # else to be ignored (2.2.1.2)
    if announced and len(announced) > _LONGEST_TARGET_INFO:
        raise MalformedMessage(f"the server's target information has more than {_LONGEST_TARGET_INFO} octets")
    pairs = unpack_pairs(announced, options.limits.av_pairs) if announced else {}
    timestamp = fixed_pair(pairs, AvId.TIMESTAMP, 8)
    # A timestamp obliges us to send a MIC and no LMv2 response. Where the server sent none we send a MIC all the same
    # unless it was made optional: whoever took the timestamp away wants just that to be missing (CVE-2019-1040).
    with_mic = timestamp is not None or policy.mic == "required"
    client_challenge = options.random(8)
    own = _own_pairs(announced or b"", pairs, with_mic=with_mic, target=target, options=options)
    moment = to_filetime(options.clock()).to_bytes(8, "little") if timestamp is None else timestamp
    # ClientChallenge.pack would give the same and cost the tenth part of a handshake
    blob = b"".join((_TYPES, moment, client_challenge, bytes(4), own, bytes(4)))
    proof, session_base_key = crypto.proof_v2(identity.mac, challenge.server_challenge, blob)
    lm_response = bytes(24)
    if timestamp is None:
        lm_response = crypto.proof_v2(identity.mac, challenge.server_challenge, client_challenge)[0] + client_challenge
    return _Answer(lm_response, proof + blob, session_base_key, with_mic)


def _own_pairs(
    announced: bytes, pairs: AvPairs, *, with_mic: bool, target: TargetName | None, options: Options
) -> bytes:
    """The server's AV pairs, as octets and as read, with our own in place of those that only a client may state."""
    if pairs.keys().isdisjoint(_OURS):  # as with every honest server: its pairs can stay as they are
        parts = [announced[: 4 * len(pairs) + sum(map(len, pairs.values()))]]
    else:
        parts = [pack_pair(identifier, value) for identifier, value in pairs.items() if identifier not in _OURS]
    if with_mic:
        parts.append(_MIC_FLAG)
    if target is not None:
        parts.append(pack_pair(AvId.TARGET_NAME, crypto.utf16(target)))
    bindings = options.channel_bindings
    if bindings is not None:  # absent without bindings: some servers refuse zeros (gss-ntlmssp issue 25)
        parts.append(pack_pair(AvId.CHANNEL_BINDINGS, bindings.md5()))
    parts.append(END_OF_PAIRS)
    return b"".join(parts)


def _answer_v1(
    policy: Policy,
    identity: Identity,
    challenge: Challenge,
    flags: int,
    options: Options,
    credential: Credential | None,
) -> _Answer:
    """The NTLMv1 responses of levels 0 to 2 ([MS-NLMP] 3.3.1)."""
    hash_ = identity.nt_hash.reveal()
    server_challenge = challenge.server_challenge
    password = find_form(credential, Password)
    lm = crypto.lm_hash(password.password.reveal(), policy.oem or "cp437") if password is not None else None
    if flags & Flag.EXTENDED_SESSION_SECURITY:
        client_challenge = options.random(8)
        lm_response = client_challenge + bytes(16)
        nt_response = crypto.desl(hash_, crypto.ess_challenge(server_challenge, client_challenge))
    else:
        nt_response = crypto.desl(hash_, server_challenge)
        with_lm = policy.level < 2 and lm is not None
        lm_response = crypto.desl(lm, server_challenge) if with_lm and lm is not None else nt_response
    if not flags & Flag.EXTENDED_SESSION_SECURITY and flags & _LM_KEYS and lm is None:
        raise Unsupported("LM session keys need a password of at most 14 OEM characters: use Ntlm(lm_keys=False)")
    key = crypto.exchange_key(
        flags,
        crypto.md4(hash_),
        version2=False,
        server_challenge=server_challenge,
        lm_response=lm_response,
        lm_session_key=lm[:8] if lm is not None else None,
    )
    return _Answer(lm_response, nt_response, key)
