"""Both roles of Kerberos against each other, over every encryption type, flag and kind of bindings."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from securestream.carrier import check_quality
from securestream.errors import BadBindings, OutOfSequence, PeerRefused, QualityNotMet, Unsupported
from securestream.options import BindingPolicy, ContextFlags, Protection, Role
from securestream.principal import NameType
from securestream.provider import Cover, TargetName
from securestream_providers.kerberos import Kerberos
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import EncryptionType
from tests.providers.kerberos.ends import (
    ALICE,
    BINDINGS,
    CONFIG,
    EVERY,
    NOW,
    OTHER_BINDINGS,
    REALM,
    STRONG,
    Realm,
    key_of,
    meet,
    options,
    package,
)

NONE = ContextFlags.NONE
MUTUAL = ContextFlags.MUTUAL
DCE = ContextFlags.DCE_STYLE
SHAPES = {"one leg": NONE, "mutual": MUTUAL, "dce": MUTUAL | DCE, "extended": MUTUAL | ContextFlags.EXTENDED_ERROR}


@pytest.mark.parametrize("etype", EVERY)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bound", [False, True])
def test_every_type_and_shape(etype: int, shape: str, bound: bool) -> None:
    realm, end = Realm(etype), package(etype)
    bindings = BINDINGS if bound else None
    mine = options(1, flags=SHAPES[shape], bindings=bindings)
    theirs = options(2, bindings=bindings, policy=BindingPolicy.ALWAYS if bound else BindingPolicy.WHEN_ADVERTISED)
    met = meet(realm.tickets(), realm.keytab, client=end, server=end, mine=mine, theirs=theirs)
    initiator, acceptor = met.contexts
    assert initiator.flags == acceptor.flags == mine.wanted
    assert initiator.bound is bound
    assert acceptor.bound is bound
    assert len(met.tokens) == {"one leg": 1, "dce": 3}.get(shape, 2)
    assert (met.tokens[0][:1] == b"\x6e") is (shape == "dce")
    for one, two in ((initiator, acceptor), (acceptor, initiator)):
        for number in range(3):
            assert two.unwrap(one.wrap(bytes(number))) == (bytes(number), True)
            assert two.unwrap(one.wrap(b"clear", encrypt=False)) == (b"clear", False)
            two.verify(b"data", one.sign(b"data"))
            parts = [(b"header", Cover.SIGNED), (b"sixteen octets..", Cover.SEALED), (b"free", Cover.UNTOUCHED)]
            sealed = one.seal(parts)
            assert len(sealed.signature) == one.signature_size(parts)
            again = [(data, cover) for data, (_, cover) in zip(sealed.parts, parts, strict=True)]
            assert two.unseal(again, sealed.signature) == tuple(data for data, _ in parts)
            signed = [(b"header", Cover.SIGNED), (b"free", Cover.UNTOUCHED)]
            two.unseal(signed, one.seal(signed).signature)
    assert initiator.session_key == acceptor.session_key
    assert initiator.derive(b"label", 100) == acceptor.derive(b"label", 100)
    assert initiator.pseudo_random(b"x", 40, partial=True) == acceptor.pseudo_random(b"x", 40, partial=True)


@pytest.mark.parametrize(
    ("features", "protection"),
    list(
        itertools.product(
            [NONE, ContextFlags.REPLAY, ContextFlags.SEQUENCE, ContextFlags.IDENTIFY, MUTUAL | ContextFlags.INTEGRITY],
            Protection,
        )
    ),
)
def test_flags_are_the_initiators_wish(features: ContextFlags, protection: Protection) -> None:
    realm = Realm()
    mine = options(1, flags=features, protection=protection)
    met = meet(realm.tickets(), realm.keytab, mine=mine, theirs=options(2, protection=Protection.NONE))
    initiator, acceptor = met.contexts
    assert initiator.flags == acceptor.flags == mine.wanted
    if protection is not Protection.ENCRYPT_AND_SIGN:
        assert met.acceptor is not None
        with pytest.raises(QualityNotMet):
            check_quality(met.acceptor, options())
        with pytest.raises(Unsupported, match="sealing was not agreed"):
            initiator.wrap(b"x")


POLICIES = list(BindingPolicy)
KINDS = {"right": BINDINGS, "wrong": OTHER_BINDINGS, "none": None}
REFUSED = {
    ("wrong", BindingPolicy.WHEN_SUPPORTED),
    ("wrong", BindingPolicy.WHEN_ADVERTISED),
    ("wrong", BindingPolicy.ALWAYS),
    ("none", BindingPolicy.ALWAYS),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_bindings_and_policies(kind: str, policy: BindingPolicy) -> None:
    realm = Realm()
    met = meet(
        realm.tickets(),
        realm.keytab,
        mine=options(1, bindings=KINDS[kind]),
        theirs=options(2, bindings=BINDINGS, policy=policy),
    )
    if (kind, policy) in REFUSED:
        assert isinstance(met.errors[Role.ACCEPTOR], BadBindings)
        assert isinstance(met.errors[Role.INITIATOR], PeerRefused)
        assert met.acceptor is None
    else:
        assert met.contexts[1].bound is (kind == "right" and policy is not BindingPolicy.NEVER)


@pytest.mark.parametrize("etype", STRONG)
def test_a_weak_ticket_gives_way_to_a_better_type(etype: int) -> None:
    """RFC 4537: the acceptor's subkey is of the type that the initiator prefers."""
    realm = Realm(23)
    both = package(config=replace(CONFIG, permitted_etypes=(etype, 23)), weak=("rc4-hmac",))
    initiator, acceptor = meet(realm.tickets(), realm.keytab, client=both, server=both).contexts
    token = initiator.wrap(b"x")
    assert token[:2] == b"\x05\x04"
    assert acceptor.unwrap(token).data == b"x"
    assert acceptor.unwrap(initiator.wrap(b"y")).data == b"y"


