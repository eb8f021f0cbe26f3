"""What every test gets: both event loops, hypothesis profiles, and the rules of a CI run."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from securestream.registry import Registry
from tests.interop.expected import EXPECTED
from tests.interop.matrix import Filler, Matrix
from tests.listing import mutation_lines, vector_lines

CI = bool(os.environ.get("CI"))
SHARED = Path(__file__).resolve().parents[2] / "shared"
SHARED_ABSENT = "../shared is absent"
"""How the reason of the one skip that CI allows begins: vectors that may not be copied are not beside the checkout."""

# A property says nothing about how long a busy machine takes to draw. In a CI hypothesis draws the same each time.
_ANY_MACHINE = hypothesis.settings(
    deadline=None, print_blob=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("quick", _ANY_MACHINE, max_examples=50)
hypothesis.settings.register_profile("ci", _ANY_MACHINE, max_examples=200, database=None)
hypothesis.settings.register_profile("deep", _ANY_MACHINE, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if CI else "quick"))

_MATRIX = pytest.StashKey[Matrix]()
_FILLER = pytest.StashKey[Filler]()


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Every asynchronous test runs on both event loops; asyncio with its own loop."""
    backend: str = request.param
    return backend


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared vectors beside the checkout; tests that need it are skipped without."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED_ABSENT}: it holds vectors of other projects that may not be copied here")
    return SHARED


@pytest.fixture(scope="session")
def installed() -> None:
    """Commands and examples find packages by entry points, which only an installed distribution has."""
    if "ntlm" not in Registry.installed():
        pytest.skip("securestream is not installed in this environment: pip install -e .")


@pytest.fixture
def matrix(request: pytest.FixtureRequest) -> Filler:
    """Where an interoperability test states the cells that it has seen to be right."""
    filler = Filler()
    item: pytest.Item = request.node
    item.stash[_FILLER] = filler
    return filler


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run with empty tables."""
    config.stash[_MATRIX] = Matrix()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A cell counts when its test passed."""
    report = yield
    if report.when == "call" and report.passed and _FILLER in item.stash:
        item.config.stash[_MATRIX].outcomes.update(item.stash[_FILLER].pending)
    return report


def _complete(config: pytest.Config) -> bool:
    """Whether everything was asked for, rather than some files or names."""
    chosen = (config.option.keyword, config.option.markexpr, config.getoption("lf"), config.getoption("deselect"))
    return config.args_source is not pytest.Config.ArgsSource.ARGS and not any(chosen)


def _complaints(config: pytest.Config) -> Iterator[str]:
    """What makes a CI run fail although no test did."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    for report in reporter.stats.get("skipped", ()):
        reason = str(report.longrepr[2])
        excused = reason.removeprefix("Skipped: ").startswith(SHARED_ABSENT) and not SHARED.is_dir()
        if not excused:
            yield f"skipped: {report.nodeid}: {reason}"
    matrix = config.stash[_MATRIX]
    for cell in matrix.undeclared(EXPECTED):
        yield f"matrix: nobody expects {cell}; declare it in tests/interop/expected_*.py"
    if _complete(config):
        for cell in matrix.missing(EXPECTED):
            yield f"matrix: no test filled {cell}"


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI, a skip or a missing cell fails the run."""
    if CI and exitstatus == pytest.ExitCode.OK and any(_complaints(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the lists, the tables and, in CI, what is missing from them."""
    vectors = list(vector_lines(terminalreporter.stats))
    if vectors and not SHARED.is_dir():
        vectors.append(f"the other projects' files: 0 run; skipped: {SHARED_ABSENT}")
    for title, listed in (("vectors", vectors), ("mutated messages", list(mutation_lines(terminalreporter.stats)))):
        if listed:
            terminalreporter.section(title)
            for line in listed:
                terminalreporter.write_line(line)
    if lines := list(config.stash[_MATRIX].lines()):
        terminalreporter.section("interoperability")
        for line in lines:
            terminalreporter.write_line(line)
    if CI and (complaints := list(_complaints(config))):
        terminalreporter.section("CI: nothing may be skipped or missing", red=True)
        for complaint in complaints:
            terminalreporter.write_line(complaint, red=True)
