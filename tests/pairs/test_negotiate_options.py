"""Both roles of Negotiate against each other, over every option: lists, mechanisms, levels, legs, who speaks first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from securestream.credentials import Accounts, Anonymous, Credentials, Password
from securestream.errors import BadBindings, LogonDenied, NoCommonMechanism, PeerRefused, UsageError
from securestream.options import BindingPolicy, ContextFlags, Protection, Role
from securestream.provider import SecurityPackage
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import (
    KERBEROS,
    NTLM,
    NegState,
    NegTokenInit,
    NegTokenInit2,
    NegTokenResp,
)
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.providers.kerberos.ends import Realm, new_services
from tests.providers.kerberos.ends import package as kerberos
from tests.providers.negotiate.ends import Meeting, meet, options, talk
from tests.providers.negotiate.toy import FIRST, SECOND, THIRD, Toy
from tests.providers.ntlm.ends import ALICE, BINDINGS, OTHER_BINDINGS, PASSWORD, store

REALM = Realm()
CLIENT = Credentials(REALM.tickets(), ALICE)
SERVER = Credentials(REALM.keytab, Accounts(store()))
DCE = ContextFlags.MUTUAL | ContextFlags.DCE_STYLE
SHAPES = {"one leg": ContextFlags.NONE, "mutual": ContextFlags.MUTUAL, "dce": DCE}
ORDERS: dict[str, tuple[type[SecurityPackage], ...]] = {
    "k": (Kerberos,),
    "n": (Ntlm,),
    "kn": (Kerberos, Ntlm),
    "nk": (Ntlm, Kerberos),
}
NAMES = {"k": "Kerberos", "n": "NTLM"}


def negotiate(order: str, **arguments: Any) -> Negotiate:
    """Kerberos and NTLM in that order."""
    packages: dict[str, SecurityPackage] = {"k": kerberos(), "n": Ntlm()}
    return Negotiate(*(packages[letter] for letter in order), ntlm="always", **arguments)


def run(client: Negotiate, server: Negotiate, **more: Any) -> Meeting:
    """A meeting of ends that have credentials for both mechanisms."""
    given: dict[str, Any] = {"initiating": CLIENT, "accepting": SERVER, "services": new_services()}
    return meet(client, server, **(given | more))


def _combinations() -> Iterator[Any]:
    for client, server, shape, protection, first in itertools.product(
        ORDERS, ORDERS, SHAPES, Protection, (False, True)
    ):
        if set(client) & set(server):
            yield pytest.param(
                client, server, shape, protection, first, id=f"{client}-{server}-{shape}-{protection.name}-{first}"
            )


@pytest.mark.parametrize(("client", "server", "shape", "protection", "first"), list(_combinations()))
def test_combination(client: str, server: str, shape: str, protection: Protection, first: bool) -> None:
    """The first of the initiator's list that the acceptor has; MICs exactly where RFC 4178 5 and Windows want them."""
    mine = options(1, flags=SHAPES[shape], protection=protection)
    met = run(
        negotiate(client, server_first=first),
        negotiate(server, server_first=first),
        mine=mine,
        theirs=options(2, protection=protection),
    )
    chosen = next(letter for letter in client if letter in server)
    for end, report in zip(met.established, met.reports, strict=True):
        assert end.peer.package == NAMES[chosen]
        assert report.chosen is not None
        assert report.chosen.mechanism == NAMES[chosen]
        assert report.offered == tuple({"k": KERBEROS, "n": NTLM}[letter] for letter in client)
        assert report.protected is (chosen == "n" or (client[0], server[0]) != (chosen, chosen))
    messages = met.messages
    if first:
        assert isinstance(messages.pop(0), NegTokenInit2)
    assert isinstance(messages[0], NegTokenInit)
    answer = messages[1]
    assert isinstance(answer, NegTokenResp)
    assert answer.neg_state is not None
    assert answer.supported_mech == {"k": KERBEROS, "n": NTLM}[chosen]
    talk(met)


LENGTHS = range(1, 7)


