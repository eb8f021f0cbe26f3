"""What a decrypting proxy sees of CredSSP: the requests in the tunnel, and that no credentials are among them."""

from __future__ import annotations

from typing import Any

from securestream.wire import der
from securestream_providers.credssp import credentials
from securestream_providers.credssp.messages import TSRequest
from tests.core.canaries import Canaries
from tests.providers.credssp.ends import (
    ALICE,
    MECHANISMS,
    SECRET,
    Ends,
    Meddle,
    clear_ends,
    meet,
    options,
)

CANARIES = Canaries()
CANARIES.add("password", SECRET)
CANARIES.add("TSCredentials", credentials.encode(ALICE))


def run(mechanism: str, meddle: Meddle, **more: Any) -> Ends:
    made = MECHANISMS[mechanism]
    client, server = clear_ends(mechanism, **more)
    return meet(client, server, meddle, initiating=made.initiating(), accepting=made.accepting(), asked=options(seed=7))


def seen(ends: Ends) -> bytes:
    """All plaintext that went through the tunnel, in both directions."""
    return b"|".join(ends.client.sent + ends.server.sent)


def requests(tokens: list[bytes]) -> list[TSRequest]:
    """The TSRequests among tokens of the stand-in for TLS."""
    octets = b"".join(tokens).removeprefix(b"hello").removeprefix(b" yourself")
    found: list[TSRequest] = []
    while octets.startswith(b"\x30"):
        size = der.element_size(octets, 1 << 20)
        assert size is not None
        found.append(TSRequest.decode(octets[:size]))
        octets = octets[size:]
    return found


def require_silence(ends: Ends) -> None:
    """Nothing of the credentials is in what a decrypting proxy sees, and nobody got them."""
    assert not CANARIES.found_in(seen(ends).decode("latin-1"))
    assert credentials.encode(ALICE) not in seen(ends)
    assert ends.server.established is None
