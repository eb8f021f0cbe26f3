"""SECURITY rules 8, 9 and 10, each with the attack or the peer that taught it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from securestream.credentials import Accounts, Anonymous, Password
from securestream.drive import Services, respond_blocking
from securestream.errors import (
    BadBindings,
    BadSignature,
    Downgrade,
    ErrorKind,
    HandshakeError,
    InvalidToken,
    LogonDenied,
    OutOfSequence,
    QualityNotMet,
    TargetUnknown,
    Unsupported,
    UsageError,
)
from securestream.machine import HandshakeMachine, told_to_peer
from securestream.options import BindingPolicy, ContextFlags
from securestream.provider import TargetName
from securestream_providers.ntlm import Ntlm, logon
from securestream_providers.ntlm.messages import (
    Authenticate,
    AvFlag,
    AvId,
    AvPairs,
    Challenge,
    ClientChallenge,
    Flag,
    Negotiate,
    pack_pairs,
    unpack_pairs,
)
from tests.providers.ntlm.ends import (
    ALICE,
    AUTHENTICATE,
    BINDINGS,
    CHALLENGE,
    NEGOTIATE,
    NOW,
    OTHER_BINDINGS,
    PASSWORD,
    TARGET,
    CountingStore,
    HandMade,
    flip_flags,
    handshake,
    options,
    store,
    with_pairs,
)

MIC_PAIR = (AvId.FLAGS, AvFlag.MIC.to_bytes(4, "little"))
OPTIONAL = Ntlm(mic="optional")


def _looks_like_a_refusal(error: HandshakeError) -> None:
    """What the peer is told differs in nothing from a wrong password."""
    told = told_to_peer(error)
    assert told.kind is ErrorKind.LOGON_DENIED
    assert told.token is None


# --- MIC -------------------------------------------------------------------------------------------------------------


def _without_timestamp(pairs: AvPairs) -> Iterable[tuple[int, bytes]]:
    return [pair for pair in pairs.items() if pair[0] != AvId.TIMESTAMP]


def test_stripped_mic_is_refused_cve_2019_1040() -> None:
    """Whoever takes the timestamp out of the CHALLENGE makes a lax client send no MIC; the acceptor misses it."""
    with pytest.raises(Downgrade) as caught:
        handshake(OPTIONAL, Ntlm(), alter=with_pairs(_without_timestamp))
    _looks_like_a_refusal(caught.value)


def test_a_strict_initiator_sends_a_mic_even_where_the_timestamp_was_taken_away() -> None:
    with pytest.raises(Downgrade, match="MIC is wrong"):
        handshake(Ntlm(), OPTIONAL, alter=with_pairs(_without_timestamp))


def test_a_mic_that_the_response_announces_cannot_be_left_out() -> None:
    def strip(number: int, token: bytes) -> bytes:
        return replace(Authenticate.unpack(token), mic=None).pack() if number == AUTHENTICATE else token

    with pytest.raises(Downgrade):
        handshake(Ntlm(), OPTIONAL, alter=strip)


def test_a_zeroed_mic_is_refused() -> None:
    def zero(number: int, token: bytes) -> bytes:
        return token[:72] + bytes(16) + token[88:] if number == AUTHENTICATE else token

    with pytest.raises(Downgrade):
        handshake(alter=zero)


def test_a_client_without_mic_is_accepted_by_name_only() -> None:
    honest = HandMade(pairs=(), mic=False)
    with pytest.raises(Downgrade, match="sent no MIC"):
        honest.logon()
    assert not HandMade(pairs=(), mic=False).logon(OPTIONAL).needs_negotiation_mic


def test_our_challenge_always_carries_a_timestamp_and_a_version() -> None:
    for server in (Ntlm(), OPTIONAL):
        challenge = Challenge.unpack(handshake(server=server).tokens[CHALLENGE])
        pairs = unpack_pairs(challenge.target_info or b"", 64)
        assert len(pairs[AvId.TIMESTAMP]) == 8
        assert challenge.flags & Flag.VERSION
        assert challenge.version is not None


@pytest.mark.parametrize("bit", [1 << bit for bit in range(32)])
@pytest.mark.parametrize("number", [NEGOTIATE, CHALLENGE, AUTHENTICATE])
def test_altered_flags_are_refused_cve_2019_1166(number: int, bit: int) -> None:
    """Whatever bit of whatever message is turned on the way, no session comes of it."""
    with pytest.raises(HandshakeError):
        handshake(alter=flip_flags(number, bit))


def test_flags_that_were_not_offered_are_ignored() -> None:
    """A client that claims SEAL in AUTHENTICATE where the CHALLENGE had none gets no SEAL."""
    client = HandMade(negotiate=Negotiate(HandMade.OFFER & ~Flag.SEAL).pack(), flags=Flag.SEAL)
    context = client.logon()
    assert ContextFlags.CONFIDENTIALITY not in context.flags
    assert ContextFlags.INTEGRITY in context.flags


@pytest.mark.parametrize(
    ("removed", "allowing"),
    [
        (Flag.EXTENDED_SESSION_SECURITY, Ntlm(extended_security="optional")),
        (Flag.BITS_128, Ntlm(key_bits=(128, 40))),
        (Flag.KEY_EXCH, Ntlm(key_exchange="optional")),
    ],
)
def test_weaker_sessions_are_refused_unless_named(removed: int, allowing: Ntlm) -> None:
    negotiate = Negotiate(HandMade.OFFER & ~removed).pack()
    with pytest.raises(Unsupported):
        HandMade(negotiate=negotiate).logon()
    more: dict[str, Any] = {"encrypted_session_key": b""} if removed == Flag.KEY_EXCH else {}
    client = HandMade(pairs=(), mic=False, negotiate=negotiate, more=more)
    client.logon(replace(allowing, mic="optional"))


def test_key_bits_do_not_matter_where_nothing_is_protected() -> None:
    """curl offers no bits, and no signing: it only proves who its user is."""
    offer = HandMade.OFFER & ~(Flag.SIGN | Flag.SEAL | Flag.KEY_EXCH | Flag.BITS_128)
    client = HandMade(pairs=(), mic=False, negotiate=Negotiate(offer).pack(), more={"encrypted_session_key": b""})
    assert ContextFlags.INTEGRITY not in client.logon(OPTIONAL).flags


def test_the_initiator_refuses_a_server_that_does_not_seal() -> None:
    with pytest.raises(QualityNotMet):
        handshake(alter=flip_flags(CHALLENGE, Flag.SEAL))


# --- AV pairs --------------------------------------------------------------------------------------------------------


def test_relayed_av_pairs_are_refused() -> None:
    """Even without a MIC: the client repeats the names of the server whose challenge it answered."""

    def another_server(pairs: AvPairs) -> Iterable[tuple[int, bytes]]:
        return {**pairs, AvId.NB_COMPUTER_NAME: "OTHER".encode("utf-16-le")}.items()

    with pytest.raises(Downgrade):
        handshake(alter=with_pairs(another_server))
    foreign = pack_pairs(((AvId.NB_COMPUTER_NAME, b"O\0T\0"), (AvId.TIMESTAMP, bytes(8))))
    relayed = HandMade(keep=False, pairs=tuple(unpack_pairs(foreign, 9).items()), mic=False)
    with pytest.raises(Downgrade, match="relay") as caught:
        relayed.logon(OPTIONAL)
    _looks_like_a_refusal(caught.value)


@pytest.mark.parametrize("identifier", [AvId.FLAGS, AvId.TARGET_NAME, AvId.CHANNEL_BINDINGS])
def test_the_initiator_replaces_pairs_that_only_a_client_may_state(identifier: int) -> None:
    def planted(pairs: AvPairs) -> Iterable[tuple[int, bytes]]:
        return [*pairs.items(), (identifier, b"\xee" * 16)]

    seen: list[AvPairs] = []

    def alter(number: int, token: bytes) -> bytes:
        if number == AUTHENTICATE:
            response = Authenticate.unpack(token).nt_response
            seen.append(unpack_pairs(ClientChallenge.unpack(response[16:]).pairs, 64))
        return with_pairs(planted)(number, token)

    with pytest.raises(Downgrade):
        handshake(alter=alter, client_options=options(1, bindings=BINDINGS))
    assert seen[0][AvId.FLAGS] == MIC_PAIR[1]
    assert seen[0][AvId.TARGET_NAME].decode("utf-16-le") == TARGET
    assert seen[0][AvId.CHANNEL_BINDINGS] == BINDINGS.md5()


def test_duplicate_av_pairs_are_refused_by_both_ends() -> None:
    def twice(pairs: AvPairs) -> Iterable[tuple[int, bytes]]:
        return [*pairs.items(), (AvId.NB_DOMAIN_NAME, b"")]

    with pytest.raises(InvalidToken, match="comes twice"):
        handshake(alter=with_pairs(twice))
    with pytest.raises(InvalidToken, match="comes twice"):
        HandMade(pairs=(MIC_PAIR, (AvId.TARGET_NAME, b"a\0"), (AvId.TARGET_NAME, b"b\0"))).logon()


def test_single_host_of_80_octets_is_accepted() -> None:
    """Windows 11 24H2 sends that much and more."""
    HandMade(pairs=(MIC_PAIR, (AvId.SINGLE_HOST, bytes(80)))).logon()


@pytest.mark.parametrize("size", [25, 43])
def test_a_response_too_short_to_have_av_pairs_is_malformed(size: int) -> None:
    with pytest.raises(InvalidToken):
        HandMade(more={"nt_response": bytes(16) + b"\1\1" + bytes(size - 18)}, mic=False).logon()


@pytest.mark.parametrize("kinds", [b"\0\1", b"\1\2"])
def test_a_response_of_an_unknown_type_is_malformed(kinds: bytes) -> None:
    with pytest.raises(InvalidToken):
        HandMade(more={"nt_response": bytes(16) + kinds + bytes(40)}, mic=False).logon()


def test_trailing_zero_octets_of_freerdp_are_hashed_as_received() -> None:
    HandMade(trailing=bytes(12)).logon()


def test_unknown_av_pairs_are_kept_and_accepted() -> None:
    HandMade(pairs=(MIC_PAIR, (0x4321, b"whatever"))).logon()


@pytest.mark.parametrize("size", [16, 24, 32])
def test_short_negotiate_of_old_clients_is_accepted(size: int) -> None:
    HandMade(negotiate=Negotiate(HandMade.OFFER).pack()[:size]).logon()


# --- service names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("served", ["files.example", "HOST/FILES.example"])
def test_a_logon_meant_for_this_service_is_accepted(served: str) -> None:
    handshake(server=Ntlm(spn="required", served=(served,)))


def test_a_logon_meant_for_another_service_is_refused() -> None:
    with pytest.raises(TargetUnknown) as caught:
        handshake(server=Ntlm(served=("mail.example",)))
    _looks_like_a_refusal(caught.value)
    handshake(server=Ntlm(spn="off", served=("mail.example",)))


def test_absent_or_untrusted_service_names_are_refused_where_required() -> None:
    strict = Ntlm(spn="required", served=("files.example",))
    handshake(server=Ntlm(served=("files.example",)), target=None)
    with pytest.raises(TargetUnknown):
        handshake(server=strict, target=None)
    name = (AvId.TARGET_NAME, TARGET.encode("utf-16-le"))
    untrusted = (AvId.FLAGS, (AvFlag.MIC | AvFlag.UNTRUSTED_TARGET).to_bytes(4, "little"))
    HandMade(pairs=(MIC_PAIR, name)).logon(strict)
    with pytest.raises(TargetUnknown):
        HandMade(pairs=(untrusted, name)).logon(strict)


# --- channel bindings ------------------------------------------------------------------------------------------------

P = BindingPolicy


@pytest.mark.parametrize("policy", P)
@pytest.mark.parametrize("client", ["right", "wrong", "absent", "zero"])
def test_channel_bindings_by_policy(policy: BindingPolicy, client: str) -> None:
    """Wrong ones are refused under every policy but NEVER; zeros advertise that the client supports bindings."""
    accepted = {
        "right": set(P),
        "wrong": {P.NEVER},
        "absent": {P.NEVER, P.WHEN_SUPPORTED, P.WHEN_ADVERTISED},
        "zero": {P.NEVER, P.WHEN_SUPPORTED},
    }[client]
    digest = {"right": BINDINGS.md5(), "wrong": OTHER_BINDINGS.md5(), "absent": None, "zero": bytes(16)}[client]
    pairs = (MIC_PAIR,) if digest is None else (MIC_PAIR, (AvId.CHANNEL_BINDINGS, digest))
    ours = options(2, bindings=BINDINGS, policy=policy)
    if policy in accepted:
        assert HandMade(pairs=pairs).logon(server_options=ours).bound is (client == "right" and policy is not P.NEVER)
    else:
        with pytest.raises(BadBindings) as caught:
            HandMade(pairs=pairs).logon(server_options=ours)
        assert caught.value.kind is ErrorKind.BAD_BINDINGS
        _looks_like_a_refusal(caught.value)


def test_both_ends_say_that_they_are_bound() -> None:
    bound = options(1, bindings=BINDINGS), options(2, bindings=BINDINGS, policy=P.ALWAYS)
    ends = handshake(client_options=bound[0], server_options=bound[1])
    assert ends.initiator.bound
    assert ends.acceptor.bound
    assert not handshake().acceptor.bound


def test_no_pair_is_sent_without_bindings() -> None:
    """Some servers refuse zeros (gss-ntlmssp issue 25)."""
    response = Authenticate.unpack(handshake().tokens[AUTHENTICATE]).nt_response
    assert AvId.CHANNEL_BINDINGS not in unpack_pairs(ClientChallenge.unpack(response[16:]).pairs, 64)


def test_bindings_of_another_length_are_malformed() -> None:
    with pytest.raises(InvalidToken):
        HandMade(pairs=(MIC_PAIR, (AvId.CHANNEL_BINDINGS, bytes(15)))).logon(
            server_options=options(2, bindings=BINDINGS)
        )


def test_demanding_bindings_without_having_any_is_a_mistake() -> None:
    with pytest.raises(UsageError):
        handshake(server_options=options(2, policy=P.ALWAYS))


# --- logon -----------------------------------------------------------------------------------------------------------


def _refusal(accounts: CountingStore, credential: Password, server: Ntlm | None = None) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        handshake(server=server, credential=credential, accounts=Accounts(accounts))
    return caught.value


def _stores() -> dict[str, tuple[CountingStore, Password]]:
    wrong = store(), Password(r"CORP\alice", "wrong")
    unknown = store(), Password(r"CORP\nobody", PASSWORD)
    disabled, locked, throttled, raced = store(), store(), store(), store()
    disabled.add("alice", PASSWORD, disabled=True)
    locked.add("alice", PASSWORD, locked_until=NOW + timedelta(seconds=1))
    throttled.throttle = True
    raced.stands = False
    return {
        "wrong": wrong,
        "unknown": unknown,
        "disabled": (disabled, ALICE),
        "locked": (locked, ALICE),
        "throttled": (throttled, ALICE),
        "raced": (raced, ALICE),
    }


def test_unknown_disabled_locked_and_wrong_cost_and_look_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same questions to the store, the same HMACs, the same words, the same octets to the peer."""
    counted: list[str] = []

    def count(name: str) -> None:
        original: Callable[..., Any] = getattr(logon, name)

        def counting(*arguments: Any) -> Any:
            counted.append(name)
            return original(*arguments)

        monkeypatch.setattr(logon, name, counting)

    count("ntowf_v2")
    count("proof_v2")
    seen: dict[str, tuple[Any, ...]] = {}
    for name, (accounts, credential) in _stores().items():
        counted.clear()
        error = _refusal(accounts, credential)
        told = told_to_peer(error)
        calls = [call[0] for call in accounts.calls]
        if name == "raced":  # its response was right, and it lost against others at the last question
            assert calls.pop() == "succeeded"
            calls.append("failed")
        seen[name] = (type(error), str(error), told.kind, told.token, tuple(counted), tuple(calls))
    assert len(set(seen.values())) == 1, seen
    assert seen["wrong"][0] is LogonDenied


