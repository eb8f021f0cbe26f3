"""A handshake over a framing: the sequences of [MS-NNS] as .NET 8 shows them, the verdict, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from examples.custom_provider import SharedKeyPackage
from securestream.carrier import CarrierHandshake, check_quality, protection_of
from securestream.credentials import Anonymous, Credential
from securestream.drive import respond_blocking
from securestream.errors import (
    ErrorKind,
    FramingError,
    HandshakeTimeout,
    InvalidToken,
    LogonDenied,
    NoCredentials,
    NotAuthorized,
    PeerGone,
    PeerRefused,
    QualityNotMet,
    UsageError,
)
from securestream.framing.nns import NnsFraming
from securestream.framing.raw import RawFraming
from securestream.machine import State
from securestream.negotiation import Negotiation
from securestream.options import ContextFlags, ImpersonationLevel, Options, Protection, Role, required_flags
from securestream.principal import Principal
from securestream.provider import (
    Admission,
    Admit,
    Capability,
    Established,
    Exchange,
    Handshake,
    PackageInfo,
    TargetName,
    Unusable,
)
from tests.core.handshakes import ALICE, SHARED_KEY, PlainContext, established, options, script

FULL = required_flags(Protection.ENCRYPT_AND_SIGN)
EMPTY_DONE = bytes.fromhex("1401000000")


@dataclass
class Scripted:
    """A package whose two handshakes are given."""

    initiator: Callable[[], Handshake] = lambda: script(b"1", last=b"3")
    acceptor: Callable[[], Handshake] = lambda: script(None, b"2")
    capabilities: Capability = Capability.CONNECTION
    flags: ContextFlags = FULL
    negotiation: Negotiation | None = None
    contexts: list[PlainContext] = field(default_factory=list[PlainContext])

    @property
    def info(self) -> PackageInfo:
        return PackageInfo("Scripted", "for tests", self.capabilities, 100)

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        return Unusable("anonymous is not enough") if isinstance(credential, Anonymous) else None

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        return self._with_flags(self.initiator())

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        return self._with_flags(self.acceptor())

    def _with_flags(self, handshake: Handshake) -> Handshake:
        outcome = yield from handshake
        context = PlainContext(self.flags)
        self.contexts.append(context)
        return Established(context, outcome.peer, outcome.token, self.negotiation)


@dataclass
class Submitting(Scripted):
    """Submits its outcome in the middle; `change` names what is another one at its end."""

    change: str = ""

    def _with_flags(self, handshake: Handshake) -> Handshake:
        yield from Exchange(None)
        submitted = Established(PlainContext(self.flags, Role.ACCEPTOR), established().peer)
        yield from Admission(submitted)
        yield from Exchange(b"2")
        if self.change == "peer":
            return replace(submitted, peer=Principal("mallory", "Plain"))
        return replace(submitted, result=PlainContext(self.flags)) if self.change else submitted


class End:
    """One end with what it sent, driven as the module's first lines say."""

    def __init__(
        self,
        role: Role,
        package: Scripted | SharedKeyPackage,
        *,
        credential: Credential | None = None,
        admit: Admit | None = None,
        protection: Protection = Protection.ENCRYPT_AND_SIGN,
        framing: NnsFraming | None = None,
    ) -> None:
        self.framing = NnsFraming() if framing is None else framing
        self.carrier = CarrierHandshake(
            package,
            role,
            framing=self.framing,
            options=options(protection=protection),
            credential=credential,
            admit=admit,
        )
        self.sent = b""
        self.error: Exception | None = None
        self._guard(self._step, None)

    def receive(self, octets: bytes | None) -> None:
        if octets is None:
            self.framing.receive_eof()
        else:
            self.framing.receive_data(octets)
        self._guard(self._read)

    def _step(self, token: bytes | None) -> None:
        self.sent += self.carrier.answer(respond_blocking(self.carrier.machine, token))

    def _read(self) -> None:
        while not self.carrier.is_complete and (token := self.carrier.next_token()) is not None:
            self._step(token)

    def _guard(self, work: Callable[..., None], *arguments: bytes | None) -> None:
        if self.error is not None:
            return
        try:
            work(*arguments)
        except Exception as error:
            self.error = error
            self.sent += self.carrier.refuse(error)

    def take(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent


def exchange(client: End, server: End) -> list[str]:
    """Carry octets to and fro until there are none; the frames as `c 16`, `s 14`... with their payload."""
    seen: list[str] = []
    for _ in range(20):
        for name, one, other in (("c", client, server), ("s", server, client)):
            octets = one.take()
            rest = octets
            while rest:
                size = int.from_bytes(rest[3:5], "big")
                seen.append(f"{name} {rest[0]:02x} {rest[5 : 5 + size].hex()}".strip())
                rest = rest[5 + size :]
            if octets:
                other.receive(octets)
    return seen


def ends(package: Scripted, server_package: Scripted | None = None) -> tuple[End, End]:
    return End(Role.INITIATOR, package), End(Role.ACCEPTOR, server_package or package)


class TestSequences:
    """PROTOCOL: the sequences of .NET 8's NegotiateStream, [MS-NNS] 3.1.5."""

    def test_raw_ntlm(self) -> None:
        client, server = ends(Scripted())
        assert exchange(client, server) == ["c 16 31", "s 16 32", "c 14 33", "s 14"]
        assert client.carrier.is_complete
        assert server.carrier.is_complete

    def test_kerberos_in_spnego_where_the_client_sends_no_done_frame(self) -> None:
        package = Scripted(lambda: script(b"1"), lambda: script(None, last=b"2"))
        client, server = ends(package)
        assert exchange(client, server) == ["c 16 31", "s 14 32"]
        assert client.carrier.is_complete
        assert server.carrier.is_complete

    def test_ntlm_in_spnego(self) -> None:
        package = Scripted(lambda: script(b"1", b"3"), lambda: script(None, b"2", last=b"4"))
        client, server = ends(package)
        assert exchange(client, server) == ["c 16 31", "s 16 32", "c 16 33", "s 14 34"]
        assert client.carrier.is_complete
        assert server.carrier.is_complete

    def test_a_client_without_a_last_token_still_waits_for_the_servers_done_frame(self) -> None:
        client = End(Role.INITIATOR, Scripted(lambda: script(b"1")))
        client.receive(bytes.fromhex("160100000132"))
        assert client.carrier.machine.state is State.ESTABLISHED
        assert not client.carrier.is_complete
        client.receive(EMPTY_DONE)
        assert client.carrier.is_complete

    def test_one_token_is_enough(self) -> None:
        package = Scripted(lambda: script(last=b"1"), lambda: script(None))
        client, server = ends(package)
        assert exchange(client, server) == ["c 14 31", "s 14"]

    def test_an_empty_token_is_a_token(self) -> None:
        got: list[bytes] = []
        package = Scripted(lambda: script(b"", b"x", got=got), lambda: script(None, b"", got=got))
        client, server = ends(package)
        assert exchange(client, server) == ["c 16", "s 16", "c 16 78", "s 14"]
        assert got == [b"", b"", b"x"]

    def test_frames_may_come_octet_by_octet(self) -> None:
        server = End(Role.ACCEPTOR, Scripted())
        for octet in bytes.fromhex("160100000131 140100000133".replace(" ", "")):
            server.receive(bytes((octet,)))
        assert server.take() == bytes.fromhex("160100000132") + EMPTY_DONE

    def test_data_behind_the_last_frame_stays_in_the_framing(self) -> None:
        server = End(Role.ACCEPTOR, Scripted())
        server.receive(bytes.fromhex("160100000131"))
        server.receive(bytes.fromhex("140100000133") + b"\x01\0\0\0x")
        assert server.carrier.is_complete
        assert server.framing.trailing_data() == b"\x01\0\0\0x"

    def test_a_real_mechanism(self) -> None:
        client = End(Role.INITIATOR, SHARED_KEY, credential=ALICE)
        server = End(Role.ACCEPTOR, SHARED_KEY, credential=ALICE)
        assert [frame[:4] for frame in exchange(client, server)] == ["c 16", "s 16", "c 14", "s 14"]
        assert server.carrier.established.peer.name == "alice"
        assert server.carrier.protection is Protection.ENCRYPT_AND_SIGN


class TestVerdict:
    def test_the_server_judges_before_its_last_frame_and_says_1790(self) -> None:
        """.NET sends 0x15 with 1790 INSTEAD of its done frame when protection is not met."""
        weak = Scripted(flags=ContextFlags.INTEGRITY)
        client = End(Role.INITIATOR, Scripted())
        server = End(Role.ACCEPTOR, weak)
        assert exchange(client, server)[-1] == "s 15 fe06000000000000"
        assert isinstance(server.error, QualityNotMet)
        assert isinstance(client.error, PeerRefused)
        assert client.error.kind is ErrorKind.QUALITY_NOT_MET
        assert weak.contexts[0].discarded

    def test_the_client_judges_before_its_last_token(self) -> None:
        client, server = ends(Scripted(flags=ContextFlags.INTEGRITY), Scripted())
        assert exchange(client, server) == ["c 16 31", "s 16 32", "c 15 fe06000000000000"]
        assert isinstance(client.error, QualityNotMet)
        assert isinstance(server.error, PeerRefused)

    def test_a_client_that_has_no_last_token_and_dislikes_the_outcome_sends_nothing_into_the_servers_data(self) -> None:
        client = End(Role.INITIATOR, Scripted(lambda: script(b"1"), flags=ContextFlags.NONE))
        client.take()
        client.receive(bytes.fromhex("140100000132"))
        assert isinstance(client.error, QualityNotMet)
        assert client.take() == b""

    def test_admit_may_refuse_who_proved_to_be_somebody(self) -> None:
        asked: list[Principal] = []

        def admit(outcome: Established) -> None:
            asked.append(outcome.peer)
            raise NotAuthorized("only carol")

        client = End(Role.INITIATOR, Scripted())
        server = End(Role.ACCEPTOR, Scripted(), admit=admit)
        assert exchange(client, server)[-1].startswith("s 15")
        assert [peer.name for peer in asked] == ["bob"]
        assert isinstance(server.error, NotAuthorized)
        assert isinstance(client.error, PeerRefused)
        with pytest.raises(UsageError):
            _ = server.carrier.established

    def test_a_handshake_that_submits_its_outcome_early_is_judged_then_and_not_again(self) -> None:
        asked: list[str] = []
        server = End(
            Role.ACCEPTOR, Submitting(), admit=lambda outcome: asked.append(f"{outcome.peer.name} {outcome.token!r}")
        )
        server.receive(bytes.fromhex("160100000131"))
        assert asked == ["bob None"]
        assert server.carrier.machine.state is State.EXCHANGING
        server.receive(bytes.fromhex("140100000133"))
        assert server.carrier.is_complete
        assert asked == ["bob None"]

    @pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
    def test_a_judge_that_does_not_raise_its_verdict_lets_nobody_in(self) -> None:
        """An async function, and one that tells by a truth value: neither says anything by itself."""

        async def later(outcome: Established) -> None:
            raise NotAuthorized("never reached")

        for package in (Scripted, Submitting):
            judges: list[Callable[[Established], Any]] = [later, lambda outcome: False, lambda outcome: True]
            for judge in judges:
                server = End(Role.ACCEPTOR, package(), admit=judge)
                exchange(End(Role.INITIATOR, Scripted()), server)
                assert isinstance(server.error, UsageError)
                assert str(server.error).startswith("admit refuses by raising NotAuthorized")
                with pytest.raises(UsageError, match="not complete"):
                    _ = server.carrier.established

    @pytest.mark.parametrize("change", ["peer", "result"])
    def test_what_was_not_submitted_is_judged_at_the_end(self, change: str) -> None:
        asked: list[str] = []

        def admit(outcome: Established) -> None:
            asked.append(outcome.peer.name)
            if len(asked) > 1:
                raise NotAuthorized("not this one")

        server = End(Role.ACCEPTOR, Submitting(change=change), admit=admit)
        server.receive(bytes.fromhex("160100000131"))
        server.receive(bytes.fromhex("140100000133"))
        assert asked == ["bob", "mallory" if change == "peer" else "bob"]
        assert isinstance(server.error, NotAuthorized)

    def test_too_little_protection_is_refused_when_it_is_submitted(self) -> None:
        server = End(Role.ACCEPTOR, Submitting(flags=ContextFlags.INTEGRITY))
        server.receive(bytes.fromhex("160100000131"))
        assert isinstance(server.error, QualityNotMet)
        assert server.take().endswith(bytes.fromhex("15 0100 0008 fe06000000000000"))

    @pytest.mark.parametrize("by_peer", [True, False])
    def test_what_a_mechanism_was_negotiated_by_is_told_after_it_was_complete(self, *, by_peer: bool) -> None:
        report = Negotiation(Role.INITIATOR, ())
        client = End(Role.INITIATOR, Scripted(negotiation=report, flags=FULL if by_peer else ContextFlags.NONE))
        server = End(Role.ACCEPTOR, Scripted(flags=ContextFlags.NONE))
        exchange(client, server)
        error = client.error
        assert isinstance(error, PeerRefused if by_peer else QualityNotMet)
        assert error.negotiation is report

    @pytest.mark.parametrize("asked", list(Protection))
    @pytest.mark.parametrize("given", list(Protection))
    def test_more_than_was_asked_is_fine_and_less_is_refused(self, asked: Protection, given: Protection) -> None:
        outcome = established(flags=required_flags(given))
        assert protection_of(outcome) is given
        if given >= asked:
            check_quality(outcome, options(protection=asked))
        else:
            with pytest.raises(QualityNotMet, match=asked.name):
                check_quality(outcome, options(protection=asked))

    @pytest.mark.parametrize("missing", list(FULL))
    def test_each_single_flag_of_the_protection_is_demanded(self, missing: ContextFlags) -> None:
        with pytest.raises(QualityNotMet, match=str(missing.name)):
            check_quality(established(flags=FULL & ~missing), options())

    @pytest.mark.parametrize("demanded", ImpersonationLevel)
    @pytest.mark.parametrize(
        ("flags", "allowed"),
        [
            (ContextFlags.IDENTIFY, ImpersonationLevel.IDENTIFICATION),
            (ContextFlags.ANONYMOUS, ImpersonationLevel.IDENTIFICATION),
            (ContextFlags.NONE, ImpersonationLevel.IMPERSONATION),
            (ContextFlags.DELEGATE, ImpersonationLevel.DELEGATION),
            (ContextFlags.DELEGATE | ContextFlags.IDENTIFY, ImpersonationLevel.DELEGATION),
        ],
    )
    def test_an_acceptor_demands_an_impersonation_level(
        self, flags: ContextFlags, allowed: ImpersonationLevel, demanded: ImpersonationLevel
    ) -> None:
        asked = replace(options(protection=Protection.NONE), impersonation=demanded)
        accepted = replace(established(), result=PlainContext(flags, Role.ACCEPTOR))
        check_quality(established(flags=flags), asked)  # for an initiator it is a limit, not a demand
        if allowed >= demanded:
            check_quality(accepted, asked)
        else:
            with pytest.raises(
                QualityNotMet, match=f"{demanded.name} is demanded, but the client allows {allowed.name}"
            ):
                check_quality(accepted, asked)

    def test_without_protection_data_is_raw(self) -> None:
        server = End(Role.ACCEPTOR, Scripted(flags=ContextFlags.NONE), protection=Protection.NONE)
        server.receive(bytes.fromhex("160100000131") + bytes.fromhex("140100000133") + b"plain")
        assert server.carrier.protection is Protection.NONE
        assert "raw" in repr(server.framing)


class TestRefusals:
    def test_a_refused_logon_is_told_with_its_hresult_as_dot_net_8_writes_it(self) -> None:
        def refusing() -> Handshake:
            yield from Exchange()
            raise LogonDenied("no such account, or not this password")

        client, server = ends(Scripted(), Scripted(acceptor=refusing))
        assert exchange(client, server) == ["c 16 31", "s 15 0c030980ffffffff"]
        assert isinstance(client.error, PeerRefused)
        assert (client.error.kind, client.error.code) == (ErrorKind.LOGON_DENIED, 0x8009030C)

    def test_a_bug_tells_the_peer_no_more_than_that(self) -> None:
        def broken() -> Handshake:
            yield from Exchange()
            raise KeyError("hunter2")

        client, server = ends(Scripted(), Scripted(acceptor=broken))
        assert exchange(client, server)[-1] == "s 15 04030980ffffffff"
        assert isinstance(server.error, KeyError)

    def test_what_the_peer_refused_is_not_answered(self) -> None:
        client = End(Role.INITIATOR, Scripted())
        client.take()
        client.receive(bytes.fromhex("15010000080c030980ffffffff"))
        assert isinstance(client.error, PeerRefused)
        assert client.take() == b""
        assert client.carrier.machine.state is State.FAILED

    def test_an_end_of_stream_is_thrown_into_the_handshake_and_not_answered(self) -> None:
        thrown: list[Exception] = []

        def listening() -> Handshake:
            try:
                yield from Exchange()
            except PeerGone as gone:
                thrown.append(gone)
                raise
            return established()

        server = End(Role.ACCEPTOR, Scripted(acceptor=listening))
        server.receive(None)
        assert isinstance(server.error, PeerGone)
        assert thrown == [server.error]
        assert server.take() == b""

    def test_a_broken_carrier_is_not_answered(self) -> None:
        server = End(Role.ACCEPTOR, Scripted())
        server.receive(b"GET / HTTP/1.1\r\n")
        assert isinstance(server.error, FramingError)
        assert server.take() == b""

    @pytest.mark.parametrize("frame", ["160100000138", "140100000138"])
    def test_a_token_after_the_client_was_complete_is_refused(self, frame: str) -> None:
        client = End(Role.INITIATOR, Scripted())
        client.receive(bytes.fromhex("160100000132"))
        client.receive(bytes.fromhex(frame))
        assert isinstance(client.error, InvalidToken)

    def test_a_server_that_is_done_too_early_is_refused(self) -> None:
        for frame in ("140100000132", "1401000000"):
            client = End(Role.INITIATOR, Scripted(lambda: script(b"1", b"3", b"5")))
            client.receive(bytes.fromhex(frame))
            assert isinstance(client.error, InvalidToken)

    def test_a_client_that_is_done_while_the_server_is_not_is_told_so(self) -> None:
        server = End(Role.ACCEPTOR, Scripted())
        server.receive(bytes.fromhex("140100000131"))
        assert isinstance(server.error, InvalidToken)
        assert server.take()[:1] == b"\x15"

    def test_a_time_out_is_told_unless_all_was_said(self) -> None:
        server = End(Role.ACCEPTOR, Scripted())
        assert server.carrier.refuse(HandshakeTimeout("too slow"))[:1] == b"\x15"
        done = End(Role.ACCEPTOR, Scripted())
        done.receive(bytes.fromhex("160100000131") + bytes.fromhex("140100000133"))
        assert done.carrier.refuse(HandshakeTimeout("too slow")) == b""

    def test_another_attempt_runs_over_the_same_framing(self) -> None:
        framing = NnsFraming()
        client = End(Role.INITIATOR, Scripted(), framing=framing)
        client.receive(bytes.fromhex("15010000080c030980ffffffff"))
        again = End(Role.INITIATOR, Scripted(), framing=framing)
        again.receive(bytes.fromhex("160100000132") + EMPTY_DONE)
        assert again.carrier.is_complete


class TestRaw:
    STREAM = Capability.CONNECTION | Capability.STREAM

    def test_there_is_no_closing_leg(self) -> None:
        package, framing = Scripted(capabilities=self.STREAM), RawFraming()
        carrier = CarrierHandshake(package, Role.INITIATOR, framing=framing, options=options())
        assert carrier.answer(respond_blocking(carrier.machine)) == b"1"
        framing.receive_data(b"2")
        assert carrier.answer(respond_blocking(carrier.machine, carrier.next_token())) == b"3"
        assert carrier.is_complete

    def test_how_often_the_octets_were_cut_is_no_reason_to_refuse(self) -> None:
        package = Scripted(lambda: script(b"1", *[None] * 200), capabilities=self.STREAM)
        framing = RawFraming()
        carrier = CarrierHandshake(package, Role.INITIATOR, framing=framing, options=options())
        carrier.answer(respond_blocking(carrier.machine))
        for _ in range(201):
            framing.receive_data(b"x")
            carrier.answer(respond_blocking(carrier.machine, carrier.next_token()))
        assert carrier.is_complete

    def test_what_the_mechanism_owes_goes_out_as_it_is(self) -> None:
        package = Scripted(capabilities=self.STREAM)
        carrier = CarrierHandshake(package, Role.INITIATOR, framing=RawFraming(), options=options())
        assert carrier.refuse(InvalidToken("bad record", token=b"alert")) == b"alert"
        assert carrier.refuse(InvalidToken("bad record")) == b""

    def test_bare_tokens_do_not_fit_a_raw_framing(self) -> None:
        with pytest.raises(UsageError, match="do not say where they end"):
            CarrierHandshake(Scripted(), Role.INITIATOR, framing=RawFraming(), options=options())

    def test_a_protocol_of_its_own_does_not_fit_frames(self) -> None:
        package = Scripted(capabilities=self.STREAM)
        with pytest.raises(UsageError, match="raw framing"):
            CarrierHandshake(package, Role.INITIATOR, framing=NnsFraming(), options=options())


def test_an_unusable_credential_is_refused_with_the_packages_own_reason() -> None:
    with pytest.raises(NoCredentials, match="anonymous is not enough"):
        CarrierHandshake(Scripted(), Role.INITIATOR, framing=NnsFraming(), options=options(), credential=Anonymous())


def test_repr_shows_role_and_state() -> None:
    carrier = CarrierHandshake(Scripted(), Role.ACCEPTOR, framing=NnsFraming(), options=options())
    assert repr(carrier) == "<CarrierHandshake acceptor new>"
