"""HTTP Digest against itself: every policy at the server, every kind of client, every algorithm, services or none."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.errors import BadBindings, HandshakeError, PeerRefused, TargetUnknown
from securestream.options import BindingPolicy
from securestream.provider import SecurityContext
from securestream_providers.digest import Algorithm, client
from tests.providers.digest.ends import ORIGIN, Web, World, accounts, get, make_client, make_server, parameter

SAME = ChannelBindings(b"tls-server-end-point:" + b"1" * 32)
OTHER = ChannelBindings(b"tls-server-end-point:" + b"2" * 32)
ACCOUNTS = accounts()

NEVER, SUPPORTED, ADVERTISED, ALWAYS = BindingPolicy
ACCEPTED = {
    (NEVER, "same"): False,
    (NEVER, "other"): False,
    (NEVER, "none"): False,
    (NEVER, "old"): False,
    (SUPPORTED, "same"): True,
    (SUPPORTED, "none"): False,
    (SUPPORTED, "old"): False,
    (ADVERTISED, "same"): True,
    (ADVERTISED, "old"): False,
    (ALWAYS, "same"): True,
}
"""The policies and clients that go together, and whether both ends are then bound; all others are refused."""
CLIENTS = {"same": SAME, "other": OTHER, "none": None, "old": SAME}
SERVED = ((), (ORIGIN.host,), ("elsewhere.example",))


def is_refused(served: tuple[str, ...], kind: str, policy: BindingPolicy) -> type[HandshakeError] | None:
    """Why the server refuses that client, or `None`: a service that is named is judged before the channel."""
    if kind != "old" and served and ORIGIN.host not in served:
        return TargetUnknown
    return None if (policy, kind) in ACCEPTED else BadBindings


def _knows_no_marker(nonce: str) -> bool:
    return False


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize("kind", CLIENTS)
def test_combination(monkeypatch: pytest.MonkeyPatch, algorithm: Algorithm, kind: str) -> None:
    """Two requests each: after a challenge, and with what is remembered then."""
    if kind == "old":  # a client that knows no marker
        monkeypatch.setattr(client, "is_marked", _knows_no_marker)
    for policy, served in itertools.product(BindingPolicy, SERVED):
        world = World()
        server = make_server(credential=ACCOUNTS, algorithms=[algorithm], served=served)
        site = Web(world, server, options=replace(world.options, channel_bindings=SAME, binding_policy=policy))
        mine = make_client(algorithms=[algorithm])
        given = replace(world.options, channel_bindings=CLIENTS[kind])
        why = is_refused(served, kind, policy)
        if why is not None:
            with pytest.raises(PeerRefused):
                site.fetch(mine, get(), given)
            assert [type(error) for error in site.refused] == [why]
            continue
        exchanges = [site.fetch(mine, get(), given) for _ in range(2)]
        assert [parameter(one, "nc") for exchange in exchanges for one in exchange.sent] == ["00000001", "00000002"]
        results = [one.result for one in (*site.served, *(exchange.outcome for exchange in exchanges))]
        bound = [result.bound for result in results if isinstance(result, SecurityContext)]
        verified = ACCEPTED[policy, kind]
        asked = kind in ("same", "other") and (bool(served) or policy is not NEVER)
        assert bound == [verified, verified, asked, asked]
