"""Negotiate with pyspnego's SPNEGO over its NTLM, token by token (RFC 4178, [MS-SPNG]; SECURITY 18)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from securestream.errors import BadBindings, BadSignature, Downgrade, LogonDenied
from securestream.options import BindingPolicy, Protection
from tests.interop.expected_spnego import BINDINGS, LEVELS, SPNEGO
from tests.interop.matrix import Filler
from tests.interop.negotiate_ends import (
    ROLES,
    Alteration,
    Conversation,
    Parties,
    Theirs,
    Unfinished,
    account,
    converse,
    damage_the_mic,
    drop_the_first_token,
    shorten_the_list,
    strip_the_mic,
)
from tests.interop.peers import pyspnego as peers
from tests.interop.peers.accounts import NAME, ntlm_environment
from tests.interop.peers.foreign import Refused
from tests.interop.peers.mit_kdc import HOST, MitKdc
from tests.interop.peers.pyspnego import SpnegoPeer

pytestmark = pytest.mark.interop

TARGET: Final = f"host@{HOST}"
SIZES: Final = (0, 1, 17, 1000, 65536)
GOOD: Final = b"tls-exporter:" + bytes(range(32))
EVIL: Final = b"tls-exporter:" + bytes(32)
PROTECTIONS: Final = {"sign": Protection.SIGN, "encrypt and sign": Protection.ENCRYPT_AND_SIGN}


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of pyspnego."""
    return require(peers)


@pytest.fixture(scope="module")
def parties(version: str, mit_kdc: MitKdc) -> Parties:
    """What both ends know; the realm is for our own offers of Kerberos, which pyspnego here does not have."""
    return Parties.of(mit_kdc)


@pytest.fixture
def theirs(parties: Parties, tmp_path: Path) -> SpnegoPeer:
    """pyspnego's end."""
    return SpnegoPeer(ntlm_environment(tmp_path, {account(): parties.password}), negotiate=True)


def negotiate(
    parties: Parties,
    theirs: SpnegoPeer,
    role: Theirs,
    ours: tuple[str, ...] = ("ntlm",),
    *,
    level: str = "encrypt and sign",
    server_first: bool = False,
    alter_ours: Alteration | None = None,
    alter_theirs: Alteration = bytes,
) -> Conversation:
    """A negotiation of its NTLM with what we have; `role` is the foreign end's."""
    # pyspnego 0.12 takes the first token of a mechanism that it does not have for one of NTLM
    first = drop_the_first_token if role == "acceptor" and ours[0] == "krb5" else bytes
    if role == "initiator":
        theirs.initiate(NAME, parties.password, TARGET, encrypt=level == "encrypt and sign")
        machine = parties.acceptor(*ours, protection=PROTECTIONS[level], server_first=server_first)
    else:
        theirs.accept()
        machine = parties.initiator(*ours, protection=PROTECTIONS[level], server_first=server_first)
    return converse(
        machine, theirs, role, server_first=server_first, alter_ours=alter_ours or first, alter_theirs=alter_theirs
    )


def protect(theirs: SpnegoPeer, conversation: Conversation) -> None:
    """Sign and seal both ways, signatures first: NTLM's keystream begins anew after the MICs, its numbers go on."""
    context = conversation.context
    assert context.session_key == theirs.session_key()
    for size in SIZES:
        data = bytes((index * 7 + size) % 256 for index in range(size))
        theirs.verify(data, context.sign(data))
        context.verify(data, theirs.sign(data))
        assert theirs.unwrap(context.wrap(data)) == data
        assert context.unwrap(theirs.wrap(data)) == (data, True)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("role", ROLES)
def test_ntlm_at_each_level(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, level: str, version: str, matrix: Filler
) -> None:
    conversation = negotiate(parties, theirs, role, level=level)
    assert conversation.mics() == (1, 1)
    assert conversation.negotiation.protected
    if level == "encrypt and sign":
        protect(theirs, conversation)
    else:
        theirs.verify(b"signed", conversation.context.sign(b"signed"))
        conversation.context.verify(b"signed", theirs.sign(b"signed"))
    matrix.fill(SPNEGO, peers.NAME, version, role, f"NTLM, {level}", "MIC each way, protected each way")


def test_kerberos_refused_falls_back_with_mics(
    parties: Parties, theirs: SpnegoPeer, version: str, matrix: Filler
) -> None:
    conversation = negotiate(parties, theirs, "acceptor", ("krb5", "ntlm"))
    assert conversation.mics() == (1, 1)
    protect(theirs, conversation)
    matrix.fill(SPNEGO, peers.NAME, version, "acceptor", "Kerberos refused, NTLM", "MIC each way")


