"""What the demonstration alters of DIGEST-MD5's messages: with any bit of it changed, an end refuses the logon."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from securestream.ambient import system_clock
from securestream.cli.demo import __main__ as demo
from securestream.cli.demo.processes import Outcome
from securestream.cli.demo.scenes import Scene
from securestream.cli.demo.wire import CLIENT, OTHER, SEALED, SERVER, TOKEN, NnsWire, Unit, find_tokens
from securestream.credentials import Accounts, Password
from securestream.drive import respond_blocking
from securestream.errors import SecureStreamError
from securestream.machine import HandshakeMachine
from securestream.options import Options
from securestream.provider import TargetName
from securestream.services.accounts_memory import MemoryAccounts
from securestream_providers.digest import Digest
from securestream_providers.digest.cli.demo import REALM, SERVICE, USER, covered, targets
from securestream_providers.digest.sasl import DigestMd5
from tests.cli.test_demo import demo as run_demo

PASSWORD = "correct horse battery staple"
Alter = Callable[[bytes], bytes]


class Conversation:
    """Handshakes of one user with one server, which counts no failures; every one has the same tokens.

    Args:
        seed: which tokens.
    """

    def __init__(self, seed: int = 0) -> None:
        store = MemoryAccounts(throttle=None)  # or it would be the throttle that refuses
        store.add(USER, PASSWORD)
        self._accounts = Accounts(store)
        self._seed = seed

    def held(self, leg: int = -1, alter: Alter = bytes) -> tuple[list[bytes], str]:
        """The tokens, with what `alter` makes of that one of them, and who refused: nobody where all was right."""
        options = Options(clock=system_clock, random=random.Random(self._seed).randbytes)
        package = Digest(sasl=DigestMd5(realms=[REALM], services=[SERVICE]))
        client = HandshakeMachine(package.initiate(Password(USER, PASSWORD), TargetName(SERVICE), options))
        server = HandshakeMachine(package.accept(self._accounts, options))
        respond_blocking(server)
        tokens: list[bytes] = []
        sender, receiver, token = client, server, respond_blocking(client).token
        while token is not None:
            tokens.append(alter(token) if len(tokens) == leg else token)
            try:
                token = respond_blocking(receiver, tokens[-1]).token
            except SecureStreamError:
                return tokens, CLIENT if receiver is client else SERVER
            sender, receiver = receiver, sender
        return tokens, ""


def flipped(position: int, bit: int) -> Alter:
    def alter(token: bytes) -> bytes:
        return token[:position] + bytes((token[position] ^ 1 << bit,)) + token[position + 1 :]

    return alter


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("leg", "refusing"), [(1, {CLIENT, SERVER}), (2, {SERVER})])
def test_every_bit_of_what_is_altered_at_random_is_refused(leg: int, refusing: set[str], seed: int) -> None:
    """The positions are those of another exchange, as in the demonstration."""
    shown, conversation = Conversation(seed + 1).held()[0][leg], Conversation(seed)
    honest, refused = conversation.held()
    assert refused == ""
    assert len(covered(shown)) == 24 * leg
    for position in covered(shown):
        for bit in range(8):
            tokens, refused = conversation.held(leg, flipped(position, bit))
            assert refused in refusing, tokens[leg]
    assert conversation.held() == (honest, ""), "nothing but the alteration was refused"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("leg", "before", "refusing"), [(2, b"response=", SERVER), (3, b"rspauth=", CLIENT)])
def test_the_last_bit_of_every_digit_of_a_proof_is_refused(leg: int, before: bytes, refusing: str, seed: int) -> None:
    conversation = Conversation(seed)
    start = conversation.held()[0][leg].index(before) + len(before)
    for position in range(start, start + 32):
        tokens, refused = conversation.held(leg, flipped(position, 0))
        assert refused == refusing, tokens[leg]


def test_what_is_altered_at_random_is_the_nonces() -> None:
    challenge, response, proof = Conversation().held()[0][1:]

    def altered(token: bytes) -> bytes:
        return b"".join(token[position : position + 1] for position in covered(token))

    nonce, cnonce = (response.partition(name + b'nonce="')[2].partition(b'"')[0] for name in (b",", b"c"))
    assert altered(challenge) == nonce
    assert altered(response) == nonce + cnonce
    assert covered(proof) == []


def units() -> list[Unit]:
    """An exchange in frames, with its empty first token and something sealed."""
    wire, found = NnsWire(), list[Unit]()
    for number, token in enumerate(Conversation().held()[0]):
        sender = SERVER if number % 2 else CLIENT
        kind = 0x14 if number >= 2 else 0x16
        found += wire.feed(sender, bytes((kind, 1, 0)) + len(token).to_bytes(2, "big") + token)
    for sender in (CLIENT, SERVER):
        found += wire.feed(sender, (120).to_bytes(4, "little") + bytes(120))
    return found


def test_the_empty_first_token_is_never_what_is_altered() -> None:
    passed = units()
    assert [unit.kind for unit in passed] == [OTHER, TOKEN, TOKEN, TOKEN, SEALED, SEALED]
    assert find_tokens(passed, CLIENT) == [1]
    outcome = Outcome(passed, altered=False, received=b"", status=0, client=None, server={})
    for _ in range(20):
        for title, flip in demo._flips(Scene("", [], [], "nns", USER, covered=covered), outcome, 100):  # pyright: ignore[reportPrivateUsage]  # the part under test
            unit = [unit for unit in passed if unit.sender == flip.sender][flip.index]
            assert unit.payload
            position = int(flip.fraction * len(unit.payload))
            assert "handshake" not in title or position in covered(unit.payload), "of the tokens that have any"


def _by_title() -> Iterator[tuple[str, bytes, bytes]]:
    passed = units()
    for target in targets(passed):
        unit = [unit for unit in passed if unit.sender == target.flip.sender][target.flip.index]
        yield target.title, unit.payload, unit.flipped(target.flip.fraction, target.flip.bit).payload


def test_offers_choice_and_proofs_are_altered_on_purpose() -> None:
    (_, challenge, unsealed), (_, _, nameless), (_, response, another), unproved, last = _by_title()
    assert unsealed == challenge.replace(b"auth-conf", b"auth-cong")
    assert nameless == challenge.replace(b"cipher", b"ciphes")
    assert another == response.replace(b"cipher=rc4", b"cipher=rc5")
    for (_, token, altered), before in ((unproved, b"response="), (last, b"rspauth=")):
        (position,) = [at for at in range(len(token)) if token[at] != altered[at]]
        assert token[:position].endswith(before)


def test_digest_is_shown_and_every_alteration_is_refused(installed: None) -> None:
    done = run_demo("--package", "digest", "--backend", "trio")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    shown = done.stdout
    assert "the server saw    alice from " in shown
    assert "encrypted and signed, by DIGEST-MD5 with rc4" in shown
    assert "MD5 of user, realm and password" in shown
    assert "server -> client  Digest challenge: realm files.example" in shown
    assert "client -> server  Digest response: user alice" in shown
    assert "server -> client  Digest proof of the server" in shown
    assert shown.count("one octet flipped") == shown.count("refused by the") == 4 + 5
