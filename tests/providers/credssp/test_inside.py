"""The negotiation inside: what is asked of it, how its end falls among the requests, what its failures leave behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Credential, Credentials
from securestream.errors import BadBindings, HandshakeError, InvalidToken, PeerGone, Unsupported
from securestream.machine import HandshakeMachine
from securestream.options import BindingPolicy, ContextFlags, ImpersonationLevel, Options, Protection, Role
from securestream.principal import Principal
from securestream.provider import Buffer, Established, Exchange, Handshake, TargetName, Unwrapped
from securestream.records.settings import TlsSettings
from securestream.records.stdlib_endpoints import make_context
from securestream_providers.credssp import CredSsp
from securestream_providers.credssp.messages import NegoToken, TSRequest
from securestream_providers.ntlm import Ntlm
from securestream_providers.schannel import Schannel
from tests.core.handshakes import PlainContext
from tests.providers.credssp.by_hand import ByHand, Signs
from tests.providers.credssp.clear import CLOSE_NOTIFY, Clear
from tests.providers.credssp.ends import (
    ACCOUNTS,
    ALICE,
    ALLOWED,
    CA,
    MECHANISMS,
    SERVER,
    TARGET,
    clear_ends,
    meet,
    options,
    start,
    tls_ends,
)

OTHER_BINDINGS = ChannelBindings(b"tls-server-end-point:" + bytes(32))
SEALING = Signs.flags | ContextFlags.CONFIDENTIALITY


class Sealed(PlainContext):
    """Says that all came encrypted."""

    def unwrap(self, token: Buffer) -> Unwrapped:
        return Unwrapped(bytes(token), encrypted=True)


class Legs(Signs):
    """A mechanism that ends as a test wants it to: with or without a last token of either end.

    Its first token is the initiator's, who is complete with the acceptor's answer, or with its own second token.
    """

    def __init__(self, acceptor_last: bytes | None = b"2", initiator_last: bytes | None = None) -> None:
        super().__init__(SEALING)
        object.__setattr__(self, "acceptor_last", acceptor_last)
        object.__setattr__(self, "initiator_last", initiator_last)

    acceptor_last: bytes | None
    initiator_last: bytes | None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        self.asked.append(options)
        yield from Exchange(b"1")
        self.contexts.append(Sealed(self.flags, Role.INITIATOR))
        return Established(self.contexts[-1], Principal("server", "Signs"), self.initiator_last)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        self.asked.append(options)
        assert (yield from Exchange(None)) == b"1"
        if self.initiator_last is not None:
            assert (yield from Exchange(b"more")) == self.initiator_last
        self.contexts.append(Sealed(self.flags, Role.ACCEPTOR))
        return Established(self.contexts[-1], Principal("alice", "Signs"), self.acceptor_last)


def both(package: Signs) -> tuple[CredSsp, CredSsp]:
    return CredSsp(package, Clear(SERVER), delegation=ALLOWED), CredSsp(package, Clear(SERVER))


class TestEnds:
    """Where the negotiation ends among the requests."""

    def test_the_acceptors_token_completes_it(self) -> None:
        assert meet(*both(Legs())).raise_any().delegated == ALICE

    def test_the_initiators_token_completes_it(self) -> None:
        """The proof travels with that token, as NTLM does it."""
        ends = meet(*both(Legs(acceptor_last=None, initiator_last=b"3"))).raise_any()
        request = TSRequest.decode(ends.client.sent[2])
        assert (request.token, request.pub_key_auth is not None) == (b"3", True)

    def test_the_acceptors_last_token_travels_with_its_proof(self) -> None:
        """The client proved already: its mechanism knew no better."""
        ends = meet(*both(Legs(acceptor_last=b"4", initiator_last=b"3")))
        request = TSRequest.decode(ends.server.sent[2])
        assert (request.token, request.pub_key_auth is not None) == (b"4", True)
        assert isinstance(ends.client.error, InvalidToken)  # ours is complete and takes none

    def test_a_mechanism_that_ends_before_the_server_spoke_is_unsupported(self) -> None:
        class AtOnce(Legs):
            def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
                yield from ()
                return Established(Sealed(self.flags, Role.INITIATOR), Principal("server", "Signs"), b"1")

        client, _ = both(AtOnce())
        ends = start(client, ByHand())
        ends.client.step(ends.server.step(ends.client.step()))
        assert isinstance(ends.client.error, Unsupported)

    @pytest.mark.parametrize("mechanism", ["NTLM in SPNEGO", "Kerberos in SPNEGO", "Kerberos"])
    def test_a_token_beside_the_late_proof_is_refused(self, mechanism: str) -> None:
        """The acceptor is complete and told the client so: another token has no meaning."""
        made = MECHANISMS[mechanism]

        def add(role: Role, number: int, token: bytes) -> bytes:
            if role is Role.ACCEPTOR or not token.startswith(b"\x30"):
                return token
            request = TSRequest.decode(token)
            late = request.pub_key_auth is not None and request.token is None
            return replace(request, nego_tokens=(NegoToken(b"x"),)).encode() if late else token

        ends = meet(*clear_ends(mechanism), add, initiating=made.initiating(), accepting=made.accepting())
        assert isinstance(ends.server.error, InvalidToken)
        assert "goes on negotiating" in str(ends.server.error)


class TestAsked:
    """What the negotiation inside is asked for."""

    def asked(self, given: Options, package: Callable[[Signs], tuple[CredSsp, CredSsp]] = both) -> dict[Role, Options]:
        made = Legs()
        meet(*package(made), asked=given)
        return dict(zip((Role.ACCEPTOR, Role.INITIATOR), made.asked, strict=True))

    def test_sealing_and_mutual_authentication_whatever_was_asked(self) -> None:
        given = replace(options(), protection=Protection.NONE, flags=ContextFlags.NONE)
        for asked in self.asked(given).values():
            assert asked.protection is Protection.ENCRYPT_AND_SIGN
            assert ContextFlags.MUTUAL in asked.flags

    def test_the_server_may_act_as_its_client(self) -> None:
        assert self.asked(options())[Role.INITIATOR].impersonation is ImpersonationLevel.IMPERSONATION

    def test_empty_bindings_are_taken_by_default(self) -> None:
        asked = self.asked(options())
        assert asked[Role.ACCEPTOR].binding_policy is BindingPolicy.WHEN_SUPPORTED

    @pytest.mark.parametrize("policy", [BindingPolicy.NEVER, BindingPolicy.ALWAYS])
    def test_another_policy_stays(self, policy: BindingPolicy) -> None:
        assert self.asked(replace(options(), binding_policy=policy))[Role.ACCEPTOR].binding_policy is policy

    @pytest.mark.parametrize("mechanism", MECHANISMS)
    def test_it_is_bound_to_the_channel_around_it(self, mechanism: str) -> None:
        made = MECHANISMS[mechanism]
        more: dict[str, Any] = {"initiating": made.initiating(), "accepting": made.accepting()}
        always = replace(options(), binding_policy=BindingPolicy.ALWAYS)
        assert meet(*tls_ends(mechanism), asked=always, **more).raise_any().delegated == ALICE
        ends = meet(*clear_ends(mechanism), asked=always, **more)  # this channel has no bindings
        assert ends.server.established is None or ends.delegated == ALICE

    def test_wrong_bindings_are_refused(self) -> None:
        """A client whose TLS showed another certificate, before any key is compared."""
        client = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegation=ALLOWED)
        other = replace(options(), channel_bindings=OTHER_BINDINGS)
        server = CredSsp(Ntlm(), Schannel())
        ends = start(client, server)
        ends.client.machine = HandshakeMachine(client.initiate(ALICE, TARGET, other))
        token = ends.client.step()
        while token is not None and not ends.server.over:
            token = ends.server.step(token)
            token = None if token is None or ends.client.over else ends.client.step(token)
        assert isinstance(ends.server.error, BadBindings)


class TestAfterwards:
    """What is left when it is over."""

    def test_the_keys_of_the_mechanism_are_dropped(self) -> None:
        package = Legs()
        meet(*both(package)).raise_any()
        assert [one.discarded for one in package.contexts] == [True, True]

    def test_they_are_dropped_when_it_fails_too(self) -> None:
        package = Legs()
        client, server = CredSsp(package, Clear(CA), delegation=ALLOWED), CredSsp(package, Clear(SERVER))
        ends = meet(client, server)
        assert isinstance(ends.server.error, BadBindings)
        ends.client.machine.close()
        assert package.contexts[0].discarded

    def test_an_initiator_that_fails_closes_tls_and_says_nothing_else(self) -> None:
        """What its mechanism owes would be a token in clear, outside of TLS."""

        class Owes(Legs):
            def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
                yield from Exchange(b"1")
                raise InvalidToken("no", token=b"owed in clear")

        ends = meet(*both(Owes()))
        assert isinstance(ends.client.error, InvalidToken)
        assert ends.client.sent[-1] == CLOSE_NOTIFY
        assert isinstance(ends.server.error, PeerGone)

    def test_an_acceptor_that_fails_says_why_inside_tls(self) -> None:
        class Owes(Legs):
            def accept(self, credential: Credential | None, options: Options) -> Handshake:
                yield from Exchange(None)
                raise HandshakeError("no", token=b"owed in clear")

        ends = meet(*both(Owes()))
        assert ends.server.sent[-1].startswith(b"\x30")
        assert b"owed in clear" not in b"".join(ends.server.sent)

    def test_a_context_does_not_tell_its_certificate(self) -> None:
        """An ssl.SSLContext alone: there is nothing to bind to, and the sentence says what to give."""
        context = make_context(TlsSettings(), Role.ACCEPTOR, SERVER.credential)
        client = CredSsp(Ntlm(), Schannel(trust=CA.pem), delegation=ALLOWED)
        ends = meet(client, CredSsp(Ntlm(), Schannel(context)), accepting=ACCOUNTS)
        assert isinstance(ends.server.error, Unsupported)
        assert "Certificate" in str(ends.server.error)
        both_given = Credentials(SERVER.credential, ACCOUNTS)
        assert meet(client, CredSsp(Ntlm(), Schannel(context)), accepting=both_given).raise_any().delegated == ALICE
