"""SECURITY 19: whoever takes the schemes out of a NEGOEX message gets not an octet of NTLM, unless "always"."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from securestream.credentials import Accounts, Credential, Password
from securestream.options import Role
from securestream.provider import Unusable
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import NTLM_SIGNATURE, NegTokenInit, frame, unframe
from securestream_providers.negotiate.negoex.messages import Message, NegoMessage
from securestream_providers.ntlm import Ntlm
from tests.providers.negotiate.negoex.hops import Hops
from tests.providers.negotiate.negoex.meeting import ONE, TWO, Meeting, meet, rewritten
from tests.providers.negotiate.toy import Toy

KNOWN: tuple[Credential, Credential] = Password("alice", "a password"), Accounts.memory(alice="a password")


def without_schemes(leg: int, token: bytes) -> bytes:
    """Puts a scheme that nobody has in the place of each of the initiator's."""
    if leg != 0:
        return token
    first = unframe(token)
    assert isinstance(first, NegTokenInit)
    assert first.mech_token is not None

    def alter(message: Message) -> Message:
        body = message.body
        if isinstance(body, NegoMessage):
            return replace(message, body=replace(body, schemes=tuple(uuid.UUID(int=7) for _ in body.schemes)))
        return message

    return frame(replace(first, mech_token=rewritten(first.mech_token, alter)))


def ntlm_left(met: Meeting) -> bool:
    """Whether the initiator sent a token of NTLM."""
    return any(NTLM_SIGNATURE in token for token in met.tokens[::2])


@pytest.mark.parametrize(
    "client",
    [Negotiate(ONE, Ntlm()), Negotiate(ONE, Ntlm(), ntlm="no-kdc"), Negotiate(ONE, TWO, Ntlm())],
    ids=["default", "no-kdc", "two schemes"],
)
def test_altered_schemes_lead_to_no_ntlm(client: Negotiate) -> None:
    server = Negotiate(ONE, TWO, Ntlm())
    assert meet(client, server, credentials=KNOWN).complete
    met = meet(client, server, alter=without_schemes, credentials=KNOWN)
    assert not met.outcomes
    assert not ntlm_left(met)
    report = met.errors[Role.INITIATOR].negotiation
    assert report is not None
    assert 'ntlm="always"' in report.reason_against("NTLM")


def test_always_lets_it() -> None:
    """The MIC of the list does not cover the schemes; this is what the word gives up."""
    client = Negotiate(ONE, Ntlm(), ntlm="always")
    met = meet(client, Negotiate(ONE, Ntlm()), alter=without_schemes, credentials=KNOWN)
    assert met.complete, met.errors
    assert [met.chosen(role) for role in Role] == ["NTLM", "NTLM"]


class Unready(Hops):
    """Cannot be used with any credential."""

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return Unusable("not today")


@pytest.mark.parametrize(
    "client",
    [Negotiate(Ntlm(), ONE), Negotiate(Unready(), Ntlm()), Negotiate(Toy(), Unready(), Ntlm())],
    ids=["behind", "unusable", "unusable in second place"],
)
def test_a_scheme_that_is_not_offered_before_ntlm_is_nothing_to_alter(client: Negotiate) -> None:
    met = meet(client, Negotiate(Ntlm()), credentials=KNOWN)
    assert met.complete, met.errors
    assert met.chosen(Role.INITIATOR) == "NTLM"
