"""Rule 20, Digest: a man in the middle and a hand-made client against both ends.

Nothing that is taken away, changed, repeated or invented lowers the minimum, moves credentials to another request, or
tells who has an account.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from securestream.credentials import Accounts
from securestream.errors import HandshakeError, InvalidToken, LogonDenied, PeerRefused, QualityNotMet, Replay
from securestream.http.fields import parse_challenges
from securestream.http.schemes import HttpReply, HttpRequest, SendRequest
from securestream.machine import HandshakeMachine
from securestream.redaction import Secret
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream_providers.digest import Algorithm, DigestClient, DigestServer, NonceCount, Qop
from securestream_providers.digest.performers import SqliteCounts
from tests.core.test_fork import in_child, needs_fork
from tests.providers.digest.ends import (
    PASSWORD,
    REALM,
    Web,
    World,
    accounts,
    asked,
    get,
    make_client,
    make_server,
    parameter,
)

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


@dataclass(frozen=True)
class HandMade:
    """A client that says what it is told to, with a right digest over just that."""

    nonce: str
    user: str = "alice"
    password: str = PASSWORD
    realm: str = REALM
    algorithm: str = "SHA-256"
    method: str = "GET"
    uri: str = "/dir/index.html?q=1"
    qop: str = "auth"
    nc: str = "00000001"
    cnonce: str = "0a4f113b"
    body: bytes = b""
    more: str = ""

    def hash(self, *parts: str) -> str:
        name = HASHES[self.algorithm.removesuffix("-sess")]
        return hashlib.new(name, ":".join(parts).encode(), usedforsecurity=False).hexdigest()

    @property
    def authorization(self) -> str:
        a1 = self.hash(self.user, self.realm, self.password)
        if self.algorithm.endswith("-sess"):
            a1 = self.hash(a1, self.nonce, self.cnonce)
        covered: tuple[str, ...] = (self.method, self.uri)
        if self.qop == "auth-int":
            covered += (hashlib.new(HASHES[self.algorithm], self.body, usedforsecurity=False).hexdigest(),)
        response = self.hash(a1, self.nonce, self.nc, self.cnonce, self.qop, self.hash(*covered))
        return (
            f'Digest username="{self.user}", realm="{self.realm}", nonce="{self.nonce}", uri="{self.uri}", '
            f'algorithm={self.algorithm}, qop={self.qop}, nc={self.nc}, cnonce="{self.cnonce}", response="{response}"'
            f"{self.more}"
        )


@pytest.fixture
def world() -> World:
    return World()


def nonce_of(world: World, server: DigestServer) -> str:
    nonce = parameter(server.challenges(get(), world.options)[0], "nonce")
    assert nonce is not None
    return nonce


def accept(world: World, server: DigestServer, client: HandMade, request: HttpRequest | None = None) -> str:
    request = get() if request is None else request
    return world.drive(server.accept(asked(request, client.authorization), world.options)).peer.name


def test_the_hand_made_client_is_right(world: World) -> None:
    """Otherwise nothing that is refused below would mean anything."""
    server = make_server(algorithms=tuple(Algorithm))
    for algorithm in Algorithm:
        assert accept(world, server, HandMade(nonce_of(world, server), algorithm=algorithm.token)) == "alice"


# --- the minimum


def test_no_set_of_challenges_makes_a_client_answer_with_md5(world: World) -> None:
    """A man in the middle removes, adds and reorders what he likes."""
    server = make_server(algorithms=tuple(Algorithm))
    request = get()
    for count in range(1, 4):
        for chosen in itertools.permutations(server.challenges(request, world.options), count):
            handshake = make_client().initiate(parse_challenges(chosen), request, world.options)
            if handshake is None:
                assert all("MD5" in text for text in chosen)
                continue
            need = HandshakeMachine(handshake).step().need
            assert isinstance(need, SendRequest)
            assert "MD5" not in need.authorization


def test_a_challenge_after_a_refusal_lowers_nothing_either(world: World) -> None:
    """The man in the middle answers 401 with MD5 alone, stale or not, to credentials and to a known origin."""
    client = make_client()
    Web(world, make_server()).fetch(client, get())
    for stale in ("", ", stale=true"):
        weak = [f'Digest realm="{REALM}", nonce="weak", algorithm=MD5, qop="auth"{stale}']
        fresh = client.initiate((), get(), world.options)
        for handshake in (fresh, make_client().initiate(parse_challenges(strong(world)), get(), world.options)):
            if handshake is None:  # what was known is forgotten
                continue
            machine = HandshakeMachine(handshake)
            machine.step()
            with pytest.raises(PeerRefused):
                machine.step(HttpReply.received(401, weak))


def strong(world: World) -> list[str]:
    return list(make_server().challenges(get(), world.options))


@pytest.mark.parametrize("qop", ['qop="auth"', 'qop=""', 'qop="auth-conf"', ""])
def test_a_client_that_demands_auth_int_is_not_talked_out_of_it(world: World, qop: str) -> None:
    client = make_client(qops=[Qop.AUTH_INT])
    (text,) = make_server(qops=list(Qop)).challenges(get(), world.options)
    changed = re.sub(r'qop="[^"]*", ', f"{qop}, " if qop else "", text)
    assert client.initiate(parse_challenges([changed]), get(), world.options) is None


def test_a_server_takes_no_algorithm_and_no_quality_that_it_did_not_offer(world: World) -> None:
    server = make_server(qops=[Qop.AUTH_INT])
    for algorithm in ("MD5", "MD5-sess", "SHA-512-256", "SHA-256-sess"):
        with pytest.raises(InvalidToken, match="not offered"):
            accept(world, server, HandMade(nonce_of(world, server), algorithm=algorithm))
    with pytest.raises(InvalidToken, match="qop=auth, which was not offered"):
        accept(world, server, HandMade(nonce_of(world, server)))
    assert accept(world, server, HandMade(nonce_of(world, server), qop="auth-int")) == "alice"


def test_a_response_without_qop_is_refused_though_its_digest_is_right(world: World) -> None:
    """RFC 2069 has neither cnonce nor count: its responses can be repeated and computed ahead."""
    server = make_server()
    client = HandMade(nonce_of(world, server))
    old = client.hash(client.hash("alice", REALM, PASSWORD), client.nonce, client.hash("GET", client.uri))
    text = f'Digest username="alice", realm="{REALM}", nonce="{client.nonce}", uri="{client.uri}", response="{old}"'
    for more in ("", ", algorithm=SHA-256"):
        with pytest.raises(HandshakeError, match="RFC 2069"):
            world.drive(server.accept(asked(get(), text + more), world.options))


# --- the request


@pytest.mark.parametrize("uri", ["/", "/dir/index.html", "/dir/index.html?q=1&x", "*", "", "https://evil.example/"])
def test_credentials_for_one_uri_serve_no_other(world: World, uri: str) -> None:
    """The digest is right over what the client says; the request is another one."""
    server = make_server()
    with pytest.raises(InvalidToken, match="another request-target"):
        accept(world, server, HandMade(nonce_of(world, server), uri=uri))


def test_credentials_for_one_method_and_one_content_serve_no_other(world: World) -> None:
    server = make_server(qops=list(Qop))
    with pytest.raises(LogonDenied):
        accept(world, server, HandMade(nonce_of(world, server), method="HEAD"))
    request = get(method="POST", body=b"transfer 1")
    captured = HandMade(nonce_of(world, server), method="POST", qop="auth-int", body=b"transfer 1")
    with pytest.raises(LogonDenied):
        accept(world, server, captured, replace(request, body=b"transfer 1000"))
    assert accept(world, server, captured, request) == "alice"


def test_credentials_for_one_realm_serve_no_other(world: World) -> None:
    """Two realms of one store and one key: neither nonces nor digests go across."""
    here, there = make_server(), DigestServer(accounts(), "elsewhere", key=Secret(bytes(range(32))))
    client = HandMade(nonce_of(world, here))
    with pytest.raises(InvalidToken, match="another realm"):
        accept(world, there, client)
    with pytest.raises(InvalidToken, match="not one of this server"):
        accept(world, there, replace(client, realm="elsewhere"))


# --- repetition


def test_of_many_repetitions_at_once_one_is_accepted(world: World, tmp_path: Path) -> None:
    """By two servers of one key that share a file, as two processes do."""
    for _ in range(2):
        counts = SqliteCounts(tmp_path / "counts.db", clock=world.clock)
        world.services.register_performer(NonceCount, counts)
        server = make_server()
        captured = HandMade(nonce_of(world, server)).authorization

        def repeat(_: int, captured: str = captured) -> bool:
            try:
                world.drive(make_server().accept(asked(get(), captured), world.options))
            except Replay:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(repeat, range(100))) == 1


@needs_fork
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_takes_no_nonces_of_its_parent(world: World) -> None:
    """It remembers counts of its own, so what its parent or a sibling accepted would be accepted again."""
    server, keyed = make_server(key=None), make_server()

    def is_refused(server: DigestServer, client: HandMade) -> bool:
        try:
            accept(world, server, client)
        except InvalidToken as refused:
            return "not one of this server" in str(refused)
        return False

    def in_a_worker() -> bool:
        own = HandMade(nonce_of(world, server))
        in_its_child = in_child(lambda: is_refused(server, own))
        return is_refused(server, client) and in_its_child and accept(world, server, own) == "alice"

    client = HandMade(nonce_of(world, server))
    assert in_child(in_a_worker)
    assert accept(world, server, client) == "alice"
    given = HandMade(nonce_of(world, keyed))  # whoever gives a key shares the memory of counts, too
    assert in_child(lambda: accept(world, keyed, given) == "alice")


def test_a_nonce_is_not_prolonged_by_use(world: World) -> None:
    server = make_server(lifetime=timedelta(minutes=5))
    client = HandMade(nonce_of(world, server))
    for number in range(1, 6):
        assert accept(world, server, replace(client, nc=f"{number:08x}")) == "alice"
        world.clock.advance(timedelta(minutes=1))
    with pytest.raises(InvalidToken, match="expired"):
        accept(world, server, replace(client, nc="00000006"))


def test_nonces_that_are_no_longer_good_are_refused_in_a_realm_of_any_name(world: World) -> None:
    """The refusal carries the realm: whoever sends an old nonce ends nothing but his own request."""
    server = DigestServer(accounts(), "Zürich €", lifetime=timedelta(minutes=5))
    realm = "Zürich €".encode().decode("latin-1")
    client = HandMade(nonce_of(world, server), realm=realm)
    for nonce in ("foreign", client.nonce):
        with pytest.raises(InvalidToken) as refused:
            accept(world, server, replace(client, nonce=nonce))
        world.clock.advance(timedelta(minutes=5))
        assert refused.value.token is not None
        (again,) = parse_challenges(refused.value.token.decode("latin-1"))
        assert (again.parameter("realm"), again.parameter("stale")) == (realm, "true")


def test_old_counts_are_refused_however_late(world: World) -> None:
    server = make_server()
    client = HandMade(nonce_of(world, server), nc="ffffffff")
    accept(world, server, client)
    for nc in ("00000001", "ffffff00", "ffffffff"):
        with pytest.raises(Replay):
            accept(world, server, replace(client, nc=nc))


# --- who has an account


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_unknown_disabled_hammered_and_wrong_are_told_the_same_octets(world: World, tmp_path: Path, kind: str) -> None:
    store = MemoryAccounts() if kind == "memory" else SqliteAccounts(tmp_path / "accounts.db")
    for name in ("alice", "disabled", "hammered"):
        store.add(name, PASSWORD, realms=[REALM])
    store.disable("disabled")
    server = make_server(credential=Accounts(store), userhash=True)
    for _ in range(12):
        with pytest.raises(LogonDenied):
            accept(world, server, HandMade(nonce_of(world, server), user="hammered", password="guess"))
    told = set[tuple[str, bytes | None, str]]()
    for user, password in (("alice", "guess"), ("nobody", PASSWORD), ("disabled", PASSWORD), ("hammered", PASSWORD)):
        client = HandMade(nonce_of(world, server), user=user, password=password)
        hashed = client.hash(user, REALM)
        for sent in (
            client.authorization,
            client.authorization.replace(f'username="{user}"', f'username="{hashed}", userhash=true'),
        ):
            with pytest.raises(LogonDenied) as refused:
                world.drive(server.accept(asked(get(), sent), world.options))
            told.add((str(refused.value), refused.value.token, repr(refused.value.kind)))
    assert len(told) == 1


def test_a_decoy_is_nobodys_verifier(world: World) -> None:
    """No password, an empty one included, opens what stands for an unknown user."""
    server = make_server()
    for password in ("", PASSWORD, "\0"):
        with pytest.raises(LogonDenied):
            accept(world, server, HandMade(nonce_of(world, server), user="nobody", password=password))


# --- the server's proof


def conversation(world: World, web: Web, client: DigestClient) -> tuple[HandshakeMachine, HttpReply, str]:
    """A client that waits for the response, the honest response, and what it sent."""
    request = get()
    handshake = client.initiate(web.challenge(request).challenges, request, world.options)
    assert handshake is not None
    machine = HandshakeMachine(handshake)
    need = machine.step().need
    assert isinstance(need, SendRequest)
    return machine, web.answer(request, need.authorization), need.authorization


def test_a_client_believes_no_server_that_does_not_know_the_password(world: World) -> None:
    web = Web(world, make_server())
    earlier = conversation(world, web, make_client())[1].information
    machine, _, sent = conversation(world, web, make_client())
    reflected = f'rspauth="{parameter(sent, "response")}"'
    fields: list[tuple[str, ...]] = [(), (reflected,), earlier, ('rspauth=""',), (f'rspauth="{"0" * 64}"',)]
    for information in fields:
        machine = conversation(world, web, make_client())[0]
        with pytest.raises((InvalidToken, QualityNotMet)):
            machine.step(HttpReply.received(200, information=information))
    machine, honest, _ = conversation(world, web, make_client())
    assert machine.step(honest).established is not None


def test_every_altered_character_of_the_proof_is_noticed(world: World) -> None:
    web = Web(world, make_server())
    (text,) = conversation(world, web, make_client())[1].information
    begin = text.index('rspauth="') + 9
    for position in range(begin, begin + 64):
        machine, honest, _ = conversation(world, web, make_client())
        (text,) = honest.information
        other = "0" if text[position] != "0" else "1"
        with pytest.raises(InvalidToken):
            machine.step(HttpReply.received(200, information=[text[:position] + other + text[position + 1 :]]))


def test_passwords_leave_no_trace_in_what_is_sent(world: World) -> None:
    web = Web(world, make_server())
    sent = " ".join(web.fetch(make_client(), get()).sent)
    for secret in (PASSWORD, hashlib.sha256(f"alice:{REALM}:{PASSWORD}".encode()).hexdigest()):
        assert secret not in sent