def test_a_failure_counts_only_where_the_response_is_really_wrong() -> None:
    for name, (accounts, credential) in _stores().items():
        _refusal(accounts, credential)
        wrong = [call for call in accounts.calls if call[0] == "failed"]
        assert wrong == ([] if name == "raced" else [("failed", name in ("wrong", "unknown"))])


def test_a_lock_that_has_run_out_refuses_nobody() -> None:
    accounts = store()
    accounts.add("alice", PASSWORD, locked_until=NOW)
    assert handshake(accounts=Accounts(accounts)).peer.name == "alice"


def test_the_principal_is_the_stores_and_not_what_the_client_claims() -> None:
    accounts = store()
    accounts.add("Alice", PASSWORD, domain="REAL", sid="S-1-5-21-1-2-3-1000")
    peer = handshake(credential=Password(r"CLAIMED\aLiCe", PASSWORD), accounts=Accounts(accounts)).peer
    assert (peer.name, peer.authority, peer.sid, peer.package) == ("Alice", "REAL", "S-1-5-21-1-2-3-1000", "NTLM")


def test_bindings_are_judged_only_after_the_password() -> None:
    bound = options(2, bindings=BINDINGS, policy=P.ALWAYS)
    client = HandMade(pairs=(MIC_PAIR, (AvId.CHANNEL_BINDINGS, OTHER_BINDINGS.md5())), password="wrong")
    with pytest.raises(LogonDenied):
        client.logon(Ntlm(spn="required", served=("x",)), bound)


