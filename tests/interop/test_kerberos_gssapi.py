"""Kerberos with python-gssapi on MIT krb5, token by token, either end being ours (RFC 4120, RFC 4121, RFC 4757)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeAlias

import pytest

from securestream.ambient import system_clock, system_options
from securestream.credentials import CredentialCache, Keytab
from securestream.drive import Services, respond_blocking
from securestream.errors import (
    BadBindings,
    BadSignature,
    HandshakeError,
    InvalidToken,
    OutOfSequence,
    PeerRefused,
    Replay,
)
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, ContextFlags
from securestream.provider import Cover
from securestream_providers.kerberos.context import KerberosContext
from tests.interop.expected_kerberos import BINDINGS, ETYPES, GSSAPI
from tests.interop.kerberos_ends import (
    TRUSTED,
    USER,
    Realm,
    accept_from,
    context_of,
    initiate_to,
    service_of,
)
from tests.interop.matrix import Filler
from tests.interop.peers import gssapi_krb5 as peers
from tests.interop.peers.foreign import Refused
from tests.interop.peers.gssapi_krb5 import DCE_STYLE, DELEGATE, MUTUAL, PROTECTED, KerberosPeer
from tests.interop.peers.mit_kdc import HOST, MitKdc

pytestmark = pytest.mark.interop

Theirs: TypeAlias = Literal["initiator", "acceptor"]
ROLES = ("initiator", "acceptor")
SIZES = range(101)
GOOD = b"tls-exporter:" + bytes(range(32))
EVIL = b"tls-exporter:" + bytes(32)
TARGET = f"{service_of(18)}@{HOST}"
BAD_SIGNATURE = 6 << 16


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of MIT's library."""
    return require(peers)


@pytest.fixture(scope="module")
def realm(version: str, mit_kdc: MitKdc) -> Realm:
    """The realm with its principals."""
    made = Realm(mit_kdc)
    made.populate()
    return made


@pytest.fixture(scope="module")
def processes(realm: Realm) -> Iterator[Callable[[int], KerberosPeer]]:
    """One process of MIT's library for each encryption type."""
    started: dict[int, KerberosPeer] = {}

    def peer(etype: int) -> KerberosPeer:
        if etype not in started:
            started[etype] = KerberosPeer(realm.environment(etype))
        return started[etype]

    yield peer
    for one in started.values():
        one.close()


@pytest.fixture
def theirs(processes: Callable[[int], KerberosPeer]) -> KerberosPeer:
    """MIT's end with AES-256."""
    return processes(18)


def establish(
    realm: Realm,
    theirs: KerberosPeer,
    role: Theirs,
    etype: int = 18,
    *,
    dce: bool = False,
    mutual: bool = True,
) -> KerberosContext:
    """A context with both ends well; `role` is the foreign end's."""
    if role == "initiator":
        flags = (*PROTECTED, *((MUTUAL,) if mutual else ()), *((DCE_STYLE,) if dce else ()))
        theirs.initiate(f"{service_of(etype)}@{HOST}", flags=flags)
        established = accept_from(theirs, realm.acceptor(etype))
        assert (established.peer.name, established.peer.authority) == (USER, realm.kdc.realm)
    else:
        wanted = (ContextFlags.MUTUAL if mutual else ContextFlags.NONE) | (
            ContextFlags.DCE_STYLE if dce else ContextFlags.NONE
        )
        theirs.accept()
        established = initiate_to(theirs, realm.initiator(etype, flags=wanted))
        assert theirs.peer() == realm.user
    context = context_of(established)
    assert context.session_key == theirs.session_key()
    return context


@pytest.mark.parametrize("etype", ETYPES)
@pytest.mark.parametrize("role", ROLES)
def test_every_encryption_type_protects_every_size_both_ways(
    realm: Realm, processes: Callable[[int], KerberosPeer], role: Theirs, etype: int, version: str, matrix: Filler
) -> None:
    theirs = processes(etype)
    context = establish(realm, theirs, role, etype)
    for size in (*SIZES, 65536):
        data = bytes((index * 7 + size) % 256 for index in range(size))
        for encrypt in (True, False):
            assert theirs.unwrap(context.wrap(data, encrypt=encrypt)) == (data, encrypt)
            assert context.unwrap(theirs.wrap(data, encrypt=encrypt)) == (data, encrypt)
        theirs.verify(data, context.sign(data))
        context.verify(data, theirs.sign(data))
    matrix.fill(GSSAPI, peers.NAME, version, role, ETYPES[etype], "wrap, sign-only wrap, MIC: 0..100, 65536 octets")


