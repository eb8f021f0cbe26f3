"""A realm of MIT krb5 for measuring: its KDC, a user's cached tickets and a service's keytab, by encryption type."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Final

from benchmarks import pairs
from benchmarks.peers import GssPeer
from tests.interop.peers import mit_kdc
from tests.interop.peers.mit_kdc import ETYPES, MitKdc

PASSWORD: Final = "measuring"
_PROGRAM: Final = Path(__file__).with_name("gss_kerberos.py")


def service(etype: int) -> str:
    """The principal whose key is of that encryption type alone."""
    return f"bench{etype}/{mit_kdc.HOST}"


class Realm:
    """The realm, with a user and a service; ended when the interpreter ends."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="securestream-benchmarks-"))
        atexit.register(self._close)
        self._kdc = MitKdc(self.folder)
        self._kdc.start()
        self._kdc.add_user(pairs.USER, PASSWORD)
        for etype in (18, 20):
            self.keytab = self._kdc.add_service(service(etype), etypes=(etype,))

    def _close(self) -> None:
        if hasattr(self, "_kdc"):
            self._kdc.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def kdc(self) -> MitKdc:
        """Its KDC."""
        return self._kdc

    def environment(self, etype: int) -> dict[str, str]:
        """Variables by which MIT's library uses one encryption type in this realm."""
        cache = self.cache(etype)
        return self._kdc.environment(cache=cache, permitted_enctypes=ETYPES[etype], rdns="false")

    def cache(self, etype: int) -> Path:
        """A file with a ticket for the service, whose keys are of one encryption type."""
        cache = self.folder / f"ccache-{etype}"
        if not cache.exists():
            environment = self._kdc.environment(cache=cache, permitted_enctypes=ETYPES[etype], rdns="false")
            self._kdc.kinit(pairs.USER, PASSWORD, cache=cache, environment=environment)
            self._kdc.run("kvno", service(etype), cache=cache, environment=environment)
        return cache


@functools.cache
def realm() -> Realm | None:
    """The realm, or `None` where MIT krb5 is not installed."""
    return None if mit_kdc.missing() else Realm()


@functools.cache
def mit(etype: int) -> GssPeer | None:
    """MIT krb5 through python-gssapi, or `None` where it is not installed."""
    found = realm()
    if found is None:
        return None
    try:
        peer = GssPeer([str(_PROGRAM), f"{service(etype)}@{found.kdc.realm}"], found.environment(etype))
        peer.ask(do="seal", size=1, times=1)
    except OSError:
        return None
    return peer
