"""What importing costs, and that it works on every operating system (PERFORMANCE: `import securestream`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from graphlib import TopologicalSorter

from tests.architecture.sources import PACKAGES, Source, modules

UNWANTED = (
    "trio",
    "asyncio",
    "sqlite3",
    "OpenSSL",
    "argparse",
    "pyasn1",
    "cryptography.x509",
    "securestream_providers",
    "securestream.cli",
    "securestream.records.pyopenssl",
)
"""What `import securestream` must not load before it is used, beyond what anyio loads by itself."""

ANOTHER_SYSTEM = """
import importlib, os, signal, socket, sys

# What others import may use what Linux has; ours may not.
for name in {foreign!r}:
    importlib.import_module(name)

absent = {absent!r}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in absent:
            raise ModuleNotFoundError(f"this system has no {{name}}", name=name)

sys.meta_path.insert(0, Absent())
for name in absent:
    sys.modules.pop(name, None)
for module, names in ((os, {os_names!r}), (signal, {signal_names!r}), (socket, {socket_names!r})):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in {ours!r}:
    importlib.import_module(name)
"""

OURS = [name for name in sorted(modules()) if not name.endswith("__main__")]
POSIX_MODULES = ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "posix")
POSIX_OS = [
    "fork",
    "forkpty",
    "register_at_fork",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "setuid",
    "seteuid",
    "setgid",
    "setegid",
    "setgroups",
    "fchmod",
    "fchown",
    "chown",
    "O_NOFOLLOW",
    "O_DIRECTORY",
    "O_CLOEXEC",
    "O_NONBLOCK",
    "O_NOCTTY",
    "mkfifo",
    "setsid",
    "killpg",
]
POSIX_SIGNALS = [
    "SIGHUP",
    "SIGQUIT",
    "SIGUSR1",
    "SIGUSR2",
    "SIGKILL",
    "SIGPIPE",
    "SIGCHLD",
    "SIGALRM",
    "SIGWINCH",
    "pthread_sigmask",
]
POSIX_SOCKETS = ["AF_UNIX", "SO_REUSEPORT", "MSG_NOSIGNAL", "MSG_DONTWAIT", "send_fds", "recv_fds", "CMSG_SPACE"]
FOREIGN = ("anyio", "anyio.from_thread", "asyncio", "ssl", "subprocess", "sqlite3", "trio", "OpenSSL.SSL", "truststore")


def _run(script: str) -> str:
    path = os.pathsep.join(map(str, dict.fromkeys(PACKAGES.values())))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _loaded_by(statement: str) -> set[str]:
    loaded: list[str] = json.loads(_run(f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"))
    return set(loaded)


def test_importing_the_core_loads_nothing_that_is_not_used_yet() -> None:
    extra = _loaded_by("import securestream") - _loaded_by("import anyio")
    for name in sorted(extra):
        assert not any(name == unwanted or name.startswith(unwanted + ".") for unwanted in UNWANTED), name


def _needs(source: Source) -> set[str]:
    """The modules of ours that must be complete before the file can be imported."""
    found: set[str] = set()
    for imported in source.imports:
        if imported.at_import:
            submodule = f"{imported.module}.{imported.name}"  # which does not need its package to be complete
            found.add(submodule if submodule in modules() else imported.module)
    return found & modules().keys()


def test_every_module_can_be_the_first_that_is_imported() -> None:
    """No import cycle hides behind a lucky order."""
    graph = {name: _needs(source) for name, source in modules().items()}
    assert any(graph.values())
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_everything_imports_on_a_system_that_is_not_posix() -> None:
    _run(
        ANOTHER_SYSTEM.format(
            foreign=FOREIGN,
            absent=POSIX_MODULES,
            os_names=POSIX_OS,
            signal_names=POSIX_SIGNALS,
            socket_names=POSIX_SOCKETS,
            ours=OURS,
        )
    )
