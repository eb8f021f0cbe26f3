"""GSSAPI (RFC 4752): the layers that two ends agree on, the octets by which they do, and what each refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.drive import respond_blocking
from securestream.errors import (
    BadSignature,
    ContextExpired,
    InvalidToken,
    NotEncrypted,
    OutOfSequence,
    QualityNotMet,
    SecureStreamError,
    Unsupported,
    UsageError,
)
from securestream.machine import HandshakeMachine, State
from securestream.options import ContextFlags, Options, Protection, Role, required_flags
from securestream.principal import Principal
from securestream.provider import SecurityContext
from securestream.sasl import External, Gs2Krb5, Gssapi, GssLayer, ScramSha256
from securestream_providers.kerberos import KerberosContext
from securestream_providers.ntlm import Ntlm
from tests.core.sasl.ends import (
    BINDINGS,
    NONE,
    OTHER_BINDINGS,
    SEAL,
    SIGN,
    TARGET,
    Meeting,
    Realm,
    acceptor,
    initiator,
    kerberos,
    meet,
    new_services,
    options,
    stepped,
)

GSSAPI = Gssapi(kerberos())
LEVELS = (NONE, SIGN, SEAL)


def meet_as(
    asked: Protection = SEAL,
    served: Protection = SEAL,
    *,
    client: Gssapi = GSSAPI,
    server: Gssapi = GSSAPI,
    realm: Realm | None = None,
    mine: Options | None = None,
    theirs: Options | None = None,
    **more: Any,
) -> Meeting:
    """An exchange with a ticket made here."""
    realm = realm or Realm()
    return meet(
        client,
        server,
        realm.tickets(),
        realm.keytab,
        mine=mine or options(asked, 1),
        theirs=theirs or options(served, 2),
        **more,
    )


@pytest.mark.parametrize("asked", LEVELS)
@pytest.mark.parametrize("served", LEVELS)
def test_the_layer_is_the_least_that_both_ends_allow(asked: Protection, served: Protection) -> None:
    found = meet_as(asked, served)
    if asked < served is SEAL:  # the client's ticket was not used for confidentiality, and cannot be any more
        assert found.kinds == {Role.ACCEPTOR: "QUALITY_NOT_MET"}
        return
    agreed = max(asked, served)
    for layer, role in zip(found.layers, (Role.INITIATOR, Role.ACCEPTOR), strict=True):
        assert layer.protection is agreed
        assert layer.flags & required_flags(SEAL) == required_flags(agreed)
        assert layer.role is role
        assert layer.package == "GSSAPI"
    assert found.outcomes[1].peer.name == "alice"
    assert found.outcomes[0].peer.name == TARGET


@pytest.mark.parametrize("etype", [17, 18, 20, 23])
@pytest.mark.parametrize("level", [SIGN, SEAL])
def test_data_passes_through_the_layer(level: Protection, etype: int) -> None:
    ends = Gssapi(kerberos(etype))
    one, other = meet_as(level, level, client=ends, server=ends, realm=Realm(etype)).layers
    for size in (1, 17, 5000, one.max_plaintext):
        data = bytes(index % 251 for index in range(size))
        for sender, receiver in ((one, other), (other, one)):
            buffer = sender.wrap(data)
            assert receiver.unwrap(buffer) == (data, level is SEAL)
            assert len(buffer) <= receiver.max_sealed
            assert size < 17 or (data in buffer) is (level is SIGN)


def test_what_is_longer_than_the_peers_buffer_is_not_wrapped() -> None:
    one, _ = meet_as(server=replace(GSSAPI, max_buffer=1000)).layers
    assert len(one.wrap(bytes(one.max_plaintext))) <= 1000
    with pytest.raises(UsageError, match=str(one.max_plaintext)):
        one.wrap(bytes(one.max_plaintext + 1))


def test_a_buffer_that_holds_nothing_is_refused() -> None:
    context = kerberos_context()
    with pytest.raises(QualityNotMet, match="60"):
        GssLayer("GSSAPI", context, SEAL, peer_buffer=60, own_buffer=1000)


def kerberos_context() -> SecurityContext:
    from tests.providers.kerberos.ends import established

    return established()[0]


@pytest.mark.parametrize("size", [0, 255, 0x1000000])
def test_a_buffer_that_cannot_be_told_is_the_callers_mistake(size: int) -> None:
    with pytest.raises(UsageError, match="max_buffer"):
        Gssapi(kerberos(), max_buffer=size)


def test_only_kerberos_goes_into_it() -> None:
    with pytest.raises(UsageError, match="NTLM"):
        Gssapi(Ntlm())


@pytest.mark.parametrize("authzid", ["a\0b", "x" * 1025, "\ud800"])
def test_an_authorisation_identity_that_cannot_be_sent_is_the_callers_mistake(authzid: str) -> None:
    for make in (partial(Gssapi, kerberos()), partial(Gs2Krb5, kerberos()), ScramSha256, External):
        with pytest.raises(UsageError, match="authorisation identity"):
            make(authzid=authzid)


def trust_root(principal: Principal, authzid: str) -> bool:
    return authzid == "röot"


def test_an_authorisation_identity_travels_protected() -> None:
    for own in ("alice@CORP.EXAMPLE", "CORP.EXAMPLE\\alice"):
        found = meet_as(client=replace(GSSAPI, authzid=own))
        assert [layer.authzid for layer in found.layers] == [own, own]
    for other in ("röot", "alice", "alice@OTHER.EXAMPLE", "@", "\\"):
        assert meet_as(client=replace(GSSAPI, authzid=other)).kinds == {Role.ACCEPTOR: "NOT_AUTHORIZED"}
    trusting = replace(GSSAPI, authorize=trust_root)
    assert meet_as(client=replace(GSSAPI, authzid="röot"), server=trusting).layers[1].authzid == "röot"


def test_bindings_of_the_channel_are_checked() -> None:
    bound = {"channel_bindings": BINDINGS}
    found = meet_as(mine=options(SEAL, 1, **bound), theirs=options(SEAL, 2, **bound))
    assert all(layer.bound for layer in found.layers)
    other: dict[str, ChannelBindings] = {"channel_bindings": OTHER_BINDINGS}
    assert meet_as(mine=options(SEAL, 1, **bound), theirs=options(SEAL, 2, **other)).kinds == {
        Role.ACCEPTOR: "BAD_BINDINGS"
    }


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("additional_data", [True, False])
def test_every_kind_of_profile_carries_it(initial: bool, additional_data: bool) -> None:
    assert not meet_as(initial=initial, additional_data=additional_data).errors


def test_the_exchange_without_mutual_authentication_has_one_leg_less_and_no_layer() -> None:
    plain = options(NONE, 1, flags=ContextFlags.NONE)
    found = meet_as(NONE, NONE, mine=plain)
    assert found.layers[1].protection is NONE
    assert len(found.tokens) == 3  # AP-REQ, offer, choice
    assert len(meet_as(NONE, NONE).tokens) == 5  # AP-REQ, AP-REP, nothing, offer, choice
    assert meet_as(NONE, SIGN, mine=plain).kinds == {Role.ACCEPTOR: "QUALITY_NOT_MET"}


def test_without_a_layer_nothing_is_wrapped_and_the_key_is_there() -> None:
    one, other = meet_as(NONE, NONE).layers
    assert one.session_key == other.session_key
    assert one.derive(b"label", 20) == other.derive(b"label", 20)
    assert one.delegated is None
    assert one.max_plaintext == 0
    for refused in (lambda: one.wrap(b"data"), lambda: one.unwrap(b"data")):
        with pytest.raises(Unsupported, match="no security layer"):
            refused()


def test_a_layer_signs_no_detached_data() -> None:
    one, _ = meet_as().layers
    with pytest.raises(Unsupported, match="detached"):
        one.sign(b"data")
    with pytest.raises(Unsupported, match="detached"):
        one.verify(b"data", b"signature")


def test_a_discarded_layer_is_of_no_use_and_drops_the_context() -> None:
    one, other = meet_as().layers
    buffer = other.wrap(b"data")
    inner: Any = vars(one)["_context"]
    assert isinstance(inner, KerberosContext)
    one.discard()
    one.discard()
    for use in (lambda: one.wrap(b"data"), lambda: one.unwrap(buffer), lambda: one.session_key, lambda: one.sizes):
        with pytest.raises(ContextExpired, match="GSSAPI"):
            use()
    with pytest.raises(ContextExpired):
        inner.wrap(b"data")
    assert "Context" not in repr(one)


def test_altered_repeated_and_reflected_buffers_are_refused() -> None:
    one, other = meet_as().layers
    first, second = one.wrap(b"first"), one.wrap(b"second")
    with pytest.raises(BadSignature):
        other.unwrap(first[:-1] + bytes((first[-1] ^ 1,)))
    with pytest.raises(BadSignature):
        one.unwrap(first)
    assert other.unwrap(first).data == b"first"
    with pytest.raises(OutOfSequence):
        other.unwrap(first)
    assert other.unwrap(second).data == b"second"


def test_data_in_clear_is_refused_where_confidentiality_was_negotiated() -> None:
    one, other = meet_as().layers
    inner: Any = vars(one)["_context"]
    with pytest.raises(NotEncrypted):
        other.unwrap(inner.wrap(b"data", encrypt=False))


# --- the octets of the negotiation -----------------------------------------------------------------------------------


class Scripted:
    """A server that is none: after Kerberos it offers what it is told, and shows the client's choice."""

    def __init__(self, asked: Protection = SEAL, *, mechanism: Gssapi = GSSAPI, mutual: bool = True) -> None:
        realm = Realm()
        flags = ContextFlags.MUTUAL if mutual else ContextFlags.NONE
        self.client = initiator(mechanism, realm.tickets(), options(asked, 1, flags=flags))
        server = HandshakeMachine(kerberos().accept(realm.keytab, options(asked, 2)))
        services = new_services()
        first = stepped(self.client)
        assert first is not None
        step = respond_blocking(server, first, services)
        assert step.established is not None
        assert isinstance(step.established.result, SecurityContext)
        self.context = step.established.result
        if step.token is not None:
            assert respond_blocking(self.client, step.token).token == b""

    def offer(self, octets: bytes, *, encrypt: bool = False) -> bytes:
        """What the client chooses."""
        step = respond_blocking(self.client, self.context.wrap(octets, encrypt=encrypt))
        assert step.token is not None
        assert step.established is not None
        choice = self.context.unwrap(step.token)
        assert not choice.encrypted
        return choice.data


