"""The project's own source, parsed: files, imports and what else the rules look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"securestream": ROOT, "securestream_providers": ROOT / "providers"}


@dataclass(frozen=True)
class Import:
    """One imported module, or a module and the name taken from it.

    Args:
        module: absolute dotted name.
        name: what ``from module import name`` takes, which may be a module itself.
        line: where.
        at_import: whether it happens when the file is imported, rather than when a function runs.
    """

    module: str
    name: str | None
    line: int
    at_import: bool


@dataclass(frozen=True)
class Source:
    """One file."""

    path: Path

    @property
    def name(self) -> str:
        """The path below the root, with slashes."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def module(self) -> str:
        """The dotted name by which it is imported."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        parts = parts[1:] if parts[0] == "providers" else parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        """The text."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.name)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """What it imports, except under ``if TYPE_CHECKING``."""
        return tuple(_imports(self.tree.body, at_import=True))


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files below these folders of the root, sorted."""
    return tuple(
        Source(path)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
    )


def product() -> tuple[Source, ...]:
    """The files that are installed."""
    return sources("securestream", "providers")


@cache
def modules() -> dict[str, Source]:
    """The installed files by module name."""
    return {source.module: source for source in product()}


def resolve(imported: Import) -> Iterator[str]:
    """The modules of ours that an import runs: the module, the submodule it takes, and the packages they lie in."""
    wanted = {imported.module}
    if imported.name is not None:
        wanted.add(f"{imported.module}.{imported.name}")
    for name in wanted:
        parts = name.split(".")
        if parts[0] in PACKAGES:
            yield from (part for end in range(1, len(parts) + 1) if (part := ".".join(parts[:end])) in modules())


def _type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _imports(body: list[ast.stmt], *, at_import: bool) -> Iterator[Import]:
    for node in body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, at_import)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield Import(node.module, alias.name, node.lineno, at_import)
        elif _type_checking(node):
            assert isinstance(node, ast.If)
            yield from _imports(node.orelse, at_import=at_import)
        else:
            inner = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            blocks = (getattr(node, name, []) for name in ("body", "orelse", "finalbody"))
            handlers = (handler.body for handler in getattr(node, "handlers", []))
            cases = (case.body for case in getattr(node, "cases", []))
            for block in (*blocks, *handlers, *cases):
                yield from _imports(block, at_import=inner)
