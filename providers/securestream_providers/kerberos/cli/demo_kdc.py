"""The demonstration's KDC, a process of its own: ``python -m ... REALM FOLDER USER SERVICE``.

The user's password comes from the variable SECURESTREAM_PASSWORD. Keytabs of both are written into the folder, which is
private; then one line of JSON tells the port. It serves until it is terminated.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from securestream.cli.passwords import read_password
from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc
from securestream_providers.krb5.keytab import write_keytab

USER_KEYTAB, SERVICE_KEYTAB = "user.keytab", "service.keytab"


async def _serve(realm: str, folder: Path, user: str, service: str) -> None:
    async with EmbeddedKdc(realm) as kdc:
        kdc.add_principal(user, read_password(user))
        kdc.add_principal(service)
        for name, principal in ((USER_KEYTAB, user), (SERVICE_KEYTAB, service)):
            file = folder / name
            file.touch(mode=0o600)
            file.write_bytes(write_keytab(kdc.entries(principal)))
        print(json.dumps({"port": kdc.server.port}), flush=True)
        await anyio.sleep_forever()


def main() -> None:
    """Serve as the arguments say."""
    realm, folder, user, service = sys.argv[1:]
    anyio.run(_serve, realm, Path(folder), user, service)


if __name__ == "__main__":
    main()