def test_what_the_acceptor_does_not_allow_is_not_chosen() -> None:
    realm = Realm(18)
    client = package(config=replace(CONFIG, permitted_etypes=(20, 18)))
    initiator, acceptor = meet(realm.tickets(), realm.keytab, client=client, server=package(18)).contexts
    assert len(initiator.session_key) == 32
    assert acceptor.unwrap(initiator.wrap(b"x")).data == b"x"


def test_both_ends_learn_who_the_other_is() -> None:
    realm = Realm()
    met = meet(realm.tickets(), realm.keytab)
    assert met.initiator is not None
    assert met.acceptor is not None
    assert (met.acceptor.peer.name, met.acceptor.peer.authority) == ("alice", REALM)
    assert met.acceptor.peer.name_type is NameType.USER
    assert met.acceptor.peer.package == "Kerberos"
    assert met.initiator.peer.name == "host/files.corp.example"
    assert met.initiator.peer.is_authenticated


def test_without_mutual_authentication_nobody_knows_the_server() -> None:
    realm = Realm()
    met = meet(realm.tickets(), realm.keytab, mine=options(1, flags=NONE))
    assert met.initiator is not None
    assert not met.initiator.peer.is_authenticated


@pytest.mark.parametrize("allowed", [False, True])
def test_clients_without_a_name(allowed: bool) -> None:
    realm = Realm(client=KerberosName("WELLKNOWN:ANONYMOUS", ("WELLKNOWN", "ANONYMOUS"), 11))
    config = replace(CONFIG, permitted_etypes=(18,), capaths={"WELLKNOWN:ANONYMOUS": {REALM: ()}})
    met = meet(realm.tickets(), realm.keytab, server=Kerberos(config=config, allow_anonymous=allowed))
    if allowed:
        assert met.acceptor is not None
        assert met.acceptor.peer.is_anonymous
        assert ContextFlags.ANONYMOUS in met.contexts[1].flags
    else:
        assert Role.ACCEPTOR in met.errors