def test_the_choice_of_a_client() -> None:
    assert Scripted(SEAL).offer(bytes.fromhex("07000400")) == bytes.fromhex("04010000")
    assert Scripted(SIGN).offer(bytes.fromhex("07000400")) == bytes.fromhex("02010000")
    assert Scripted(NONE).offer(bytes.fromhex("07000400")) == bytes.fromhex("01000000")
    assert Scripted(NONE).offer(bytes.fromhex("01000000")) == bytes.fromhex("01000000")
    assert Scripted(SEAL).offer(bytes.fromhex("fc000400")) == bytes.fromhex("04010000")  # unknown bits (RFC 4752 3.3)
    named = Gssapi(kerberos(), authzid="bob", max_buffer=0x123456)
    assert Scripted(SEAL, mechanism=named).offer(bytes.fromhex("04ffffff")) == bytes.fromhex("04123456") + b"bob"


WRONG_OFFERS: list[tuple[Protection, str, type[SecureStreamError], str]] = [
    (SEAL, "", InvalidToken, "4 are due"),
    (SEAL, "070004", InvalidToken, "4 are due"),
    (SEAL, "0700040000", InvalidToken, "4 are due"),
    (NONE, "01000400", InvalidToken, "a buffer for one"),
    (NONE, "00000400", InvalidToken, "a buffer for one"),
    (SEAL, "01000000", QualityNotMet, "offers NONE"),
    (SEAL, "03000400", QualityNotMet, "offers NONE, SIGN"),
    (SEAL, "f8000400", QualityNotMet, "no layer that is known"),
    (SIGN, "04000400", QualityNotMet, "offers ENCRYPT_AND_SIGN"),
    (SEAL, "04000010", QualityNotMet, "16 octets"),
]


