"""``securestream packages``: what EnumerateSecurityPackages lists."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from securestream.cli.report import Report, is_expected
from securestream.cli.setup import carried_by
from securestream.extensions import Negotiating
from securestream.provider import Capability, PackageInfo, SecurityPackage
from securestream.registry import Registry


def facts_of(package: SecurityPackage) -> dict[str, Any]:
    """What `package` says of itself, as JSON has it."""
    info = package.info
    return {
        "name": info.name,
        "comment": info.comment,
        "version": info.version,
        "roles": sorted(role.value for role in info.roles),
        "capabilities": _capabilities(info),
        "oids": list(info.oids),
        "rpc_id": info.rpc_id,
        "negoex_scheme": None if info.negoex_scheme is None else str(info.negoex_scheme),
        "max_token": info.max_token,
        "mechanisms": _mechanisms(package),
        "sasl": [mechanism.info.name for mechanism in carried_by(package)],
    }


def _capabilities(info: PackageInfo) -> list[str]:
    return [capability.name.lower() for capability in Capability if capability.name and capability in info.capabilities]


def _mechanisms(package: SecurityPackage) -> list[str]:
    """The packages that `package` negotiates where it is told nothing else, the preferred one first."""
    return [one.info.name for one in package.mechanisms] if isinstance(package, Negotiating) else []


def _paragraph(package: SecurityPackage) -> str:
    info = package.info
    rows = {
        "roles": ", ".join(sorted(role.value for role in info.roles)),
        "capabilities": ", ".join(_capabilities(info)) or "none",
        "OID": ", ".join(info.oids) or "none",
        "RPC id": "none" if info.rpc_id is None else str(info.rpc_id),
        "maximum token": f"{info.max_token} octets",
    }
    if mechanisms := _mechanisms(package):
        rows["negotiates"] = ", ".join(mechanisms)
    if carried := [mechanism.info.name for mechanism in carried_by(package)]:
        rows["carries"] = ", ".join(carried) + ", where --sasl names it"
    return "\n".join((f"{info.name}: {info.comment}", *(f"    {key:<14} {value}" for key, value in rows.items())))


def list_packages(registry: Registry, *, as_json: bool, out: TextIO | None = None, report: Report | None = None) -> int:
    """Print every package of `registry`; one that cannot be loaded is told of, and makes the status 1."""
    out = sys.stdout if out is None else out
    report = Report() if report is None else report
    packages: list[SecurityPackage] = []
    for name in registry:
        try:
            packages.append(registry[name])
        except Exception as error:  # a third party's code may fail in any way; the others are listed all the same
            report.fail(error, prefix="securestream" if is_expected(error) else f"securestream: package {name!r}")
    if as_json:
        print(json.dumps([facts_of(package) for package in packages], indent=2), file=out)
    else:
        for package in packages:
            print(_paragraph(package), file=out)
    return 0 if len(packages) == len(registry) else 1
