"""Keytabs and credential caches shared with MIT's tools, in both directions and octet for octet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from securestream_providers.kerberos.storage.caches import destroy_cache, load_cache, store_cache, update_cache
from securestream_providers.kerberos.storage.keytabs import add_to_keytab, load_keytab
from securestream_providers.kerberos.storage.tickets import with_tickets
from securestream_providers.krb5.ccache import read_ccache, write_ccache
from securestream_providers.krb5.keytab import read_keytab, write_keytab
from securestream_providers.krb5.numbers import TicketFlags
from tests.interop.peers import mit_tools
from tests.interop.peers.mit_kdc import HOST, REALM, MitKdc
from tests.providers.krb5.files import CACHE, ENTRIES, SERVICE

pytestmark = pytest.mark.interop


@pytest.fixture
def tools(tmp_path: Path, require: Callable[[ModuleType], str]) -> mit_tools.MitTools:
    """MIT's tools, without a KDC."""
    require(mit_tools)
    folder = tmp_path / "mit"
    folder.mkdir(mode=0o700)
    return mit_tools.MitTools(folder, "EXAMPLE.COM")


def test_klist_and_ktutil_read_our_keytab(tools: mit_tools.MitTools, tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    add_to_keytab(path, ENTRIES[:2])
    shown = tools.run("klist", "-k", "-e", "-K", f"FILE:{path}").stdout
    assert f"1 {SERVICE} (aes256-cts-hmac-sha1-96)  (0x{bytes(range(32)).hex()})" in shown
    assert f"258 {SERVICE} (aes128-cts-hmac-sha1-96)  (0x{bytes(range(16)).hex()})" in shown
    shown = tools.run("ktutil", stdin=f"rkt {path}\nlist\nquit\n").stdout
    assert shown.count(str(SERVICE)) == 2


def test_ktutil_writes_what_we_read_and_we_write_it_octet_for_octet(tools: mit_tools.MitTools, tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    for kvno, etype in ((1, "aes256-cts"), (300, "aes128-cts"), (70000, "aes256-sha2")):
        commands = f"addent -password -p {SERVICE} -k {kvno} -e {etype}\npw\nwkt {path}\nquit\n"
        tools.run("ktutil", stdin=commands)
    octets = path.read_bytes()
    entries = read_keytab(octets)
    assert [(str(entry.principal), entry.kvno, entry.key.etype) for entry in entries] == [
        (str(SERVICE), 1, 18),
        (str(SERVICE), 300, 17),
        (str(SERVICE), 70000, 20),
    ]
    assert write_keytab(entries) == octets


def test_a_keytab_that_ktutil_filtered_and_kadmin_wrote_is_read(mit_kdc: MitKdc, tmp_path: Path) -> None:
    path = mit_kdc.add_service("http/files.mit.test", keytab=tmp_path / "keytab")
    octets = path.read_bytes()
    entries = load_keytab(path)
    assert {entry.key.etype for entry in entries} >= {17, 18, 19, 20, 25, 26, 23}
    assert read_keytab(write_keytab(entries)) == entries
    mit_kdc.kadmin(f"ktremove -k {path} http/files.mit.test all")
    assert path.read_bytes() != octets
    assert load_keytab(path) == ()


def test_kinit_takes_a_key_of_our_keytab(mit_kdc: MitKdc, tmp_path: Path) -> None:
    mit_kdc.add_user("filed", "secret")
    theirs = load_keytab(mit_kdc.keytab(tmp_path / "theirs", "filed"))
    add_to_keytab(tmp_path / "ours", theirs)
    mit_kdc.run("kinit", "-k", "-t", tmp_path / "ours", "filed", cache=tmp_path / "cc")
    assert load_cache(f"FILE:{tmp_path / 'cc'}") is not None


def test_klist_reads_our_cache(tools: mit_tools.MitTools, tmp_path: Path) -> None:
    path = tmp_path / "cc"
    store_cache(f"FILE:{path}", CACHE)
    shown = tools.run("klist", "-C", "-f", f"FILE:{path}").stdout
    assert "Default principal: alice@EXAMPLE.COM" in shown
    assert "krbtgt/EXAMPLE.COM@EXAMPLE.COM" in shown
    assert str(SERVICE) in shown
    assert "config: fast_avail(krbtgt/EXAMPLE.COM@EXAMPLE.COM) = yes" in shown
    assert "Flags: FI" in shown


def test_kinit_and_kvno_write_what_we_read_and_we_write_it_octet_for_octet(mit_kdc: MitKdc, tmp_path: Path) -> None:
    path = tmp_path / "cc"
    mit_kdc.add_user("cached", "secret")
    mit_kdc.add_service(f"host/{HOST}", keytab=tmp_path / "keytab")
    mit_kdc.kinit("cached", "secret", "-r", "2d", cache=path)
    octets = path.read_bytes()
    assert write_ccache(read_ccache(octets)) == octets
    mit_kdc.run("kvno", f"host/{HOST}", cache=path)
    longer = path.read_bytes()
    assert len(longer) > len(octets)
    cache = read_ccache(longer)
    assert write_ccache(cache) == longer
    assert str(cache.client) == f"cached@{REALM}"
    assert [str(ticket.server) for ticket in cache.tickets] == [f"krbtgt/{REALM}@{REALM}", f"host/{HOST}@{REALM}"]
    assert cache.tickets[0].flags & TicketFlags.RENEWABLE
    assert cache.tickets[0].renew_till is not None
    assert "fast_avail" in [name for name, _, _ in cache.configuration]


def test_their_tools_go_on_with_a_cache_that_we_wrote_into(mit_kdc: MitKdc, tmp_path: Path) -> None:
    path, name = tmp_path / "cc", f"FILE:{tmp_path / 'cc'}"
    mit_kdc.add_user("shared", "secret")
    mit_kdc.add_service(f"http/{HOST}", keytab=tmp_path / "keytab")
    mit_kdc.kinit("shared", "secret", cache=path)
    before = load_cache(name)
    assert before is not None
    update_cache(name, lambda cache: cache and with_tickets(cache, cache.client, cache.tickets, cache.kdc_offset))
    mit_kdc.run("kvno", f"http/{HOST}", cache=path)
    after = load_cache(name)
    assert after is not None
    assert after.tickets[: len(before.tickets)] == before.tickets
    assert str(after.tickets[-1].server) == f"http/{HOST}@{REALM}"


def test_folders_of_caches_are_shared(mit_kdc: MitKdc, tmp_path: Path) -> None:
    folder = tmp_path / "caches"
    folder.mkdir(mode=0o700)
    name = f"DIR:{folder}"
    mit_kdc.add_user("first", "secret")
    mit_kdc.add_user("second", "secret")
    mit_kdc.kinit("first", "secret", cache=name)
    mit_kdc.kinit("second", "secret", cache=name)
    found = load_cache(name)
    assert found is not None
    assert str(found.client) == f"second@{REALM}"
    store_cache(f"DIR::{folder}/tktours", CACHE)
    shown = mit_kdc.run("klist", "-l", cache=name).stdout
    for principal in (f"first@{REALM}", f"second@{REALM}", "alice@EXAMPLE.COM"):
        assert principal in shown


def test_klist_finds_nothing_where_we_destroyed(mit_kdc: MitKdc, tmp_path: Path) -> None:
    path = tmp_path / "cc"
    mit_kdc.add_user("gone", "secret")
    mit_kdc.kinit("gone", "secret", cache=path)
    assert destroy_cache(f"FILE:{path}")
    assert mit_kdc.run("klist", "-s", cache=path, check=False).returncode == 1
