"""Files with secrets (SECURITY: files): what is written is private and whole, what is unsafe is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from securestream import files

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no owners and modes")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of somebody's that an attacker would have us read or overwrite."""
    path = tmp_path / "victim"
    path.write_bytes(b"victim")
    return path


@posix
def test_a_written_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        files.write_private(tmp_path / "secret", b"s")
        files.create_private(tmp_path / "empty")
        files.private_folder(tmp_path / "folder")
    finally:
        os.umask(old)
    assert [mode(tmp_path / name) for name in ("secret", "empty", "folder")] == [0o600, 0o600, 0o700]


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    files.write_private(tmp_path / "secret", b"one")
    files.write_private(tmp_path / "secret", b"two\r\n\x1a\x00")
    assert files.read_private(tmp_path / "secret") == b"two\r\n\x1a\x00"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_an_existing_file_is_left_where_that_was_asked(tmp_path: Path) -> None:
    files.write_private(tmp_path / "secret", b"one", replace=False)
    with pytest.raises(FileExistsError):
        files.write_private(tmp_path / "secret", b"two", replace=False)
    assert files.read_private(tmp_path / "secret") == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_a_failed_write_leaves_the_old_file_and_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_private(tmp_path / "secret", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_private(tmp_path / "secret", b"new")
    assert files.read_private(tmp_path / "secret") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@posix
def test_octets_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def replaced(source: Any, target: Any) -> None:
        order.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    files.write_private(tmp_path / "secret", b"s")
    assert order == ["file", "rename", "folder"]


@posix
def test_a_link_put_in_just_before_the_rename_is_replaced_and_not_followed(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    replace = os.replace

    def race(source: Any, target: Any) -> None:
        secret.symlink_to(victim)
        replace(source, target)

    monkeypatch.setattr(os, "replace", race)
    files.write_private(secret, b"ours")
    assert victim.read_bytes() == b"victim"
    assert not secret.is_symlink()
    assert files.read_private(secret) == b"ours"


@posix
def test_a_link_under_the_temporary_name_is_never_written_through(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", bytes)  # the attacker guesses the name
    (tmp_path / f".secret.{bytes(8).hex()}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write_private(tmp_path / "secret", b"ours")
    assert victim.read_bytes() == b"victim"
    assert not (tmp_path / "secret").exists()


@posix
def test_a_link_put_in_just_before_reading_is_refused(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    files.write_private(secret, b"ours")
    victim.chmod(0o600)
    real = os.open

    def race(path: Any, flags: int, mode: int = 0o777) -> int:
        secret.unlink()
        secret.symlink_to(victim)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", race)
    with pytest.raises(files.UnsafeFile, match="is a link"):
        files.read_private(secret)


@posix
def test_a_file_exchanged_after_its_checks_is_not_the_one_read(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    files.write_private(secret, b"ours")
    real = os.fstat

    def race(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        if secret.exists() and not secret.is_symlink():
            secret.unlink()
            secret.symlink_to(victim)
        return found

    monkeypatch.setattr(os, "fstat", race)
    assert files.read_private(secret) == b"ours"


@posix
def test_a_dangling_link_is_not_created_through(tmp_path: Path) -> None:
    (tmp_path / "store").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(files.UnsafeFile, match="is a link"):
        files.create_private(tmp_path / "store")
    assert not (tmp_path / "elsewhere").exists()


@posix
def test_a_link_is_refused_where_the_system_cannot_refuse_it_while_opening(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim.chmod(0o600)
    (tmp_path / "secret").symlink_to(victim)
    monkeypatch.setattr(files, "_COMMON", 0)
    monkeypatch.setattr(files, "_NOFOLLOW", 0)
    with pytest.raises(files.UnsafeFile, match="is a link"):
        files.read_private(tmp_path / "secret")


@posix
@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o620, 0o602, 0o601], ids=oct)
def test_a_file_open_to_others_is_refused_with_the_command_that_mends_it(tmp_path: Path, open_to: int) -> None:
    path = tmp_path / "secret"
    files.write_private(path, b"s")
    path.chmod(open_to)
    with pytest.raises(files.UnsafeFile, match="chmod 600"):
        files.read_private(path)
    with pytest.raises(files.UnsafeFile, match="chmod 600"):
        files.create_private(path)


@posix
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_private(tmp_path / "secret", b"s")
    real = os.fstat

    def other(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor))
        fields[stat.ST_UID] = os.geteuid() + 4711
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", other)
    with pytest.raises(files.UnsafeFile, match=f"belongs to user {os.geteuid() + 4711}"):
        files.read_private(tmp_path / "secret")


@posix
def test_what_is_no_plain_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(files.UnsafeFile, match="no plain file"):
            files.read_private(tmp_path / name)


def test_a_file_beyond_its_limit_is_refused(tmp_path: Path) -> None:
    files.write_private(tmp_path / "secret", bytes(100))
    assert files.read_private(tmp_path / "secret", largest=100) == bytes(100)
    with pytest.raises(files.UnsafeFile, match="more than 99"):
        files.read_private(tmp_path / "secret", largest=99)


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_private(tmp_path / "secret")


@posix
def test_a_folder_open_to_others_or_a_link_to_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    files.private_folder(folder)
    files.private_folder(folder)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(files.UnsafeFile, match="is no folder"):
        files.private_folder(tmp_path / "link")
    folder.chmod(0o750)
    with pytest.raises(files.UnsafeFile, match="chmod 700"):
        files.private_folder(folder)


@posix
def test_a_folder_in_which_everybody_writes_is_refused_unless_sticky(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(files.UnsafeFile, match="everybody may write"):
        files.check_folder(tmp_path)
    tmp_path.chmod(0o1777)
    files.check_folder(tmp_path)
    tmp_path.chmod(0o700)
    files.check_folder(tmp_path)


@posix
def test_the_environment_names_no_file_for_a_program_with_anothers_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_CACHE", "/somewhere")
    assert files.from_environment("SOME_CACHE") == "/somewhere"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert files.from_environment("SOME_CACHE") is None


def test_the_module_is_imported_where_there_are_no_owners(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Windows: no owners, no modes, no way to open folders; files are still written whole and links refused."""
    monkeypatch.setattr(files, "_HAS_OWNERS", False)
    monkeypatch.setattr(files, "_COMMON", 0)
    monkeypatch.setattr(files, "_NOFOLLOW", 0)
    files.write_private(tmp_path / "secret", b"s")
    assert files.read_private(tmp_path / "secret") == b"s"
    assert not files.create_private(tmp_path / "secret")
    files.check_folder(tmp_path)
