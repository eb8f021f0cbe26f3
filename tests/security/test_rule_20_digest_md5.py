"""Rule 20, DIGEST-MD5: the server's proof is verified, no layer is lower than asked, users are not told apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from securestream.credentials import Accounts, Password
from securestream.drive import respond_blocking
from securestream.errors import InvalidToken, QualityNotMet, SecureStreamError
from securestream.options import Protection, Role
from securestream.sasl import SaslClient
from securestream.services.accounts_memory import MemoryAccounts
from tests.core.sasl.ends import NONE, PASSWORD, SEAL, SIGN, acceptor, stepped
from tests.providers.digest.sasl_ends import (
    ALICE,
    TARGET,
    accounts,
    authenticate,
    client,
    options,
    server,
)


def _challenge() -> bytes:
    challenge = stepped(acceptor(server(), accounts(), options(NONE, 2)), b"")
    assert challenge is not None
    return challenge


@pytest.mark.parametrize("data", [None, b""])
def test_success_without_the_servers_proof_is_none(data: bytes | None) -> None:
    exchange = SaslClient(client(), options=options(SEAL, 1), credential=ALICE, target=TARGET)
    exchange.response(respond_blocking(exchange.machine))
    exchange.response(respond_blocking(exchange.machine, exchange.challenged(_challenge())))

    def succeed() -> None:
        token = exchange.succeeded(data)
        assert token is not None
        exchange.response(respond_blocking(exchange.machine, token))

    with pytest.raises(SecureStreamError):
        succeed()
    assert not exchange.is_complete


def test_success_before_anything_was_proved_is_none() -> None:
    exchange = SaslClient(client(), options=options(NONE, 1), credential=ALICE, target=TARGET)
    exchange.response(respond_blocking(exchange.machine))
    with pytest.raises(InvalidToken):
        exchange.succeeded(None)


@pytest.mark.parametrize("asked", [SIGN, SEAL])
@pytest.mark.parametrize("left", Protection)
def test_a_layer_lower_than_asked_is_refused_before_anything_is_proved(asked: Protection, left: Protection) -> None:
    """Somebody in between takes qualities out of the offer."""
    qops = b",".join((b"auth", b"auth-int", b"auth-conf")[: left + 1])

    def alter(leg: int, token: bytes) -> bytes:
        return re.sub(rb'qop="[^"]*"', b'qop="' + qops + b'"', token) if leg == 0 else token

    met = authenticate(mine=options(asked, 1), alter=alter)
    if left >= asked:
        assert met.layers[0].protection is asked
    else:
        assert isinstance(met.errors[Role.INITIATOR], QualityNotMet)
        assert len(met.tokens) == 1


def test_a_cipher_weaker_than_allowed_is_refused_before_anything_is_proved() -> None:
    def alter(leg: int, token: bytes) -> bytes:
        return re.sub(rb'cipher="[^"]*"', b'cipher="rc4-40,des"', token) if leg == 0 else token

    met = authenticate(mine=options(SEAL, 1), alter=alter)
    assert isinstance(met.errors[Role.INITIATOR], QualityNotMet)
    assert len(met.tokens) == 1


def _chosen_weaker(pattern: bytes, replacement: bytes) -> Callable[[int, bytes], bytes]:
    def alter(leg: int, token: bytes) -> bytes:
        return re.sub(pattern, replacement, token) if leg == 1 else token

    return alter


def test_an_altered_choice_is_seen_by_the_digest_or_the_layer() -> None:
    """The quality is in the digest. The cipher is not: then the layer's ends cannot read one another."""
    altered = _chosen_weaker(rb"qop=auth-conf", b"qop=auth-int")
    assert authenticate(mine=options(SEAL, 1), alter=altered).kinds == {Role.ACCEPTOR: "LOGON_DENIED"}
    met = authenticate(mine=options(SEAL, 1), alter=_chosen_weaker(rb"cipher=rc4", b"cipher=rc4-40"))
    one, other = met.layers
    with pytest.raises(SecureStreamError):
        other.unwrap(one.wrap(b"attack at dawn!"))


class _Counting(MemoryAccounts):
    """A store that counts the calls it gets; before Python 3.12 a check of a protocol looks its methods up, too."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> object:
        found: object = super().__getattribute__(name)
        if name not in ("find", "throttled", "verifier", "failed", "succeeded") or not callable(found):
            return found
        method = found

        def counted(*arguments: object, **keywords: object) -> object:
            self.asked[name] += 1
            return method(*arguments, **keywords)

        return counted


def test_unknown_disabled_and_wrong_ask_the_store_the_same() -> None:
    asked: list[Counter[str]] = []
    told: set[str] = set()
    for name, password in (("alice", "wrong"), ("nobody", PASSWORD), ("closed", PASSWORD)):
        store = _Counting()
        store.add("alice", PASSWORD)
        store.add("closed", PASSWORD)
        store.disable("closed")
        store.asked.clear()
        met = authenticate(who=Password(name, password), accepting=Accounts(store))
        assert met.kinds == {Role.ACCEPTOR: "LOGON_DENIED"}
        asked.append(store.asked)
        told.add(str(met.error))
    assert len(told) == 1
    assert asked[0] == asked[1] == asked[2]
    assert asked[0]["verifier"] == 1


def test_both_ends_draw_their_nonces() -> None:
    """A nonce that comes twice would let a recorded exchange be played again."""
    drawn = [authenticate(mine=options(NONE, seed), theirs=options(NONE, seed + 1)).tokens for seed in range(8)]
    for leg, name in ((0, b"nonce"), (1, b"cnonce")):
        found = {re.findall(rb"(?:^|,)" + name + rb'="([^"]{24,})"', tokens[leg])[0] for tokens in drawn}
        assert len(found) == 8
