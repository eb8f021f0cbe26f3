"""GS2-KRB5 and GS2-KRB5-PLUS (RFC 5801): the header, what it is bound to, and the frame of the first token."""

from __future__ import annotations

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.drive import respond_blocking
from securestream.errors import BadBindings, InvalidToken, QualityNotMet, Unsupported, UsageError
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, ContextFlags, Options, Role
from securestream.sasl import Gs2Krb5, SaslMechanism
from securestream_providers.ntlm import Ntlm
from tests.core.sasl.ends import (
    BINDINGS,
    END_POINT,
    OTHER_BINDINGS,
    SEAL,
    SIGN,
    TARGET,
    Meeting,
    Protection,
    Realm,
    acceptor,
    initiator,
    kerberos,
    meet,
    new_services,
    options,
    stepped,
)

PLAIN, PLUS = Gs2Krb5(kerberos()), Gs2Krb5(kerberos(), plus=True)
BOUND = options(seed=1, channel_bindings=BINDINGS)


def meet_as(
    client: SaslMechanism, server: SaslMechanism, mine: Options | None = None, theirs: Options | None = None
) -> Meeting:
    realm = Realm()
    return meet(client, server, realm.tickets(), realm.keytab, mine=mine, theirs=theirs)


def test_both_ends_prove_themselves_and_have_no_layer() -> None:
    found = meet_as(PLAIN, PLAIN)
    one, other = found.layers
    assert one.flags & other.flags & ContextFlags.MUTUAL
    assert one.protection is other.protection is Protection.NONE
    assert not one.bound
    assert not other.bound
    assert one.session_key == other.session_key
    assert found.outcomes[1].peer.name == "alice"
    with pytest.raises(Unsupported, match="GS2-KRB5"):
        one.wrap(b"data")


@pytest.mark.parametrize("bindings", [BINDINGS, END_POINT])
def test_plus_binds_to_the_channel(bindings: ChannelBindings) -> None:
    asked = options(channel_bindings=bindings)
    found = meet_as(PLUS, PLUS, asked, asked)
    assert all(layer.bound for layer in found.layers)
    assert found.layers[0].package == "GS2-KRB5-PLUS"


def test_the_first_token_has_the_header_in_place_of_its_frame() -> None:
    tokens = meet_as(Gs2Krb5(kerberos(), authzid="alice@CORP.EXAMPLE"), PLAIN).tokens
    assert tokens[0].startswith(b"n,a=alice@CORP.EXAMPLE,\x01\x00\x6e")
    assert tokens[1].startswith(b"\x60")  # only the first one is changed (RFC 5801 4)
    assert len(tokens) == 2


def test_a_token_without_a_frame_travels_with_a_mark() -> None:
    realm = Realm()
    bound = ChannelBindings(b"n,,")
    inner = options(
        seed=1,
        flags=ContextFlags.MUTUAL | ContextFlags.DCE_STYLE,
        channel_bindings=bound,
        binding_policy=BindingPolicy.ALWAYS,
    )
    client = HandshakeMachine(kerberos().initiate(realm.tickets(), TARGET, inner))
    bare = stepped(client)
    assert bare is not None
    server = acceptor(PLAIN, realm.keytab, options())
    assert stepped(server, b"F,n,," + bare, services=new_services())  # and the header is bound without its mark


@pytest.mark.parametrize("client", [BINDINGS, OTHER_BINDINGS, END_POINT])
@pytest.mark.parametrize("server", [BINDINGS, OTHER_BINDINGS, END_POINT])
def test_only_the_same_channel_does(client: ChannelBindings, server: ChannelBindings) -> None:
    found = meet_as(PLUS, PLUS, options(channel_bindings=client), options(seed=2, channel_bindings=server))
    assert bool(found.errors) is (client is not server)
    if found.errors:
        assert isinstance(found.error, BadBindings)