@pytest.mark.parametrize("role", ROLES)
def test_without_mutual_authentication(
    realm: Realm, theirs: KerberosPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    context = establish(realm, theirs, role, mutual=False)
    assert ContextFlags.MUTUAL not in context.flags
    assert MUTUAL not in theirs.flags
    for count in range(3):
        data = bytes((count,)) * 30
        assert theirs.unwrap(context.wrap(data)) == (data, True)
        assert context.unwrap(theirs.wrap(data)) == (data, True)
    matrix.fill(GSSAPI, peers.NAME, version, role, "no mutual authentication", "sealed each way")


@pytest.mark.parametrize("role", ROLES)
def test_altered_and_repeated_tokens_are_refused_by_both_ends(
    realm: Realm, theirs: KerberosPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    context = establish(realm, theirs, role)
    altered = bytearray(context.wrap(b"altered on its way"))
    altered[-1] ^= 1
    with pytest.raises(Refused) as refusal:
        theirs.unwrap(bytes(altered))
    assert refusal.value.major is not None
    assert refusal.value.major & 0x00FF0000 == BAD_SIGNATURE
    altered = bytearray(theirs.wrap(b"altered on its way"))
    altered[-1] ^= 1
    with pytest.raises(BadSignature):
        context.unwrap(altered)
    altered[-1] ^= 1
    assert context.unwrap(altered).data == b"altered on its way"
    with pytest.raises(OutOfSequence):
        context.unwrap(altered)
    context.wrap(b"left out")
    after_a_gap = context.wrap(b"twice")
    with pytest.raises(Refused):
        theirs.unwrap(after_a_gap)
    matrix.fill(GSSAPI, peers.NAME, version, role, "altered, repeated data", "refused by both")


@pytest.mark.parametrize("bindings", BINDINGS)
def test_our_acceptor_judges_bindings(
    realm: Realm, theirs: KerberosPeer, bindings: str, version: str, matrix: Filler
) -> None:
    sent = {"right": GOOD, "wrong": EVIL, "missing": None}[bindings]
    seen: list[str] = []
    for policy in BindingPolicy:
        theirs.initiate(TARGET, bindings=sent)
        ours = realm.acceptor(bindings=GOOD, policy=policy)
        refused = (bindings == "wrong" and policy is not BindingPolicy.NEVER) or (
            bindings == "missing" and policy is BindingPolicy.ALWAYS
        )
        if refused:
            with pytest.raises(BadBindings):
                accept_from(theirs, ours)
            seen.append(f"{policy.value}: refused")
        else:
            bound = context_of(accept_from(theirs, ours)).bound
            assert bound is (bindings == "right" and policy is not BindingPolicy.NEVER)
            seen.append(f"{policy.value}: accepted, {'' if bound else 'not '}bound")
    matrix.fill(GSSAPI, peers.NAME, version, "initiator", f"bindings {bindings}", "; ".join(seen))


@pytest.mark.parametrize("bindings", BINDINGS)
def test_a_foreign_acceptor_judges_our_bindings(
    realm: Realm, theirs: KerberosPeer, bindings: str, version: str, matrix: Filler
) -> None:
    sent = {"right": GOOD, "wrong": EVIL, "missing": None}[bindings]
    theirs.accept(bindings=GOOD)
    ours = realm.initiator(bindings=sent)
    if bindings == "wrong":
        with pytest.raises(Refused):
            initiate_to(theirs, ours)
        seen = "refused"
    else:
        assert context_of(initiate_to(theirs, ours)).bound is (bindings == "right")
        seen = "accepted"
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", f"bindings {bindings}", seen)


def test_what_it_delegates_opens_our_next_connection(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler
) -> None:
    theirs.initiate(TARGET, flags=(MUTUAL, DELEGATE, *PROTECTED))
    delegated = context_of(accept_from(theirs, realm.acceptor())).delegated
    assert delegated is not None
    theirs.accept()
    initiate_to(theirs, realm.initiator(credential=delegated))
    assert theirs.peer() == realm.user
    matrix.fill(GSSAPI, peers.NAME, version, "initiator", "delegation", "used by us for the next connection")


def test_what_we_delegate_opens_its_next_connection(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler, tmp_path: Path
) -> None:
    theirs.accept()
    wanted = ContextFlags.MUTUAL | ContextFlags.DELEGATE
    established = initiate_to(theirs, realm.initiator(service=TRUSTED, flags=wanted))
    assert ContextFlags.DELEGATE in context_of(established).flags
    assert theirs.delegated
    theirs.store_delegated(tmp_path / "delegated")
    theirs.initiate(TARGET, delegated=True)
    assert accept_from(theirs, realm.acceptor()).peer.name == USER
    shown = realm.kdc.run("klist", "-f", cache=tmp_path / "delegated").stdout
    assert f"Default principal: {realm.user}" in shown
    again = realm.initiator(credential=CredentialCache(f"FILE:{tmp_path / 'delegated'}"))
    theirs.accept()
    initiate_to(theirs, again)
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "delegation", "used by MIT, and by us from its cache")


def test_nothing_is_delegated_to_a_service_that_is_not_trusted(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler
) -> None:
    theirs.accept()
    context = context_of(initiate_to(theirs, realm.initiator(flags=ContextFlags.MUTUAL | ContextFlags.DELEGATE)))
    assert ContextFlags.DELEGATE not in context.flags
    assert not theirs.delegated
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "delegation to an untrusted service", "nothing sent")