def test_user_to_user() -> None:
    """The acceptor has no keytab but a ticket-granting ticket, in whose session key the initiator's ticket is."""
    bob = KerberosName.parse(f"bob@{REALM}")
    own = Realm(client=bob)
    tgt_name = KerberosName.parse(f"krbtgt/{REALM}@{REALM}")
    tgt = own.cached(server=tgt_name, ticket=own.seal(own.part(), name=tgt_name))
    accepting = replace(own.tickets(), cache=replace(own.tickets().cache, tickets=(tgt,)))
    realm = Realm(service=bob, key=tgt.key, kvno=None)
    initiating = realm.tickets(is_session_key=True, second_ticket=tgt.ticket)
    flags = MUTUAL | ContextFlags.USE_SESSION_KEY
    met = meet(initiating, accepting, mine=options(1, flags=flags), target=TargetName(f"bob@{REALM}"))
    initiator, acceptor = met.contexts
    assert len(met.tokens) == 4
    assert acceptor.unwrap(initiator.wrap(b"x")).data == b"x"
    assert ContextFlags.USE_SESSION_KEY in acceptor.flags
    other = replace(realm, key=key_of())
    forged = other.tickets(is_session_key=True, second_ticket=tgt.ticket)
    met = meet(forged, accepting, mine=options(1, flags=flags), target=TargetName(f"bob@{REALM}"))
    assert Role.ACCEPTOR in met.errors


@pytest.mark.parametrize("etype", [18, 16, 23])
@pytest.mark.parametrize(
    ("flags", "duplicate", "gap", "late"),
    [
        (ContextFlags.REPLAY | ContextFlags.SEQUENCE, False, False, False),
        (ContextFlags.SEQUENCE, False, False, False),
        (ContextFlags.REPLAY, False, True, True),
        (NONE, True, True, True),
    ],
)
def test_order_matters_as_was_agreed(etype: int, flags: ContextFlags, duplicate: bool, gap: bool, late: bool) -> None:
    realm, end = Realm(etype), package(etype)
    wanted = flags | ContextFlags.CONFIDENTIALITY | ContextFlags.INTEGRITY | MUTUAL
    mine = options(1, flags=wanted, protection=Protection.NONE)
    theirs = options(2, protection=Protection.NONE)
    initiator, acceptor = meet(realm.tickets(), realm.keytab, client=end, server=end, mine=mine, theirs=theirs).contexts
    tokens = [initiator.wrap(b"%d" % number) for number in range(4)]

    def taken(number: int) -> bool:
        try:
            return acceptor.unwrap(tokens[number]).data == b"%d" % number
        except OutOfSequence:
            return False

    assert taken(0)
    assert taken(0) is duplicate
    assert taken(2) is gap
    assert taken(1) is (late or not gap)
    assert taken(3) is gap


def test_an_acceptor_sees_to_the_order_that_it_asks_for_by_itself() -> None:
    """.NET 8 on Linux, as a client, asks for integrity and confidentiality alone; RFC 4121 numbers every message."""
    realm = Realm()
    mine = options(1, flags=ContextFlags.CONFIDENTIALITY | ContextFlags.INTEGRITY | MUTUAL, protection=Protection.NONE)
    met = meet(realm.tickets(), realm.keytab, mine=mine)
    assert met.acceptor is not None
    check_quality(met.acceptor, options())
    initiator, acceptor = met.contexts
    first, second = initiator.wrap(b"first"), initiator.wrap(b"second")
    with pytest.raises(OutOfSequence):
        acceptor.unwrap(second)
    assert acceptor.unwrap(first).data == b"first"
    with pytest.raises(OutOfSequence):
        acceptor.unwrap(first)


def test_a_context_ends_with_its_ticket() -> None:
    realm = Realm()
    initiator, acceptor = meet(realm.tickets(), realm.keytab).contexts
    assert acceptor.expires is not None
    assert acceptor.expires == realm.part().endtime + options().max_skew
    assert initiator.expires is not None
    assert initiator.expires > NOW


def test_the_type_is_in_the_names_of_the_numbers() -> None:
    assert {EncryptionType(etype) for etype in EVERY} == set(EncryptionType)
    assert ALICE.realm == REALM
