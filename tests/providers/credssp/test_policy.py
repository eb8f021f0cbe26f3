"""To whom credentials may go, and which versions are spoken."""

from __future__ import annotations

from typing import Any

import pytest

from securestream.credentials import Anonymous, Credentials, NtHash, Password
from securestream.errors import Downgrade, InvalidToken, NotAuthorized, UsageError
from securestream.options import Role
from securestream.provider import Capability, TargetName
from securestream_providers.credssp import CredSsp, Delegation
from securestream_providers.credssp.policy import Policy
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.core.handshakes import SHARED_KEY
from tests.providers.credssp.ends import ALICE, ALLOWED, CA, SERVING, TARGET, meet

MATCHES = [
    ("TERMSRV/server.example.com", "TERMSRV/server.example.com", True),
    ("TERMSRV/server.example.com", "termsrv/SERVER.example.com", True),
    ("TERMSRV/server.example.com", "TERMSRV/server.example.com.", True),
    ("TERMSRV/server.example.com", "TERMSRV/server.example.com.evil.example", False),
    ("TERMSRV/server.example.com", "TERMSRV/xserver.example.com", False),
    ("TERMSRV/server.example.com", "HTTP/server.example.com", False),
    ("TERMSRV/server.example.com", "server.example.com", False),
    ("TERMSRV/*.example.com", "TERMSRV/a.b.example.com", True),
    ("TERMSRV/*.example.com", "TERMSRV/example.com", False),
    ("TERMSRV/*.example.com", "TERMSRV/a.example.com.evil.example", False),
    ("TERMSRV/*.example.com", "TERMSRV/evil.example/a.example.com", False),
    ("TERMSRV/*.example.com", "TERMSRV/a.example.com/evil.example", False),
    ("TERMSRV/*.example.com", "TERMSRV/a-exampleXcom", False),
    ("*.example.com", "HTTP/a.example.com", True),
    ("*.example.com", "a.example.com", True),
    ("*.example.com", "TERMSRV/evil.example/a.example.com", False),
    ("TERMSRV/*", "TERMSRV/anything", True),
    ("*/a.example.com", "WSMAN/a.example.com", True),
    ("TERMSRV/k.example.com", "TERMSRV/\u212a.example.com", False),
    ("TERMSRV/[a]", "TERMSRV/a", False),
    ("TERMSRV/?", "TERMSRV/a", False),
    ("TERMSRV/a.example.com", "TERMSRV/a.example.com\nTERMSRV/b", False),
]


@pytest.mark.parametrize(("pattern", "target", "allowed"), MATCHES)
def test_a_pattern(pattern: str, target: str, allowed: bool) -> None:
    assert Delegation(pattern).allows(TargetName(target)) is allowed
    assert Delegation("HTTP/other", pattern).allows(TargetName(target)) is allowed


def test_nobody_is_nobody() -> None:
    assert not ALLOWED.allows(None)
    with pytest.raises(NotAuthorized, match="delegation=Delegation"):
        Policy().require_target(TARGET)
    with pytest.raises(NotAuthorized):
        Policy(ALLOWED).require_target(TargetName("TERMSRV/other.example.com"))
    with pytest.raises(NotAuthorized):
        Policy(Delegation("*")).require_target(None)


@pytest.mark.parametrize("patterns", [(), ("",), ("a b",), ("TERMSRV/",), ("/a",), ("a/b/c",), ("ok", "")])
def test_a_pattern_that_matches_nothing_is_refused(patterns: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="patterns"):
        Delegation(*patterns)


def test_versions() -> None:
    assert [Policy().agree(peer) for peer in (5, 6, 7, 255)] == [5, 6, 6, 6]
    old = Policy(vulnerable_peers="accepted")
    assert [old.agree(peer) for peer in (2, 3, 4, 5, 6, 9)] == [2, 3, 4, 5, 6, 6]
    assert Policy(version=2, vulnerable_peers="accepted").agree(6) == 2


