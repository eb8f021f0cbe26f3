"""Two SASL ends of ours with every combination of their options: both agree, or both know why not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.errors import NoCommonMechanism
from securestream.options import BindingPolicy, ContextFlags, Options, Protection, Role, required_flags
from securestream.sasl import Gs2Krb5, Gssapi, SaslMechanism, ScramSha256, choose, offered
from tests.core.sasl.ends import (
    ALICE,
    BINDINGS,
    END_POINT,
    NONE,
    OTHER_BINDINGS,
    SEAL,
    Meeting,
    Realm,
    accounts,
    kerberos,
    meet,
    options,
)

REALM = Realm()
STORE = accounts()
KERBEROS = kerberos()
FAMILIES: dict[str, tuple[SaslMechanism, SaslMechanism, Any, Any]] = {
    "SCRAM-SHA-256": (ScramSha256(), ScramSha256(plus=True), ALICE, STORE),
    "GS2-KRB5": (Gs2Krb5(KERBEROS), Gs2Krb5(KERBEROS, plus=True), REALM.tickets(), REALM.keytab),
}
CHANNELS: dict[str, ChannelBindings | None] = {
    "no": None,
    "this": BINDINGS,
    "another": OTHER_BINDINGS,
    "another kind of": END_POINT,
}


@dataclass(frozen=True)
class Case:
    """Who sees which channel, what the server demands, and whether somebody took -PLUS out of its list."""

    client: str
    server: str
    policy: BindingPolicy
    stripped: bool

    @property
    def server_binds(self) -> bool:
        return self.server != "no" and self.policy is not BindingPolicy.NEVER

    @property
    def expected(self) -> str:
        """What RFC 5801 5 and RFC 5802 6 say becomes of it: the mechanism, or whose refusal it is."""
        if self.policy is BindingPolicy.ALWAYS and self.server == "no":
            return "refused"  # it demands what it cannot know
        plus = self.server_binds and not self.stripped
        if self.client != "no" and plus:
            return "PLUS" if self.client == self.server else "refused"
        if self.server_binds and (self.policy is BindingPolicy.ALWAYS or self.client != "no"):
            return "refused"
        return "plain"


def cases() -> Iterator[Case]:
    for client, server, policy in itertools.product(CHANNELS, CHANNELS, BindingPolicy):
        for stripped in (False, True):
            yield Case(client, server, policy, stripped)


def negotiate(family: str, case: Case) -> Meeting | None:
    """The server offers, the client chooses of what arrived; `None` where nothing was left to choose."""
    plain, plus, initiating, accepting = FAMILIES[family]
    mine: Options = options(seed=1, channel_bindings=CHANNELS[case.client])
    theirs: Options = options(seed=2, channel_bindings=CHANNELS[case.server], binding_policy=case.policy)
    names = [one.info.name for one in offered((plain, plus), accepting, theirs)]
    if case.stripped:
        names = [name for name in names if not name.endswith("-PLUS")]
    try:
        client = choose(names, initiating, mine, (plain, plus))
    except NoCommonMechanism:
        return None
    server = plus if client.info.name.endswith("-PLUS") else plain
    return meet(client, server, initiating, accepting, mine=mine, theirs=theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_binding_to_channels(family: str) -> None:
    bound = 0
    for case in cases():
        found = negotiate(family, case)
        if case.expected == "refused":
            assert found is None or Role.ACCEPTOR in found.errors, case
            assert found is None or (found.client is None and found.server is None), case
            continue
        assert found is not None, case
        assert not found.errors, (case, found.errors)
        one, other = found.layers
        assert one.bound is other.bound is (case.expected == "PLUS"), case
        assert one.package == other.package == family + ("-PLUS" if one.bound else ""), case
        bound += one.bound
    assert bound == 9  # three channels under three policies


LEVELS = tuple(Protection)


def test_the_layers_of_gssapi() -> None:
    seen: set[tuple[Protection, Protection]] = set()
    for asked, served, mine, theirs in itertools.product(LEVELS, LEVELS, (256, 4096, 0xFFFFFF), (256, 65536)):
        for authzid, mutual in itertools.product(("", "alice@CORP.EXAMPLE"), (ContextFlags.NONE, ContextFlags.MUTUAL)):
            found = meet(
                Gssapi(KERBEROS, authzid=authzid, max_buffer=mine),
                Gssapi(KERBEROS, max_buffer=theirs),
                REALM.tickets(),
                REALM.keytab,
                mine=options(asked, 1, flags=mutual),
                theirs=options(served, 2),
            )
            case = (asked, served, mine, theirs, authzid, mutual)
            if (asked < served is SEAL) or (asked is NONE is not served and not mutual):
                assert found.kinds == {Role.ACCEPTOR: "QUALITY_NOT_MET"}, case
                continue
            one, other = found.layers
            agreed = max(asked, served)
            assert one.protection is other.protection is agreed, case
            assert one.authzid == other.authzid == authzid, case
            assert not required_flags(agreed) & ~one.flags, case
            seen.add((asked, served))
            if agreed is NONE:
                continue
            for sender, receiver in ((one, other), (other, one)):
                data = bytes(min(sender.max_plaintext, 10_000))
                assert receiver.unwrap(sender.wrap(data)) == (data, agreed is SEAL), case
            assert (one.max_sealed, other.max_sealed) == (mine, theirs), case
            assert one.max_plaintext < theirs, case
            assert other.max_plaintext < mine, case
    assert len(seen) == 7