@pytest.mark.parametrize("role", ROLES)
def test_a_server_that_speaks_first(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    conversation = negotiate(parties, theirs, role, server_first=True)
    greeting = (conversation.ours if role == "initiator" else conversation.theirs)[0]
    assert b"not_defined_in_RFC4178@please_ignore" in greeting
    protect(theirs, conversation)
    matrix.fill(SPNEGO, peers.NAME, version, role, "server speaks first", "NegTokenInit2, then as ever")


@pytest.mark.parametrize("role", ROLES)
def test_a_wrong_password_is_refused(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    if role == "initiator":
        theirs.initiate(NAME, "wrong", TARGET)
        with pytest.raises(LogonDenied) as ours:
            converse(parties.acceptor("krb5", "ntlm"), theirs, role)
        assert ours.value.token is not None
        with pytest.raises(Refused):
            theirs.step(ours.value.token)
    else:
        theirs.accept()
        with pytest.raises(Refused):
            converse(parties.initiator("ntlm", password="wrong"), theirs, role)
    matrix.fill(SPNEGO, peers.NAME, version, role, "NTLM, wrong password", "refused")


@pytest.mark.parametrize("role", ROLES)
def test_altered_data_is_refused_by_both_ends(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    context = negotiate(parties, theirs, role).context
    altered = bytearray(context.wrap(b"altered on its way"))
    altered[-1] ^= 1
    with pytest.raises(Refused):
        theirs.unwrap(bytes(altered))
    altered = bytearray(theirs.wrap(b"altered on its way"))
    altered[-1] ^= 1
    with pytest.raises(BadSignature):
        context.unwrap(altered)
    matrix.fill(SPNEGO, peers.NAME, version, role, "NTLM, altered data", "refused by both")


def test_a_shortened_list_is_noticed(parties: Parties, theirs: SpnegoPeer, version: str, matrix: Filler) -> None:
    with pytest.raises(Refused):
        negotiate(parties, theirs, "acceptor", ("krb5", "ntlm"), alter_ours=shorten_the_list)
    matrix.fill(SPNEGO, peers.NAME, version, "acceptor", "list shortened", "refused by its MIC")


@pytest.mark.parametrize("attack", ["MIC stripped", "MIC damaged"])
@pytest.mark.parametrize("role", ROLES)
def test_a_missing_or_damaged_mic_is_refused_by_us(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, attack: str, version: str, matrix: Filler
) -> None:
    alter = {"MIC stripped": strip_the_mic, "MIC damaged": damage_the_mic}[attack]
    with pytest.raises((Downgrade, Unfinished)):
        negotiate(parties, theirs, role, ("krb5", "ntlm"), alter_theirs=alter)
    matrix.fill(SPNEGO, peers.NAME, version, role, f"Kerberos refused, {attack}", "refused by us")


@pytest.mark.parametrize("bindings", BINDINGS)
def test_our_acceptor_judges_bindings_inside(
    parties: Parties, theirs: SpnegoPeer, bindings: str, version: str, matrix: Filler
) -> None:
    sent = {"right": GOOD, "wrong": EVIL, "missing": None}[bindings]
    theirs.initiate(NAME, parties.password, TARGET, bindings=sent)
    ours = parties.acceptor("krb5", "ntlm", bindings=GOOD, policy=BindingPolicy.ALWAYS)
    if bindings == "right":
        assert converse(ours, theirs, "initiator").context.bound
        seen = "accepted, bound"
    else:
        with pytest.raises(BadBindings):
            converse(ours, theirs, "initiator")
        seen = "refused"
    matrix.fill(SPNEGO, peers.NAME, version, "initiator", f"NTLM, bindings {bindings}", seen)


@pytest.mark.parametrize("bindings", BINDINGS)
def test_its_acceptor_judges_our_bindings_inside(
    parties: Parties, theirs: SpnegoPeer, bindings: str, version: str, matrix: Filler
) -> None:
    theirs.accept(bindings=GOOD)
    ours = parties.initiator("ntlm", bindings={"right": GOOD, "wrong": EVIL, "missing": None}[bindings])
    if bindings == "right":
        assert converse(ours, theirs, "acceptor").context.bound
        seen = "accepted"
    else:  # pyspnego 0.12 refuses the absence of what it has itself
        with pytest.raises(Refused):
            converse(ours, theirs, "acceptor")
        seen = "refused"
    matrix.fill(SPNEGO, peers.NAME, version, "acceptor", f"NTLM, bindings {bindings}", seen)


def test_tokens_without_spnego_are_answered_in_kind(
    parties: Parties, version: str, matrix: Filler, tmp_path: Path
) -> None:
    theirs = SpnegoPeer(ntlm_environment(tmp_path, {account(): parties.password}))
    theirs.initiate(NAME, parties.password, TARGET)
    conversation = converse(parties.acceptor("krb5", "ntlm"), theirs, "initiator")
    assert all(token.startswith(b"NTLMSSP\0") for token in conversation.ours)
    protect(theirs, conversation)
    matrix.fill(SPNEGO, peers.NAME, version, "initiator", "NTLM without SPNEGO", "answered in kind")
