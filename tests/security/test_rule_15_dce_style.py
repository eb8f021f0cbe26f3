"""SECURITY 15: the third leg of DCE style proves that the initiator is there; our own second leg does not."""

from __future__ import annotations

import pytest

from securestream.errors import InvalidToken
from securestream.options import ContextFlags, Role
from securestream_providers.krb5.messages import ApRep, EncApRepPart, EncryptedData
from securestream_providers.krb5.numbers import KeyUsage
from tests.providers.kerberos.ends import EVERY, Meeting, Realm, meet, options, package

DCE = options(1, flags=ContextFlags.MUTUAL | ContextFlags.DCE_STYLE)


def with_third(realm: Realm, third: bytes | None = None, *, etype: int | None = None) -> Meeting:
    """A meeting whose third token is `third`; by default our second one, with `etype` written on its outside."""
    sent: dict[int, bytes] = {}

    def alter(leg: int, token: bytes) -> bytes:
        sent[leg] = token
        if leg != 2:
            return token
        if third is not None:
            return third
        second = ApRep.decode(sent[1])
        sealed = second.enc_part
        outside = sealed.etype if etype is None else etype
        return ApRep(5, 15, EncryptedData(outside, 7 if etype else sealed.kvno, sealed.cipher)).encode()

    end = package(realm.etype)
    return meet(realm.tickets(), realm.keytab, client=end, server=end, mine=DCE, alter=alter)


@pytest.mark.parametrize("etype", EVERY)
def test_a_third_leg_of_the_initiator_completes(etype: int) -> None:
    realm = Realm(etype)
    end = package(etype)
    met = meet(realm.tickets(), realm.keytab, client=end, server=end, mine=DCE)
    assert met.errors == {}
    assert met.acceptor is not None
    assert len(met.tokens) == 3


@pytest.mark.parametrize("etype", EVERY)
def test_our_second_leg_sent_back_is_no_third_leg(etype: int) -> None:
    met = with_third(Realm(etype))
    assert met.acceptor is None
    assert isinstance(met.errors[Role.ACCEPTOR], InvalidToken)
    assert "sent back" in str(met.errors[Role.ACCEPTOR])


def test_nor_is_it_with_another_outside() -> None:
    """What stands outside of the ciphertext is nobody's word."""
    met = with_third(Realm(), etype=17)
    assert met.acceptor is None
    assert isinstance(met.errors[Role.ACCEPTOR], InvalidToken)


def test_a_third_leg_of_another_exchange_is_refused() -> None:
    realm = Realm()
    assert realm.session is not None
    part = EncApRepPart(options().clock(), 0, None, 12345).encode()
    sealed = realm.session.encrypt(KeyUsage.AP_REP, part, options().random)
    met = with_third(realm, ApRep(5, 15, EncryptedData(18, None, sealed)).encode())
    assert met.acceptor is None
    assert isinstance(met.errors[Role.ACCEPTOR], InvalidToken)
