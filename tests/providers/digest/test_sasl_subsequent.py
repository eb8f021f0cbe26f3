"""DIGEST-MD5's subsequent authentication: one leg less, each response once, and never a layer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import Password
from securestream.errors import UsageError
from securestream.options import Role
from securestream.redaction import Secret
from securestream.services.verifiers import SASL_DIGEST_MD5, digest_verifier
from securestream_providers.digest import NonceCount
from securestream_providers.digest.performers import SqliteCounts
from securestream_providers.digest.sasl_crypto import Covered, hash_a1
from securestream_providers.digest.sasl_messages import SaslChallenge, SaslResponse
from securestream_providers.digest.sasl_sessions import REMEMBERED, Remembered, SessionKey, Subsequent
from tests.core.sasl.ends import NONE, NOW, SEAL, SIGN, acceptor, stepped
from tests.providers.digest.sasl_ends import (
    PASSWORD,
    REALM,
    TARGET,
    Meeting,
    accounts,
    authenticate,
    client,
    options,
    server,
    services,
)


class Series:
    """One client and one server that continue their exchanges."""

    def __init__(self, **arguments: Any) -> None:
        self.mine, self.theirs = Subsequent(), Subsequent(**arguments)
        self.services = services()

    def meet(self, **more: Any) -> Meeting:
        """The next exchange."""
        more.setdefault("services", self.services)
        return authenticate(client(subsequent=self.mine), server(subsequent=self.theirs), **more)


def test_subsequent_authentication_saves_a_leg() -> None:
    series = Series()
    first, second, third = (series.meet() for _ in range(3))
    assert [len(met.tokens) for met in (first, second, third)] == [3, 2, 2]
    assert [SaslResponse.unpack(met.tokens[0]).count for met in (second, third)] == [2, 3]
    assert third.outcomes[1].peer.name == "alice"


def test_a_response_is_taken_once() -> None:
    """Neither the response of an initial exchange nor a subsequent one opens a second exchange."""
    series = Series()
    first = series.meet()
    second = series.meet()
    for played in (first.tokens[1], second.tokens[0]):
        machine = acceptor(server(subsequent=series.theirs), accounts(), options(NONE, 9))
        answer = stepped(machine, played, services=series.services)
        assert answer is not None
        assert SaslChallenge.unpack(answer).stale
    assert not series.meet().errors


def test_an_old_nonce_is_answered_by_a_challenge() -> None:
    series = Series(lifetime=timedelta(minutes=1))
    series.meet()
    later = series.meet(theirs=options(NONE, 5, clock=lambda: NOW + timedelta(minutes=2)))
    assert len(later.tokens) == 4
    assert later.outcomes[1].peer.name == "alice"


@pytest.mark.parametrize("forgetful", [None, Subsequent(key=Secret(bytes(32)))])
def test_a_server_that_knows_nothing_of_it_begins_anew(forgetful: Subsequent | None) -> None:
    series = Series()
    series.meet()
    met = authenticate(client(subsequent=series.mine), server(subsequent=forgetful))
    assert len(met.tokens) == 4
    assert met.outcomes[1].peer.name == "alice"


def test_a_subsequent_wrong_password_is_refused() -> None:
    series = Series()
    series.meet()
    assert series.meet(who=Password("alice", "wrong")).kinds == {Role.ACCEPTOR: "LOGON_DENIED"}


def test_layers_are_never_continued() -> None:
    """Their keys would be those of the exchange before."""
    series = Series()
    for _ in range(2):
        sealed = series.meet(mine=options(SEAL, 1))
        assert len(sealed.tokens) == 3
    assert len(series.meet().tokens) == 3
    assert len(series.meet(mine=options(SIGN, 1)).tokens) == 3


def test_a_server_continues_no_layer() -> None:
    """A client that wants one is given a challenge, however right its response is."""
    series = Series()
    first = SaslResponse.unpack(series.meet().tokens[1])
    key = hash_a1(digest_verifier(SASL_DIGEST_MD5, "alice", REALM, PASSWORD), first.nonce, first.cnonce, None)
    taken: list[bool] = []
    for protection, qop in ((SIGN, "auth-int"), (NONE, "auth")):
        digest = Covered(first.nonce, first.cnonce, 2, qop, TARGET).response(key)
        response = replace(first, count=2, protection=protection, response=digest).pack()
        machine = acceptor(server(subsequent=series.theirs), accounts(), options(NONE, 9))
        answer = stepped(machine, response, services=series.services)
        assert answer is not None
        taken.append(answer.startswith(b"rspauth="))
    assert taken == [False, True]


def test_servers_that_share_a_key_and_counts_continue_each_others_exchanges(tmp_path: Path) -> None:
    key, mine = Secret(bytes(range(32))), Subsequent()
    shared = SqliteCounts(tmp_path / "counts.db", clock=lambda: NOW)
    legs: list[int] = []
    for number in range(3):
        performing = services()
        performing.register_performer(NonceCount, shared)
        theirs = options(NONE, number)
        met = authenticate(
            client(subsequent=mine), server(subsequent=Subsequent(key=key)), theirs=theirs, services=performing
        )
        legs.append(len(met.tokens))
    assert legs == [3, 2, 2]
    shared.close()


def test_of_two_at_once_one_continues() -> None:
    memory, key = Subsequent(), SessionKey("alice", "", TARGET, None, None)
    memory.remember(key, Remembered("nonce", "cnonce", 1, "alice", None, True))
    assert memory.take(key) is not None
    assert memory.take(key) is None
    for number in range(REMEMBERED + 10):
        memory.remember(key._replace(user=str(number)), Remembered("n", "c", 1, "u", None, True))
    assert memory.take(key._replace(user="9")) is None
    assert memory.take(key._replace(user="10")) is not None


def test_the_signing_key_has_its_length() -> None:
    with pytest.raises(UsageError, match="32 octets"):
        Subsequent(key=Secret(b"short"))
