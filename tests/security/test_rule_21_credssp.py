"""SECURITY 21: credentials leave only when the server's key and host are proved, and to whom policy names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from securestream.credentials import Password
from securestream.errors import (
    BadBindings,
    CertificateRejected,
    Downgrade,
    ErrorKind,
    InvalidToken,
    LimitExceeded,
    LogonDenied,
    NoCredentials,
    NotAuthorized,
    PeerGone,
    PeerRefused,
    QualityNotMet,
)
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags, Role
from securestream.principal import NameType
from securestream.provider import Established, TargetName
from securestream_providers.credssp import CredSsp, Delegation, binding, credentials
from securestream_providers.credssp.messages import DENIED, NegoToken, TSRequest
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.providers.credssp.by_hand import NONCE, ByHand, Signs
from tests.providers.credssp.clear import CLOSE_NOTIFY, Clear
from tests.providers.credssp.ends import (
    ALICE,
    ALLOWED,
    CA,
    HOST,
    MECHANISMS,
    OTHER,
    SECRET,
    SERVER,
    TARGET,
    clear_ends,
    meet,
    options,
    start,
    tls_ends,
)
from tests.providers.credssp.looking import requests, require_silence, run

CLIENT, ACCEPTOR = Role.INITIATOR, Role.ACCEPTOR
by_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS)


class TestProofOfTheKey:
    """pubKeyAuth is of the same TLS key, of the right role, and comes before anything is delegated."""

    @by_mechanism
    @pytest.mark.parametrize("version", [4, 6])
    def test_another_key_at_the_server_is_seen_by_the_server(self, mechanism: str, version: int) -> None:
        made = MECHANISMS[mechanism]
        more: dict[str, Any] = {"version": version, "vulnerable_peers": "accepted"}
        client = CredSsp(made.package(), Clear(OTHER), delegation=ALLOWED, **more)
        server = CredSsp(made.package(), Clear(SERVER), **more)
        ends = meet(client, server, initiating=made.initiating(), accepting=made.accepting())
        assert isinstance(ends.server.error, BadBindings)
        assert requests(ends.server.sent)[-1].ntstatus == 0xC000006D  # as for a wrong password
        require_silence(ends)
        assert all(one.auth_info is None for one in requests(ends.client.sent))

    @pytest.mark.parametrize("version", [2, 4, 5, 6])
    def test_the_clients_own_proof_is_no_servers_proof(self, version: int) -> None:
        """A server that shares the session and seals what the client had sealed: the forms of the roles differ."""
        server = ByHand(version, prove=lambda role, version, key, nonce: binding.plaintext(CLIENT, version, key, nonce))
        ends = meet(_old_client(version), server)
        assert isinstance(ends.client.error, BadBindings)
        assert all(one.auth_info is None for one in server.heard)

    @pytest.mark.parametrize("version", [2, 4, 5, 6])
    def test_the_servers_proof_is_no_clients_proof(self, version: int) -> None:
        client = ByHand(
            version, prove=lambda role, version, key, nonce: binding.plaintext(ACCEPTOR, version, key, nonce)
        )
        ends = meet(client, _old_server(version))
        assert isinstance(ends.server.error, BadBindings)
        assert ends.server.established is None

    @pytest.mark.parametrize("version", [4, 6])
    def test_a_server_with_another_key_is_refused_by_the_client_too(self, version: int) -> None:
        server = ByHand(version, certificate=OTHER)
        ends = meet(_old_client(version), server)
        assert isinstance(ends.client.error, BadBindings)
        assert all(one.auth_info is None for one in server.heard)

    def test_the_same_proof_sealed_by_the_client_is_refused_as_a_reflection(self) -> None:
        def reflect(role: Role, number: int, token: bytes) -> bytes:
            if role is CLIENT and number == 2:
                kept.append(TSRequest(6, pub_key_auth=requests([token])[0].pub_key_auth).encode())
            return kept[0] if (role, number) == (ACCEPTOR, 2) else token

        kept: list[bytes] = []
        ends = run("NTLM", reflect)
        assert isinstance(ends.client.error, InvalidToken)
        require_silence(ends)

    @pytest.mark.parametrize("field", ["auth_info", "pub_key_auth", "nego_tokens"])
    @pytest.mark.parametrize(("role", "number"), [(CLIENT, 1), (ACCEPTOR, 1), (ACCEPTOR, 2), (CLIENT, 3)])
    def test_a_field_where_it_is_not_due_is_refused(self, field: str, role: Role, number: int) -> None:
        value: Any = (NegoToken(b"x"),) if field == "nego_tokens" else b"x"
        given: dict[str, Any] = {field: value}

        def add(sender: Role, which: int, token: bytes) -> bytes:
            if (sender, which) != (role, number):
                return token
            return replace(requests([token])[0], **given).encode()

        ends = run("NTLM", add)
        if (field, number) == ("nego_tokens", 1) or (role, number, field) in (
            (ACCEPTOR, 2, "pub_key_auth"),
            (CLIENT, 3, "auth_info"),
        ):
            require_silence(ends)  # it is due there, and was replaced
            return
        error = ends.client.error if role is ACCEPTOR else ends.server.error
        assert isinstance(error, InvalidToken)
        require_silence(ends)

    def test_a_server_that_skips_its_proof_gets_nothing(self) -> None:
        server = ByHand(change={1: lambda message: TSRequest(6)})
        ends = meet(_old_client(6), server)
        assert isinstance(ends.client.error, InvalidToken)
        assert "pubKeyAuth" in str(ends.client.error)
        assert all(one.auth_info is None for one in server.heard)

    def test_a_mechanism_that_only_signs_is_refused(self) -> None:
        package = Signs()
        ends = meet(CredSsp(package, Clear(SERVER), delegation=ALLOWED), CredSsp(package, Clear(SERVER)))
        assert isinstance(ends.client.error, QualityNotMet)
        require_silence(ends)

    def test_a_proof_in_clear_is_refused(self) -> None:
        package = Signs(Signs.flags | ContextFlags.CONFIDENTIALITY)
        ends = meet(CredSsp(package, Clear(SERVER), delegation=ALLOWED), CredSsp(package, Clear(SERVER)))
        assert isinstance(ends.server.error, InvalidToken)
        assert "in clear" in str(ends.server.error)


class TestNonce:
    """32 octets, one for the whole handshake, and never what decides the form of the proof."""

    @pytest.mark.parametrize("version", [5, 6])
    def test_a_client_of_version_5_without_a_nonce_is_refused(self, version: int) -> None:
        client = ByHand(version, prove=lambda role, version, key, nonce: binding.plaintext(role, 4, key, None))
        client.change[1] = lambda message: replace(message, client_nonce=None)
        ends = meet(client, _old_server(version))
        assert isinstance(ends.server.error, InvalidToken)
        assert "nonce" in str(ends.server.error)

    def test_a_nonce_makes_no_version_5(self) -> None:
        """A client of version 4 that sends a nonce and a hash: version 4 has the key itself."""
        client = ByHand(4, prove=lambda role, version, key, nonce: binding.plaintext(role, 5, key, nonce))
        ends = meet(client, _old_server(6))
        assert isinstance(ends.server.error, BadBindings)

    @pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
    def test_a_nonce_of_another_size_is_refused(self, size: int) -> None:
        client = ByHand(change={0: lambda message: replace(message, client_nonce=bytes(size))})
        ends = meet(client, _old_server(6))
        assert isinstance(ends.server.error, InvalidToken)
        assert "nonce" in str(ends.server.error)

    @pytest.mark.parametrize("number", [0, 2])
    def test_a_nonce_that_changes_is_refused(self, number: int) -> None:
        client = ByHand(change={number: lambda message: replace(message, client_nonce=bytes(32))})
        ends = meet(client, _old_server(6))
        assert isinstance(ends.server.error, InvalidToken)
        assert "nonce" in str(ends.server.error)

    def test_a_nonce_that_stays_is_fine_in_every_message(self) -> None:
        def add(message: TSRequest) -> TSRequest:
            return replace(message, client_nonce=NONCE)

        ends = meet(ByHand(change={0: add, 1: add, 2: add}), _old_server(6))
        assert ends.delegated == ALICE

    def test_every_handshake_has_its_own(self) -> None:
        client, server = clear_ends()
        nonces: list[bytes] = []
        for _ in range(3):
            sent = requests(meet(client, server).raise_any().client.sent)
            nonces += [one.client_nonce for one in sent if one.client_nonce is not None]
        assert len(set(nonces)) == len(nonces) == 3


class TestVersion:
    """It is stated at once and stays."""

    @pytest.mark.parametrize("version", [2, 3, 4])
    def test_a_vulnerable_server_hears_nothing_after_its_first_message(self, version: int) -> None:
        server = ByHand(version)
        ends = meet(CredSsp(Ntlm(), Clear(SERVER), delegation=ALLOWED), server)
        assert isinstance(ends.client.error, Downgrade)
        assert len(server.heard) == 1  # NTLM's NEGOTIATE, which says nothing of anybody
        assert ends.client.sent[-1] == CLOSE_NOTIFY

    @pytest.mark.parametrize("version", [2, 3, 4])
    def test_a_vulnerable_client_hears_no_challenge(self, version: int) -> None:
        client = ByHand(version)
        ends = meet(client, CredSsp(Ntlm(), Clear(SERVER)))
        assert isinstance(ends.server.error, Downgrade)
        assert all(one.token is None for one in requests(ends.server.sent))

    @pytest.mark.parametrize("other", [2, 4, 5, 7])
    @pytest.mark.parametrize("number", [1, 2])
    def test_a_client_that_changes_it_is_refused(self, number: int, other: int) -> None:
        client = ByHand(change={number: lambda message: replace(message, version=other)})
        ends = meet(client, _old_server(6))
        assert isinstance(ends.server.error, InvalidToken)
        assert "version" in str(ends.server.error)
        assert ends.server.established is None

    @pytest.mark.parametrize("other", [2, 4, 5, 7])
    def test_a_server_that_changes_it_is_refused(self, other: int) -> None:
        server = ByHand(change={1: lambda message: replace(message, version=other)})
        ends = meet(_old_client(6), server)
        assert isinstance(ends.client.error, InvalidToken)
        assert all(one.auth_info is None for one in server.heard)

    def test_a_newer_peer_speaks_ours(self) -> None:
        newer = ByHand(9, prove=lambda role, version, key, nonce: binding.plaintext(role, 6, key, nonce))
        assert meet(newer, _old_server(6)).delegated == ALICE


class TestHost:
    """The host is proved by its certificate or by Kerberos; NTLM proves none."""

    @by_mechanism
    def test_without_a_verified_certificate_the_mechanism_must_prove_it(self, mechanism: str) -> None:
        made = MECHANISMS[mechanism]
        client = CredSsp(made.package(), Schannel(verify="none"), delegation=ALLOWED)
        ends = meet(
            client, CredSsp(made.package(), Schannel()), initiating=made.initiating(), accepting=made.accepting()
        )
        if made.proves_host:
            assert ends.delegated == ALICE
            return
        assert isinstance(ends.client.error, NotAuthorized)
        assert "unproven_hosts" in str(ends.client.error)
        assert ends.server.established is None

    @pytest.mark.parametrize("mechanism", ["NTLM", "NTLM in SPNEGO"])
    def test_an_unproven_host_gets_neither_proof_nor_credentials(self, mechanism: str) -> None:
        made = MECHANISMS[mechanism]
        client = CredSsp(made.package(), Clear(SERVER, proves=False), delegation=ALLOWED)
        ends = meet(client, CredSsp(made.package(), Clear(SERVER)), accepting=made.accepting())
        assert isinstance(ends.client.error, NotAuthorized)
        assert all(one.auth_info is None and one.pub_key_auth is None for one in requests(ends.client.sent))

    def test_it_may_be_said_that_nothing_proves_it(self) -> None:
        delegation = Delegation(f"TERMSRV/{HOST}", unproven_hosts="accepted")
        client = CredSsp(Ntlm(), Schannel(verify="none"), delegation=delegation)
        assert meet(client, CredSsp(Ntlm(), Schannel())).delegated == ALICE

    def test_a_certificate_of_somebody_else_ends_it_before_the_negotiation(self) -> None:
        client = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegation=Delegation("TERMSRV/*.example.com"))
        ends = meet(client, CredSsp(Ntlm(), Schannel()), target=TargetName("TERMSRV/elsewhere.example.com"))
        assert isinstance(ends.client.error, CertificateRejected)
        assert not ends.server.over or ends.server.established is None


class TestDelegation:
    """Credentials go to nobody unless told, and that is settled before the first octet."""

    @pytest.mark.parametrize("target", ["HTTP/" + HOST, HOST + ".evil.example", "TERMSRV/other.example.com", None])
    def test_a_target_that_is_not_allowed_hears_nothing(self, target: str | None) -> None:
        client, _ = tls_ends()
        machine = HandshakeMachine(client.initiate(ALICE, None if target is None else TargetName(target), options()))
        with pytest.raises(NotAuthorized) as refused:
            machine.step()
        assert refused.value.token is None

    def test_the_default_delegates_to_nobody(self) -> None:
        client = CredSsp(Ntlm(), Schannel(trust=CA.pem))
        with pytest.raises(NoCredentials, match="delegates to nobody"):
            HandshakeMachine(client.initiate(ALICE, TARGET, options())).step()

    def test_restricted_admin_sends_no_credentials(self) -> None:
        client = CredSsp(Ntlm(), Clear(SERVER), restricted_admin=True, delegation=ALLOWED)
        server = ByHand()
        meet(client, server)
        assert server.delegated == credentials.encode(None)

    def test_a_ticket_is_not_forwarded_beside_them(self) -> None:
        """What is delegated goes by CredSSP, after the proof: DELEGATE is not asked of the mechanism inside."""
        asked = replace(options(), flags=ContextFlags.MUTUAL | ContextFlags.DELEGATE)
        package = Signs()
        client = CredSsp(package, Clear(SERVER), delegation=ALLOWED)
        meet(client, CredSsp(package, Clear(SERVER)), asked=asked)
        assert ContextFlags.DELEGATE not in package.asked[0].flags


class TestRefusal:
    """A client that is refused learns why, in the words that its version has, and no more than it may."""

    @pytest.mark.parametrize("version", range(2, 7))
    @pytest.mark.parametrize("wrong", [Password("alice", "wrong"), Password("nobody", SECRET)])
    def test_a_wrong_logon(self, version: int, wrong: Password) -> None:
        ends = meet(*_pair(version), initiating=wrong)
        assert isinstance(ends.server.error, LogonDenied)
        told = [one.ntstatus for one in requests(ends.server.sent) if one.ntstatus]
        assert told == ([] if version in (2, 5) else [0xC000006D])
        assert ends.server.sent[-1].endswith(CLOSE_NOTIFY) != bool(told)  # an error has nothing behind it
        if told:
            assert isinstance(ends.client.error, PeerRefused)
            assert ends.client.error.code == 0xC000006D
        else:
            assert isinstance(ends.client.error, PeerGone)

    def test_wrong_and_unknown_look_the_same(self) -> None:
        seen = [
            requests(meet(*_pair(6), initiating=wrong).server.sent)[-1].encode()
            for wrong in (Password("alice", "wrong"), Password("nobody", SECRET))
        ]
        assert seen[0] == seen[1]

    def test_an_error_code_ends_the_clients_handshake_at_any_time(self) -> None:
        for number in (0, 1):
            server = ByHand(change={number: lambda message: TSRequest(6, error_code=-0x3FFFFF93)})
            ends = meet(_old_client(6), server)
            assert isinstance(ends.client.error, PeerRefused)
            assert ends.client.error.code == 0xC000006D

    @pytest.mark.parametrize("version", range(2, 7))
    def test_a_client_that_is_not_admitted_sends_no_credentials(self, version: int) -> None:
        ends = meet(*_pair(version), server_admits=_refuse)
        assert isinstance(ends.server.error, NotAuthorized)
        require_silence(ends)
        assert all(one.auth_info is None for one in requests(ends.client.sent))
        assert all(one.pub_key_auth is None for one in requests(ends.server.sent))
        told = [one.ntstatus for one in requests(ends.server.sent) if one.ntstatus]
        assert told == ([] if version in (2, 5) else [0xC0000022])

    @pytest.mark.parametrize("version", range(2, 7))
    def test_what_comes_before_an_early_verdict_stays_unopened(self, version: int) -> None:
        """An early verdict has its place behind the credentials; garbage in their place is not noticed."""
        client = ByHand(version, delegated=b"no TSCredentials")
        server = CredSsp(Ntlm(), Clear(SERVER), version=version, vulnerable_peers="accepted", early_authorization=True)
        ends = meet(client, server, server_admits=_refuse)
        assert isinstance(ends.server.error, NotAuthorized)
        assert ends.server.sent[-1] == DENIED + CLOSE_NOTIFY

    def test_a_token_of_whoever_refuses_leaves_at_no_side_of_tls(self) -> None:
        """It is none of CredSSP's, and would stand in clear."""

        def refuse(established: Established) -> None:
            raise NotAuthorized("not today", token=b"what the database said")

        for ends in (meet(*_pair(6), server_admits=refuse), meet(*_pair(6), client_admits=refuse)):
            assert NotAuthorized in (type(ends.client.error), type(ends.server.error))
            assert b"what the database said" not in b"".join((*ends.client.sent, *ends.server.sent))

    @pytest.mark.parametrize("version", range(2, 7))
    def test_a_server_that_is_not_admitted_gets_no_credentials(self, version: int) -> None:
        server = ByHand(version)
        ends = meet(_old_client(version), server, client_admits=_refuse)
        assert isinstance(ends.client.error, NotAuthorized)
        assert all(one.auth_info is None for one in server.heard)
        assert ends.client.sent[-1] == CLOSE_NOTIFY

    def test_nobody_is_judged_before_the_proof_of_the_key(self) -> None:
        asked: list[Established] = []
        for client, server in (
            (ByHand(certificate=OTHER), _old_server(6)),
            (_old_client(6), ByHand(certificate=OTHER)),
            (ByHand(change={1: lambda message: replace(message, pub_key_auth=None)}), _old_server(6)),
        ):
            meet(client, server, client_admits=asked.append, server_admits=asked.append)
        assert asked == []

    @pytest.mark.parametrize("early", [False, True])
    def test_behind_the_credentials_nothing_is_said_but_a_verdict(self, early: bool) -> None:
        """The client awaits one, or the application's first data, as which it would read an error."""
        client = CredSsp(Ntlm(), Clear(SERVER), restricted_admin=True, early_authorization=early)
        ends = meet(client, CredSsp(Ntlm(), Clear(SERVER), early_authorization=early))
        assert isinstance(ends.server.error, NotAuthorized)
        assert ends.server.sent[-1] == (DENIED if early else b"") + CLOSE_NOTIFY
        if early:
            assert isinstance(ends.client.error, PeerRefused)
            assert ends.client.error.kind is ErrorKind.NOT_AUTHORIZED
            assert ends.client.error.code == 5


