"""The public names of a package, each loaded when first used, so that importing the package loads nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The functions ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        names: of each module below it the public names that come from there, with spaces between.
    """
    modules = {name: module for module, listed in names.items() for name in listed.split()}
    namespace = vars(sys.modules[package])

    def load(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(f"{package}.{module}"), name)
        return value

    def list_names() -> list[str]:
        return sorted({*namespace, *modules})

    return load, list_names
