"""Negotiate with MIT's SPNEGO over MIT's Kerberos and gss-ntlmssp, token by token (RFC 4178; SECURITY 18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from securestream.credentials import Anonymous, Keytab
from securestream.errors import (
    BadBindings,
    BadSignature,
    Downgrade,
    HandshakeError,
    LogonDenied,
    NoCommonMechanism,
    PeerRefused,
)
from securestream.negotiation import Verdict
from securestream.options import BindingPolicy, ContextFlags, Protection
from securestream.provider import Cover
from securestream_providers.negotiate.messages import NegState
from securestream_providers.ntlm import Ntlm
from tests.interop.expected_spnego import BINDINGS, FALLBACKS, LEVELS, MECHANISMS, SPNEGO
from tests.interop.kerberos_ends import TRUSTED
from tests.interop.matrix import Filler
from tests.interop.negotiate_ends import (
    KERBEROS,
    NTLM,
    ROLES,
    TARGET,
    Alteration,
    Conversation,
    Parties,
    Theirs,
    Unfinished,
    converse,
    damage_the_mic,
    demand_the_mic,
    shorten_the_list,
    strip_the_mic,
)
from tests.interop.peers import gssapi_spnego as peers
from tests.interop.peers.accounts import NAME
from tests.interop.peers.foreign import Refused
from tests.interop.peers.gssapi_krb5 import DCE_STYLE, DELEGATE, MUTUAL, PROTECTED
from tests.interop.peers.gssapi_spnego import SpnegoPeer
from tests.interop.peers.mit_kdc import HOST, MitKdc

pytestmark = pytest.mark.interop

OIDS: Final = {"krb5": KERBEROS, "ntlm": NTLM}
NAMES: Final = {"krb5": "Kerberos", "ntlm": "NTLM"}
SIZES: Final = (1, 17, 1000, 65536)  # gss-ntlmssp 1.2.0 refuses to wrap nothing
GOOD = b"tls-exporter:" + bytes(range(32))
EVIL = b"tls-exporter:" + bytes(32)


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of MIT's library."""
    return require(peers)


@pytest.fixture(scope="module")
def parties(version: str, mit_kdc: MitKdc) -> Parties:
    """What both ends know."""
    return Parties.of(mit_kdc)


@pytest.fixture(scope="module")
def theirs(parties: Parties) -> Iterator[SpnegoPeer]:
    """MIT's end."""
    with SpnegoPeer(parties.environment()) as peer:
        yield peer


def other(mechanism: str) -> str:
    """The other mechanism."""
    return "ntlm" if mechanism == "krb5" else "krb5"


def protect(theirs: SpnegoPeer, conversation: Conversation) -> None:
    """Sign and seal both ways, signatures first: NTLM's keystream begins anew after the MICs, its numbers go on."""
    context = conversation.context
    assert context.session_key == theirs.session_key()
    for size in SIZES:
        data = bytes((index * 7 + size) % 256 for index in range(size))
        theirs.verify(data, context.sign(data))
        context.verify(data, theirs.sign(data))
        assert theirs.unwrap(context.wrap(data)) == (data, True)
        assert context.unwrap(theirs.wrap(data)) == (data, True)


def negotiate(
    parties: Parties,
    theirs: SpnegoPeer,
    role: Theirs,
    *,
    offered: tuple[str, ...],
    accepted: tuple[str, ...],
    mutual: bool = True,
    dce: bool = False,
    alter_ours: Alteration = bytes,
    alter_theirs: Alteration = bytes,
) -> Conversation:
    """A negotiation of what the initiator offers with what the acceptor has; `role` is the foreign end's."""
    if role == "initiator":
        flags = (*PROTECTED, *((MUTUAL,) if mutual else ()), *((DCE_STYLE,) if dce else ()))
        theirs.offer(TARGET, offered, flags=flags)
        ours = parties.acceptor(*accepted)
    else:
        wanted = ContextFlags.MUTUAL if mutual else ContextFlags.NONE
        theirs.choose(accepted)
        ours = parties.initiator(*offered, flags=wanted | (ContextFlags.DCE_STYLE if dce else ContextFlags.NONE))
    return converse(ours, theirs, role, alter_ours=alter_ours, alter_theirs=alter_theirs)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("role", ROLES)