class TestBounds:
    """What an unauthenticated peer may cause."""

    @pytest.mark.parametrize("head", ["3084ffffffff", "308400100000", "3083100000", "3085"], ids=str)
    def test_a_length_is_judged_before_anything_is_buffered(self, head: str) -> None:
        client, server = clear_ends()
        ends = start(client, server)
        hello = ends.client.step() or b""
        ends.server.step(hello)
        ends.server.step(bytes.fromhex(head))
        assert isinstance(ends.server.error, LimitExceeded | InvalidToken)

    def test_a_request_longer_than_the_longest_token_is_over_the_limit(self) -> None:
        client, server = clear_ends()
        ends = start(client, server)
        ends.server.step(ends.client.step())
        ends.server.step(bytes.fromhex("3082ffff"))
        assert not ends.server.over
        ends = start(client, server)
        ends.server.step(ends.client.step())
        ends.server.step(bytes.fromhex("3083010500"))
        assert isinstance(ends.server.error, LimitExceeded)

    @pytest.mark.parametrize("octets", [b"\x04\x00", b"\x30\x00", b"GET / HTTP/1.1\r\n", b"\x30\x80"], ids=repr)
    def test_what_is_no_request_is_refused_at_its_first_octets(self, octets: bytes) -> None:
        client, server = clear_ends()
        ends = start(client, server)
        ends.server.step(ends.client.step())
        ends.server.step(octets)
        assert isinstance(ends.server.error, InvalidToken)
        assert (ends.server.sent[-1]) == CLOSE_NOTIFY

    def test_an_anonymous_client_is_refused(self) -> None:
        package = Signs(Signs.flags | ContextFlags.CONFIDENTIALITY, name_type=NameType.ANONYMOUS)
        ends = meet(CredSsp(package, Clear(SERVER), delegation=ALLOWED), CredSsp(package, Clear(SERVER)))
        assert isinstance(ends.server.error, LogonDenied)


def _refuse(established: Established) -> None:
    raise NotAuthorized("not today")


def _old_client(version: int) -> CredSsp:
    return CredSsp(Ntlm(), Clear(SERVER), delegation=ALLOWED, version=version, vulnerable_peers="accepted")


def _old_server(version: int) -> CredSsp:
    return CredSsp(Ntlm(), Clear(SERVER), version=version, vulnerable_peers="accepted")


def _pair(version: int) -> tuple[CredSsp, CredSsp]:
    return _old_client(version), _old_server(version)