@pytest.mark.parametrize("etype", ETYPES)
@pytest.mark.parametrize("role", ROLES)
def test_dce_style_seals_buffers_in_place(
    realm: Realm, processes: Callable[[int], KerberosPeer], role: Theirs, etype: int, version: str, matrix: Filler
) -> None:
    theirs = processes(etype)
    context = establish(realm, theirs, role, etype, dce=True)
    assert ContextFlags.DCE_STYLE in context.flags
    assert DCE_STYLE in theirs.flags
    for size in (0, 1, 16, 100, 4000):
        header, body, trailer = bytes(24), bytes(index % 256 for index in range(size)), b"verifier"
        sealed = context.seal([(header, Cover.SIGNED), (body, Cover.SEALED), (trailer, Cover.SIGNED)])
        assert sealed.parts[1] != body or size < 2
        opened = theirs.unwrap_iov(
            [
                ("header", sealed.signature),
                ("sign_only", header),
                ("data", sealed.parts[1]),
                ("sign_only", trailer),
            ]
        )
        assert opened[2] == body
        made = theirs.wrap_iov([("header", None), ("sign_only", header), ("data", body), ("sign_only", trailer)])
        parts = [(header, Cover.SIGNED), (made[2], Cover.SEALED), (trailer, Cover.SIGNED)]
        assert len(made[0]) == context.signature_size(parts)
        assert context.unseal(parts, made[0]) == (header, body, trailer)
        theirs.verify(body, context.sign(body))
        context.verify(body, theirs.sign(body))
    matrix.fill(
        GSSAPI, peers.NAME, version, role, f"DCE style, IOV, {ETYPES[etype]}", "sealed in place, 0..4000 octets"
    )


@pytest.mark.parametrize("role", ROLES)
def test_buffers_outside_of_dce_style(
    realm: Realm, theirs: KerberosPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    context = establish(realm, theirs, role)
    for size in (0, 1, 16, 100):
        body = bytes(size)
        sealed = context.seal([(b"header", Cover.SIGNED), (body, Cover.SEALED)])
        opened = theirs.unwrap_iov([("header", sealed.signature), ("sign_only", b"header"), ("data", sealed.parts[1])])
        assert opened[2] == body
        made = theirs.wrap_iov([("header", None), ("sign_only", b"header"), ("data", body)])
        assert context.unseal([(b"header", Cover.SIGNED), (made[2], Cover.SEALED)], made[0])[1] == body
    matrix.fill(GSSAPI, peers.NAME, version, role, "IOV", "sealed in place, 0..100 octets")


@pytest.mark.parametrize("role", ROLES)
def test_exported_contexts_go_on_elsewhere(
    realm: Realm, theirs: KerberosPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    context = establish(realm, theirs, role)
    assert theirs.unwrap(context.wrap(b"before")) == (b"before", True)
    assert context.unwrap(theirs.wrap(b"before")).data == b"before"
    revived = realm.package().import_context(context.export())
    with KerberosPeer(realm.environment(18)) as other:
        other.revive(theirs.export())
        assert other.unwrap(revived.wrap(b"after")) == (b"after", True)
        assert revived.unwrap(other.wrap(b"after")) == (b"after", True)
        other.verify(b"after", revived.sign(b"after"))
    matrix.fill(GSSAPI, peers.NAME, version, role, "export and import", "went on at both ends")


@pytest.mark.parametrize("role", ROLES)
def test_a_context_ends_with_its_ticket(
    realm: Realm, theirs: KerberosPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    context = establish(realm, theirs, role)
    assert context.expires is not None
    left = (context.expires - system_clock()).total_seconds()
    # an acceptor of MIT's adds the skew that clocks may have, as we do
    assert abs(left - theirs.lifetime()) <= timedelta(minutes=5).total_seconds() + 2
    matrix.fill(GSSAPI, peers.NAME, version, role, "lifetime", "until the ticket ends")


def test_a_replayed_token_is_refused(realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler) -> None:
    services = Services()
    theirs.initiate(TARGET, flags=PROTECTED)
    token = theirs.step(None)
    assert token is not None
    assert accepted(realm.acceptor(), token, services)
    assert not accepted(realm.acceptor(), token, services)
    matrix.fill(GSSAPI, peers.NAME, version, "initiator", "replay", "refused")


def test_it_refuses_our_token_a_second_time(realm: Realm, version: str, matrix: Filler, tmp_path: Path) -> None:
    token = respond_blocking(realm.initiator(), None, Services()).token
    with KerberosPeer({**realm.environment(18), "KRB5RCACHENAME": f"file2:{tmp_path}/replays"}) as other:
        other.accept()
        other.step(token)
        assert other.complete
        other.accept()
        with pytest.raises(Refused, match="replay"):
            other.step(token)
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "replay", "refused")


def accepted(ours: HandshakeMachine, token: bytes, services: Services) -> bool:
    """Whether our acceptor takes a first token."""
    try:
        return respond_blocking(ours, token, services).established is not None
    except Replay:
        return False


def test_it_refuses_our_token_for_another_service(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler, tmp_path: Path
) -> None:
    keytab = realm.kdc.add_service(f"other/{HOST}", keytab=tmp_path / "other.keytab")
    environment = {**realm.environment(18), "KRB5_KTNAME": str(keytab)}
    with KerberosPeer(environment) as other:
        other.accept()
        with pytest.raises(Refused):
            initiate_to(other, realm.initiator())
    theirs.initiate(TARGET)
    with pytest.raises(HandshakeError):
        accept_from(theirs, realm.acceptor(keytab=keytab))
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "ticket for another service", "refused")
    matrix.fill(GSSAPI, peers.NAME, version, "initiator", "ticket for another service", "refused")


def test_an_acceptor_without_the_key_does_not_pass(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler
) -> None:
    theirs.accept()
    ours = realm.initiator()
    services = Services()
    token = respond_blocking(ours, None, services).token
    assert token is not None
    reply = theirs.step(token)
    assert reply is not None
    forged = bytearray(reply)
    forged[-20] ^= 1
    with pytest.raises((InvalidToken, BadSignature)):
        respond_blocking(ours, bytes(forged), services)
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "altered AP-REP", "refused")