@pytest.mark.parametrize("pair", [(AvId.CHANNEL_BINDINGS, bytes(15)), (AvId.FLAGS, bytes(3))])
def test_a_malformed_pair_is_refused_alike_with_right_and_wrong_password(pair: tuple[int, bytes]) -> None:
    """Judged after the password alone it would tell that the password is right."""
    seen: set[tuple[type[HandshakeError], str]] = set()
    for password in (PASSWORD, "wrong"):
        pairs = (pair,) if pair[0] == AvId.FLAGS else (MIC_PAIR, pair)
        with pytest.raises(HandshakeError) as caught:
            HandMade(pairs=pairs, password=password).logon(server_options=options(2, bindings=BINDINGS))
        seen.add((type(caught.value), str(caught.value)))
    assert len(seen) == 1


def test_anonymous_is_refused_unless_allowed() -> None:
    with pytest.raises(LogonDenied):
        handshake(credential=Anonymous())
    accounts = store()
    for server, allowed in (
        (Ntlm(allow_anonymous=True), Accounts(accounts)),
        (Ntlm(), Accounts(accounts, allow_anonymous=True)),
    ):
        ends = handshake(server=server, credential=Anonymous(), accounts=allowed)
        assert ends.peer.is_anonymous
        assert ends.acceptor.flags == ends.initiator.flags == ContextFlags.ANONYMOUS | ContextFlags.IDENTIFY
    assert not accounts.calls


