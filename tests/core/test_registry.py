"""Finding packages: by entry point, in explicit sets, and a third party's own distribution."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from examples.custom_provider import SharedKeyPackage
from securestream import registry
from securestream.errors import UsageError
from securestream.registry import ENTRY_POINTS, Registry

ROOT = Path(__file__).resolve().parents[2]
OURS = "examples.custom_provider:SharedKeyPackage"


def entries(monkeypatch: pytest.MonkeyPatch, *named: tuple[str, str]) -> Registry:
    """The registry of an installation with these entry points."""

    def entry_points(*, group: str) -> EntryPoints:
        assert group == ENTRY_POINTS
        return EntryPoints(EntryPoint(name, value, group) for name, value in named)

    monkeypatch.setattr(registry, "entry_points", entry_points)
    uncached = vars(registry)["_installed"].__wrapped__
    found: Registry = uncached()
    return found


class TestOf:
    def test_it_holds_exactly_these(self) -> None:
        package = SharedKeyPackage()
        packages = Registry.of(package)
        assert packages["SharedKey"] is package
        assert list(packages) == ["sharedkey"]
        assert len(packages) == 1
        assert [info.name for info in packages.enumerate()] == ["SharedKey"]

    @pytest.mark.parametrize("name", ["SharedKey", "sharedkey", "SHAREDKEY"])
    def test_case_does_not_matter(self, name: str) -> None:
        packages = Registry.of(SharedKeyPackage())
        assert name in packages
        assert packages[name].info.name == "SharedKey"

    def test_an_unknown_name_lists_what_there_is(self) -> None:
        with pytest.raises(UsageError, match="no package is called 'kerberos'; there are: sharedkey"):
            Registry.of(SharedKeyPackage())["kerberos"]
        with pytest.raises(UsageError, match="there are: none"):
            Registry.of()["ntlm"]
        assert "kerberos" not in Registry.of()
        assert 5 not in Registry.of()


class TestInstalled:
    def test_our_own_packages_are_announced(self) -> None:
        assert {"ntlm", "schannel"} <= set(Registry.installed())

    def test_the_process_has_one(self) -> None:
        assert Registry.installed() is Registry.installed()

    def test_a_package_loads_when_first_asked_for_and_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        packages = entries(monkeypatch, ("sharedkey", OURS), ("broken", "no_such_module:Package"))
        assert list(packages) == ["broken", "sharedkey"], "a broken one hurts nobody until it is used"
        assert packages["sharedkey"] is packages["SharedKey"]

    def test_a_package_is_found_by_the_name_that_it_has_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        packages = entries(monkeypatch, ("broken", "no_such_module:Package"), ("mine", OURS))
        assert packages["sharedKEY"] is packages["mine"]
        assert (packages.announced("SharedKey"), packages.announced("MINE")) == ("mine", "mine")
        assert packages.announced("another") is None
        with pytest.raises(UsageError, match="no package is called 'another'; there are: broken, mine"):
            packages["another"]

    @pytest.mark.parametrize("value", ["no_such_module:Package", "examples.custom_provider:NoSuchName"])
    def test_a_broken_one_is_named_in_one_sentence(self, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
        packages = entries(monkeypatch, ("broken", value))
        with pytest.raises(UsageError, match=rf"package 'broken' \({value}\) cannot be loaded"):
            packages["broken"]

    def test_the_same_entry_found_twice_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A checkout installed in editable form may be on the path a second time."""
        assert len(entries(monkeypatch, ("sharedkey", OURS), ("sharedkey", OURS))) == 1

    def test_two_that_claim_one_name_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Installing a distribution never replaces an authentication method."""
        with pytest.raises(UsageError, match=r"two installed packages are called 'NTLM'.*evil:Package"):
            entries(monkeypatch, ("ntlm", "securestream_providers.ntlm:Ntlm"), ("NTLM", "evil:Package"))


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's own distribution, installed."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", target, ROOT / "tests" / "custom_provider_dist"], check=True, timeout=120)
    return target


def run_with(third_party: Path, code: str) -> str:
    """What `code` prints where the distribution is installed and the checkout's examples are not in reach."""
    path = os.pathsep.join(map(str, (third_party, ROOT, ROOT / "providers")))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": path},
        cwd=third_party,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_third_partys_distribution_is_found_by_its_name(third_party: Path) -> None:
    shown = run_with(
        third_party,
        """
        from securestream.registry import Registry
        package = Registry.installed()["SharedKey"]
        print(type(package).__module__, package.info.name, sorted(Registry.installed()))
        """,
    )
    module, name, installed = shown.split(maxsplit=2)
    assert (module, name) == ("custom_provider", "SharedKey")
    assert installed == "['credssp', 'digest', 'kerberos', 'negotiate', 'ntlm', 'schannel', 'sharedkey']\n"


def test_a_third_partys_package_protects_a_blocking_connection(third_party: Path) -> None:
    shown = run_with(
        third_party,
        """
        import socket, threading
        from custom_provider import SharedKey
        from securestream.blocking import SecureSocket

        alice = SharedKey("alice", bytes(32))
        one, two = socket.socketpair()

        def serve():
            with SecureSocket.wrap_server(two, package="sharedkey", credential=alice) as server:
                server.sendall(b"hello " + server.peer.name.encode() + b", " + server.recv())

        thread = threading.Thread(target=serve)
        thread.start()
        with SecureSocket.wrap_client(one, package="sharedkey", credential=alice) as client:
            client.sendall(b"sealed")
            print(client.recv().decode(), client.protection.name)
        thread.join()
        """,
    )
    assert shown == "hello alice, sealed ENCRYPT_AND_SIGN\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_third_partys_package_serves_connect_and_listen(third_party: Path, backend: str) -> None:
    shown = run_with(
        third_party,
        f"""
        import anyio, securestream as ss
        from custom_provider import SharedKey

        ALICE, BOB = SharedKey("alice", bytes(32)), SharedKey("bob", b"b" * 32)

        async def handler(stream):
            peer = stream.extra(ss.SecurityAttribute.peer)
            await stream.send(b"hello " + peer.name.encode() + b", " + await stream.receive())

        async def main():
            listener = await ss.listen("127.0.0.1", 0, package="sharedkey", credential=ss.Credentials(ALICE, BOB))
            async with listener, anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, handler)
                port = listener.port
                for credential in (ALICE, BOB, SharedKey("bob", bytes(32))):
                    try:
                        stream = await ss.connect("127.0.0.1", port, package="SharedKey", credential=credential)
                    except ss.LogonDenied:
                        print("refused")
                        continue
                    async with stream:
                        await stream.send(b"sealed")
                        print((await stream.receive()).decode())
                tasks.cancel_scope.cancel()

        anyio.run(main, backend="{backend}")
        """,
    )
    assert shown.splitlines() == ["hello alice, sealed", "hello bob, sealed", "refused"]
