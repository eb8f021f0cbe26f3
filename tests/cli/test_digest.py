"""`serve` and `connect` with DIGEST-MD5: by its name alone, with a warning, and as other packages otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from securestream.cli.accounts import manage_accounts
from securestream.cli.arguments import parser
from securestream.cli.passwords import VARIABLE
from securestream.cli.setup import (
    carried_by,
    check_acceptor,
    check_initiator,
    package_of,
    served_credential,
    warnings_of,
)
from securestream.credentials import Password
from securestream.errors import UsageError
from securestream.options import Role
from securestream.provider import SecurityPackage
from securestream.registry import Registry
from securestream_providers.digest import Digest
from securestream_providers.digest.sasl import DigestMd5
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.cli.processes import PASSWORD, Running, run

SAYS = b"over digest"
REALM = "corp.example"
DIGEST = ("--package", "digest", "--sasl", "digest-md5")
CONNECT = (*DIGEST, "--target", "host/files.example", "--user")


@pytest.fixture(scope="module")
def server(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    r"""A server that takes any level, with accounts of alice and CORP\bob that were made as a user makes them."""
    store = str(tmp_path_factory.mktemp("digest") / "accounts.db")
    for name in ("alice", r"CORP\bob"):
        added = parser("accounts").parse_args(["accounts", "add", name, "--store", store, "--realm", REALM])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(VARIABLE, PASSWORD)
            assert manage_accounts(added) == 0
    named = ("--realm", REALM, "--service", "host/files.example", "--accounts", store)
    with Running("serve", "127.0.0.1:0", *DIGEST, *named, "--echo", "--level", "none", "--log-json") as running:
        yield running


def test_a_user_s_whole_way(server: Running) -> None:
    for user, level, backend in (
        ("alice", "encrypt", "asyncio"),
        (r"CORP\bob", "sign", "trio"),
        ("alice", "none", "trio"),
    ):
        done = run(
            *("connect", server.address, *CONNECT, user, "--level", level, "--backend", backend, "--verbose"),
            stdin=SAYS,
            password=PASSWORD,
        )
        assert (done.returncode, done.stdout) == (0, SAYS)
        told = done.stderr.decode()
        assert told.count("warning: ") == told.count("weak and historic") == 1
        assert f"received Digest challenge: realm {REALM}" in told
        assert PASSWORD not in told
        event = server.event()
        assert (event["peer"], event["package"], event["level"]) == (user, "DIGEST-MD5", level)
        assert ("with rc4, " in event["detail"]) is (level == "encrypt")
        assert server.event()["event"] == "ended"


def test_refusals_are_one_sentence_each(server: Running) -> None:
    for words, password, sspi, at_server in (
        (("alice",), "wrong horse", "SEC_E_LOGON_DENIED", "LogonDenied"),
        (("alice", "--target", "host/other.example"), PASSWORD, "SEC_E_TARGET_UNKNOWN", "TargetUnknown"),
    ):
        done = run("connect", server.address, *CONNECT, *words, stdin=SAYS, password=password)
        assert (done.returncode, done.stdout) == (1, b"")
        warning, refusal = done.stderr.decode().splitlines()
        assert "weak and historic" in warning
        assert sspi in refusal
        assert password not in refusal
        assert server.event()["error"] == at_server


def test_a_realm_that_the_server_does_not_offer_is_refused_and_machines_get_events(server: Running) -> None:
    words = ("alice", "--realm", "other.example", "--log-json")
    done = run("connect", server.address, *CONNECT, *words, stdin=SAYS, password=PASSWORD)
    assert (done.returncode, done.stdout) == (1, b"")
    warning, error = (json.loads(line) for line in done.stderr.decode().splitlines())
    assert (warning["event"], error["event"]) == ("warning", "error")
    assert "weak and historic" in warning["message"]
    assert "other.example: name one of its own" in error["message"]
    assert server.event()["error"] == "PeerRefused"


# --- from arguments to a package


def configured(*words: str, packages: tuple[SecurityPackage, ...] = (Digest(),)) -> SecurityPackage:
    asked = parser().parse_args([words[0], "127.0.0.1:0", "--package", packages[0].info.name, *words[1:]])
    return package_of(asked, Role.ACCEPTOR if words[0] == "serve" else Role.INITIATOR, Registry.of(*packages))


def mechanism_of(package: SecurityPackage) -> DigestMd5:
    assert isinstance(package, Digest)
    assert isinstance(package.sasl, DigestMd5)
    return package.sasl


def test_one_option_may_be_several_arguments_and_each_takes_its_own(installed: None) -> None:
    served = ("--realm", REALM, "--service", "host", "--service", "imap/a.example")
    server = mechanism_of(configured("serve", "--echo", "--sasl", "Digest-MD5", *served))
    assert (server.realms, server.services) == ((REALM,), ("host", "imap/a.example"))
    assert mechanism_of(configured("connect", "--sasl", "digest-md5", "--realm", REALM)).realms == (REALM,)
    assert mechanism_of(configured("connect", "--sasl", "digest-md5")).realms == ()
    assert vars(configured("serve", "--echo", *served, packages=(Kerberos(),)))["realm"] == REALM


@pytest.mark.parametrize("command", ["serve", "connect"])
def test_it_must_be_named_and_the_sentence_says_how_and_that_it_is_weak(installed: None, command: str) -> None:
    words = (command, "--echo") if command == "serve" else (command,)
    with pytest.raises(UsageError, match=r"must be named: --sasl digest-md5, but .*weak and historic"):
        configured(*words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("serve", "--echo", "--sasl", "digest-md5", "--realm", REALM), "--service CLASS/HOST, or CLASS alone"),
        (("serve", "--echo", "--sasl", "digest-md5", "--service", "host"), r"--realm REALM.*accounts add --realm"),
        (("connect", "--sasl", "scram-sha-256"), "carries the SASL mechanism DIGEST-MD5 and no other"),
        (("serve", "--echo", "--sasl", "scram-sha-256", "--realm", REALM), "DIGEST-MD5 and no other"),
        (("connect", "--sasl", "plain"), r"no SASL mechanism is called 'plain'; there are: .*DIGEST-MD5"),
        (("connect", "--sasl", "digest-md5", "--kdc", "kdc.example"), "--kdc means nothing to WDigest"),
        (("connect", "--sasl", "digest-md5", "--framing", "raw"), "need --framing nns"),
    ],
)
def test_what_is_missing_or_means_nothing_is_said_with_its_option(
    installed: None, words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        configured(*words)


@pytest.mark.parametrize("package", [Ntlm(), Negotiate(), Kerberos()])
def test_packages_that_carry_no_mechanism_have_no_use_for_one(installed: None, package: SecurityPackage) -> None:
    with pytest.raises(UsageError, match=f"--sasl means nothing to {package.info.name}: leave it out"):
        configured("connect", "--sasl", "digest-md5", packages=(package,))
    assert list(carried_by(package)) == []


def test_options_that_nobody_takes_are_refused_under_each_of_their_names(installed: None) -> None:
    for words in (("--realm", REALM), ("--service", "host", "--realm", REALM)):
        with pytest.raises(UsageError, match="--realm means nothing to NTLM"):
            configured("serve", "--echo", *words, packages=(Ntlm(),))


def test_a_server_without_accounts_is_told_the_option(installed: None) -> None:
    package = configured("serve", "--echo", "--sasl", "digest-md5", "--realm", REALM, "--service", "host")
    asked = parser().parse_args(["serve", "127.0.0.1:0", "--echo", *DIGEST])
    with pytest.raises(UsageError, match=r"\(--accounts FILE\)"):
        check_acceptor(package, served_credential(asked, package))


class Discouraging(Ntlm):
    """NTLM, told to be weak."""

    warning = "do not"


def test_warnings_of_packages_inside_others_are_told_too() -> None:
    assert warnings_of(Negotiate(Kerberos(), Discouraging())) == ["do not"]
    assert warnings_of(Negotiate(Kerberos(), Ntlm())) == warnings_of(Digest()) == []


@pytest.mark.parametrize("role", list(Role))
def test_without_a_mechanism_the_package_says_where_it_belongs(role: Role) -> None:
    check = check_initiator if role is Role.INITIATOR else check_acceptor
    with pytest.raises(UsageError, match=r"belongs to HTTP .* and to SASL"):
        check(Digest(), Password("alice", PASSWORD))
