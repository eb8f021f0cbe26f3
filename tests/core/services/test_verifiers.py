"""Verifiers of passwords: how they are made (RFC 7616, 2831, 7677), that both stores keep them, and what stands in."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from securestream.errors import MalformedMessage, UsageError
from securestream.services.accounts import Account, CorruptStore, VerifierStore
from securestream.services.accounts_memory import MemoryAccounts
from securestream.services.accounts_sqlite import SqliteAccounts
from securestream.services.nt_hash import nt_hash
from securestream.services.smbpasswd import SmbpasswdAccounts
from securestream.services.verifiers import (
    DIGESTS,
    SCRAM_ITERATIONS,
    SCRAM_SHA_256,
    ScramParameters,
    ScramVerifier,
    VerifierKey,
    decoy_verifier,
    digest_verifier,
    salt_of,
    scram_verifier,
    user_hash,
)
from tests.core.services.contract import HERE, NOW

REALM = "api@example.org"
SHA_256 = VerifierKey("digest-SHA-256", REALM)
SCRAM = VerifierKey(SCRAM_SHA_256)
Store = MemoryAccounts | SqliteAccounts


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    path = tmp_path / "accounts.db"
    return MemoryAccounts if request.param == "memory" else lambda: SqliteAccounts(path)


@pytest.fixture
def store(make: Callable[[], Store]) -> Store:
    store = make()
    store.add("alice", "a password", realms=[REALM])
    store.add(r"CORP\bob", "another", realms=[REALM])
    return store


def kept(store: Store, name: str, key: VerifierKey = SHA_256, domain: str = "") -> bytes | None:
    account = store.find(name, domain, HERE, NOW)
    assert account is not None
    verifier = store.verifier(account, key)
    return None if verifier is None else verifier.reveal()


# --- how they are made


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("digest-MD5", "3d78807defe7de2157e2b0b6573a855f"),
        ("digest-SHA-256", "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"),
        ("sasl-digest-MD5", "3d78807defe7de2157e2b0b6573a855f"),
    ],
)
def test_the_digests_of_rfc_7616_3_9_1(kind: str, expected: str) -> None:
    assert digest_verifier(kind, "Mufasa", "http-auth@example.org", "Circle of Life").hex() == expected


def test_the_hashed_name_of_rfc_7616_3_9_2_with_the_real_sha_512_256() -> None:
    """The document prints a truncated SHA-512 (erratum 4897)."""
    expected = "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert user_hash("digest-SHA-512-256", "Jäsøn Doe", REALM).hex() == expected
    decomposed = "Ja\N{COMBINING DIAERESIS}søn Doe"
    assert user_hash("digest-SHA-512-256", decomposed, REALM).hex() == expected, "names are normalised to NFC"


def test_sasl_hashes_latin_1_where_it_fits_and_http_always_utf_8() -> None:
    """RFC 2831 2.1.2.1 against RFC 7616 4."""
    latin = hashlib.md5("jürgen:r:grün".encode("latin-1"), usedforsecurity=False).digest()
    utf_8 = hashlib.md5("jürgen:r:grün".encode(), usedforsecurity=False).digest()
    assert digest_verifier("sasl-digest-MD5", "jürgen", "r", "grün") == latin
    assert digest_verifier("digest-MD5", "jürgen", "r", "grün") == utf_8
    mixed = hashlib.md5("jürgen".encode("latin-1") + ":r:Ω".encode(), usedforsecurity=False).digest()
    assert digest_verifier("sasl-digest-MD5", "jürgen", "r", "Ω") == mixed


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="digest-SHA-256"):
        digest_verifier("digest-SHA-1", "a", "r", "p")


def test_the_scram_keys_of_rfc_7677_3() -> None:
    """The client proof and the server signature of the RFC's exchange follow from the verifier."""
    import base64
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = scram_verifier("pencil", salt, 4096)
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.digest(verifier.stored_key, message, "sha256")
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == verifier.stored_key
    server = hmac.digest(verifier.server_key, message, "sha256")
    assert base64.b64encode(server) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_packed_verifiers_come_back_and_damaged_ones_are_refused() -> None:
    verifier = scram_verifier("pw", b"salt", 4096)
    packed = verifier.pack()
    assert ScramVerifier.unpack(packed) == verifier
    assert ScramParameters.unpack(verifier.parameters.pack()) == verifier.parameters
    for length in range(len(packed)):
        with pytest.raises(MalformedMessage):
            ScramVerifier.unpack(packed[:length])
    with pytest.raises(MalformedMessage):
        ScramVerifier.unpack(packed + b"\0")
    with pytest.raises(MalformedMessage):
        ScramParameters.unpack(packed)
    assert "salt" not in repr(verifier)