def test_anonymous_never_satisfies_bindings() -> None:
    bound = options(2, bindings=BINDINGS, policy=P.ALWAYS)
    with pytest.raises(BadBindings):
        handshake(server=Ntlm(allow_anonymous=True), credential=Anonymous(), server_options=bound)


def test_a_server_never_learns_a_hash() -> None:
    """What the acceptor asks for holds challenge and response only."""
    machine = HandshakeMachine(Ntlm().accept(Accounts(store()), options(2)))
    client = HandshakeMachine(Ntlm().initiate(ALICE, TARGET, options(1)))
    machine.step()
    step = machine.step(client.step(machine.step(client.step().token).token).token)
    assert step.need is not None
    assert PASSWORD not in repr(step.need)
    assert "octets" in repr(step.need)


# --- tokens after the handshake --------------------------------------------------------------------------------------


def test_a_reflected_token_is_refused() -> None:
    ends = handshake()
    with pytest.raises(BadSignature):
        ends.initiator.unwrap(ends.initiator.wrap(b"mine"))


def test_a_reflected_authenticate_is_refused() -> None:
    """The acceptor's own challenge given back to it is no response."""
    services = Services()
    machine = HandshakeMachine(Ntlm().accept(Accounts(store()), options(2)))
    machine.step()
    challenge = respond_blocking(machine, Negotiate(HandMade.OFFER).pack(), services).token
    with pytest.raises(InvalidToken):
        respond_blocking(machine, challenge, services)


def test_a_replayed_token_is_refused() -> None:
    ends = handshake()
    token = ends.initiator.wrap(b"once")
    ends.acceptor.unwrap(token)
    with pytest.raises(OutOfSequence):
        ends.acceptor.unwrap(token)


def test_tokens_out_of_order_are_refused_and_spend_nothing() -> None:
    ends = handshake()
    first, second = ends.initiator.wrap(b"first"), ends.initiator.wrap(b"second")
    with pytest.raises(OutOfSequence):
        ends.acceptor.unwrap(second)
    assert ends.acceptor.unwrap(first).data == b"first"
    assert ends.acceptor.unwrap(second).data == b"second"


def test_never_mutual() -> None:
    wanted = options(1, flags=ContextFlags.MUTUAL)
    ends = handshake(client_options=wanted)
    assert ContextFlags.MUTUAL not in ends.initiator.flags
    assert ContextFlags.MUTUAL not in ends.acceptor.flags


def test_a_target_is_a_string_for_the_acceptor_to_compare() -> None:
    assert Ntlm(served=("files.example",)).serves(TargetName("HTTP/FILES.EXAMPLE"))
    assert not Ntlm(served=("files.example",)).serves(TargetName("HTTP/files.example.evil"))
