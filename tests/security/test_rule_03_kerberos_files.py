"""SECURITY, rule 3, for Kerberos: caches and keytabs that others could have made, read or exchanged are refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from securestream import files
from securestream.errors import NoCredentials
from securestream.files import UnsafeFile
from securestream_providers.kerberos.storage import caches
from securestream_providers.kerberos.storage.caches import destroy_cache, load_cache, store_cache, update_cache
from securestream_providers.kerberos.storage.keytabs import add_to_keytab, load_keytab
from securestream_providers.kerberos.storage.names import cache_name, configuration_files, keytab_path
from securestream_providers.krb5.config import Krb5Config
from tests.providers.krb5.files import CACHE, ENTRIES

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no owners and modes")

VICTIM = b"somebody's"


def read(path: Path) -> object:
    return load_cache(f"FILE:{path}")


def update(path: Path) -> None:
    update_cache(f"FILE:{path}", lambda cache: CACHE)


def store(path: Path) -> None:
    store_cache(f"FILE:{path}", CACHE)


def destroy(path: Path) -> object:
    return destroy_cache(f"FILE:{path}")


every_use = pytest.mark.parametrize("use", [read, update, store, destroy])


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "krb5cc"
    store(path)
    return path


@every_use
def test_a_cache_that_is_a_link_is_refused_and_its_target_untouched(
    tmp_path: Path, use: Callable[[Path], object]
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    victim.chmod(0o600)
    link = tmp_path / "krb5cc"
    link.symlink_to(victim)
    with pytest.raises((NoCredentials, UnsafeFile), match="is a link"):
        use(link)
    assert victim.read_bytes() == VICTIM
    assert link.is_symlink()


@every_use
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o602, 0o601])
def test_a_cache_that_is_open_to_others_is_refused(cache: Path, mode: int, use: Callable[[Path], object]) -> None:
    before = cache.read_bytes()
    cache.chmod(mode)
    with pytest.raises((NoCredentials, UnsafeFile), match="open to others"):
        use(cache)
    assert cache.read_bytes() == before


@every_use
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_cache_of_somebody_else_is_refused(cache: Path, use: Callable[[Path], object]) -> None:
    before = cache.read_bytes()
    os.chown(cache, 12345, 12345)
    with pytest.raises((NoCredentials, UnsafeFile), match="belongs to user 12345"):
        use(cache)
    assert cache.read_bytes() == before


@every_use
def test_a_cache_that_is_no_plain_file_is_refused_and_hangs_nobody(
    tmp_path: Path, use: Callable[[Path], object]
) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises((NoCredentials, UnsafeFile), match="no plain file"):
        use(tmp_path / "fifo")


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_folder_of_caches_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "caches"
    store_cache(f"DIR:{folder}", CACHE)
    folder.chmod(mode)
    with pytest.raises(NoCredentials, match="open to others"):
        load_cache(f"DIR:{folder}")
    with pytest.raises(NoCredentials, match="open to others"):
        store_cache(f"DIR:{folder}", CACHE)


def test_a_folder_of_caches_that_is_a_link_is_refused(tmp_path: Path) -> None:
    store_cache(f"DIR:{tmp_path / 'theirs'}", CACHE)
    (tmp_path / "caches").symlink_to(tmp_path / "theirs")
    with pytest.raises(NoCredentials, match="is no folder"):
        load_cache(f"DIR:{tmp_path / 'caches'}")


def test_the_primary_of_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "caches"
    store_cache(f"DIR:{folder}", CACHE)
    (folder / "primary").unlink()
    (folder / "primary").symlink_to("/etc/passwd")
    with pytest.raises(NoCredentials, match="is a link"):
        load_cache(f"DIR:{folder}")


def test_what_is_written_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store_cache(f"FILE:{tmp_path / 'cc'}", CACHE)
        store_cache(f"DIR:{tmp_path / 'caches'}", CACHE)
        add_to_keytab(tmp_path / "keytab", ENTRIES)
    finally:
        os.umask(old)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in sorted(tmp_path.rglob("*"))}
    assert modes == {
        "cc": 0o600,
        "caches": 0o700,
        "caches/primary": 0o600,
        "caches/tkt": 0o600,
        "keytab": 0o600,
    }


def test_a_link_that_takes_the_name_while_the_first_cache_is_written_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race, won on purpose: between the look (nothing there) and the writing an attacker puts a link there."""
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    victim.chmod(0o600)
    path = tmp_path / "krb5cc"
    real = files.write_private

    def late(target: Path, octets: bytes, *, replace: bool = True) -> None:
        if not path.is_symlink():
            path.symlink_to(victim)
        real(target, octets, replace=replace)

    monkeypatch.setattr(caches, "write_private", late)
    with pytest.raises(NoCredentials, match="is a link"):
        update(path)
    assert victim.read_bytes() == VICTIM


def test_a_link_that_takes_the_name_after_the_checks_is_replaced_and_not_followed(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Won later still: the file was checked and locked, and then exchanged for a link."""
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    real = files.write_private

    def late(target: Path, octets: bytes, *, replace: bool = True) -> None:
        cache.unlink()
        cache.symlink_to(victim)
        real(target, octets, replace=replace)

    monkeypatch.setattr(caches, "write_private", late)
    update(cache)
    assert victim.read_bytes() == VICTIM
    assert not cache.is_symlink()
    monkeypatch.undo()
    assert load_cache(f"FILE:{cache}") == CACHE


def test_a_file_that_is_exchanged_between_name_and_look_is_judged_as_what_was_opened(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(cache.read_bytes())
    theirs.chmod(0o666)
    real = os.open

    def exchanging(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if Path(path) == cache:
            os.replace(theirs, cache)
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", exchanging)
    with pytest.raises(NoCredentials, match="open to others"):
        load_cache(f"FILE:{cache}")


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o602, 0o650])
def test_a_keytab_that_others_can_read_or_its_group_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keytab"
    add_to_keytab(path, ENTRIES)
    path.chmod(mode)
    with pytest.raises(NoCredentials, match="open to others"):
        load_keytab(path)


def test_a_keytab_that_its_group_can_read_is_used(tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    add_to_keytab(path, ENTRIES)
    path.chmod(0o640)
    assert load_keytab(path) == ENTRIES


def test_a_keytab_that_is_a_link_is_refused(tmp_path: Path) -> None:
    add_to_keytab(tmp_path / "theirs", ENTRIES)
    (tmp_path / "keytab").symlink_to(tmp_path / "theirs")
    with pytest.raises(NoCredentials, match="is a link"):
        load_keytab(tmp_path / "keytab")


def test_the_environment_names_no_file_to_a_program_with_anothers_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Krb5Config()
    for name in ("KRB5_CONFIG", "KRB5CCNAME", "KRB5_KTNAME", "KRB5_CLIENT_KTNAME"):
        monkeypatch.setenv(name, "/tmp/evil")
    assert (configuration_files(), cache_name(None, config)) == (("/tmp/evil",), "FILE:/tmp/evil")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert configuration_files() == ("/etc/krb5.conf",)
    assert cache_name(None, config) == f"FILE:/tmp/krb5cc_{os.getuid()}"
    assert keytab_path(None, config) == keytab_path(None, config, initiating=True) == "/etc/krb5.keytab"


def test_a_destroyed_cache_leaves_zeros_and_no_ticket(cache: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    os.link(cache, kept)
    size = kept.stat().st_size
    destroy(cache)
    assert kept.read_bytes() == bytes(size)
