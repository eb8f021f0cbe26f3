"""CredSSP against itself in every combination: mechanisms, versions of both ends, TLS and its engines, verdicts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from securestream.credentials import Credential, Credentials, Password
from securestream.errors import (
    Downgrade,
    ErrorKind,
    HandshakeError,
    NotAuthorized,
    PeerGone,
    PeerRefused,
    SecureStreamError,
)
from securestream.principal import NameType
from securestream.provider import Admit, Established, SecurityContext
from securestream.records.base import PlainData, RecordConnection
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream.redaction import Secret
from securestream_providers.credssp import CredSsp, PackageCredential, RemoteGuard, SmartCard
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.providers.credssp.clear import Clear
from tests.providers.credssp.ends import ALICE, ALLOWED, CA, HOST, MECHANISMS, SERVER, Ends, meet

ENGINES: tuple[Engine, ...] = ("stdlib", "pyopenssl")
TLS: tuple[Version, ...] = ("TLSv1.2", "TLSv1.3")
VERSIONS = range(2, 7)


def connections(ends: Ends) -> tuple[RecordConnection, RecordConnection]:
    client, server = ends.client.outcome.result, ends.server.outcome.result
    assert not isinstance(client, SecurityContext)
    assert not isinstance(server, SecurityContext)
    return client, server


def check_data(ends: Ends) -> None:
    """Data flows in both directions over the live connections; late session tickets disturb nobody."""
    client, server = connections(ends)
    for sender, receiver in ((client, server), (server, client), (client, server)):
        receiver.receive_data(sender.data_to_send())
        sender.send(b"data of the session")
        receiver.receive_data(sender.data_to_send())
        assert receiver.next_event() == PlainData(b"data of the session")


def _combinations() -> Iterator[Any]:
    for mechanism, engine, tls, early in itertools.product(MECHANISMS, ENGINES, TLS, (False, True)):
        yield pytest.param(mechanism, engine, tls, early, id=f"{mechanism}-{engine}-{tls}-{'early' if early else ''}")


@pytest.mark.parametrize(("name", "engine", "tls", "early"), list(_combinations()))
def test_combination(name: str, engine: Engine, tls: Version, early: bool) -> None:
    mechanism = MECHANISMS[name]
    more: dict[str, Any] = {"early_authorization": early}
    client = CredSsp(
        mechanism.package(), Schannel(trust=CA.pem, engine=engine, maximum_version=tls), delegation=ALLOWED, **more
    )
    server = CredSsp(mechanism.package(), Schannel(engine=engine), **more)
    ends = meet(client, server, initiating=mechanism.initiating(), accepting=mechanism.accepting()).raise_any()
    assert ends.delegated == ALICE
    assert ends.client.outcome.delegated is None
    assert ends.server.outcome.peer.name == "alice"
    peer = ends.client.outcome.peer
    assert (peer.name_type is NameType.HOST) is not mechanism.proves_host
    assert HOST in peer.name
    assert connections(ends)[0].session.version == tls
    negotiated = "SPNEGO" in name
    assert (ends.server.outcome.negotiation is not None) is negotiated
    assert (ends.client.outcome.negotiation is not None) is negotiated
    check_data(ends)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_versions_of_both_ends(mechanism: str) -> None:
    """Each end goes on stating its own version; the lower one is in force."""
    made = MECHANISMS[mechanism]
    for ours, theirs in itertools.product(VERSIONS, VERSIONS):
        client, server = (
            CredSsp(made.package(), tls, version=version, vulnerable_peers="accepted", delegation=ALLOWED)
            for tls, version in ((Schannel(trust=CA.pem), ours), (Schannel(), theirs))
        )
        ends = meet(client, server, initiating=made.initiating(), accepting=made.accepting()).raise_any()
        assert ends.delegated == ALICE, (ours, theirs)


@pytest.mark.parametrize("old", [2, 3, 4])
def test_vulnerable_peers_are_refused_by_either_end(old: int) -> None:
    new = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegation=ALLOWED)
    former = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegation=ALLOWED, version=old, vulnerable_peers="accepted")
    ends = meet(new, former)
    assert isinstance(ends.client.error, Downgrade)
    assert ends.server.established is None
    ends = meet(former, new)
    assert isinstance(ends.server.error, Downgrade)
    assert isinstance(ends.client.error, SecureStreamError)
    if old > 2:  # version 2 has no error codes
        assert isinstance(ends.client.error, PeerRefused)
        assert ends.client.error.code == 0xC0000388


DELEGATED: dict[str, Credential] = {
    "password of a domain": Password(r"CORP\bob", "pässword"),
    "smart card": SmartCard(Secret("1234"), card_name="card"),
    "remote guard": RemoteGuard(PackageCredential("Kerberos", Secret(b"ticket"))),
}


@pytest.mark.parametrize("name", DELEGATED)
def test_what_is_delegated(name: str) -> None:
    delegated = DELEGATED[name]
    alice = Password("alice", ALICE.password.reveal())
    client = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegation=ALLOWED)
    if isinstance(delegated, Password):  # what authenticates is what is delegated
        assert meet(client, CredSsp(Ntlm(), Schannel()), initiating=alice).raise_any().delegated == alice
        return
    ends = meet(client, CredSsp(Ntlm(), Schannel()), initiating=Credentials(alice, delegated)).raise_any()
    assert ends.delegated == delegated


def test_restricted_admin() -> None:
    client = CredSsp(Ntlm(), Schannel(trust=CA.pem), restricted_admin=True)
    ends = meet(client, CredSsp(Ntlm(), Schannel(), restricted_admin=True)).raise_any()
    assert ends.delegated is None
    assert ends.server.outcome.peer.name == "alice"


def test_restricted_admin_is_refused_unless_allowed() -> None:
    client = CredSsp(Ntlm(), Schannel(trust=CA.pem), restricted_admin=True)
    ends = meet(client, CredSsp(Ntlm(), Schannel()))
    assert isinstance(ends.server.error, NotAuthorized)
    assert "restricted_admin=True" in str(ends.server.error)


def judging(asked: list[Established], refused: HandshakeError | None = None) -> Admit:
    """A judge who takes down what he is asked, and may refuse."""

    def admit(established: Established) -> None:
        asked.append(established)
        if refused is not None:
            raise refused

    return admit


class TestVerdicts:
    """`admit` of either end, at the moment where a refusal can still be told."""

    @staticmethod
    def packages(tls: Version = "TLSv1.3", **more: Any) -> tuple[CredSsp, CredSsp]:
        return (
            CredSsp(Ntlm(), Schannel(trust=CA.pem, maximum_version=tls), delegation=ALLOWED, **more),
            CredSsp(Ntlm(), Schannel(), **more),
        )

    @pytest.mark.parametrize("tls", TLS)
    def test_an_early_verdict_is_told(self, tls: Version) -> None:
        asked: list[Established] = []
        refused = NotAuthorized("not today")
        ends = meet(*self.packages(tls, early_authorization=True), server_admits=judging(asked, refused))
        assert [one.peer.name for one in asked] == ["alice"]
        assert ends.server.error is refused
        assert isinstance(ends.client.error, PeerRefused)
        assert (ends.client.error.kind, ends.client.error.code) == (ErrorKind.NOT_AUTHORIZED, 5)
        assert "early user authorization" in str(ends.client.error)

    @pytest.mark.parametrize("mechanism", MECHANISMS)
    @pytest.mark.parametrize("early", [False, True])
    def test_the_peer_is_known_when_it_is_asked_for_and_nothing_was_delegated(
        self, mechanism: str, early: bool
    ) -> None:
        made = MECHANISMS[mechanism]
        by_client, by_server = list[Established](), list[Established]()
        more: dict[str, Any] = {"early_authorization": early}
        ends = meet(
            CredSsp(made.package(), Schannel(trust=CA.pem), delegation=ALLOWED, **more),
            CredSsp(made.package(), Schannel(), **more),
            initiating=made.initiating(),
            accepting=made.accepting(),
            client_admits=judging(by_client),
            server_admits=judging(by_server),
        ).raise_any()
        check_data(ends)
        for asked, end in ((by_client, ends.client), (by_server, ends.server)):
            assert [one.peer for one in asked] == [end.outcome.peer]
            assert asked[0].result is end.outcome.result
            assert asked[0].negotiation is end.outcome.negotiation
            assert (asked[0].delegated, asked[0].token) == (None, None)
        assert ends.delegated == ALICE

    @pytest.mark.parametrize("early", [False, True])
    def test_of_every_version_with_every_version(self, early: bool) -> None:
        """The error code is of the versions that have one; the early verdict is of all."""
        for ours, theirs in itertools.product(VERSIONS, VERSIONS):
            client, server = (
                CredSsp(
                    Ntlm(),
                    Clear(SERVER),
                    version=version,
                    vulnerable_peers="accepted",
                    delegation=ALLOWED,
                    early_authorization=early,
                )
                for version in (ours, theirs)
            )
            ends = meet(client, server, server_admits=judging([], NotAuthorized("not today")))
            assert isinstance(ends.server.error, NotAuthorized), (ours, theirs)
            error = ends.client.error
            if not early and min(ours, theirs) in (2, 5):  # they have no word for it
                assert isinstance(error, PeerGone), (ours, theirs)
                assert "whether the account may log on" in str(error)
                continue
            assert isinstance(error, PeerRefused), (ours, theirs)
            assert error.kind is ErrorKind.NOT_AUTHORIZED
            assert error.code == (5 if early else 0xC0000022)
            assert "does not admit this user" in str(error)

    @pytest.mark.parametrize("kind", [ErrorKind.LOGON_DENIED, ErrorKind.NOT_AUTHORIZED])
    def test_who_judges_may_have_the_client_told_something_else(self, kind: ErrorKind) -> None:
        refused = NotAuthorized("not today", told=kind, token=b"in clear")
        ends = meet(*self.packages(), server_admits=judging([], refused))
        assert isinstance(ends.client.error, PeerRefused)
        assert ends.client.error.code == kind.ntstatus
        assert b"in clear" not in b"".join(ends.server.sent)

    @pytest.mark.parametrize("tls", TLS)
    @pytest.mark.parametrize("early", [False, True])
    def test_a_client_may_refuse_the_server(self, tls: Version, early: bool) -> None:
        refused = NotAuthorized("not this server", token=b"in clear")
        ends = meet(*self.packages(tls, early_authorization=early), client_admits=judging([], refused))
        assert ends.client.error is refused
        assert isinstance(ends.server.error, PeerGone)
        assert b"in clear" not in b"".join(ends.client.sent)
