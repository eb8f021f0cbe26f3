"""``securestream packages``: what EnumerateSecurityPackages lists."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from securestream.cli.report import Report, is_expected
from securestream.provider import Capability, PackageInfo
from securestream.registry import Registry


def facts_of(info: PackageInfo) -> dict[str, Any]:
    """What `info` says, as JSON has it."""
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
    }


def _capabilities(info: PackageInfo) -> list[str]:
    return [capability.name.lower() for capability in Capability if capability.name and capability in info.capabilities]


def _paragraph(info: PackageInfo) -> str:
    rows = {
        "roles": ", ".join(sorted(role.value for role in info.roles)),
        "capabilities": ", ".join(_capabilities(info)) or "none",
        "OID": ", ".join(info.oids) or "none",
        "RPC id": "none" if info.rpc_id is None else str(info.rpc_id),
        "maximum token": f"{info.max_token} octets",
    }
    return "\n".join((f"{info.name}: {info.comment}", *(f"    {key:<14} {value}" for key, value in rows.items())))


def list_packages(registry: Registry, *, as_json: bool, out: TextIO | None = None, report: Report | None = None) -> int:
    """Print every package of `registry`; one that cannot be loaded is told of, and makes the status 1."""
    out = sys.stdout if out is None else out
    report = Report() if report is None else report
    infos: list[PackageInfo] = []
    for name in registry:
        try:
            infos.append(registry[name].info)
        except Exception as error:  # a third party's code may fail in any way; the others are listed all the same
            report.fail(error, prefix="securestream" if is_expected(error) else f"securestream: package {name!r}")
    if as_json:
        print(json.dumps([facts_of(info) for info in infos], indent=2), file=out)
    else:
        for info in infos:
            print(_paragraph(info), file=out)
    return 0 if len(infos) == len(registry) else 1
