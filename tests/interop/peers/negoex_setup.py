"""Builds the mechanism with which MIT tests its NEGOEX, from the krb5 source package of the distribution.

MIT's library negotiates NEGOEX for every mechanism that asks for it, and ships none that does. The machine's own apt
configuration is read and left as it is; the source goes to a temporary folder.
"""

from __future__ import annotations

import glob
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.interop.peers.places import NEGOEX

LIBRARY = NEGOEX / "gss_negoextest.so"
SOURCE = "src/plugins/gssapi/negoextest/main.c"
HEADER = "src/lib/gssapi/generic/gssapi_alloc.h"
COMPILER = "gcc"

_SHIM = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <assert.h>
#include <krb5.h>
#include <gssapi/gssapi_krb5.h>
static inline void store_32_le(uint32_t value, void *place)
{
    for (int octet = 0; octet < 4; octet++)
        ((uint8_t *)place)[octet] = (uint8_t)(value >> (8 * octet));
}
"""
"""Stands in for the library's internal header of that name, of which the mechanism wants no more than this."""


def ready() -> bool:
    """Whether it is built."""
    return LIBRARY.exists()


def install() -> None:
    """Fetch the source and build it.

    Raises:
        OSError: a tool is missing.
        subprocess.CalledProcessError: one failed.
        ValueError: the source package is not as expected.
    """
    NEGOEX.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _fetch(folder)
        include = folder / "include"
        (include / "gssapi").mkdir(parents=True)
        (include / "k5-int.h").write_text(_SHIM, encoding="ascii")
        _extract(folder, HEADER, include / "gssapi/gssapi_alloc.h")
        _extract(folder, SOURCE, folder / "main.c")
        built = folder / LIBRARY.name
        arguments = ["-shared", "-fPIC", "-O1", f"-I{include}", "-o", built, folder / "main.c"]
        _run([COMPILER, *map(str, arguments), "-lgssapi_krb5", "-lkrb5"], folder)
        LIBRARY.write_bytes(built.read_bytes())


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def _fetch(folder: Path) -> None:
    """The source package's archive, by the machine's own sources, asked for source packages."""
    for part in ("lists/partial", "archives/partial", "parts"):
        (folder / part).mkdir(parents=True)
    single = ("/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list"))
    lines = [
        "deb-src " + line.removeprefix("deb ")
        for path in single
        if Path(path).exists()
        for line in Path(path).read_text(encoding="utf-8").splitlines()
        if line.startswith("deb ")
    ]
    (folder / "parts/all.list").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for path in map(Path, glob.glob("/etc/apt/sources.list.d/*.sources")):
        text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", path.read_text(encoding="utf-8"))
        (folder / "parts" / path.name).write_text(text, encoding="utf-8")
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache::archives": folder / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": 3,
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    _run([*apt, "update"], folder)
    _run([*apt, "source", "--download-only", "krb5"], folder)


def _extract(folder: Path, path: str, to: Path) -> None:
    """Write one file of the archive."""
    for archive in folder.glob("krb5_*.orig.tar.*"):
        if archive.suffix == ".asc":
            continue
        with tarfile.open(archive) as source:
            member = next((one for one in source if one.name.partition("/")[2] == path), None)
            file = None if member is None else source.extractfile(member)
            if file is not None:
                to.write_bytes(file.read())
                return
    raise ValueError(f"the krb5 source package has no {path}")
