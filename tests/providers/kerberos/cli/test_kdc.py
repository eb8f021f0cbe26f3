"""``securestream kdc``: principals in a file, and what its user is told."""

from __future__ import annotations

import json
import stat
from argparse import ArgumentParser
from pathlib import Path

import pytest

from securestream.cli.report import Report
from securestream.errors import UsageError
from securestream_providers.kerberos.cli import kdc
from securestream_providers.kerberos.kdc.database_sqlite import SqlitePrincipals
from securestream_providers.krb5.keys import string_to_key
from securestream_providers.krb5.keytab import read_keytab
from securestream_providers.krb5.names import KerberosName

REALM = "CLI.EXAMPLE"
PASSWORD = "canary horse"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private folder, with the password in its file."""
    monkeypatch.delenv("SECURESTREAM_PASSWORD", raising=False)
    monkeypatch.setattr(kdc, "forbid_core_dumps", lambda: None)  # or this process could dump none any more
    tmp_path.chmod(0o700)
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD + "\n")
    return tmp_path


def _run(folder: Path, *words: str) -> int:
    parser = ArgumentParser()
    kdc.add_arguments(parser)
    return kdc.run(parser.parse_args([*words, "--database", str(folder / "kdc.db")]), Report())


def _alice(folder: Path, *options: str) -> int:
    return _run(folder, "add", "alice", "--realm", REALM, "--password-file", str(folder / "password"), *options)


def test_a_principal_by_password(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _alice(folder, "--alias", "alice@people.example", "--not-delegated")
    store = SqlitePrincipals(folder / "kdc.db")
    found = store.find_alias("alice@people.example")
    assert found is not None
    assert found.current((18,))[0].key == string_to_key(18, PASSWORD, REALM + "alice")
    assert (found.service, found.not_delegated, found.requires_preauth) == (False, True, True)
    assert stat.S_IMODE((folder / "kdc.db").stat().st_mode) == 0o600
    _run(folder, "list")
    told = capsys.readouterr().out.splitlines()
    assert f"alice@{REALM} kvno 1" in told
    assert f"krbtgt/{REALM}@{REALM} kvno 1 service" in told


def test_an_existing_principal_is_replaced_only_when_it_is_said(folder: Path) -> None:
    _alice(folder)
    with pytest.raises(UsageError, match="--replace"):
        _alice(folder)
    _alice(folder, "--replace")
    found = SqlitePrincipals(folder / "kdc.db").find(KerberosName(REALM, ("alice",)))
    assert found is not None
    assert found.kvno == 2
    assert len({stored.kvno for stored in found.keys}) == 1  # an old password opens nothing


def test_a_service_and_its_keytab(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ktadd changes the keys, as MIT's does; a ticket of before still opens with the kept ones."""
    _run(folder, "add", "--realm", REALM, "--random-key", "host/a", "--delegate-to", "cifs/b", "--trusted-to-auth")
    keytab = folder / "keytab"
    _run(folder, "ktadd", "--keytab", str(keytab), "host/a")
    _run(folder, "add", "--random-key", "host/b")
    _run(folder, "ktadd", "--no-randomize", "--keytab", str(keytab), "host/b")
    assert stat.S_IMODE(keytab.stat().st_mode) == 0o600
    entries = read_keytab(keytab.read_bytes())
    versions = {(entry.principal.components[1], entry.kvno) for entry in entries}
    assert versions == {("a", 2), ("b", 1)}
    store = SqlitePrincipals(folder / "kdc.db")
    for host in ("a", "b"):
        found = store.find(KerberosName(REALM, ("host", host)))
        assert found is not None
        assert {entry.key for entry in entries if entry.principal == found.name} == {
            stored.key for stored in found.keys if stored.kvno == found.kvno
        }
    found = store.find(KerberosName(REALM, ("host", "a")))
    assert found is not None
    assert {stored.kvno for stored in found.keys} == {1, 2}
    assert found.delegate_to == ("cifs/b",)
    capsys.readouterr()
    _run(folder, "list", "--json")
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed[f"host/a@{REALM}"]["delegate_to"] == ["cifs/b"]
    assert listed[f"host/a@{REALM}"]["sid"].startswith("S-1-5-21-")


def test_a_listing_holds_no_secret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _alice(folder)
    capsys.readouterr()
    _run(folder, "list", "--json")
    _run(folder, "list")
    told = capsys.readouterr().out
    found = SqlitePrincipals(folder / "kdc.db").find(KerberosName(REALM, ("alice",)))
    assert found is not None
    assert PASSWORD not in told
    assert all(stored.key.contents.reveal().hex() not in told for stored in found.keys)


def test_removal(folder: Path) -> None:
    _alice(folder)
    _run(folder, "remove", "alice")
    with pytest.raises(UsageError, match="no principal alice"):
        _run(folder, "remove", "alice")
    for own in (f"krbtgt/{REALM}", "kadmin/changepw"):
        with pytest.raises(UsageError, match="realm's own"):
            _run(folder, "remove", own)


def test_what_is_missing_is_told(folder: Path) -> None:
    with pytest.raises(UsageError, match="there is no database"):
        _run(folder, "list")
    with pytest.raises(UsageError, match="--realm"):
        _run(folder, "add", "--random-key", "host/a")
    assert not (folder / "kdc.db").exists()
    _alice(folder)
    with pytest.raises(UsageError, match="holds the realm"):
        _run(folder, "list", "--realm", "OTHER.EXAMPLE")
    with pytest.raises(UsageError, match="no principal"):
        _run(folder, "ktadd", "--keytab", str(folder / "keytab"), "host/nowhere")
    with pytest.raises(UsageError, match="--certificate"):
        _run(folder, "--https", "0")
    parser = ArgumentParser()
    kdc.add_arguments(parser)
    with pytest.raises(UsageError, match="--database"):
        kdc.run(parser.parse_args(["--realm", REALM]), Report())