def test_the_first_choice_of_both_is_taken(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, mechanism: str, version: str, matrix: Filler
) -> None:
    order = (mechanism, other(mechanism))
    conversation = negotiate(parties, theirs, role, offered=order, accepted=order)
    if role == "acceptor":
        assert theirs.peer() == (NAME if mechanism == "ntlm" else parties.realm.user)
    assert theirs.mechanism() == OIDS[mechanism]
    report = {one.identifier: one.verdict for one in conversation.negotiation.mechanisms}
    assert report[OIDS[mechanism]] is Verdict.CHOSEN
    protect(theirs, conversation)
    # NTLM with a MIC in its AUTHENTICATE wants one over the list even so ([MS-SPNG] 3.2.5.1)
    with_mic = mechanism == "ntlm"
    assert conversation.mics() == ((1, 1) if with_mic else (0, 0))
    assert conversation.negotiation.protected is with_mic
    seen = f"taken, sealed and signed each way{', MIC each way' if with_mic else ', no MIC'}"
    matrix.fill(SPNEGO, peers.NAME, version, role, NAMES[mechanism], seen)


@pytest.mark.parametrize("option", FALLBACKS)
@pytest.mark.parametrize("role", ROLES)
def test_a_refused_first_choice_falls_back_with_mics(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, option: str, version: str, matrix: Filler
) -> None:
    left = FALLBACKS[option]
    conversation = negotiate(parties, theirs, role, offered=(other(left), left), accepted=(left,))
    assert theirs.mechanism() == OIDS[left]
    assert NegState.REQUEST_MIC in conversation.states()
    assert conversation.mics() == (1, 1)
    assert conversation.negotiation.protected
    protect(theirs, conversation)
    matrix.fill(SPNEGO, peers.NAME, version, role, option, "request-mic, MIC each way, sealed and signed each way")


def test_ntlms_keystream_begins_anew_after_the_mics_and_its_numbers_go_on(parties: Parties, theirs: SpnegoPeer) -> None:
    conversation = negotiate(parties, theirs, "acceptor", offered=("krb5", "ntlm"), accepted=("ntlm",))
    (mic,) = (one.mech_list_mic for one in conversation.responses("ours") if one.mech_list_mic)
    signature = conversation.context.sign(b"after the MIC")
    assert (mic[12:], signature[12:]) == (bytes(4), b"\1\0\0\0")
    theirs.verify(b"after the MIC", signature)


def test_a_choice_that_is_not_our_first_is_proved(
    parties: Parties, theirs: SpnegoPeer, version: str, matrix: Filler
) -> None:
    conversation = negotiate(parties, theirs, "initiator", offered=("krb5", "ntlm"), accepted=("ntlm", "krb5"))
    assert theirs.mechanism() == KERBEROS
    assert NegState.REQUEST_MIC in conversation.states()
    assert conversation.mics() == (1, 1)
    protect(theirs, conversation)
    option = "our order is another: request-mic"
    matrix.fill(SPNEGO, peers.NAME, version, "initiator", option, "its first, MIC each way")


def test_what_we_would_rather_have_chosen_may_have_been_taken_out(
    parties: Parties, theirs: SpnegoPeer, version: str, matrix: Filler
) -> None:
    conversation = negotiate(parties, theirs, "initiator", offered=("krb5",), accepted=("ntlm", "krb5"))
    assert conversation.responses("ours")[0].neg_state is NegState.REQUEST_MIC
    assert conversation.mics() == (1, 1)
    protect(theirs, conversation)
    option = "our first is not offered: request-mic"
    matrix.fill(SPNEGO, peers.NAME, version, "initiator", option, "its only one, MIC each way")


@pytest.mark.parametrize("offered", [("krb5", "ntlm"), ("ntlm", "krb5")], ids=["first", "refused first"])
@pytest.mark.parametrize("role", ROLES)
def test_without_mutual_authentication(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, offered: tuple[str, ...], version: str, matrix: Filler
) -> None:
    conversation = negotiate(parties, theirs, role, offered=offered, accepted=("krb5",), mutual=False)
    assert ContextFlags.MUTUAL not in conversation.context.flags
    assert MUTUAL not in theirs.flags
    falls_back = offered[0] == "ntlm"
    assert conversation.mics() == ((1, 1) if falls_back else (0, 0))
    protect(theirs, conversation)
    option = f"no mutual authentication{', NTLM refused' if falls_back else ''}"
    matrix.fill(SPNEGO, peers.NAME, version, role, option, "sealed each way")


