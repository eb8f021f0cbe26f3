"""Rules of style that no linter knows (STYLE 8; SECURITY: nothing is swallowed)."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.sources import Source, product, sources

LONGEST = 600
EVERYTHING = sources("securestream", "providers", "tests", "examples", "benchmarks")
BROAD = {"Exception", "BaseException"}


@pytest.mark.parametrize("source", EVERYTHING, ids=lambda source: source.name)
def test_a_file_has_one_reason_to_exist(source: Source) -> None:
    assert source.text.count("\n") < LONGEST, "split it"
    if source.tree.body:
        assert ast.get_docstring(source.tree), "its first line says why it exists"


def _swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it catches anything at all and does not raise just that again when it has cleaned up."""
    last = handler.body[-1]
    if isinstance(last, ast.Raise) and last.exc is None:
        return False
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in BROAD for node in ast.walk(handler.type))


@pytest.mark.parametrize("source", product(), ids=lambda source: source.name)
def test_nothing_is_caught_broadly_without_a_reason(source: Source) -> None:
    lines = source.text.splitlines()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and _swallows(node):
            beside = lines[node.lineno - 1 : node.body[0].lineno]
            assert any("#" in line for line in beside), f"{source.name}:{node.lineno} says no reason"


@pytest.mark.parametrize("source", EVERYTHING, ids=lambda source: source.name)
def test_a_silenced_checker_has_its_reason_beside_it(source: Source) -> None:
    for number, line in enumerate(source.text.splitlines(), 1):
        for mark in ("# type: ignore", "# noqa", "# pyright: ignore"):
            _, found, rest = line.partition(mark)
            if found and '"' not in line.partition(mark)[0][-1:]:
                reason = rest.partition("]")[2] if "[" in rest else rest.lstrip(":").partition(" ")[2].partition(" ")[2]
                assert len(reason.strip(" -#")) > 3, f"{source.name}:{number} gives no reason"
