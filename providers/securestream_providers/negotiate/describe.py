"""A token of a negotiation in one readable line: the list, the state, and what the mechanism's package says."""

from __future__ import annotations

from typing import Final

from securestream.errors import MalformedMessage
from securestream.extensions import TokenDescriber
from securestream.oids import OID_NAMES
from securestream.provider import SecurityPackage
from securestream_providers.negotiate.messages import (
    KERBEROS,
    SPNEGO,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
    bare_mechanism,
    canonical,
    is_response,
    unframe,
)
from securestream_providers.negotiate.negoex.describe import describe as describe_negoex
from securestream_providers.negotiate.negoex.messages import SIGNATURE

_BARE_KERBEROS: Final = (b"\x6e", b"\x6f", b"\x7e")
"""AP-REQ, AP-REP and KRB-ERROR without a frame, as in DCE style."""


def describe(packages: tuple[SecurityPackage, ...], token: bytes) -> str:
    """One line on a token; octets that are none are said to be so."""
    try:
        return _describe(packages, token)
    except MalformedMessage:
        return f"SPNEGO message, malformed ({len(token)} octets)"


def _describe(packages: tuple[SecurityPackage, ...], token: bytes) -> str:
    if is_response(token):
        return _line("NegTokenResp", token, _response(packages, NegTokenResp.decode(token)))
    if bare_mechanism(token) is not None:
        return _inner(packages, token)
    message = unframe(token)
    kind = "NegTokenInit2" if isinstance(message, NegTokenInit2) else "NegTokenInit"
    return _line(kind, token, _first(packages, message))


def _line(kind: str, token: bytes, facts: list[str]) -> str:
    return f"SPNEGO {kind} ({len(token)} octets): {', '.join(facts) or 'empty'}"


def _first(packages: tuple[SecurityPackage, ...], message: NegTokenInit | NegTokenInit2) -> list[str]:
    types = () if message.mech_types is None else message.mech_types.mech_types
    facts = ["mechanisms " + " ".join(_name(oid) for oid in types)]
    if message.mech_token is not None:
        facts.append(f"[{_inner(packages, message.mech_token)}]")
    if message.mech_list_mic is not None:
        facts.append("MIC")
    return facts


def _response(packages: tuple[SecurityPackage, ...], message: NegTokenResp) -> list[str]:
    facts: list[str] = []
    if message.neg_state is not None:
        facts.append(message.neg_state.name.lower().replace("_", "-"))
    if message.supported_mech is not None:
        facts.append(f"mechanism {_name(message.supported_mech)}")
    if message.response_token is not None:
        facts.append(f"[{_inner(packages, message.response_token)}]")
    if message.mech_list_mic is not None:
        facts.append("MIC")
    return facts


def _name(oid: str) -> str:
    """The name of a mechanism, or its OID."""
    return OID_NAMES.get(oid, oid)


def _inner(packages: tuple[SecurityPackage, ...], token: bytes) -> str:
    """What the package says whose token it is; the octets tell."""
    if token.startswith(SIGNATURE):
        return describe_negoex(packages, token)
    oid = _mechanism_of(token)
    for package in packages:
        if oid in {canonical(own) for own in package.info.oids} and isinstance(package, TokenDescriber):
            return package.describe_token(token)
    return f"{_name(oid) or 'token'} ({len(token)} octets)"


def _mechanism_of(token: bytes) -> str:
    """The OID of a token's mechanism; empty where the octets do not tell."""
    if token[:1] in _BARE_KERBEROS:
        return KERBEROS
    try:
        bare = bare_mechanism(token)
    except MalformedMessage:
        return ""
    return SPNEGO if bare is None else canonical(bare)
