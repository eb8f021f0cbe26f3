"""Each example runs and prints what it should, and so does the code of the README."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from securestream.cli.arguments import parser
from securestream.cli.demo.certificates import Authority
from securestream.services.accounts_sqlite import SqliteAccounts
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
RUN_ELSEWHERE = {"__init__.py", "custom_provider.py", "ldap_whoami.py"}
"""The provider of a third party has a test, and a distribution, of its own; LDAP needs a domain (tests/interop)."""


pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def no_realm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file nor the machine's DNS says anything of Kerberos: NTLM may stand in for it."""
    configuration = tmp_path / "krb5.conf"
    configuration.write_text("[libdefaults]\n    dns_lookup_kdc = false\n", encoding="utf-8")
    monkeypatch.setenv("KRB5_CONFIG", str(configuration))


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder as the examples of TLS want it."""
    authority = Authority(tmp_path, "example authority")
    for name, dns_name in (("server", "files.example"), ("client", "alice.example")):
        pair = authority.issue(dns_name, server=name == "server")
        pair.certificate.rename(tmp_path / f"{name}.pem")
        pair.key.rename(tmp_path / f"{name}.key")
    return tmp_path


def run(*arguments: str | Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_echo(backend: str) -> None:
    assert run(EXAMPLES / "echo.py", backend) == [
        "the server sees alice",
        "the echo is b'hello'",
        "a wrong password: SEC_E_LOGON_DENIED",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_kerberos_echo(backend: str) -> None:
    assert sorted(run(EXAMPLES / "kerberos_echo.py", backend)) == [
        "a wrong password: SEC_E_LOGON_DENIED",
        r"the echo is b'hello' from EXAMPLE.COM\echo/files.example.com",
        r"the server sees EXAMPLE.COM\alice",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anonymous_provider(backend: str) -> None:
    assert sorted(run(EXAMPLES / "anonymous_provider.py", backend)) == [
        "negotiated: Anonymous-X25519: chosen",
        "the echo is b'hello'",
        "the server sees anonymous",
    ]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_negotiate_echo(backend: str) -> None:
    lines = run(EXAMPLES / "negotiate_echo.py", backend)
    refused = "    NTLM: passed over: it stands in for Kerberos only where no KDC is known"
    unknown = "    Kerberos: passed over: the KDC of EXAMPLE.COM does not know bob@EXAMPLE.COM"
    expected = [
        *("alice got b'hello' back over Kerberos:", "    Kerberos: chosen", refused),
        *("bob is not connected:", unknown, refused),
        *("bob got b'hello' back over NTLM:", unknown, "    NTLM: chosen"),
    ]
    assert len(lines) == len(expected)
    for line, begins in zip(lines, expected, strict=True):
        assert line.startswith(begins)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sasl_echo(backend: str) -> None:
    assert run(EXAMPLES / "sasl_echo.py", backend) == [
        "the server sees alice by GSS-SPNEGO",
        "the echo is b'hello' with ENCRYPT_AND_SIGN",
        "the server refused the logon by GSS-SPNEGO: SEC_E_LOGON_DENIED",
    ]


def test_client_certificates(certificates: Path) -> None:
    assert run(EXAMPLES / "client_certificates.py", certificates) == [
        "TLSv1.3 hello alice.example, whom CN=example authority vouches for"
    ]


def test_starttls(certificates: Path) -> None:
    assert run(EXAMPLES / "starttls.py", certificates) == ["say STARTTLS", "now in secret", "in clear again"]


def test_rdp_nla(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "correct horse")
    serve = [sys.executable, "-W", "error", EXAMPLES / "rdp_nla.py", "serve", certificates, r"CORP\alice"]
    with subprocess.Popen([*map(str, serve)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().split()[-1]
            client = ("connect", "files.example", r"CORP\alice", "--address", "127.0.0.1", "--port", port)
            assert run(EXAMPLES / "rdp_nla.py", *client, "--trust", certificates / "authority.pem") == [
                r"logged on at CN=example authority\files.example by HYBRID_EX in TLSv1.3"
            ]
            assert [server.stdout.readline().rstrip() for _ in range(2)] == [
                r"CORP\alice logged on by HYBRID_EX and NTLM, delegating the password of CORP\alice",
                "the client left",
            ]
        finally:
            server.terminate()


def test_by_hand() -> None:
    lines = run(EXAMPLES / "by_hand.py")
    assert [line.split()[2] for line in lines[:3]] == ["NEGOTIATE", "CHALLENGE", "AUTHENTICATE"]
    assert lines[3] == "the server sees alice"
    assert lines[4] == "25 octets sealed are Unwrapped(data=b'a message', encrypted=True)"


def test_blocking() -> None:
    assert sorted(run(EXAMPLES / "blocking.py")) == ["the echo is b'hello'", "the server sees alice"]


def test_http(no_realm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURESTREAM_PASSWORD", "correct horse")
    command = [sys.executable, "-W", "error", str(EXAMPLES / "http_server.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            for scheme, package, proved in (
                ("negotiate", "NTLM", "unknown"),
                ("ntlm", "NTLM", "unknown"),
                ("digest", "WDigest", "example"),
            ):
                assert run(EXAMPLES / "http_client.py", f"{url}/page?x=y", scheme, "alice") == [
                    f"200 you are alice by {package}",
                    f"the server is {proved}",
                ]
        finally:
            server.terminate()


@pytest.mark.parametrize(
    "command",
    [
        "anonymous_provider.py --help",
        "client_certificates.py",
        "client_certificates.py /absent",
        "echo.py curio",
        "http_client.py http://localhost",
        "http_client.py http://localhost basic alice",
        "http_client.py http://localhost ntlm alice",
        "http_server.py",
        "http_server.py http",
        "http_server.py 0",
        "kerberos_echo.py asyncio trio",
        "ldap_whoami.py alice",
        "negotiate_echo.py --help",
        "rdp_nla.py connect",
        "sasl_echo.py --help",
        "starttls.py",
        "starttls.py --help",
    ],
)
def test_wrong_arguments_are_answered_with_the_usage(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECURESTREAM_PASSWORD", raising=False)
    name, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert f"python examples/{name} " in done.stderr or f"usage: {name}" in done.stderr or "set SECURE" in done.stderr


def test_no_example_is_forgotten() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert example.name in RUN_ELSEWHERE or f'"{example.name}"' in tested, f"{example.name} is not run"


def blocks(language: str) -> Iterator[str]:
    """The code blocks of the README in that language."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    yield from re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