@pytest.mark.parametrize(("asked", "offer", "kind", "words"), WRONG_OFFERS)
def test_an_offer_is_refused_before_anything_is_chosen(
    asked: Protection, offer: str, kind: type[SecureStreamError], words: str
) -> None:
    server = Scripted(asked)
    with pytest.raises(kind, match=words):
        server.offer(bytes.fromhex(offer))
    assert server.client.state is State.FAILED


def test_an_offer_that_is_not_signed_by_the_server_is_refused() -> None:
    server = Scripted()
    with pytest.raises(InvalidToken, match="damaged"):
        respond_blocking(server.client, bytes.fromhex("07000400"))


class Client:
    """A client that is none: after Kerberos it takes the server's offer, and chooses what it is told."""

    def __init__(self, served: Protection = NONE, *, asked: Protection = SEAL, mechanism: Gssapi = GSSAPI) -> None:
        realm = Realm()
        self.services = new_services()
        self.server = acceptor(mechanism, realm.keytab, options(served, 2))
        client = HandshakeMachine(kerberos().initiate(realm.tickets(), TARGET, options(asked, 1)))
        first = stepped(client)
        assert first is not None
        answer = stepped(self.server, first, services=self.services)
        assert answer is not None
        step = respond_blocking(client, answer)
        assert step.established is not None
        assert isinstance(step.established.result, SecurityContext)
        self.context = step.established.result

    def next(self, response: bytes) -> Any:
        """The server's step by a response."""
        return respond_blocking(self.server, response, self.services)

    def offered(self) -> bytes:
        """What the server offers."""
        return self.context.unwrap(self.next(b"").token).data

    def choose(self, octets: bytes) -> Any:
        """The server's step by this choice."""
        self.offered()
        return self.next(self.context.wrap(octets, encrypt=False))


