"""Who may import whom (ARCHITECTURE, invariant 2), and where a handshake's generator may be resumed (2, 8)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.sources import Source, product, sources

CORE = sources("securestream")
PROVIDERS = sources("providers")
LIBRARIES = {"krb5"}
"""Folders among the providers that are libraries for several of them."""

by_name = pytest.mark.parametrize


@by_name("source", CORE, ids=lambda source: source.name)
def test_the_core_imports_no_provider(source: Source) -> None:
    for imported in source.imports:
        assert not imported.module.startswith("securestream_providers"), f"{source.name}:{imported.line}"


def _folder(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "securestream_providers" and len(parts) > 1 else None


@by_name("source", PROVIDERS, ids=lambda source: source.name)
def test_no_provider_imports_another(source: Source) -> None:
    own = _folder(source.module)
    for imported in source.imports:
        other = _folder(imported.module)
        if imported.module == "securestream_providers":
            other = imported.name
        assert other in {None, own, *LIBRARIES}, f"{source.name}:{imported.line} imports {imported.module}"


@by_name("source", PROVIDERS, ids=lambda source: source.name)
def test_a_provider_is_built_on_the_core_alone(source: Source) -> None:
    for imported in source.imports:
        upper = {"securestream.cli", "securestream.streams"}
        if "/cli/" in source.name:  # the commands that a provider brings
            upper.remove("securestream.cli")
        assert not imported.module.startswith(tuple(upper)), f"{source.name}:{imported.line} imports {imported.module}"


def _functions(source: Source) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef))


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions inside it."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))


def _is_handshake(function: ast.FunctionDef) -> bool:
    returns = "" if function.returns is None else ast.unparse(function.returns)
    return "Handshake" in returns or "Effect" in returns


@by_name("source", product(), ids=lambda source: source.name)
def test_handshakes_yield_from_effects_only(source: Source) -> None:
    """``reply = yield effect`` would lose the reply's type; ``reply = yield from effect`` keeps it."""
    for function in _functions(source):
        if not _is_handshake(function) or (source.name, function.name) == ("securestream/provider.py", "__iter__"):
            continue
        for node in _own_nodes(function):
            assert not isinstance(node, ast.Yield), f"{source.name}:{function.lineno} {function.name} yields plainly"


@by_name("source", [one for one in product() if one.name != "securestream/machine.py"], ids=lambda source: source.name)
def test_only_the_machine_resumes_a_handshake(source: Source) -> None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name):
            assert node.id != "StopIteration", f"{source.name}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "throw", f"{source.name}:{node.lineno}"
            handshake = "handshake" in ast.unparse(node.func.value).lower()
            assert not (handshake and node.func.attr == "send"), f"{source.name}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "next":
            assert "handshake" not in ast.unparse(node).lower(), f"{source.name}:{node.lineno}"
