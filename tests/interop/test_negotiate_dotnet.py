"""Negotiate with .NET's NegotiateStream, both roles (MS-NNS): it comes to what .NET comes to with itself.

Each case runs between two ends of .NET, .NET's client and our server, our client and .NET's server, each time through a
relay that writes the frames down. What differs from .NET with itself is compared, not read: it must be exactly what
expected_negotiate_dotnet.py states, with a reason for each difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Final

import pytest

from tests.interop.expected_negotiate_dotnet import CASES, DIFFERENCES, TABLE
from tests.interop.matrix import Filler
from tests.interop.negotiate_dotnet_ends import DOMAIN, PASSWORD, TARGET, USER, End, Ends
from tests.interop.peers import dotnet, mit_tools
from tests.interop.peers.accounts import ntlm_environment
from tests.interop.peers.mit_kdc import MitKdc

pytestmark = [pytest.mark.anyio, pytest.mark.interop]


_PAIRS: Final[tuple[tuple[str, End, End], ...]] = (("client", ".NET", "ours"), ("server", "ours", ".NET"))
"""The role of .NET, the client, the server."""


@pytest.fixture(scope="module")
def version(require: Callable[[ModuleType], str]) -> str:
    """The version of .NET."""
    require(mit_tools)
    return require(dotnet)


@pytest.fixture(scope="module")
def ends(version: str, mit_kdc: MitKdc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """What makes both ends, in a realm whose user is also one of NTLM, with tickets in the default cache."""
    mit_kdc.add_user(USER, f'"{PASSWORD}"')
    mit_kdc.add_service(TARGET, options=["+ok_as_delegate"])
    mit_kdc.kinit(USER, PASSWORD)
    names = ((DOMAIN, USER), (mit_kdc.realm, USER), ("", f"{USER}@{mit_kdc.realm}"))
    accounts = ntlm_environment(tmp_path_factory.mktemp("ntlm"), dict.fromkeys(names, PASSWORD))
    kerberos = mit_kdc.environment()
    role = {"role": "commander"}
    with dotnet.start(role, {**kerberos, **accounts}) as commander, dotnet.start(role, kerberos) as ticketed:
        yield Ends(mit_kdc, commander, ticketed)


@pytest.mark.parametrize("name", CASES)
async def test_it_comes_to_what_dotnet_comes_to_with_itself(
    name: str, version: str, ends: Ends, matrix: Filler, anyio_backend_name: str
) -> None:
    case, outcome = CASES[name]
    if anyio_backend_name == "trio":  # megabytes once are enough
        case = replace(case, sizes=tuple(min(size, 200_000) for size in case.sizes))
    reference = await ends.reference(case)
    assert reference.client == outcome
    for role, client, server in _PAIRS:
        observed = await ends.run(case, client, server)
        stated = DIFFERENCES.get((name, client))
        assert reference.differences(observed) == (dict(stated.values) if stated else {})
        matrix.fill(TABLE, dotnet.NAME, version, role, name, f"but: {stated.why}" if stated else "as with itself")


def test_every_difference_belongs_to_a_case() -> None:
    assert {name for name, _ in DIFFERENCES} <= set(CASES)
