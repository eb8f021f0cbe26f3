"""The acceptor's handshake ([MS-NLMP] 3.2.5).

Nothing of a response is judged before the password is proved: bindings, service name, MIC and flags then look, from
outside, like any refusal (SECURITY: logon).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from securestream.channel_bindings import is_unbound
from securestream.credentials import Accounts, Credential, find_form
from securestream.errors import (
    BadBindings,
    Downgrade,
    ErrorKind,
    InvalidToken,
    LogonDenied,
    MalformedMessage,
    NoCredentials,
    TargetUnknown,
    Unsupported,
    UsageError,
)
from securestream.options import BindingPolicy, Options, Role
from securestream.principal import NameType, Principal
from securestream.provider import Established, Exchange, Handshake
from securestream.redaction import Secret
from securestream.wire.times import to_filetime
from securestream_providers.ntlm import crypto
from securestream_providers.ntlm.context import NAME, NtlmContext
from securestream_providers.ntlm.logon import LEVELS, REFUSED, LogonResult, NtlmLogon, ResponseKind
from securestream_providers.ntlm.messages import (
    MIC_END,
    MIC_OFFSET,
    Authenticate,
    AvFlag,
    AvId,
    AvPairs,
    Flag,
    Negotiate,
    av_flags,
    fixed_pair,
    unpack_pairs,
)
from securestream_providers.ntlm.policy import Policy

_NTLM_V2: Final = ResponseKind.NTLM_V2
_ANONYMOUS: Final = ResponseKind.ANONYMOUS
_LM_KEYS: Final = Flag.LM_KEY | Flag.REQUEST_NON_NT_SESSION_KEY
_TARGET_TYPES: Final = Flag.TARGET_TYPE_DOMAIN | Flag.TARGET_TYPE_SERVER
_PAIRS: Final = 44
"""Where the AV pairs of an NTLMv2 response begin: after the proof and the fixed part of a `ClientChallenge`."""
_DENIED: Final = ErrorKind.LOGON_DENIED
_RELAYED: Final = "the client answered the challenge of another server: this is a relay"
_NAMES: Final = (
    AvId.NB_COMPUTER_NAME,
    AvId.NB_DOMAIN_NAME,
    AvId.DNS_COMPUTER_NAME,
    AvId.DNS_DOMAIN_NAME,
    AvId.DNS_TREE_NAME,
)
"""AV pairs that a client repeats as it got them, beside the timestamp."""
_FIXED: Final = ((AvId.FLAGS, 4), (AvId.CHANNEL_BINDINGS, 16))
"""AV pairs whose length is fixed."""


@dataclass(repr=False, slots=True)
class _Asked:
    """What the acceptor sent."""

    octets: bytes
    flags: int
    server_challenge: bytes
    timestamp: bytes


@dataclass(repr=False, slots=True)
class _Response:
    """What the client answered with."""

    message: Authenticate
    flags: int
    kind: ResponseKind
    pairs: AvPairs


def accept(policy: Policy, credential: Credential | None, options: Options) -> Handshake:
    """The acceptor's handshake: NEGOTIATE, CHALLENGE, AUTHENTICATE; datagrams have no NEGOTIATE.

    Raises:
        LogonDenied: the logon was refused, or is anonymous where that is not allowed.
        BadBindings: the channel bindings differ, or are absent against policy.
        TargetUnknown: the client meant another service.
        Downgrade: the MIC is absent or wrong, or the response is weaker than the level allows.
        Unsupported: the client does not offer what policy needs.
        MalformedMessage: a message is none.
    """
    if credential is None:
        raise NoCredentials("an NTLM acceptor needs an account store: give it a credential of type Accounts")
    if options.binding_policy is BindingPolicy.ALWAYS and options.channel_bindings is None:
        raise UsageError("BindingPolicy.ALWAYS needs the channel bindings of the acceptor's own channel")
    negotiate = b""
    if policy.datagram:
        agreed = policy.offer(options, Role.ACCEPTOR)
    else:
        negotiate = yield from Exchange()
        agreed = policy.agree(Negotiate.unpack(negotiate).flags)
        policy.check(agreed)
    asked = _challenge(policy, agreed, options)
    received = yield from Exchange(asked.octets)
    response = _read(policy, asked.flags, received, options)
    if response.kind is _ANONYMOUS:
        logon = _anonymous(policy, credential)
    else:
        logon = yield from NtlmLogon(
            credential=credential,
            user=policy.decode(response.message.user, response.flags),
            domain=policy.decode(response.message.domain, response.flags),
            workstation=policy.decode(response.message.workstation, response.flags),
            server_challenge=asked.server_challenge,
            lm_response=response.message.lm_response,
            nt_response=response.message.nt_response,
            extended=bool(response.flags & Flag.EXTENDED_SESSION_SECURITY),
            level=policy.level,
            source=options.source,
            now=options.clock(),
        )
    session_key = _session_key(response, asked, logon)
    mic = _check_mic(policy, response, session_key, (negotiate, asked.octets, received))
    _check_repeated(policy, response, asked)
    _check_target(policy, response)
    bound = _check_bindings(response, options)
    context = NtlmContext(
        Role.ACCEPTOR, response.flags, session_key, bound=bound, mic=mic, anonymous=response.kind is _ANONYMOUS
    )
    return Established(context, logon.principal)


def _challenge(policy: Policy, agreed: int, options: Options) -> _Asked:
    form = policy.challenge(agreed)
    timestamp = to_filetime(options.clock()).to_bytes(8, "little")
    server_challenge = options.random(8)
    octets = b"".join((form.before, server_challenge, form.between, timestamp, form.after))
    return _Asked(octets, form.flags, server_challenge, timestamp)


def _read(policy: Policy, offered: int, received: bytes, options: Options) -> _Response:
    """The AUTHENTICATE, and the flags of the session: never more than the CHALLENGE offered."""
    message = Authenticate.unpack(received)
    flags = message.flags & offered & ~_TARGET_TYPES
    if flags & Flag.UNICODE:
        flags &= ~Flag.OEM
    if flags & Flag.EXTENDED_SESSION_SECURITY:
        flags &= ~_LM_KEYS
    policy.check(flags)
    kind = _kind(message, flags)
    pairs: AvPairs = {}
    if kind is _NTLM_V2:
        # ClientChallenge.unpack would give the same, and cost a microsecond for what is not looked at
        if len(message.nt_response) < _PAIRS:
            raise MalformedMessage(f"an NTLMv2 response has at least {_PAIRS} octets")
        if message.nt_response[16:18] != b"\1\1":
            raise MalformedMessage("the NTLMv2 response is of an unknown type")
        pairs = unpack_pairs(message.nt_response[_PAIRS:], options.limits.av_pairs)
        for identifier, size in _FIXED:  # now: after the password proof, a malformed one would tell that it is right
            fixed_pair(pairs, identifier, size)
    return _Response(message, flags, kind, pairs)


def _kind(message: Authenticate, flags: int) -> ResponseKind:
    nt, lm = len(message.nt_response), len(message.lm_response)
    if nt > 24:
        return _NTLM_V2
    if nt == 24:
        extended = flags & Flag.EXTENDED_SESSION_SECURITY
        return ResponseKind.NTLM_V1_EXTENDED if extended else ResponseKind.NTLM_V1
    if nt == 0 and not message.user and (lm == 0 or message.lm_response == b"\0"):
        return _ANONYMOUS
    if nt == 0 and lm == 24:
        return ResponseKind.LM_V2
    raise MalformedMessage(f"an NT response of {nt} octets with an LM response of {lm} is none")


def _anonymous(policy: Policy, credential: Credential) -> LogonResult:
    """The logon of nobody ([MS-NLMP] 3.2.5.1.2), where that is allowed."""
    accounts = find_form(credential, Accounts)
    if not policy.allow_anonymous and not (accounts is not None and accounts.allow_anonymous):
        raise LogonDenied(REFUSED)
    principal = Principal("", NAME, name_type=NameType.ANONYMOUS)
    return LogonResult(Secret(bytes(16)), principal, ResponseKind.ANONYMOUS)


def _session_key(response: _Response, asked: _Asked, logon: LogonResult) -> bytes:
    """The exported session key ([MS-NLMP] 3.2.5.1.2)."""
    lm = logon.lm_session_key
    version2 = logon.kind.version2
    if response.flags & _LM_KEYS and not version2 and lm is None:
        raise Unsupported(
            "LM session keys were agreed and the store keeps no LM hash: use Ntlm(lm_keys=False)", told=_DENIED
        )
    key = crypto.exchange_key(
        response.flags,
        logon.session_base_key.reveal(),
        version2=version2,
        server_challenge=asked.server_challenge,
        lm_response=response.message.lm_response,
        lm_session_key=lm.reveal() if lm is not None else None,
    )
    if not response.flags & Flag.KEY_EXCH:
        return key
    sealed = response.message.encrypted_session_key
    if len(sealed) != 16:
        raise InvalidToken("the exchanged session key is not 16 octets", told=_DENIED)
    return crypto.rc4(key).update(sealed)


def _check_mic(policy: Policy, response: _Response, session_key: bytes, transcript: tuple[bytes, bytes, bytes]) -> bool:
    """Whether the handshake was protected by a MIC ([MS-NLMP] 3.2.5.1.2).

    Raises:
        Downgrade: it is wrong, or absent against policy.
    """
    if response.kind is _ANONYMOUS:
        return False
    if policy.level > LEVELS[response.kind]:
        raise Downgrade(
            f"the client answered with {response.kind.value}, which Ntlm(level={policy.level}) refuses", told=_DENIED
        )
    if not av_flags(response.pairs) & AvFlag.MIC:
        if policy.mic == "required":
            raise Downgrade(
                "the client sent no MIC, so nothing proves the flags that were agreed; for clients that never send one "
                '(gss-ntlmssp outside SPNEGO, NTLMv1) there is Ntlm(mic="optional")',
                told=_DENIED,
            )
        return False
    negotiate, challenge, received = transcript
    signed = b"".join((negotiate, challenge, received[:MIC_OFFSET], bytes(16), received[MIC_END:]))
    due = crypto.hmac_md5(session_key, signed)
    if response.message.mic is None or not hmac.compare_digest(due, response.message.mic):
        raise Downgrade("the MIC is wrong: somebody altered the NTLM handshake on its way", told=_DENIED)
    return True


def _check_repeated(policy: Policy, response: _Response, asked: _Asked) -> None:
    """What the client repeats of our CHALLENGE must be ours: an answer to another server's is a relayed one."""
    names, pairs = policy.names.by_id, response.pairs
    for identifier in _NAMES:
        repeated = pairs.get(identifier)
        if repeated is not None and repeated != names.get(identifier):
            raise Downgrade(_RELAYED, told=_DENIED)
    if pairs.get(AvId.TIMESTAMP, asked.timestamp) != asked.timestamp:
        raise Downgrade(_RELAYED, told=_DENIED)