def test_the_offer_of_a_server() -> None:
    assert Client(NONE).offered() == bytes.fromhex("07010000")
    assert Client(SIGN).offered() == bytes.fromhex("06010000")
    assert Client(SEAL).offered() == bytes.fromhex("04010000")
    assert Client(NONE, asked=SIGN).offered() == bytes.fromhex("03010000")
    assert Client(NONE, asked=NONE).offered() == bytes.fromhex("01000000")
    assert Client(SIGN, mechanism=Gssapi(kerberos(), max_buffer=0x123456)).offered() == bytes.fromhex("06123456")


def test_a_choice_is_taken() -> None:
    step = Client().choose(bytes.fromhex("04001000") + b"alice@CORP.EXAMPLE")
    assert step.established is not None
    assert step.token is None
    layer = step.established.result
    assert (layer.protection, layer.authzid, layer.max_plaintext) == (SEAL, "alice@CORP.EXAMPLE", 0x1000 - 60)


WRONG_CHOICES: list[tuple[Protection, bytes, str]] = [
    (NONE, b"", "too short"),
    (NONE, bytes.fromhex("040010"), "too short"),
    (NONE, bytes.fromhex("04001000") + b"x" * 1025, "too long"),
    (NONE, bytes.fromhex("04001000ff"), "UTF-8"),
    (NONE, bytes.fromhex("00000000"), "not offered"),
    (NONE, bytes.fromhex("03001000"), "not offered"),
    (NONE, bytes.fromhex("08001000"), "not offered"),
    (NONE, bytes.fromhex("01001000"), "a buffer for one"),
    (SIGN, bytes.fromhex("01000000"), "not offered"),
    (SEAL, bytes.fromhex("02001000"), "not offered"),
]


@pytest.mark.parametrize(("served", "choice", "words"), WRONG_CHOICES)
def test_a_choice_that_was_not_offered_is_refused(served: Protection, choice: bytes, words: str) -> None:
    client = Client(served)
    with pytest.raises(InvalidToken, match=words):
        client.choose(choice)


def test_the_end_of_kerberos_is_answered_by_nothing() -> None:
    client = Client()
    with pytest.raises(InvalidToken, match="none is due"):
        client.next(b"x")


@pytest.mark.parametrize("leg", range(5))
def test_any_altered_token_fails_the_exchange(leg: int) -> None:
    def alter(number: int, token: bytes) -> bytes:
        if number != leg:
            return token
        return token[:-1] + bytes((token[-1] ^ 1,)) if token else b"x"

    assert meet_as(alter=alter).errors


def test_forms_that_sasl_does_not_carry_are_not_asked_of_the_package() -> None:
    odd = options(SEAL, 1, flags=ContextFlags.MUTUAL | ContextFlags.DCE_STYLE | ContextFlags.DATAGRAM)
    found = meet_as(mine=odd)
    assert ContextFlags.DCE_STYLE not in found.layers[0].flags
