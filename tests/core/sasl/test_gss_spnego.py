"""GSS-SPNEGO: what Negotiate chooses, with the layer of its context."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from securestream.credentials import Accounts, Anonymous, Credentials
from securestream.drive import respond_blocking
from securestream.errors import QualityNotMet, UsageError
from securestream.options import ImpersonationLevel, Protection, Role
from securestream.sasl import GssSpnego
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from securestream_providers.ntlm.context import NtlmContext
from tests.core.sasl.ends import (
    ALICE,
    NONE,
    SEAL,
    SIGN,
    Meeting,
    Realm,
    acceptor,
    accounts,
    initiator,
    kerberos,
    meet,
    options,
    stepped,
)

NTLM = GssSpnego(Negotiate(Ntlm()))
BOTH = GssSpnego(Negotiate(kerberos(), Ntlm()))


def by(mechanism: str, asked: Protection = SEAL, served: Protection = SEAL) -> Meeting:
    """An exchange in which Negotiate chooses a mechanism."""
    mine, theirs = options(asked, 1), options(served, 2)
    if mechanism == "NTLM":
        return meet(NTLM, NTLM, ALICE, accounts(), mine=mine, theirs=theirs)
    realm = Realm()
    accepting = Credentials(realm.keytab, accounts())
    return meet(BOTH, BOTH, realm.tickets(), accepting, mine=mine, theirs=theirs)


@pytest.mark.parametrize("mechanism", ["NTLM", "Kerberos"])
@pytest.mark.parametrize("level", [SIGN, SEAL])
def test_data_passes_through_the_layer_of_the_context(mechanism: str, level: Protection) -> None:
    found = by(mechanism, level, level)
    one, other = found.layers
    for sender, receiver in ((one, other), (other, one), (one, other)):
        for size in (1, 1000, sender.max_plaintext):
            assert receiver.unwrap(sender.wrap(bytes(size))) == (bytes(size), level is SEAL)
    assert one.package == other.package == "GSS-SPNEGO"
    negotiation = found.outcomes[1].negotiation
    assert negotiation is not None
    assert negotiation.chosen is not None
    assert negotiation.chosen.mechanism == mechanism
    assert found.outcomes[1].peer.name == "alice"


@pytest.mark.parametrize("mechanism", ["NTLM", "Kerberos"])
def test_negotiate_always_has_integrity_so_there_always_is_a_layer(mechanism: str) -> None:
    assert [layer.protection for layer in by(mechanism, NONE, NONE).layers] == [SIGN, SIGN]


@pytest.mark.parametrize("mechanism", ["NTLM", "Kerberos"])
def test_less_than_is_asked_is_refused_before_success_is_told(mechanism: str) -> None:
    assert by(mechanism, SIGN, SEAL).kinds == {Role.ACCEPTOR: "QUALITY_NOT_MET"}


def test_what_nobody_seals_is_refused_by_the_client_before_its_last_token() -> None:
    anyone = GssSpnego(Negotiate(Ntlm(allow_anonymous=True)))
    found = meet(
        anyone,
        anyone,
        Anonymous(),
        Accounts(accounts().store, allow_anonymous=True),
        mine=options(SEAL, 1),
        theirs=options(NONE, 2),
    )
    assert isinstance(found.error, QualityNotMet)
    assert set(found.errors) == {Role.INITIATOR}
    assert found.client is None


def test_the_mechanism_itself_refuses_and_drops_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only of the contexts that are made here: those of abandoned handshakes are discarded whenever they are collected.
    made: list[NtlmContext] = []
    discarded: list[NtlmContext] = []
    initialize, genuine = NtlmContext.__init__, NtlmContext.discard

    def noted(self: NtlmContext, *args: Any, **keywords: Any) -> None:
        initialize(self, *args, **keywords)
        made.append(self)

    def discard(self: NtlmContext) -> None:
        if any(self is context for context in made):
            discarded.append(self)
        genuine(self)

    monkeypatch.setattr(NtlmContext, "__init__", noted)
    monkeypatch.setattr(NtlmContext, "discard", discard)
    client, server = initiator(NTLM, ALICE, options(SIGN, 1)), acceptor(NTLM, accounts(), options(SEAL, 2))
    first = stepped(client)
    assert first is not None
    challenge = stepped(server, first)
    assert challenge is not None
    last = respond_blocking(client, challenge).token
    assert last is not None
    assert not discarded
    with pytest.raises(QualityNotMet, match="NTLM inside GSS-SPNEGO gives no CONFIDENTIALITY"):
        respond_blocking(server, last)
    assert [context.role for context in made] == [Role.INITIATOR, Role.ACCEPTOR]
    assert discarded == made[1:]


def test_only_negotiate_goes_into_it() -> None:
    with pytest.raises(UsageError, match="NTLM"):
        GssSpnego(Ntlm())


def test_the_levels_of_impersonation_are_those_of_the_package() -> None:
    mine = options(SEAL, 1, impersonation=ImpersonationLevel.IDENTIFICATION)
    theirs = replace(options(SEAL, 2), impersonation=ImpersonationLevel.IMPERSONATION)
    assert meet(NTLM, NTLM, ALICE, accounts(), mine=mine, theirs=theirs).kinds == {Role.ACCEPTOR: "QUALITY_NOT_MET"}