def _check_target(policy: Policy, response: _Response) -> None:
    """Whether the client meant this service ([MS-NLMP] 2.2.2.1, MsvAvTargetName)."""
    if policy.spn == "off" or not policy.served or response.kind is _ANONYMOUS:
        return
    target = response.pairs.get(AvId.TARGET_NAME, b"").decode("utf-16-le", "replace")
    untrusted = bool(av_flags(response.pairs) & AvFlag.UNTRUSTED_TARGET)
    if target and not policy.serves(target):
        raise TargetUnknown("the client meant another service than the ones that Ntlm(served=...) names", told=_DENIED)
    if policy.spn == "required" and (not target or untrusted):
        raise TargetUnknown('the client names no service of which it is sure, and Ntlm(spn="required")', told=_DENIED)


def _check_bindings(response: _Response, options: Options) -> bool:
    """Whether the client's channel is ours (SECURITY: channel bindings)."""
    policy, own = options.binding_policy, options.channel_bindings
    if own is None or policy is BindingPolicy.NEVER:
        return False
    digest = fixed_pair(response.pairs, AvId.CHANNEL_BINDINGS, 16)
    if digest is not None and not is_unbound(digest):
        if hmac.compare_digest(digest, own.md5()):
            return True
        raise BadBindings(
            "the client's channel is not ours: somebody relays, or a proxy ends TLS between us", told=_DENIED
        )
    advertised = policy is BindingPolicy.WHEN_ADVERTISED and digest is not None
    if advertised or policy is BindingPolicy.ALWAYS:
        raise BadBindings(f"the client bound its logon to no channel, and the policy is {policy.value!r}", told=_DENIED)
    return False
