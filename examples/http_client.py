"""Fetch a page as somebody: ``python examples/http_client.py URL negotiate|ntlm|digest [USER]``.

The user's password is SECURESTREAM_PASSWORD; without a user Kerberos takes the tickets that kinit fetched.
"""

from __future__ import annotations

import os
import sys

import anyio
import httpx

import securestream as ss
from securestream.http import ClientScheme, SecureTransport, TokenScheme
from securestream.http.httpx_values import PEER, origin_of
from securestream_providers.digest import DigestClient
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm


def scheme_of(name: str, credential: ss.Password | None) -> ClientScheme:
    """The scheme to answer with: one, since whoever is in between can take others out of the server's list."""
    if name == "digest":
        if credential is None:
            raise SystemExit("Digest needs a user")
        return DigestClient(credential)
    return (
        TokenScheme("NTLM", Ntlm(), credential) if name == "ntlm" else TokenScheme("Negotiate", Negotiate(), credential)
    )


async def main(url: str, name: str, user: str | None = None) -> None:
    """Fetch it, and tell what came from whom."""
    credential = None if user is None else ss.Password(user, os.environ["SECURESTREAM_PASSWORD"])
    transport = SecureTransport(str(origin_of(httpx.URL(url))), scheme_of(name, credential))
    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get(url)
        print(response.status_code, response.text.strip())
        print("the server is", response.extensions.get(PEER, "nobody that proved it"))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[2] not in ("negotiate", "ntlm", "digest"):
        sys.exit(__doc__)
    if len(sys.argv) == 4 and "SECURESTREAM_PASSWORD" not in os.environ:
        sys.exit("set SECURESTREAM_PASSWORD to the user's password")
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) == 4 else None)
