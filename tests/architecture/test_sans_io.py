"""A file that decides protocol performs no I/O and knows no clock (ARCHITECTURE, invariant 1).

Every installed file is held to it unless it is named here as an edge, so that a new file is checked from its first day.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

from tests.architecture.sources import Source, modules, product, resolve

EDGES = {
    "securestream/__init__.py": "the public names, which include the streams; loads them when they are used",
    "securestream/__main__.py": "starts the command line",
    "securestream/ambient.py": "where clock and randomness come in",
    "securestream/blocking.py": "the synchronous driver, over a socket",
    "securestream/drive.py": "performs effects",
    "securestream/files.py": "writes and checks files with secrets",
    "securestream/fork.py": "registers with the operating system what dies in a forked child",
    "securestream/recording_file.py": "transcripts in files",
    "securestream/rehearsal.py": "performs what an acceptor loads, once, before it listens",
    "securestream/services/*": "stores and caches",
    "securestream/streams/*": "sockets, locks, event loops",
    "securestream/http/asgi.py": "an adapter: a middleware of ASGI",
    "securestream/http/httpx_*.py": "adapters: authentication and a transport of httpx",
    "securestream/http/performing.py": "performs what HTTP authentication needs, for adapters",
    "securestream/http/uvicorn_connections.py": "a recipe for uvicorn: its connections",
    "securestream/records/*": "TLS engines: OpenSSL has clock and randomness of its own; `import ssl` imports socket",
    "securestream/cli/*": "the command line",
    "providers/*/kerberos/kdc/server.py": "a KDC's sockets",
    "providers/*/kerberos/network/*": "asks KDCs by UDP, TCP and HTTPS",
    "providers/*/kerberos/kdc/embedded.py": "a KDC inside a program, with its sockets",
    "providers/*/kerberos/kdc/database_*.py": "stores of principals",
    "providers/*/performers.py": "performs a mechanism's own effects",
    "providers/*/kerberos/storage/*": "configuration, keytabs and credential caches in files",
    "providers/*/cli/*": "the commands that a provider brings",
}

BOUNDARIES = {
    "securestream": "only what it loads when used; tests/architecture/test_imports.py holds it to that",
    "securestream.fork": "bookkeeping without I/O",
}
"""Modules through which a pure file may reach what it may not import itself."""

RECORD_ENGINES = "securestream.records"
"""Reached by packages whose channel is TLS."""

LAZY = {
    (
        "providers/securestream_providers/kerberos/package.py",
        "securestream.ambient",
    ): "an imported context seals with the machine's clock and randomness where its user gives none",
    (
        "securestream/credentials.py",
        "securestream.services",
    ): "conveniences that make an account store, called by users",
    (
        "providers/securestream_providers/kerberos/__init__.py",
        "securestream_providers.kerberos.kdc.embedded",
    ): "the embedded KDC, loaded when it is named",
}
"""What a pure file imports while a function runs, and why that is no protocol."""

FORBIDDEN = frozenset(
    [
        "anyio",
        "trio",
        "asyncio",
        "sniffio",
        "socket",
        "socketserver",
        "ssl",
        "OpenSSL",
        "select",
        "selectors",
        "os",
        "posix",
        "io",
        "tempfile",
        "shutil",
        "glob",
        "pathlib",
        "time",
        "random",
        "secrets",
        "sqlite3",
        "dbm",
        "subprocess",
        "threading",
        "multiprocessing",
        "concurrent",
        "queue",
        "signal",
        "sched",
        "http",
        "urllib",
        "ftplib",
        "smtplib",
        "getpass",
        "platform",
        "fcntl",
        "resource",
        "pwd",
        "grp",
        "termios",
        "mmap",
        "logging",
        "requests",
        "httpx",
    ]
)
FORBIDDEN_CALLS = frozenset(["open", "input", "print", "breakpoint", "__import__"])
FORBIDDEN_METHODS = frozenset(
    [
        "now",
        "utcnow",
        "today",
        "urandom",
        "getenv",
        "sleep",
        "monotonic",
        "perf_counter",
        "uuid1",
        "uuid4",
        "token_bytes",
        "read_text",
        "read_bytes",
        "write_text",
        "write_bytes",
    ]
)

PURE = [source for source in product() if not any(fnmatch(source.name, pattern) for pattern in EDGES)]
BY_NAME = pytest.mark.parametrize("source", PURE, ids=lambda source: source.name)


def _boundary(module: str) -> bool:
    return module in BOUNDARIES or module == RECORD_ENGINES or module.startswith(RECORD_ENGINES + ".")


def _reached(source: Source) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each foreign module that importing `source` imports through our own files, with the way there."""
    seen: set[str] = set()
    pending: list[tuple[tuple[str, ...], Source]] = [((source.name,), source)]
    while pending:
        way, current = pending.pop()
        for imported in current.imports:
            if not imported.at_import:
                continue
            ours = list(resolve(imported))
            if not ours:
                yield way, imported.module
            for module in ours:
                if module not in seen and not _boundary(module):
                    seen.add(module)
                    pending.append(((*way, modules()[module].name), modules()[module]))


@BY_NAME
def test_a_protocol_file_reaches_no_io(source: Source) -> None:
    for way, module in _reached(source):
        assert module.split(".")[0] not in FORBIDDEN, f"{' imports '.join(way)} imports {module}"


@BY_NAME
def test_a_protocol_file_imports_no_io_while_it_runs(source: Source) -> None:
    for imported in source.imports:
        where = f"{source.name}:{imported.line} imports {imported.module}"
        assert imported.module.split(".")[0] not in FORBIDDEN, where
        ours = [module for module in resolve(imported) if not _boundary(module)]
        if ours and not imported.at_import:
            excused = any(source.name == name and imported.module.startswith(start) for name, start in LAZY)
            reached = {module for way in ours for _, module in _reached(modules()[way])}
            assert excused or not any(module.split(".")[0] in FORBIDDEN for module in reached), where


@BY_NAME
def test_a_protocol_file_asks_no_clock_and_no_environment(source: Source) -> None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"{source.name}:{node.lineno} calls {node.func.id}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in FORBIDDEN_METHODS, f"{source.name}:{node.lineno} calls {node.func.attr}"


def test_every_exception_to_the_rule_still_exists() -> None:
    names = [source.name for source in product()]
    for pattern in EDGES:
        assert any(fnmatch(name, pattern) for name in names), f"no file is {pattern} any more"
    for name, _ in LAZY:
        assert name in names


def test_the_rule_is_not_empty() -> None:
    assert {"securestream/machine.py", "securestream/provider.py"} <= {source.name for source in PURE}
    assert any(module == "os" for _, module in _reached(modules()["securestream.ambient"]))