@pytest.mark.parametrize("integrity", [True, False])
@pytest.mark.parametrize("needs_mic", [False, True])
@pytest.mark.parametrize("behind", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("preferred", [True, False])
@pytest.mark.parametrize("legs", LENGTHS)
def test_mechanisms_of_any_number_of_legs(
    legs: int, preferred: bool, behind: bool, needs_mic: bool, integrity: bool
) -> None:
    toy = Toy(legs=legs, integrity=integrity, needs_mic=needs_mic)
    client = Negotiate(Toy(SECOND), toy) if behind else Negotiate(toy, Toy(THIRD))
    server = Negotiate(toy) if preferred else Negotiate(Toy(THIRD), toy)
    met = meet(client, server)
    demanded = behind or not preferred
    if demanded and not integrity:
        assert met.errors
        assert met.initiator is None
        return
    if behind or preferred:
        assert met.reports[0].protected is met.reports[1].protected is (demanded or (needs_mic and integrity))
    talk(met)


@pytest.mark.parametrize("count", [2, 5, 64])
def test_long_lists(count: int) -> None:
    toys = [Toy(f"1.3.6.1.4.1.32473.2.{number}") for number in range(count)]
    last = Toy(toys[-1].oid, legs=3)
    met = meet(Negotiate(*toys[:-1], last), Negotiate(last))
    assert met.reports[1].chosen is not None
    assert len(met.reports[1].mechanisms) == count
    talk(met)


def test_mechanisms_that_neither_end_can_use() -> None:
    met = meet(Negotiate(Toy()), Negotiate(Toy(SECOND)))
    assert isinstance(met.errors[Role.ACCEPTOR], NoCommonMechanism)
    assert isinstance(met.errors[Role.INITIATOR], PeerRefused)
    assert FIRST in str(met.errors[Role.INITIATOR])


@pytest.mark.parametrize("order", ["k", "n"])
@pytest.mark.parametrize("kind", ["right", "wrong", "none"])
def test_bindings_pass_through(order: str, kind: str) -> None:
    theirs = {"right": BINDINGS, "wrong": OTHER_BINDINGS, "none": None}[kind]
    met = run(
        negotiate(order),
        negotiate(order),
        mine=replace(options(1), channel_bindings=theirs),
        theirs=replace(options(2), channel_bindings=BINDINGS, binding_policy=BindingPolicy.ALWAYS),
    )
    if kind == "right":
        assert all(context.bound for context in met.contexts)
    else:
        assert isinstance(met.errors[Role.ACCEPTOR], BadBindings | LogonDenied)
        assert met.acceptor is None
        assert met.initiator is None


@pytest.mark.parametrize("order", ["k", "n"])
def test_bare_tokens_are_answered_bare(order: str) -> None:
    """As .NET at level None and other clients of SSPI send them."""
    client: SecurityPackage = kerberos() if order == "k" else Ntlm()
    for shape, flags in SHAPES.items():
        if order == "n" and shape == "dce":
            continue
        met = meet(
            client,
            negotiate("kn"),
            initiating=CLIENT,
            accepting=SERVER,
            services=new_services(),
            mine=options(1, flags=flags),
        )
        assert met.acceptor is not None
        assert met.acceptor.negotiation is not None
        assert "without SPNEGO" in str(met.acceptor.negotiation)
        assert not any(token.startswith(b"\xa1") for token in met.tokens)
        talk(met)
        refused = meet(
            client, negotiate("kn", bare="refused"), initiating=CLIENT, accepting=SERVER, mine=options(1, flags=flags)
        )
        assert isinstance(refused.errors[Role.ACCEPTOR], NoCommonMechanism)
        assert 'bare="refused"' in str(refused.errors[Role.ACCEPTOR])


def test_nobody_by_ntlm_as_first_choice_only() -> None:
    """An anonymous context gives no integrity, so its list cannot be proved."""
    ntlm = Ntlm(allow_anonymous=True)
    met = meet(Negotiate(ntlm), Negotiate(ntlm), initiating=Anonymous(), accepting=Accounts(store()))
    assert met.established[1].peer.is_anonymous
    assert not met.reports[1].protected
    met = meet(
        Negotiate(Toy(SECOND), ntlm, ntlm="always"),
        Negotiate(ntlm),
        initiating=Anonymous(),
        accepting=Accounts(store()),
    )
    assert met.initiator is None
    assert met.acceptor is None


def test_a_wrong_password_is_refused_in_the_envelope() -> None:
    met = run(negotiate("n"), negotiate("kn"), initiating=Password("alice", PASSWORD + "x"))
    assert isinstance(met.errors[Role.ACCEPTOR], LogonDenied)
    assert isinstance(met.errors[Role.INITIATOR], PeerRefused)
    last = met.messages[-1]
    assert isinstance(last, NegTokenResp)
    assert last.neg_state is NegState.REJECT


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packages", "arguments", "sentence"),
    [
        ((Toy(), Toy()), {}, "listed twice"),
        ((Kerberos(), Kerberos()), {}, "listed twice"),
        ((Ntlm(),), {"ntlm": "never"}, "leaves no mechanism"),
        ((Toy(),), {"ntlm": "sometimes"}, "never"),
        ((Toy(),), {"bare": "maybe"}, "refused"),
        ((Negotiate(Toy()),), {}, "in a negotiation is refused"),
        ((Schannel(),), {}, "a protocol of its own"),
        ((Toy(oid=""),), {}, "neither an OID nor a NEGOEX scheme"),
    ],
)
def test_arguments_that_contradict_each_other(
    packages: tuple[SecurityPackage, ...], arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        Negotiate(*packages, **arguments)


def test_without_arguments_it_is_kerberos_then_ntlm_and_nothing_that_is_installed() -> None:
    assert [package.info.name for package in Negotiate().mechanisms] == ["Kerberos", "NTLM"]
    assert [package.info.name for package in Negotiate().with_mechanisms(Toy()).mechanisms] == ["Toy1"]


def test_options_are_kept_over_other_mechanisms() -> None:
    package = Negotiate(Toy(), ntlm="no-kdc", bare="refused", server_first=True).with_mechanisms(Toy(SECOND))
    assert (package.ntlm, package.bare, package.server_first) == ("no-kdc", "refused", True)


def test_usable_says_why_of_each_mechanism() -> None:
    package = Negotiate(Toy(usable_reason="no key"), Ntlm(), ntlm="never")
    unusable = package.usable(Accounts(store()), Role.ACCEPTOR)
    assert unusable is not None
    assert "Toy1: no key" in unusable.reason
    assert "NTLM: policy forbids it" in unusable.reason
    assert Negotiate(Toy()).usable(None, Role.INITIATOR) is None
