"""A realm for tests of commands: the embedded KDC in a thread, its krb5.conf and keytabs in files."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from anyio.from_thread import BlockingPortal, start_blocking_portal

from securestream_providers.kerberos import EmbeddedKdc
from securestream_providers.krb5.keytab import write_keytab
from tests.cli.processes import PASSWORD

REALM = "CLI.EXAMPLE"
ALICE = f"alice@{REALM}"
SEEN = f"{REALM}\\alice"
"""alice, as a server tells of her."""
SERVICE = "host/files.example"


class Realm:
    """alice with her password and ``host/files.example`` with random keys.

    Args:
        folder: where the files go.
    """

    def __init__(self, folder: Path, password: str = PASSWORD) -> None:
        self.folder = folder
        self.kdc = EmbeddedKdc(REALM)
        self.kdc.add_principal("alice", password)
        self.kdc.add_principal(SERVICE)
        self.ccache = folder / "tickets"
        self._portal = start_blocking_portal()

    def __enter__(self) -> Self:
        portal: BlockingPortal = self._portal.__enter__()
        self._serving = portal.wrap_async_context_manager(self.kdc)
        self._serving.__enter__()
        (self.folder / "krb5.conf").write_text(
            self.kdc.krb5_conf() + f"[domain_realm]\n    files.example = {REALM}\n", encoding="utf-8"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serving.__exit__(None, None, None)
        self._portal.__exit__(None, None, None)

    @property
    def environ(self) -> dict[str, str]:
        """What commands need to find the realm."""
        return {
            "KRB5_CONFIG": str(self.folder / "krb5.conf"),
            "KRB5CCNAME": f"FILE:{self.ccache}",
            "KRB5_KTNAME": str(self.folder / "absent.keytab"),
        }

    @property
    def kdc_address(self) -> str:
        """``HOST:PORT`` of the KDC."""
        return f"127.0.0.1:{self.kdc.server.port}"

    def keytab(self, principal: str) -> str:
        """The path of a keytab with the keys of `principal`."""
        path = self.folder / (principal.replace("/", "-") + ".keytab")
        path.touch(mode=0o600)
        path.write_bytes(write_keytab(self.kdc.entries(principal)))
        return str(path)
