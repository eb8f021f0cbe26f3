"""`serve` and `connect` with CredSSP: who is shown, what is delegated and to whom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from securestream.cli.arguments import parser
from securestream.cli.demo.certificates import Authority
from securestream.cli.serve import delegated_name
from securestream.cli.setup import check_acceptor, check_initiator, client_credential, package_of, served_credential
from securestream.credentials import Certificate, CredentialCache, Credentials, Password
from securestream.errors import UsageError
from securestream.extensions import Composed
from securestream.options import Role
from securestream.provider import SecurityPackage
from securestream.redaction import Secret
from securestream.registry import Registry
from securestream_providers.credssp import CredSsp, SmartCard
from securestream_providers.digest import Digest
from securestream_providers.negotiate import Negotiate
from tests.cli.processes import PASSWORD, Running, run

SAYS = b"over credssp"
HOST = "files.example"


@pytest.fixture
def server(store: str, authority: Authority) -> Iterator[Running]:
    """A server of accounts."""
    if "credssp" not in Registry.installed():
        pytest.skip("this installation of securestream has no CredSSP yet: pip install -e . again")
    pair = authority.issue(HOST, server=True)
    own = ("--certificate", str(pair.certificate), "--key", str(pair.key))
    arguments = ("--package", "credssp", *own, "--accounts", store, "--echo", "--log-json")
    with Running("serve", "127.0.0.1:0", *arguments) as running:
        yield running


def test_a_client_is_shown_with_what_it_delegated(server: Running, authority: Authority) -> None:
    done = run(
        *("connect", server.address, "--package", "credssp", "--ca", str(authority.file), "--user", r"CORP\alice"),
        *("--target", f"host/{HOST}", "--delegate", HOST, "--backend", "trio"),
        stdin=SAYS,
        password=PASSWORD,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, SAYS, b"")
    event = server.event()
    assert (event["peer"], event["package"], event["level"]) == (r"CORP\alice", "CREDSSP", "encrypt")
    assert event["delegated"] == r"Password of CORP\alice"
    assert [one["mechanism"] for one in event["negotiation"] if one["verdict"] == "chosen"] == ["NTLM"]
    assert PASSWORD not in json.dumps(event) + server.everything()


def test_nothing_is_delegated_to_whom_the_pattern_does_not_name(server: Running, authority: Authority) -> None:
    done = run(
        *("connect", server.address, "--package", "credssp", "--ca", str(authority.file), "--user", r"CORP\alice"),
        *("--target", f"host/{HOST}", "--delegate", "*.other.example"),
        stdin=SAYS,
        password=PASSWORD,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"no credentials are delegated to host/files.example" in done.stderr
    assert server.event()["event"] == "refused"


# --- from arguments to packages and credentials


def configured(words: list[str], *packages: SecurityPackage) -> SecurityPackage:
    asked = parser().parse_args([words[0], "127.0.0.1:1", *words[1:]])
    role = Role.ACCEPTOR if words[0] == "serve" else Role.INITIATOR
    return package_of(asked, role, Registry.of(*packages))


def test_the_packages_inside_get_the_arguments_that_they_take(authority: Authority) -> None:
    inside = ["--ca", str(authority.file), "--realm", "A.EXAMPLE", "--kdc", "k.example", "--ntlm", "never"]
    package = configured(["connect", "--package", "credssp", "--delegate", HOST, *inside], CredSsp())
    assert isinstance(package, Composed)
    negotiation = package.parts["negotiation"]
    assert isinstance(negotiation, Negotiate)
    assert negotiation.ntlm == "never"
    assert vars(negotiation.mechanisms[0])["realm"] == "A.EXAMPLE"
    assert vars(package.parts["tls"])["_settings"].trust == str(authority.file)


def test_an_argument_that_nobody_inside_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="--delegate means nothing to WDigest"):
        configured(["connect", "--package", "wdigest", "--sasl", "digest-md5", "--delegate", HOST], Digest())


def test_who_may_have_the_password_must_be_named() -> None:
    with pytest.raises(UsageError, match=r"hands your password to the server: .*--delegate HOST"):
        configured(["connect", "--package", "credssp"], CredSsp())


@pytest.mark.parametrize("given", [["--level", "sign"], ["--framing", "nns"]])
def test_it_is_a_stream_by_itself(given: list[str]) -> None:
    with pytest.raises(UsageError, match="leave --"):
        configured(["connect", "--package", "credssp", "--delegate", HOST, *given], CredSsp())


def test_a_client_has_tickets_and_a_certificate_beside_the_password(tmp_path: Path, authority: Authority) -> None:
    pair = authority.issue("alice.example", server=False)
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD, encoding="utf-8")
    words = ["--user", "alice", "--password-file", str(secret), "--ccache", "FILE:/nowhere"]
    words += ["--certificate", str(pair.certificate), "--key", str(pair.key)]
    asked = parser().parse_args(["connect", "127.0.0.1:1", "--package", "credssp", *words])
    credential = client_credential(asked, CredSsp())
    assert isinstance(credential, Credentials)
    assert [type(form) for form in credential] == [CredentialCache, Password, Certificate]


def test_a_client_without_a_user_is_told_the_option() -> None:
    package = CredSsp(delegate_to=[HOST])
    asked = parser().parse_args(["connect", "127.0.0.1:1", "--package", "credssp"])
    with pytest.raises(UsageError, match=r"nothing to delegate.*\(--user NAME\)"):
        check_initiator(package, client_credential(asked, package))


@pytest.mark.parametrize("missing", ["accounts", "certificate"])
def test_a_server_is_told_what_is_missing(missing: str, store: str, authority: Authority) -> None:
    pair = authority.issue(HOST, server=True)
    words = {
        "accounts": ["--certificate", str(pair.certificate), "--key", str(pair.key)],
        "certificate": ["--accounts", store],
    }[missing]
    asked = parser().parse_args(["serve", "127.0.0.1:0", "--package", "credssp", "--echo", *words])
    with pytest.raises(UsageError, match=rf"\(.*--{missing} FILE"):
        check_acceptor(CredSsp(), served_credential(asked, CredSsp()))


def test_a_delegated_credential_is_named_without_its_secret() -> None:
    assert delegated_name(Password(r"CORP\alice", PASSWORD)) == r"Password of CORP\alice"
    assert delegated_name(Password("bob", PASSWORD)) == "Password of bob"
    assert delegated_name(SmartCard(Secret(PASSWORD))) == "SmartCard"