@pytest.mark.parametrize("kind", [*DIGESTS, SCRAM_SHA_256])
def test_a_decoy_has_the_form_of_the_verifier_it_stands_for(kind: str) -> None:
    key = VerifierKey(kind, "" if kind == SCRAM_SHA_256 else REALM)
    decoy = decoy_verifier(bytes(16), key, "ALICE")
    if kind == SCRAM_SHA_256:
        assert len(decoy) == len(scram_verifier("x", salt_of(bytes(16), "ALICE"), 1).pack())
        assert ScramVerifier.unpack(decoy).parameters == ScramParameters(salt_of(bytes(16), "ALICE"), SCRAM_ITERATIONS)
    else:
        assert len(decoy) == len(digest_verifier(kind, "a", "r", "p"))
    assert decoy != decoy_verifier(b"\1" * 16, key, "ALICE"), "each store has its own"


# --- what stores keep


def test_a_store_keeps_what_the_password_gives(store: Store) -> None:
    assert isinstance(store, VerifierStore)
    for kind in DIGESTS:
        expected = digest_verifier(kind, "alice", REALM, "a password")
        assert kept(store, "ALICE", VerifierKey(kind, REALM)) == expected
    scram = kept(store, "alice", SCRAM)
    assert scram is not None
    parameters = ScramVerifier.unpack(scram).parameters
    assert scram == scram_verifier("a password", parameters.salt, parameters.iterations).pack()


def test_an_account_of_a_domain_is_hashed_with_it(store: Store) -> None:
    assert kept(store, "bob", domain="corp") == digest_verifier(SHA_256.kind, r"CORP\bob", REALM, "another")


def test_a_new_password_leaves_no_verifier_of_the_old_one(store: Store) -> None:
    """Otherwise the old password would still be good for Digest; the realms stay."""
    scram = kept(store, "alice", SCRAM)
    store.add("Alice", "new")
    assert kept(store, "alice") == digest_verifier(SHA_256.kind, "Alice", REALM, "new")
    assert kept(store, "alice", SCRAM) not in (scram, None)
    store.add_hash("alice", nt_hash("newer"))
    assert kept(store, "alice") is None
    assert kept(store, "alice", SCRAM) is None


def test_removal_takes_the_verifiers(store: Store) -> None:
    account = store.find("alice", "", HERE, NOW)
    store.remove("alice")
    assert store.verifier(account, SHA_256) is None
    assert store.find_hashed(user_hash(SHA_256.kind, "alice", REALM), SHA_256, HERE, NOW) is None


def test_a_disabled_account_keeps_its_verifiers(store: Store) -> None:
    before = kept(store, "alice")
    store.disable("alice")
    assert kept(store, "alice") == before


def test_nobody_has_no_verifier_and_unknown_kinds_and_hashes_are_unknown(store: Store) -> None:
    assert store.verifier(None, SHA_256) is None
    assert kept(store, "alice", VerifierKey("digest-SHA-1", REALM)) is None
    assert store.find_hashed(b"", SHA_256, HERE, NOW) is None
    assert store.find_hashed(bytes(32), VerifierKey("scram-SHA-256", ""), HERE, NOW) is None


@pytest.mark.parametrize(("name", "domain"), [("alice", ""), (r"CORP\bob", "CORP")])
def test_a_hashed_name_is_found_by_kind_and_realm(store: Store, name: str, domain: str) -> None:
    hashed = user_hash(SHA_256.kind, name, REALM)
    found = store.find_hashed(hashed, SHA_256, HERE, NOW)
    assert found is not None
    assert (found.name, found.domain) == (name.rpartition("\\")[2], domain)
    assert store.find_hashed(hashed, VerifierKey(SHA_256.kind, "another realm"), HERE, NOW) is None
    store.add("carol", "pw", realms=[REALM])
    assert store.find_hashed(user_hash(SHA_256.kind, "carol", REALM), SHA_256, HERE, NOW) is not None


@pytest.mark.parametrize("written", ["J\u00e4s\u00f8n", "Ja\u0308s\u00f8n"])
def test_a_name_is_found_in_either_form_of_unicode(make: Callable[[], Store], written: str) -> None:
    """Digest sends NFC (RFC 7616 4); an administrator's keyboard may give another form."""
    store = make()
    store.add(written, "pw", realms=[REALM])
    for sent in ("J\u00e4s\u00f8n", "Ja\u0308s\u00f8n"):
        assert kept(store, sent) == digest_verifier(SHA_256.kind, "J\u00e4s\u00f8n", REALM, "pw")