def test_a_keytab_is_an_initiators_credential(realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler) -> None:
    theirs.accept()
    credential = Keytab(realm.kdc.default_keytab, principal=f"{TRUSTED}/{HOST}@{realm.kdc.realm}")
    initiate_to(theirs, realm.initiator(credential=credential))
    assert theirs.peer() == f"{TRUSTED}/{HOST}@{realm.kdc.realm}"
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "keytab", "logged on with its key")


def test_a_cache_of_kinit_is_an_initiators_credential(
    realm: Realm, theirs: KerberosPeer, version: str, matrix: Filler
) -> None:
    theirs.accept()
    cache = realm.environment(18)["KRB5CCNAME"]
    initiate_to(theirs, realm.initiator(credential=CredentialCache(cache)))
    assert theirs.peer() == realm.user
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "cache of kinit", "its TGT was used")


def test_its_error_token_says_why(realm: Realm, version: str, matrix: Filler, tmp_path: Path) -> None:
    keytab = realm.kdc.add_service(f"third/{HOST}", keytab=tmp_path / "third.keytab")
    ours, services = realm.initiator(), Services()
    with KerberosPeer({**realm.environment(18), "KRB5_KTNAME": str(keytab)}) as other:
        other.accept()
        token = respond_blocking(ours, None, services).token
        with pytest.raises(Refused) as refusal:
            other.step(token)
    assert refusal.value.token is not None
    with pytest.raises(PeerRefused, match="ticket") as told:
        respond_blocking(ours, refusal.value.token, services)
    matrix.fill(GSSAPI, peers.NAME, version, "acceptor", "its error token", f"understood: {told.value.kind.sspi}")


@pytest.mark.parametrize(
    ("minutes", "why"), [(10, "Clock skew too great"), (-10, "Clock skew too great")], ids=["late", "early"]
)
def test_our_error_token_tells_it_of_the_clock(
    realm: Realm, theirs: KerberosPeer, minutes: int, why: str, version: str, matrix: Filler
) -> None:
    theirs.initiate(TARGET)
    token = theirs.step(None)
    options = replace(system_options(), clock=lambda: system_clock() + timedelta(minutes=minutes))
    ours = HandshakeMachine(realm.package().accept(Keytab(realm.kdc.default_keytab), options))
    with pytest.raises(HandshakeError) as refusal:
        respond_blocking(ours, token, Services())
    assert refusal.value.token is not None
    with pytest.raises(Refused, match=why):
        theirs.step(refusal.value.token)
    matrix.fill(GSSAPI, peers.NAME, version, "initiator", "our error token", why)
