"""`securestream packages`."""

from __future__ import annotations

import io
import json

from securestream.cli.packages import list_packages
from securestream.registry import Registry
from tests.cli.fake import FakePackage


def test_packages_are_listed_with_what_enumerate_security_packages_tells() -> None:
    out = io.StringIO()
    assert list_packages(Registry.of(FakePackage()), as_json=False, out=out) == 0
    assert out.getvalue().splitlines() == [
        "Fake: for tests",
        "    roles          acceptor, initiator",
        "    capabilities   privacy, connection",
        "    OID            1.2.3",
        "    RPC id         99",
        "    maximum token  100 octets",
    ]


def test_machines_get_the_same_as_json() -> None:
    out = io.StringIO()
    list_packages(Registry.of(FakePackage()), as_json=True, out=out)
    assert json.loads(out.getvalue()) == [
        {
            "name": "Fake",
            "comment": "for tests",
            "version": 1,
            "roles": ["acceptor", "initiator"],
            "capabilities": ["privacy", "connection"],
            "oids": ["1.2.3"],
            "rpc_id": 99,
            "negoex_scheme": None,
            "max_token": 100,
        }
    ]