@pytest.mark.parametrize(("old", "new"), [(b"n,", b"y,"), (b"n,,", b"n,a=alice,"), (b"a=alice", b"a=alic")])
def test_the_header_is_bound_to_the_ticket(old: bytes, new: bytes) -> None:
    client = Gs2Krb5(kerberos(), authzid="alice" if b"alice" in old else "")
    realm = Realm()
    found = meet(
        client,
        Gs2Krb5(kerberos(), authorize=lambda principal, authzid: True),
        realm.tickets(),
        realm.keytab,
        alter=lambda leg, token: token.replace(old, new, 1) if leg == 0 else token,
    )
    assert found.kinds == {Role.ACCEPTOR: "BAD_BINDINGS"}


def test_an_authorisation_identity_must_be_granted() -> None:
    own = "alice@CORP.EXAMPLE"
    assert [layer.authzid for layer in meet_as(Gs2Krb5(kerberos(), authzid=own), PLAIN).layers] == [own, own]
    for other in ("root", "alice", "alice@OTHER.EXAMPLE"):
        assert meet_as(Gs2Krb5(kerberos(), authzid=other), PLAIN).kinds == {Role.ACCEPTOR: "NOT_AUTHORIZED"}


@pytest.mark.parametrize("protection", [SIGN, SEAL])
@pytest.mark.parametrize("mechanism", [PLAIN, PLUS])
def test_a_layer_is_refused_before_anything_is_sent(mechanism: Gs2Krb5, protection: Protection) -> None:
    realm, asked = Realm(), options(protection, channel_bindings=BINDINGS)
    with pytest.raises(QualityNotMet):
        stepped(initiator(mechanism, realm.tickets(), asked))
    with pytest.raises(QualityNotMet):
        stepped(acceptor(mechanism, realm.keytab, asked))


def test_mutual_authentication_is_not_an_option() -> None:
    realm = Realm()
    inner = options(
        seed=1, flags=ContextFlags.NONE, channel_bindings=ChannelBindings(b"n,,"), binding_policy=BindingPolicy.ALWAYS
    )
    client = HandshakeMachine(kerberos().initiate(realm.tickets(), TARGET, inner))
    framed = stepped(client)
    assert framed is not None
    server = acceptor(PLAIN, realm.keytab, options())
    with pytest.raises(InvalidToken, match="mutual"):
        stepped(server, b"n,," + framed[framed.index(b"\x01\x00\x6e") :], services=new_services())
    asked = options(flags=ContextFlags.NONE)
    assert not meet_as(PLAIN, PLAIN, asked, asked).errors  # ours asks for it whatever the options say


def test_a_ticket_that_is_bound_to_nothing_is_refused() -> None:
    realm = Realm()
    client = HandshakeMachine(kerberos().initiate(realm.tickets(), TARGET, options(seed=1)))
    framed = stepped(client)
    assert framed is not None
    for first in (b"n,,", b"n,a=alice,"):
        server = acceptor(PLAIN, realm.keytab, options(seed=2))
        with pytest.raises(BadBindings):
            stepped(server, first + framed[framed.index(b"\x01\x00\x6e") :], services=new_services())


def test_only_kerberos_goes_into_it() -> None:
    with pytest.raises(UsageError, match="NTLM"):
        Gs2Krb5(Ntlm())


@pytest.mark.parametrize("first", [b"", b"n,", b"z,,abc", b"n,,", b"n,,abc", b"n,x=,abc", b"F,n,,abc"])
def test_a_first_token_is_refused(first: bytes) -> None:
    server = acceptor(PLAIN, Realm().keytab, options())
    with pytest.raises(InvalidToken):
        stepped(server, first, services=new_services())


def test_a_server_of_both_knows_that_the_client_could_have_bound() -> None:
    found = meet_as(PLAIN, PLAIN, BOUND, options(seed=2, channel_bindings=BINDINGS))
    assert found.kinds == {Role.ACCEPTOR: "DOWNGRADE"}
    assert not meet_as(PLAIN, PLAIN, BOUND, options(seed=2)).errors


def test_the_servers_answer_is_verified() -> None:
    found = meet_as(PLAIN, PLAIN)
    realm = Realm()
    client = initiator(PLAIN, realm.tickets(), options(seed=1))
    assert stepped(client) is not None
    with pytest.raises(InvalidToken):
        respond_blocking(client, found.tokens[1])
