"""Credentials and whatever else may hold a secret: what they show, what they refuse, how they compare."""

from __future__ import annotations

import copy
import hmac
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from securestream.credentials import (
    Accounts,
    Anonymous,
    Certificate,
    Credential,
    Credentials,
    Keytab,
    NtHash,
    Password,
    find_form,
    split_name,
)
from securestream.errors import UsageError
from securestream.machine import Step
from securestream.provider import Exchange, FirstUse, VerifyKeys
from securestream.redaction import Redacted, Secret

CANARY = "hunter2-hunter2!"
OCTETS = CANARY.encode()

HOLDERS: dict[str, Any] = {
    "Password": Password(r"CORP\alice", CANARY),
    "NtHash": NtHash("alice", OCTETS),
    "Certificate": Certificate(OCTETS, OCTETS, Secret(CANARY)),
    "Keytab": Keytab(octets=OCTETS, principal="HTTP/web"),
    "Credentials": Credentials(Password("alice", CANARY), NtHash("alice", OCTETS)),
    "Exchange": Exchange(OCTETS),
    "FirstUse": FirstUse(OCTETS, datetime.now(UTC)),
    "VerifyKeys": VerifyKeys(OCTETS, OCTETS),
    "Step": Step(token=OCTETS, need=Exchange(OCTETS)),
    "Secret of text": Secret(CANARY),
    "Secret of octets": Secret(OCTETS),
}
holders = pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)

COPYING: dict[str, Callable[[Any], object]] = {
    "pickle": pickle.dumps,
    "pickle inside a list": lambda holder: pickle.dumps([holder]),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "asdict": asdict,
    "astuple": astuple,
}


@holders
def test_repr_and_text_show_no_secret(holder: object) -> None:
    for shown in (repr(holder), str(holder), f"{holder}", repr([holder])):
        for form in (CANARY, OCTETS.hex(), repr(OCTETS)[2:-1]):
            assert form not in shown


@holders
@pytest.mark.parametrize("way", COPYING.values(), ids=COPYING)
def test_no_way_of_copying_gives_the_secret_out(holder: object, way: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError):
        way(holder)


def test_a_new_holder_is_safe_without_doing_anything() -> None:
    @dataclass(frozen=True, repr=False)
    class New(Redacted):
        key: bytes
        view: memoryview
        name: str

    new = New(OCTETS, memoryview(OCTETS), "shown")
    assert repr(new).endswith("New(key=<16 octets>, view=<16 octets>, name='shown')")
    with pytest.raises(TypeError):
        asdict(new)


def test_names_are_shown() -> None:
    assert repr(Password(r"CORP\alice", CANARY)) == "Password(user='alice', domain='CORP', password=Secret(...))"
    assert repr(Exchange(b"1234")) == "Exchange(token=<4 octets>)"
    assert repr(Exchange()) == "Exchange(token=None)"


def test_replacing_a_field_still_works() -> None:
    assert replace(Exchange(b"a"), token=b"b") == Exchange(b"b")


class TestEquality:
    def test_equal_secrets_are_equal(self) -> None:
        assert Secret("a") == Secret("a")
        assert hash(Secret("a")) == hash(Secret("a"))
        assert Secret("a") != Secret("b")
        assert Secret("a") != Secret(b"a")
        assert Secret("a") != "a"
        assert Secret("\udc80") != Secret("a"), "text that has no UTF-8 compares all the same"

    def test_it_is_decided_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[bytes, bytes]] = []

        def compare(one: bytes, two: bytes) -> bool:
            compared.append((one, two))
            return one == two

        monkeypatch.setattr(hmac, "compare_digest", compare)
        assert Password("alice", "right") != Password("alice", "wrong")
        assert compared == [(b"right", b"wrong")]
        assert NtHash("alice", bytes(16)) == NtHash("alice", bytes(16))
        assert len(compared) == 2

    def test_a_credential_is_its_values(self) -> None:
        assert Password("alice", "x") == Password("alice", "x")
        assert Password("alice", "x") != Password("bob", "x")
        credentials: list[Credential] = [Password("alice", "x"), NtHash("alice", bytes(16))]
        assert credentials[0] != credentials[1]
        assert Anonymous() == Anonymous()


class TestNames:
    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            (r"CORP\alice", ("alice", "CORP")),
            ("alice", ("alice", "")),
            ("alice@corp.example", ("alice@corp.example", "")),
            (r"CORP\a\b", (r"a\b", "CORP")),
            (r"\alice", ("alice", "")),
        ],
    )
    def test_domain_and_user(self, name: str, parts: tuple[str, str]) -> None:
        assert split_name(name) == parts
        credential = Password(name, "x")
        assert (credential.user, credential.domain) == parts

    @pytest.mark.parametrize("name", ["", "CORP\\"])
    def test_a_password_needs_a_user(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"Anonymous\(\)"):
            Password(name, "x")

    @pytest.mark.parametrize("size", [0, 15, 17, 32])
    def test_an_nt_hash_has_16_octets(self, size: int) -> None:
        with pytest.raises(UsageError, match="16 octets"):
            NtHash("alice", bytes(size))

    def test_a_path_that_is_really_pem_is_refused_before_it_is_shown(self) -> None:
        with pytest.raises(UsageError, match="PEM as bytes"):
            Certificate("-----BEGIN PRIVATE KEY-----\n...")

    @pytest.mark.parametrize("make", [lambda: Password("", CANARY), lambda: NtHash("alice", OCTETS[:15])])
    def test_refusing_shows_the_secret_to_no_crash_reporter(self, make: Callable[[], object]) -> None:
        with pytest.raises(UsageError) as caught:
            make()
        report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert CANARY[:15] not in "".join(report.format()).replace("CANARY", "").replace("OCTETS", "")


def test_the_first_usable_form_is_taken() -> None:
    nt_hash, password = NtHash("alice", bytes(16)), Password("alice", "x")
    both = Credentials(nt_hash, password)
    assert list(both) == [nt_hash, password]
    assert find_form(both, Password) is password
    assert find_form(both, Password, NtHash) is nt_hash
    assert find_form(password, Password) is password
    assert find_form(password, NtHash) is None
    assert find_form(None, Password) is None
    assert find_form(Credentials(), Credential) is None


def test_accounts_are_made_in_three_ways(tmp_path: Path) -> None:
    accounts = Accounts.memory(alice=CANARY)
    assert CANARY not in repr(accounts)
    assert not accounts.allow_anonymous
    assert CANARY not in repr(vars(accounts.store))
    assert isinstance(Accounts.sqlite(tmp_path / "accounts.db"), Accounts)


def test_every_field_of_a_credential_with_a_secret_is_wrapped() -> None:
    for holder in HOLDERS.values():
        if isinstance(holder, Credential) and not isinstance(holder, Certificate):
            for field in fields(holder):
                assert getattr(holder, field.name) not in (CANARY, OCTETS), f"{type(holder).__name__}.{field.name}"


def test_a_keytab_is_a_file_or_octets_and_not_both() -> None:
    assert Keytab("/etc/krb5.keytab").octets is None
    with pytest.raises(UsageError, match="not both"):
        Keytab("/etc/krb5.keytab", octets=OCTETS)
