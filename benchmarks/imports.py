"""Import time: ours beside what it stands on."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from benchmarks.measure import OURS, Effort, Section, Target, micro, take_turns

_BASIS = "anyio and cryptography's ciphers"
_STATEMENTS = {
    _BASIS: "import anyio, anyio.abc\nfrom cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes",
    OURS: "import securestream",
    f"{OURS}, streams and NTLM in use": (
        "import securestream\nsecurestream.connect, securestream.listen, securestream.NegotiateStream\n"
        "import securestream_providers.ntlm as n; n.Ntlm()"
    ),
}
_UNWANTED = ("securestream_providers", "securestream.cli", "cryptography.x509", "trio", "ssl", "sqlite3")


def _turn(statement: str) -> float:
    program = f"import time\nt = time.process_time()\n{statement}\nprint(time.process_time() - t)"
    command = [sys.executable, "-c", program]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _imported(statement: str) -> list[str]:
    """Which of the modules that should wait until they are used are imported."""
    program = f"import sys\n{statement}\nprint(*[name for name in {_UNWANTED!r} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return output.split()


def imports(effort: Effort) -> Section:
    """The rows of import time."""
    series = take_turns(
        {name: partial(_turn, statement) for name, statement in _STATEMENTS.items()},
        effort.rounds * 2 + 1,
    )
    section = Section("Import time in a fresh interpreter, CPU µs", ("", "µs", "× the basis", "also imports"))
    for name, statement in _STATEMENTS.items():
        times = series[name].times(series[_BASIS])
        section.rows.append((name, micro(series[name]), f"{times:.2f}", ", ".join(_imported(statement)) or "–"))
    section.targets.append(
        Target(f"`import securestream` beside {_BASIS}", 1.3, series[OURS].times(series[_BASIS]), "<=")
    )
    return section