AROUND = """
import ast, asyncio, sys
import anyio

async def run(source, names):
    code = compile(source, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if result is not None:
        await result

async def main():
    client, server = sys.argv[2:]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, server, {})
        for _ in range(100):
            try:
                await (await anyio.connect_tcp("127.0.0.1", int(PORT))).aclose()
                break
            except OSError:
                await anyio.sleep(0.1)
        await run(client, {})
        tasks.cancel_scope.cancel()

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_readme_s_client_and_server_talk_to_each_other(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_realm: None
) -> None:
    SqliteAccounts(tmp_path / "accounts.db").add(r"CORP\alice", "correct horse")
    port = str(free_port())
    client, server, _ = (block.replace("9000", port) for block in blocks("python"))
    monkeypatch.chdir(tmp_path)
    lines = run("-c", AROUND.replace("PORT", repr(port)), backend, client, server)
    assert lines == [r"CORP\alice b'hello'", "b'hello' NTLM"]


ALONE = """
import ast, sys
import anyio

async def main():
    source = sys.argv[2] + "    print(keytab, package.info.name)"
    code = compile(source, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, {})

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_readme_s_realm_is_made(backend: str) -> None:
    *_, realm = blocks("python")
    (line,) = run("-c", ALONE, backend, realm)
    assert line.startswith("Keytab(")
    assert line.endswith(" Kerberos")


def test_the_readme_s_commands_exist() -> None:
    """Each line of a shell block is a target of make, or arguments that the command takes."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [line.split(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    assert lines
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE), line
        else:
            assert program == "securestream"
            parser().parse_args(arguments)