def test_a_salt_tells_nothing_of_whether_there_is_an_account(store: Store) -> None:
    scram = kept(store, "alice", SCRAM)
    assert scram is not None
    expected = ScramVerifier.unpack(decoy_verifier(store.decoy.reveal(), SCRAM, "ALICE")).parameters
    assert ScramVerifier.unpack(scram).parameters == expected


def test_a_store_in_memory_has_verifiers_for_every_realm() -> None:
    store = MemoryAccounts()
    store.add("alice", "pw")
    assert kept(store, "alice", VerifierKey("digest-MD5", "any")) == digest_verifier("digest-MD5", "alice", "any", "pw")


def test_a_password_that_saslprep_prohibits_works_without_scram(make: Callable[[], Store]) -> None:
    store = make()
    store.add("alice", "tab\there", realms=[REALM])
    assert kept(store, "alice") is not None
    assert kept(store, "alice", SCRAM) is None


def test_a_refused_name_leaves_no_password_in_the_frames(make: Callable[[], Store]) -> None:
    with pytest.raises(UsageError) as refused:
        make().add("a:b", "the very secret", realms=[REALM])
    traceback = refused.value.__traceback__
    while traceback is not None:
        if "services" in traceback.tb_frame.f_code.co_filename and "test_" not in traceback.tb_frame.f_code.co_name:
            assert "the very secret" not in repr(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next


def test_smbpasswd_keeps_none() -> None:
    assert not isinstance(SmbpasswdAccounts.__new__(SmbpasswdAccounts), VerifierStore)


# --- SQLite (SECURITY: stores)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.db"


def test_salts_of_unknown_names_stay_when_the_program_starts_again(path: Path) -> None:
    decoys = {SqliteAccounts(path).decoy.reveal() for _ in range(2)}
    assert len(decoys) == 1
    assert SqliteAccounts(path.with_name("other.db")).decoy.reveal() not in decoys


def test_no_verifier_lies_in_the_files(path: Path) -> None:
    store = SqliteAccounts(path)
    store.add("alice", "a password", realms=[REALM])
    octets = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for kind in DIGESTS:
        verifier = digest_verifier(kind, "alice", REALM, "a password")
        assert verifier not in octets
        assert verifier.hex().encode() not in octets
    scram = kept(store, "alice", SCRAM)
    assert scram is not None
    assert ScramVerifier.unpack(scram).stored_key not in octets


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE verifiers SET account = 2 WHERE account = 1",
        "UPDATE verifiers SET realm = 'another' WHERE realm <> ''",
        "UPDATE verifiers SET kind = 'digest-MD5' WHERE kind = 'sasl-digest-MD5'",
        "UPDATE verifiers SET sealed = (SELECT sealed FROM verifiers WHERE account = 2 LIMIT 1) WHERE account = 1",
        "UPDATE verifiers SET sealed = 'text'",
    ],
)
def test_a_verifier_that_was_exchanged_or_edited_is_refused(path: Path, change: str) -> None:
    store = SqliteAccounts(path)
    store.add("alice", "a password", realms=[REALM])
    store.add("mallory", "known to mallory", realms=[REALM])
    store.close()
    connection = sqlite3.connect(path)
    if "account = 2 WHERE" in change or "kind =" in change:
        connection.execute("DELETE FROM verifiers WHERE account = 2 OR kind = 'digest-MD5'")
    connection.execute(change)
    connection.commit()
    connection.close()
    account: Account | None
    wrong = 0
    for name in ("alice", "mallory"):
        account = store.find(name, "", HERE, NOW)
        for kind in DIGESTS:
            for realm in (REALM, "another"):
                try:
                    verifier = store.verifier(account, VerifierKey(kind, realm))
                except CorruptStore:
                    wrong += 1
                else:
                    password = "a password" if name == "alice" else "known to mallory"
                    assert verifier is None or verifier.reveal() == digest_verifier(kind, name, realm, password)
    assert wrong


@pytest.mark.parametrize("realm", ['a"quote', "line\nfeed", "x" * 257, "back\\slash"])
def test_a_realm_that_cannot_be_one_is_refused(path: Path, realm: str) -> None:
    with pytest.raises(UsageError, match="a realm has at most"):
        SqliteAccounts(path).add("alice", "pw", realms=[realm])
