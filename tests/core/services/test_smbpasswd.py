"""smbpasswd(5): what its lines mean, that none is guessed, and that a change is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from securestream.errors import MalformedMessage, ServiceFailed
from securestream.files import UnsafeFile, write_private
from securestream.redaction import Secret
from securestream.services.accounts import Account, CorruptStore, Listing
from securestream.services.nt_hash import nt_hash
from securestream.services.smbpasswd import SmbpasswdAccounts, parse_smbpasswd
from tests.core.services.contract import HERE, NOW

DECOY = Secret(b"decoy of a store")
HASH = nt_hash("pw").hex().upper()
NONE = "X" * 32
NO_PASSWORD = "NO PASSWORD" + "X" * 21


def line(name: str = "alice", lm: str = NONE, nt: str = HASH, flags: str = "U", uid: str = "1000") -> str:
    return f"{name}:{uid}:{lm}:{nt}:[{flags:11}]:LCT-5F0E66D0:\n"


def parse(text: str) -> dict[str, Account]:
    return parse_smbpasswd(text.encode(), DECOY)


def parse_one(text: str) -> Account:
    (account,) = parse(text).values()
    return account


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "smbpasswd"
    write_private(path, line().encode())
    return path


# --- lines


def test_a_line_gives_its_account() -> None:
    account = parse_one(line(lm="E52CAC67419A9A224A3B108F3FA6CB6D"))
    assert (account.name, account.domain, account.disabled) == ("alice", "", False)
    assert account.nt_hash.reveal() == nt_hash("pw")
    assert account.lm_hash is not None
    assert account.lm_hash.reveal().hex() == "e52cac67419a9a224a3b108f3fa6cb6d"


def test_comments_and_empty_lines_are_left_out() -> None:
    text = "# SMB password file.\n#\n\n" + line() + "   \n" + line("bob").replace("\n", "\r\n")
    assert list(parse(text)) == ["ALICE", "BOB"]


def test_the_last_line_needs_no_end() -> None:
    assert parse_one(line().removesuffix("\n")).name == "alice"
    assert parse_one(line().removesuffix(":\n")).name == "alice"


def test_flags_that_let_a_user_log_on() -> None:
    for flags in ("U", "UX", "XU", "UH", "U  X"):
        assert not parse_one(line(flags=flags)).disabled, flags


@pytest.mark.parametrize("flags", ["UD", "DU", "UN", "W", "S", "I", "M", "UL", "UT", "", "X"])
def test_flags_under_which_nobody_logs_on(flags: str) -> None:
    assert parse_one(line(flags=flags)).disabled


@pytest.mark.parametrize("field", [NONE, NO_PASSWORD])
def test_an_account_without_a_hash_is_there_and_disabled(field: str) -> None:
    account = parse_one(line(nt=field, flags="U"))
    assert account.disabled
    assert account.nt_hash == DECOY
    assert parse_one(line(lm=field)).lm_hash is None


def test_the_hash_of_the_empty_password_is_no_missing_one() -> None:
    assert not parse_one(line(nt="31D6CFE0D16AE931B73C59D7E0C089C0")).disabled


WRONG = {
    "too few fields": ("alice:1000:" + HASH, "fewer than six"),
    "old format": (f"alice:1000:{HASH}:{HASH}:Alice:/home/alice:/bin/sh\n", "something follows"),
    "no name": (line(name=""), "name"),
    "name with a tab": (line(name="a\tb"), "name"),
    "name with a space": (line(name="alice "), "name"),
    "user number": (line(uid="x"), "user number"),
    "negative user number": (line(uid="-1"), "user number"),
    "short hash": (line(nt=HASH[:-1]), "NT hash has not 32"),
    "long hash": (line(nt=HASH + "0"), "NT hash has not 32"),
    "hash not hexadecimal": (line(nt=HASH[:-1] + "G"), "NT hash is not hexadecimal"),
    "hash with spaces": (line(nt=" " + HASH[:-1]), "NT hash is not hexadecimal"),
    "nearly no hash": (line(nt="X" * 31 + "0"), "NT hash is not hexadecimal"),
    "LM hash": (line(lm="0" * 31), "LM hash"),
    "flags without a bracket": (line().replace("]", " "), "brackets"),
    "short flags": (line().replace("[U          ]", "[U]"), "brackets"),
    "unknown flag": (line(flags="UZ"), "flag"),
    "small flag": (line(flags="Ud"), "flag"),
    "time": (line().replace("LCT-", "XXX-"), "last change"),
    "something behind": (line().replace("D0:", "D0:more"), "follows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_corrupt_line_is_named_by_its_number_and_never_guessed(case: str) -> None:
    wrong, message = WRONG[case]
    with pytest.raises(MalformedMessage, match=rf"^line 3: .*{message}"):
        parse(line("one") + "# comment\n" + wrong)


def test_octets_that_are_no_utf8_are_named_by_their_line() -> None:
    with pytest.raises(MalformedMessage, match=r"^line 2: it is not UTF-8"):
        parse_smbpasswd(b"\n" + line().encode().replace(b"alice", b"al\xefce"), DECOY)


def test_a_name_that_comes_twice_is_refused_with_both_lines() -> None:
    with pytest.raises(MalformedMessage, match="line 3: the account of line 1 comes again"):
        parse(line("alice") + line("bob") + line("ALICE"))


def test_no_complaint_repeats_a_hash() -> None:
    for wrong, _ in WRONG.values():
        with pytest.raises(MalformedMessage) as caught:
            parse(wrong)
        assert HASH[:16] not in str(caught.value)


@given(st.binary(max_size=300))
@example(line().encode() * 2)
def test_any_octets_give_accounts_or_a_line_number(data: bytes) -> None:
    complaint = "line 1"
    try:
        parse_smbpasswd(data, DECOY)
    except MalformedMessage as error:
        complaint = str(error)
    assert complaint.startswith("line ")


@given(st.integers(0, len(line()) - 1), st.integers(0, 255))
def test_a_line_with_one_octet_changed_is_refused_or_says_what_it_says(position: int, octet: int) -> None:
    """Nothing outside the changed field changes with it."""
    data = bytearray(line().encode())
    data[position] = octet
    try:
        accounts = parse_smbpasswd(bytes(data), DECOY)
    except MalformedMessage:
        return
    for account in accounts.values():
        assert account.nt_hash.reveal() == nt_hash("pw") or bytes(data).find(HASH.encode()) < 0


# --- the file


def test_accounts_are_listed_without_secrets(path: Path) -> None:
    write_private(path, (line("zoe", flags="UD") + line("alice")).encode())
    assert SmbpasswdAccounts(path).listing() == (Listing("alice"), Listing("zoe", disabled=True))


def test_a_change_of_the_file_is_seen_at_the_next_logon(path: Path) -> None:
    store = SmbpasswdAccounts(path)
    for name, other in (("bob", "alice"), ("eve", "bob"), ("zoe", "eve")):
        write_private(path, line(name).encode())
        assert store.find(name, "", HERE, NOW) is not None
        assert store.find(other, "", HERE, NOW) is None


def test_a_change_in_place_within_one_tick_of_the_clock_is_seen(path: Path) -> None:
    """Same inode, same size, same time of change: only a file that has rested is trusted unread."""
    store = SmbpasswdAccounts(path)
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(line("carol").encode())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.find("alice", "", HERE, NOW) is None
    assert store.find("carol", "", HERE, NOW) is not None


def test_a_file_that_rests_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(path, (1_600_000_000, 1_600_000_000))
    store = SmbpasswdAccounts(path)
    monkeypatch.setattr("securestream.services.smbpasswd.parse_smbpasswd", None)
    assert store.find("alice", "", HERE, NOW) is not None


def test_a_file_that_became_corrupt_refuses_every_logon_until_it_is_mended(path: Path) -> None:
    store = SmbpasswdAccounts(path)
    write_private(path, (line() + "half a li").encode())
    with pytest.raises(CorruptStore, match="smbpasswd, line 2: it has fewer than six fields"):
        store.find("alice", "", HERE, NOW)
    write_private(path, line().encode())
    assert store.find("alice", "", HERE, NOW) is not None


def test_a_file_that_went_away_refuses_every_logon(path: Path) -> None:
    store = SmbpasswdAccounts(path)
    path.unlink()
    with pytest.raises(ServiceFailed, match="smbpasswd cannot be read: No such file"):
        store.find("alice", "", HERE, NOW)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_a_file_open_to_others_is_refused_at_first_and_later(path: Path) -> None:
    store = SmbpasswdAccounts(path)
    path.chmod(0o644)
    with pytest.raises(UnsafeFile, match="chmod 600"):
        SmbpasswdAccounts(path)
    with pytest.raises(ServiceFailed, match="chmod 600"):
        store.find("alice", "", HERE, NOW)


def test_a_corrupt_file_is_refused_when_it_is_opened(path: Path) -> None:
    path.write_bytes(b"# comment\nnonsense\n")
    with pytest.raises(CorruptStore, match="smbpasswd, line 2"):
        SmbpasswdAccounts(path)