@pytest.mark.parametrize("offered", [("krb5", "ntlm"), ("ntlm", "krb5")], ids=["first", "refused first"])
@pytest.mark.parametrize("role", ROLES)
def test_dce_style_has_three_legs_and_seals_in_place(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, offered: tuple[str, ...], version: str, matrix: Filler
) -> None:
    conversation = negotiate(parties, theirs, role, offered=offered, accepted=("krb5",), dce=True)
    context = conversation.context
    assert ContextFlags.DCE_STYLE in context.flags
    assert DCE_STYLE in theirs.flags
    falls_back = offered[0] == "ntlm"
    assert conversation.mics() == ((1, 1) if falls_back else (0, 0))
    header, body, trailer = bytes(24), bytes(range(256)), b"verifier"
    sealed = context.seal([(header, Cover.SIGNED), (body, Cover.SEALED), (trailer, Cover.SIGNED)])
    described = [("header", sealed.signature), ("sign_only", header), ("data", sealed.parts[1])]
    assert theirs.unwrap_iov([*described, ("sign_only", trailer)])[2] == body
    made = theirs.wrap_iov([("header", None), ("sign_only", header), ("data", body), ("sign_only", trailer)])
    parts = [(header, Cover.SIGNED), (made[2], Cover.SEALED), (trailer, Cover.SIGNED)]
    assert context.unseal(parts, made[0]) == (header, body, trailer)
    option = f"DCE style, IOV{', NTLM refused' if falls_back else ''}"
    matrix.fill(SPNEGO, peers.NAME, version, role, option, "three legs, sealed in place")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("role", ROLES)
def test_ntlm_at_each_level(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, level: str, version: str, matrix: Filler
) -> None:
    sealing = level == "encrypt and sign"
    protection = Protection.ENCRYPT_AND_SIGN if sealing else Protection.SIGN
    if role == "initiator":
        theirs.offer(TARGET, ["ntlm"], flags=[flag for flag in PROTECTED if sealing or flag != "confidentiality"])
        conversation = converse(parties.acceptor("ntlm", protection=protection), theirs, role)
    else:
        theirs.choose(["ntlm"])
        conversation = converse(parties.initiator("ntlm", protection=protection), theirs, role)
    assert (ContextFlags.CONFIDENTIALITY in conversation.context.flags) is sealing
    assert conversation.negotiation.protected
    if sealing:
        protect(theirs, conversation)
    else:
        theirs.verify(b"signed", conversation.context.sign(b"signed"))
        conversation.context.verify(b"signed", theirs.sign(b"signed"))
    matrix.fill(SPNEGO, peers.NAME, version, role, f"NTLM, {level}", "protected each way")


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("bindings", BINDINGS)
def test_our_acceptor_judges_bindings_inside(
    parties: Parties, theirs: SpnegoPeer, bindings: str, mechanism: str, version: str, matrix: Filler
) -> None:
    theirs.offer(TARGET, [mechanism], bindings={"right": GOOD, "wrong": EVIL, "missing": None}[bindings])
    ours = parties.acceptor("krb5", "ntlm", bindings=GOOD, policy=BindingPolicy.ALWAYS)
    if bindings == "right":
        assert converse(ours, theirs, "initiator").context.bound
        seen = "accepted, bound"
    else:
        with pytest.raises(BadBindings) as refusal:
            converse(ours, theirs, "initiator")
        told(theirs, refusal.value)
        seen = "refused"
    matrix.fill(SPNEGO, peers.NAME, version, "initiator", f"{NAMES[mechanism]}, bindings {bindings}", seen)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("bindings", BINDINGS)
def test_its_acceptor_judges_our_bindings_inside(
    parties: Parties, theirs: SpnegoPeer, bindings: str, mechanism: str, version: str, matrix: Filler
) -> None:
    theirs.choose([mechanism], bindings=GOOD)
    ours = parties.initiator(mechanism, bindings={"right": GOOD, "wrong": EVIL, "missing": None}[bindings])
    if bindings == "wrong":
        with pytest.raises(Refused):
            converse(ours, theirs, "acceptor")
        seen = "refused"
    else:
        assert converse(ours, theirs, "acceptor").context.bound is (bindings == "right")
        seen = "accepted"
    matrix.fill(SPNEGO, peers.NAME, version, "acceptor", f"{NAMES[mechanism]}, bindings {bindings}", seen)


