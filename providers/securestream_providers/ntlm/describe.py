"""An NTLM message in one readable line: its flags and names, never its responses, challenges or keys."""

from __future__ import annotations

from securestream.errors import MalformedMessage
from securestream.options import Limits
from securestream.readable import printable
from securestream_providers.ntlm.messages import (
    SIGNATURE,
    Authenticate,
    AvId,
    AvPairs,
    Challenge,
    ClientChallenge,
    Flag,
    Negotiate,
    av_flags,
    flag_names,
    unpack_pairs,
)

_NAMES = {
    AvId.NB_DOMAIN_NAME: "domain",
    AvId.NB_COMPUTER_NAME: "computer",
    AvId.DNS_DOMAIN_NAME: "dns domain",
    AvId.DNS_COMPUTER_NAME: "dns computer",
    AvId.DNS_TREE_NAME: "dns tree",
    AvId.TARGET_NAME: "target",
}
_PROOF = 16
"""Octets of the proof before the client challenge in an NTLMv2 response ([MS-NLMP] 2.2.2.8)."""


def describe(token: bytes) -> str:
    """One line on an NTLM message; octets that are none are said to be so."""
    try:
        if token.startswith(SIGNATURE + b"\1\0\0\0"):
            return _line("NEGOTIATE", token, _negotiate(token))
        if token.startswith(SIGNATURE + b"\2\0\0\0"):
            return _line("CHALLENGE", token, _challenge(token))
        if token.startswith(SIGNATURE + b"\3\0\0\0"):
            return _line("AUTHENTICATE", token, _authenticate(token))
    except MalformedMessage:
        return f"NTLM message, malformed ({len(token)} octets)"
    return f"no NTLM message ({len(token)} octets)"


def _line(kind: str, token: bytes, facts: list[str]) -> str:
    return f"NTLM {kind} ({len(token)} octets): {', '.join(facts)}"


def _flags(flags: int) -> str:
    return "flags " + " ".join(flag_names(flags))


def _text(octets: bytes, flags: int) -> str:
    return printable(octets.decode("utf-16-le" if flags & Flag.UNICODE else "latin-1", "replace"))


def _negotiate(token: bytes) -> list[str]:
    message = Negotiate.unpack(token)
    facts = [_flags(message.flags)]
    for name, value in (("domain", message.domain), ("workstation", message.workstation)):
        if value:
            facts.append(f"{name} {_text(value, 0)}")
    return facts


def _challenge(token: bytes) -> list[str]:
    message = Challenge.unpack(token)
    facts = [_flags(message.flags)]
    if message.target_name:
        facts.append(f"target {_text(message.target_name, message.flags)}")
    return facts + _pairs(unpack_pairs(message.target_info, Limits().av_pairs) if message.target_info else {})


def _authenticate(token: bytes) -> list[str]:
    message = Authenticate.unpack(token)
    user, domain = _text(message.user, message.flags), _text(message.domain, message.flags)
    facts = [_flags(message.flags), f"user {domain}\\{user}" if domain else f"user {user or 'none (anonymous)'}"]
    if message.workstation:
        facts.append(f"workstation {_text(message.workstation, message.flags)}")
    if len(message.nt_response) <= 24:  # [MS-NLMP] 2.2.2.6: an NTLM response has 24 octets, a longer one is NTLMv2
        return [*facts, "NTLMv1 response" if message.nt_response else "no response"]
    facts.append("NTLMv2 response")
    pairs = unpack_pairs(ClientChallenge.unpack(message.nt_response[_PROOF:]).pairs, Limits().av_pairs)
    return [*facts, *_pairs(pairs)]


def _pairs(pairs: AvPairs) -> list[str]:
    facts = [
        f"{name} {_text(pairs[identifier], Flag.UNICODE)}"
        for identifier, name in _NAMES.items()
        if pairs.get(identifier)
    ]
    if AvId.TIMESTAMP in pairs:
        facts.append("timestamp")
    if av_flags(pairs) & 2:
        facts.append("MIC")
    if any(pairs.get(AvId.CHANNEL_BINDINGS, b"")):
        facts.append("channel bindings")
    return facts
