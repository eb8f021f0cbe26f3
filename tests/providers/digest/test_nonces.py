"""Nonces tell their own age, and nobody else makes them (RFC 7616 3.3, 5.4)."""

from __future__ import annotations

import string
from datetime import timedelta

import pytest

from securestream.errors import UsageError
from securestream.redaction import Secret
from securestream_providers.digest.bindings import VERSION_1
from securestream_providers.digest.nonces import Judgement, Nonces
from tests.providers.digest.ends import KEY, REALM, START

LIFETIME = timedelta(minutes=5)
RANDOM = bytes(12)


@pytest.fixture
def nonces() -> Nonces:
    return Nonces(Secret(KEY), REALM, LIFETIME)


def test_a_nonce_is_good_for_its_lifetime_and_old_afterwards(nonces: Nonces) -> None:
    nonce = nonces.make(START, RANDOM)
    for after, judgement in (
        (timedelta(), Judgement.GOOD),
        (LIFETIME - timedelta(milliseconds=1), Judgement.GOOD),
        (LIFETIME, Judgement.OLD),
        (timedelta(days=3650), Judgement.OLD),
        (-timedelta(seconds=10), Judgement.GOOD),
        (-timedelta(minutes=1), Judgement.OLD),
    ):
        judged = nonces.judge(nonce, START + after)
        assert judged.judgement is judgement, after
        assert (judged.made, judged.expires) == (START, START + LIFETIME)


def test_the_marker_makes_no_other_kind_of_a_nonce(nonces: Nonces) -> None:
    """Neither put before one nor taken away, where both kinds are made under one key: with TLS, and without."""
    asking = Nonces(Secret(KEY), REALM, LIFETIME, marked=True)
    plain, marked = nonces.make(START, RANDOM), asking.make(START, RANDOM)
    assert marked.startswith(VERSION_1)
    assert asking.judge(marked, START).judgement is Judgement.GOOD
    for judge, nonce in (
        (nonces, marked),
        (nonces, marked.removeprefix(VERSION_1)),
        (asking, plain),
        (asking, VERSION_1 + plain),
    ):
        assert judge.judge(nonce, START).judgement is Judgement.FOREIGN


def test_nobody_else_makes_one(nonces: Nonces) -> None:
    others = (
        Nonces(Secret(bytes(32)), REALM, LIFETIME),
        Nonces(Secret(KEY), "another realm", LIFETIME),
    )
    for other in others:
        assert nonces.judge(other.make(START, RANDOM), START).judgement is Judgement.FOREIGN
        assert other.opaque != nonces.opaque
    for text in ("", "A", "===", "é", "A" * 48, nonces.opaque, "A" * 4000):
        assert nonces.judge(text, START).judgement is Judgement.FOREIGN


def test_every_altered_character_is_noticed(nonces: Nonces) -> None:
    nonce = nonces.make(START, RANDOM)
    for position, character in enumerate(nonce):
        other = "A" if character != "A" else "B"
        altered = nonce[:position] + other + nonce[position + 1 :]
        assert nonces.judge(altered, START).judgement is Judgement.FOREIGN
    for altered in (nonce + "=", nonce[:-1], nonce + "A", nonce + " ", nonce + "\n"):
        assert nonces.judge(altered, START).judgement is Judgement.FOREIGN


def test_nonces_and_opaque_are_of_characters_that_no_client_mangles(nonces: Nonces) -> None:
    harmless = set(string.ascii_letters + string.digits + "-_")
    for number in range(50):
        assert set(nonces.make(START, number.to_bytes(12, "little") * 1)) <= harmless
    assert set(nonces.opaque) <= harmless


def test_processes_with_one_key_take_each_others(nonces: Nonces) -> None:
    other = Nonces(Secret(KEY), REALM, LIFETIME)
    assert other.judge(nonces.make(START, RANDOM), START).judgement is Judgement.GOOD
    assert other.opaque == nonces.opaque


def test_the_key_is_not_shown_and_has_its_length(nonces: Nonces) -> None:
    assert "0001" not in repr(nonces)
    with pytest.raises(UsageError, match="32 octets, not 16"):
        Nonces(Secret(bytes(16)), REALM, LIFETIME)
    with pytest.raises(UsageError, match="lifetime above zero"):
        Nonces(Secret(KEY), REALM, timedelta())
