"""Our KDC as a process, for measuring: python -m benchmarks.kdc_end REALM USER PASSWORD SERVICE; prints its port."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import anyio

from benchmarks.ends import announce
from securestream_providers.kerberos.kdc.embedded import EmbeddedKdc
from securestream_providers.kerberos.kdc.policy import KdcPolicy


async def serve(arguments: Sequence[str]) -> None:
    """Serve until the process is ended."""
    realm, user, password, service = arguments
    policy = KdcPolicy(least_password=1, largest_datagram=8192, amplification=100)  # as krb5kdc, which has no limits
    kdc = EmbeddedKdc(realm, policy=policy)
    kdc.add_principal(user, password)
    kdc.add_principal(service)
    async with kdc:
        announce(kdc.server.port)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, sys.argv[1:])