def told(theirs: SpnegoPeer, failure: HandshakeError) -> None:
    """Give the foreign initiator our refusal, which it takes for one."""
    assert failure.token is not None
    with pytest.raises(Refused):
        theirs.step(failure.token)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("role", ROLES)
def test_altered_data_is_refused_by_both_ends(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, mechanism: str, version: str, matrix: Filler
) -> None:
    order = (mechanism,)
    context = negotiate(parties, theirs, role, offered=order, accepted=order).context
    altered = bytearray(context.wrap(b"altered on its way"))
    altered[-1] ^= 1
    with pytest.raises(Refused):
        theirs.unwrap(bytes(altered))
    altered = bytearray(theirs.wrap(b"altered on its way"))
    altered[-1] ^= 1
    with pytest.raises(BadSignature):
        context.unwrap(altered)
    matrix.fill(SPNEGO, peers.NAME, version, role, f"{NAMES[mechanism]}, altered data", "refused by both")


BOTH: Final = ("ntlm", "krb5")


@pytest.mark.parametrize("role", ROLES)
def test_a_shortened_list_is_noticed(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    ours, theirs_altered = (bytes, shorten_the_list) if role == "initiator" else (shorten_the_list, bytes)
    # the acceptor completes what it takes for a first choice; the initiator wants a MIC for what is none
    with pytest.raises(Refused if role == "initiator" else Downgrade):
        negotiate(parties, theirs, role, offered=BOTH, accepted=("krb5",), alter_ours=ours, alter_theirs=theirs_altered)
    if role == "initiator":  # made to send a MIC at once, it sends that of the list that it offered
        theirs.offer(TARGET, BOTH, flags=PROTECTED)
        with pytest.raises(Downgrade):
            converse(parties.acceptor("krb5"), theirs, role, alter_ours=demand_the_mic, alter_theirs=shorten_the_list)
    matrix.fill(SPNEGO, peers.NAME, version, role, "NTLM refused, list shortened", "refused")


@pytest.mark.parametrize("attack", ["MIC stripped", "MIC damaged"])
@pytest.mark.parametrize("role", ROLES)
def test_a_missing_or_damaged_mic_is_refused(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, attack: str, version: str, matrix: Filler
) -> None:
    alter = {"MIC stripped": strip_the_mic, "MIC damaged": damage_the_mic}[attack]
    with pytest.raises((Downgrade, Unfinished)):
        negotiate(parties, theirs, role, offered=BOTH, accepted=("krb5",), alter_theirs=alter)
    with pytest.raises((Refused, Unfinished)):
        negotiate(parties, theirs, role, offered=BOTH, accepted=("krb5",), alter_ours=alter)
    assert not theirs.complete
    matrix.fill(SPNEGO, peers.NAME, version, role, f"NTLM refused, {attack}", "refused by both")


@pytest.mark.parametrize("role", ROLES)
def test_nothing_in_common_is_said_so(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    if role == "initiator":
        with pytest.raises(NoCommonMechanism, match="this end does not have it") as ours:
            negotiate(parties, theirs, role, offered=("krb5",), accepted=("ntlm",))
        told(theirs, ours.value)
    else:
        with pytest.raises(Refused, match="mechanism") as refusal:
            negotiate(parties, theirs, role, offered=("krb5",), accepted=("ntlm",))
        assert refusal.value.token is None or b"NTLMSSP" not in refusal.value.token
    matrix.fill(SPNEGO, peers.NAME, version, role, "nothing in common", "refused")


@pytest.mark.parametrize("role", ROLES)
def test_what_is_delegated_opens_the_next_connection(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    if role == "initiator":
        theirs.offer(TARGET, ["krb5"], flags=(MUTUAL, DELEGATE, *PROTECTED))
        delegated = converse(parties.acceptor("krb5"), theirs, role).context.delegated
        assert delegated is not None
        theirs.choose(["krb5"])
        converse(parties.initiator("krb5", credential=delegated), theirs, "acceptor")
        assert theirs.peer() == parties.realm.user
    else:
        theirs.choose()
        flags = ContextFlags.MUTUAL | ContextFlags.DELEGATE
        conversation = converse(parties.initiator("krb5", "ntlm", service=TRUSTED, flags=flags), theirs, role)
        assert ContextFlags.DELEGATE in conversation.context.flags
        assert theirs.delegated
    matrix.fill(SPNEGO, peers.NAME, version, role, "Kerberos, delegation", "delegated")


@pytest.mark.parametrize("role", ROLES)
def test_a_ticket_for_another_service_is_refused_in_spnego(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler, tmp_path: Path
) -> None:
    name = f"other-{role}/{HOST}"
    keytab = parties.realm.kdc.add_service(name, keytab=tmp_path / "other.keytab")
    if role == "initiator":
        theirs.offer(TARGET, ["krb5", "ntlm"])
        with pytest.raises(HandshakeError) as ours:
            converse(parties.acceptor("krb5", "ntlm", keytab=Keytab(keytab)), theirs, role)
        told(theirs, ours.value)
        seen = "refused; it took our refusal for one"
    else:
        with SpnegoPeer({**parties.environment(), "KRB5_KTNAME": str(keytab)}) as peer:
            peer.choose(["krb5"])
            with pytest.raises(Refused) as refusal:
                converse(parties.initiator("krb5", "ntlm"), peer, role)
            assert refusal.value.token is not None
            with pytest.raises(PeerRefused, match="ticket") as why:
                converse(parties.initiator("krb5", "ntlm"), Silent(refusal.value.token), role)
        seen = f"refused; understood: {why.value.kind.sspi}"
    matrix.fill(SPNEGO, peers.NAME, version, role, "Kerberos, ticket for another service", seen)


class Silent:
    """A foreign end that says one thing.

    Args:
        token: what.
    """

    complete = False

    def __init__(self, token: bytes) -> None:
        self._token = token

    def step(self, token: bytes | None) -> bytes | None:
        """Say it."""
        return self._token


@pytest.mark.parametrize("role", ROLES)
def test_a_wrong_password_is_refused_in_spnego(
    parties: Parties, theirs: SpnegoPeer, role: Theirs, version: str, matrix: Filler
) -> None:
    if role == "initiator":
        theirs.offer(TARGET, ["ntlm"], user=NAME, password="wrong")
        with pytest.raises(LogonDenied) as ours:
            converse(parties.acceptor("krb5", "ntlm"), theirs, role)
        told(theirs, ours.value)
    else:
        theirs.choose(["ntlm"])
        with pytest.raises(Refused):
            converse(parties.initiator("krb5", "ntlm", password="wrong"), theirs, role)
    matrix.fill(SPNEGO, peers.NAME, version, role, "NTLM, wrong password", "refused")


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_tokens_without_spnego_are_answered_in_kind(
    parties: Parties, theirs: SpnegoPeer, mechanism: str, version: str, matrix: Filler
) -> None:
    theirs.begin_bare(mechanism, TARGET)
    # gss-ntlmssp 1.2.0 sends no MIC outside of SPNEGO
    conversation = converse(
        parties.acceptor("krb5") if mechanism == "krb5" else parties.acceptor(ntlm=Ntlm(mic="optional")),
        theirs,
        "initiator",
    )
    assert all(not token.startswith((b"\xa1", b"\x60\x06\x2b")) for token in conversation.ours)
    protect(theirs, conversation)
    matrix.fill(SPNEGO, peers.NAME, version, "initiator", f"{NAMES[mechanism]} without SPNEGO", "answered in kind")


def test_a_server_that_speaks_first(parties: Parties, theirs: SpnegoPeer, version: str, matrix: Filler) -> None:
    theirs.choose()
    ours = parties.initiator("krb5", "ntlm", server_first=True)
    conversation = converse(ours, theirs, "acceptor", greeting=b"", server_first=True)
    assert b"not_defined_in_RFC4178@please_ignore" in conversation.theirs[0]
    protect(theirs, conversation)
    matrix.fill(SPNEGO, peers.NAME, version, "acceptor", "server speaks first", "its hints were ignored")


def test_it_judges_nobody(parties: Parties, theirs: SpnegoPeer, version: str, matrix: Filler) -> None:
    theirs.choose(["ntlm"])
    with pytest.raises(Refused):
        converse(parties.initiator("ntlm", credential=Anonymous()), theirs, "acceptor")
    matrix.fill(SPNEGO, peers.NAME, version, "acceptor", "anonymous", "refused")
