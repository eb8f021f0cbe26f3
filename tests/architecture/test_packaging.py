"""What the distribution promises: its entry points, its types, and that an installation without the checkout works."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

import pytest

from tests.architecture.sources import PACKAGES, ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS: dict[str, dict[str, str]] = {**PROJECT["entry-points"], "console_scripts": PROJECT["scripts"]}
TARGETS = [(group, name, target) for group, names in GROUPS.items() for name, target in names.items()]


@pytest.mark.parametrize(("group", "name", "target"), TARGETS, ids=lambda text: text)
def test_an_entry_point_leads_to_what_its_group_promises(group: str, name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part)
    if group == "securestream.commands":
        assert callable(found.add_arguments), f"{name} in {group}"
        assert callable(found.run), f"{name} in {group}"
    elif group == "securestream.demonstrations":
        assert found, f"{name} in {group}"
    else:
        assert callable(found), f"{name} in {group}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (PACKAGES[package] / package / "py.typed").is_file()


def test_the_installed_distribution_is_this_checkout() -> None:
    try:
        installed = version(PROJECT["name"])
    except PackageNotFoundError:
        pytest.skip("the project is not installed here; install it with: pip install -e '.[test]'")
    assert installed == PROJECT["version"]
    for group, names in GROUPS.items():
        found = {point.name: point.value for point in entry_points(group=group)}
        assert names.items() <= found.items()
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import securestream, securestream_providers"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