@pytest.mark.parametrize("peer", [2, 3, 4])
def test_vulnerable_peers_are_refused_unless_named(peer: int) -> None:
    with pytest.raises(Downgrade, match="CVE-2018-0886"):
        Policy().agree(peer)


@pytest.mark.parametrize("peer", [0, 1])
def test_versions_that_never_were(peer: int) -> None:
    with pytest.raises(InvalidToken):
        Policy(vulnerable_peers="accepted").agree(peer)


CONTRADICTIONS: list[dict[str, Any]] = [
    {"version": 1},
    {"version": 7},
    {"version": 4},
    {"vulnerable_peers": "yes"},
    {"negotiation": Schannel()},
    {"tls": Ntlm()},
    {"delegate_to": ["a.example"], "delegation": Delegation("a.example")},
    {"delegate_to": "a.example"},
]


@pytest.mark.parametrize("arguments", CONTRADICTIONS)
def test_arguments_that_contradict_each_other(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        CredSsp(**arguments)


def test_patterns_alone_are_a_delegation_of_them() -> None:
    package = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegate_to=["TERMSRV/*.example.com"])
    assert package.usable(ALICE, Role.INITIATOR) is None
    assert meet(package, CredSsp(Ntlm(), Schannel())).delegated == ALICE
    other = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegate_to=["TERMSRV/*.example.org"])
    assert isinstance(meet(other, CredSsp(Ntlm(), Schannel())).client.error, NotAuthorized)


def test_unproven_hosts_are_named() -> None:
    with pytest.raises(UsageError):
        Delegation("a", unproven_hosts="yes")  # type: ignore[arg-type]  # wrong on purpose


def test_what_it_is() -> None:
    package = CredSsp(Ntlm(), Schannel())
    assert package.info.name == "CREDSSP"
    assert Capability.STREAM | Capability.DELEGATION in package.info.capabilities
    assert "version=6" in repr(package)


def test_the_default_negotiates_kerberos_and_ntlm_inside_schannel() -> None:
    assert repr(CredSsp()) == "CredSsp(Negotiate, Schannel, version=6)"


class TestUsable:
    """What a caller is told before a handshake is made."""

    def test_an_initiator_needs_a_policy(self) -> None:
        unusable = CredSsp(Ntlm(), Schannel()).usable(ALICE, Role.INITIATOR)
        assert unusable is not None
        assert "Delegation" in unusable.reason

    def test_an_initiator_needs_something_to_delegate(self) -> None:
        package = CredSsp(Ntlm(), Schannel(), delegation=ALLOWED)
        unusable = package.usable(NtHash("alice", bytes(16)), Role.INITIATOR)
        assert unusable is not None
        assert "Password" in unusable.reason
        assert package.usable(ALICE, Role.INITIATOR) is None
        assert package.usable(Credentials(NtHash("alice", bytes(16)), Password("bob", "p")), Role.INITIATOR) is None

    def test_restricted_admin_needs_neither(self) -> None:
        package = CredSsp(Ntlm(), Schannel(), restricted_admin=True)
        assert package.usable(NtHash("alice", bytes(16)), Role.INITIATOR) is None

    def test_an_acceptor_needs_a_certificate_and_accounts(self) -> None:
        package = CredSsp(Ntlm(), Schannel())
        certificate, accounts = SERVING
        assert package.usable(SERVING, Role.ACCEPTOR) is None
        for lacking in (certificate, accounts, Credentials(accounts), Anonymous(), None):
            assert package.usable(lacking, Role.ACCEPTOR) is not None

    def test_what_the_mechanism_cannot_use_is_said(self) -> None:
        assert CredSsp(SHARED_KEY, Schannel(), delegation=ALLOWED).usable(ALICE, Role.INITIATOR) is not None


def test_a_listener_has_tls_sessions_of_its_own() -> None:
    package = CredSsp(Ntlm(), Schannel(trust=CA.pem), version=5, early_authorization=True, restricted_admin=True)
    scoped = package.for_listener()
    assert scoped is not package
    assert repr(scoped) == repr(package)
    assert scoped.usable(None, Role.ACCEPTOR) == package.usable(None, Role.ACCEPTOR)
