"""`securestream packages`."""

from __future__ import annotations

import io
import json
from importlib.metadata import EntryPoint

from securestream.cli.packages import list_packages
from securestream.cli.report import Report
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
            "mechanisms": [],
            "sasl": [],
        }
    ]


def test_a_package_that_cannot_be_loaded_hides_no_other() -> None:
    out, err = io.StringIO(), io.StringIO()
    broken = EntryPoint("broken", "tests.cli.no_such_module:Package", "securestream.providers")
    registry = Registry({"broken": broken, "fake": FakePackage()})
    assert list_packages(registry, as_json=False, out=out, report=Report(out, err)) == 1
    assert out.getvalue().startswith("Fake: ")
    assert err.getvalue().count("\n") == 1
    assert "package 'broken'" in err.getvalue()
