"""Both roles of NEGOEX against each other: hops, keys, metadata, who chooses, what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from examples.anonymous_provider import AnonymousPackage
from examples.custom_provider import SharedKeyPackage
from securestream.credentials import Accounts, Anonymous, Credentials, Password
from securestream.drive import respond_blocking
from securestream.errors import (
    Downgrade,
    ErrorKind,
    InvalidToken,
    LogonDenied,
    NoCommonMechanism,
    UsageError,
)
from securestream.machine import HandshakeMachine
from securestream.negotiation import Verdict
from securestream.options import ContextFlags, Role
from securestream.provider import SecurityContext
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.messages import NTLM, NegState, NegTokenResp
from securestream_providers.negotiate.negoex.messages import ExchangeMessage, Message, MessageType, messages_of
from securestream_providers.negotiate.negoex.package import Negoex
from securestream_providers.ntlm import Ntlm
from tests.core.handshakes import ALICE, options
from tests.providers.negotiate.negoex.hops import Fails, Hops, Keys
from tests.providers.negotiate.negoex.meeting import ONE, TWO, Meeting, meet

INITIATOR, ACCEPTOR = Role.INITIATOR, Role.ACCEPTOR
FIRST_TOKEN = ["0 INITIATOR_NEGO", "1 INITIATOR_META_DATA", "2 AP_REQUEST"]


def one(hops: int = 1, keys: Keys = "end", fails: Fails | None = None) -> Hops:
    return replace(ONE, hops=hops, keys=keys, fails=fails, heard=[])


def plain(met: Meeting) -> list[list[str]]:
    """What was said, after both ends were complete."""
    assert met.complete, met.errors
    return met.said


class TestProof:
    """VERIFY, with the key as soon as there is one ([MS-NEGOEX] 3.1.5.7)."""

    def test_one_hop(self) -> None:
        assert plain(meet([one()], [one()])) == [
            [*FIRST_TOKEN, "3 VERIFY"],
            ["4 ACCEPTOR_NEGO", "5 ACCEPTOR_META_DATA", "6 VERIFY"],
        ]

    def test_two_hops(self) -> None:
        assert plain(meet([one(2)], [one(2)])) == [
            FIRST_TOKEN,
            ["3 ACCEPTOR_NEGO", "4 ACCEPTOR_META_DATA", "5 CHALLENGE", "6 VERIFY"],
            ["7 VERIFY"],
        ]

    def test_three_hops(self) -> None:
        assert plain(meet([one(3)], [one(3)]))[2:] == [["6 AP_REQUEST", "7 VERIFY"], ["8 VERIFY"]]

    def test_an_early_key_proves_once(self) -> None:
        assert plain(meet([one(3, "early")], [one(3, "early")])) == [
            [*FIRST_TOKEN, "3 VERIFY"],
            ["4 ACCEPTOR_NEGO", "5 ACCEPTOR_META_DATA", "6 CHALLENGE", "7 VERIFY"],
            ["8 AP_REQUEST"],
        ]

    def test_who_has_no_key_yet_says_so_and_gets_another_verify(self) -> None:
        assert plain(meet([one(3, "early")], [one(3)]))[1:] == [
            ["4 ACCEPTOR_NEGO", "5 ACCEPTOR_META_DATA", "6 CHALLENGE", "7 ALERT"],
            ["8 AP_REQUEST", "9 VERIFY"],
            ["10 VERIFY"],
        ]
        assert plain(meet([one(4)], [one(4, "early")]))[2:] == [
            ["7 AP_REQUEST", "8 ALERT"],
            ["9 CHALLENGE", "10 VERIFY"],
            ["11 VERIFY"],
        ]

    @pytest.mark.parametrize("hops", range(1, 8))
    @pytest.mark.parametrize("role", Role)
    def test_without_a_key_nothing_is_established(self, hops: int, role: Role) -> None:
        keyless, other = one(hops, "never"), one(hops)
        met = meet([keyless], [other]) if role is INITIATOR else meet([other], [keyless])
        assert not met.complete
        assert isinstance(met.errors[role], Downgrade)
        assert "announced no key" in str(met.errors[role])


class TestChoice:
    """The acceptor's order decides; whoever cannot begin is passed over, with the sentence why."""

    def test_the_acceptors_order_decides(self) -> None:
        met = meet([ONE, TWO], [TWO, ONE])
        assert [len(token) for token in plain(met)] == [5, 3, 2, 1]
        assert [met.chosen(role) for role in Role] == ["Second", "Second"]
        assert met.outcomes[INITIATOR].negotiation is not None
        assert str(met.outcomes[INITIATOR].negotiation) == "First: offered\nSecond: chosen: the acceptor prefers it"

    def test_identifiers_are_guids_and_the_negotiation_is_proved(self) -> None:
        negotiation = meet([ONE], [ONE]).outcomes[ACCEPTOR].negotiation
        assert negotiation is not None
        assert [entry.identifier for entry in negotiation.mechanisms] == [str(ONE.info.negoex_scheme)]
        assert negotiation.protected

    @pytest.mark.parametrize("fails", ["start", "metadata", "token"])
    def test_an_initiator_goes_on_to_its_next(self, fails: Fails) -> None:
        met = meet([one(fails=fails), TWO], [ONE, TWO])
        assert plain(met)[0] == [*FIRST_TOKEN, "3 VERIFY"]
        assert met.chosen(INITIATOR) == "Second"
        assert met.reason(INITIATOR, "First").startswith("First ")
        entry = met.outcomes[INITIATOR].negotiation
        assert entry is not None
        assert [(each.verdict, each.kind) for each in entry.mechanisms] == [
            (Verdict.PASSED_OVER, ErrorKind.LOGON_DENIED),
            (Verdict.CHOSEN, None),
        ]

    def test_an_acceptor_passes_over_what_dislikes_the_metadata(self) -> None:
        met = meet([ONE, TWO], [one(fails="metadata"), TWO])
        assert plain(met)[1] == ["5 ACCEPTOR_NEGO", "6 ACCEPTOR_META_DATA"]
        assert [met.chosen(role) for role in Role] == ["Second", "Second"]
        assert met.reason(ACCEPTOR, "First") == "First dislikes the metadata"

    def test_an_initiator_goes_on_to_the_acceptors_next(self) -> None:
        """The one that the acceptor prefers waits for metadata, and fails when it has come."""
        met = meet([TWO, replace(ONE, waits=True, fails="metadata")], [ONE, TWO])
        assert [met.chosen(role) for role in Role] == ["Second", "Second"]
        assert plain(met)[2] == ["8 AP_REQUEST", "9 VERIFY"]

    def test_a_refused_optimistic_token_is_no_error_but_the_same_again_is(self) -> None:
        met = meet([one(2)], [one(2, fails="token")])
        assert met.said[:3] == [FIRST_TOKEN, ["3 ACCEPTOR_NEGO", "4 ACCEPTOR_META_DATA"], ["5 AP_REQUEST"]]
        assert isinstance(met.errors[ACCEPTOR], LogonDenied)
        assert str(met.errors[INITIATOR]) == "failure from acceptor", "its own last word, in a CHALLENGE"
        assert met.said[3] == ["6 CHALLENGE"]

    @pytest.mark.parametrize(("mine", "theirs"), [([ONE], [TWO]), ([ONE, TWO], [one(fails="metadata")])])
    def test_no_scheme_in_common(self, mine: list[Hops], theirs: list[Hops]) -> None:
        met = meet(mine, theirs)
        failure = met.errors[ACCEPTOR]
        assert isinstance(failure, NoCommonMechanism)
        assert failure.negotiation is not None
        assert all(entry.verdict is Verdict.PASSED_OVER for entry in failure.negotiation.mechanisms)
        assert all(entry.reason in str(failure) for entry in failure.negotiation.mechanisms)

    def test_nothing_that_can_begin(self) -> None:
        met = meet([one(fails="start"), replace(TWO, fails="token")], [ONE])
        failure = met.errors[INITIATOR]
        assert isinstance(failure, NoCommonMechanism)
        assert failure.kind is ErrorKind.LOGON_DENIED
        assert "First cannot begin" in str(failure)

    def test_an_acceptor_that_cannot_begin_says_so_at_the_start(self) -> None:
        met = meet([ONE], [one(fails="start")])
        assert str(met.errors[ACCEPTOR]) == "First cannot begin"
        assert not met.tokens


class TestMetadata:
    """META_DATA ([MS-NEGOEX] 3.1.5.2): both ends say something beforehand, if they want to."""

    def test_an_acceptor_has_it_at_once_and_an_initiator_if_it_waits(self) -> None:
        mine, theirs = one(), one()
        assert meet([mine], [theirs]).complete
        assert (mine.heard, theirs.heard) == ([None], [b"X"])
        mine = replace(ONE, waits=True, metadata=b"mine", heard=[])
        theirs = replace(ONE, metadata=b"theirs", heard=[])
        assert plain(meet([mine], [theirs]))[0] == FIRST_TOKEN[:2], "no optimistic token"
        assert (mine.heard, theirs.heard) == ([b"theirs"], [b"mine"])

    def test_who_waits_and_hears_nothing_goes_on(self) -> None:
        mine = replace(ONE, waits=True, heard=[])
        assert meet([mine], [replace(ONE, metadata=None)]).complete
        assert mine.heard == [None]

    def test_who_is_not_first_hears_it_before_its_first_token(self) -> None:
        mine = replace(TWO, heard=[])
        assert meet([ONE, mine], [replace(TWO, metadata=b"theirs")]).complete
        assert mine.heard == [b"theirs"]

    def test_a_scheme_that_begins_anew_hears_it(self) -> None:
        mine = one(2)
        meet([mine], [replace(ONE, hops=2, metadata=b"theirs", fails="token")])
        assert mine.heard == [None, b"theirs"]

    def test_outside_of_negoex_nothing_comes(self) -> None:
        mine = one()
        met = meet(mine, one())
        assert met.complete
        assert mine.heard == [None]


class TestPackage:
    def test_a_scheme_is_listed_once(self) -> None:
        with pytest.raises(UsageError, match="listed twice"):
            Negoex((ONE, one(2)))

    def test_a_package_without_a_scheme_is_refused(self) -> None:
        with pytest.raises(UsageError, match="NTLM cannot be negotiated by NEGOEX"):
            Negoex((Ntlm(),))

    def test_every_packages_reason_is_told_where_none_can_be_used(self) -> None:
        unusable = Negoex((SharedKeyPackage(), AnonymousPackage())).usable(None, INITIATOR)
        assert unusable is not None
        assert unusable.reason == (
            "SharedKey: give a SharedKey credential; Anonymous-X25519: give an Anonymous credential"
        )
        assert Negoex((SharedKeyPackage(), AnonymousPackage())).usable(Anonymous(), INITIATOR) is None

    def test_what_cannot_be_used_is_passed_over(self) -> None:
        both = (SharedKeyPackage(), AnonymousPackage())
        met = meet(both, both, credentials=Anonymous())
        assert [met.chosen(role) for role in Role] == ["Anonymous-X25519", "Anonymous-X25519"]
        assert met.reason(INITIATOR, "SharedKey") == "give a SharedKey credential"


class TestInSpnego:
    """NEGOEX as one mechanism of SPNEGO; its schemes take its place in the report."""

    @pytest.mark.parametrize("package", [SharedKeyPackage(), AnonymousPackage()])
    def test_packages_from_elsewhere_are_negotiated_and_protect(
        self, package: SharedKeyPackage | AnonymousPackage
    ) -> None:
        negotiate = Negotiate(package, Ntlm())
        credential = Credentials(ALICE, Anonymous())
        met = meet(negotiate, negotiate, credentials=credential)
        assert met.complete, met.errors
        assert [met.chosen(role) for role in Role] == [package.info.name] * 2
        contexts = [met.outcomes[role].result for role in Role]
        for mine, theirs in (contexts, contexts[::-1]):
            assert isinstance(mine, SecurityContext)
            assert isinstance(theirs, SecurityContext)
            assert theirs.unwrap(mine.wrap(b"sealed")) == (b"sealed", True)
            assert theirs.unwrap(mine.wrap(b"signed", encrypt=False)) == (b"signed", False)
            theirs.verify(b"data", mine.sign(b"data"))

    def test_wrong_shared_keys_are_refused(self) -> None:
        other = type(ALICE)("alice", bytes(32))
        negotiate = Negotiate(SharedKeyPackage())
        met = meet(negotiate, negotiate, credentials=(other, ALICE))
        assert isinstance(met.errors[INITIATOR], LogonDenied)

    def test_ends_without_a_common_scheme_go_on_to_the_next_mechanism(self) -> None:
        known = (Password("alice", "a password"), Accounts.memory(alice="a password"))
        met = meet(Negotiate(ONE, Ntlm(), ntlm="always"), Negotiate(TWO, Ntlm()), credentials=known)
        assert met.complete, met.errors
        assert [met.chosen(role) for role in Role] == ["NTLM", "NTLM"]
        assert "NEGOEX has no scheme left" in met.reason(ACCEPTOR, "NEGOEX")

    def test_a_windows_client_whose_schemes_nobody_has_comes_to_its_next_mechanism(self, shared: Path) -> None:
        """Windows 10 offers NEGOEX for PKU2U first, then NTLM."""
        path = shared / "vectors/negoex_tokens.json"
        (vector,) = json.loads(path.read_text(encoding="utf-8"))["vectors"]
        handshake = Negotiate(ONE, Ntlm()).accept(Accounts.memory(alice="a password"), options())
        answer = respond_blocking(HandshakeMachine(handshake), bytes.fromhex(vector["spnego_token"])).token
        assert answer is not None
        assert NegTokenResp.decode(answer) == NegTokenResp(NegState.REQUEST_MIC, NTLM)

    @pytest.mark.parametrize("integrity", [True, False])
    def test_it_needs_a_mic_where_it_was_not_the_first_choice(self, integrity: bool) -> None:
        """As MIT has it: NEGOEX proves its own schemes, not the list that it stands in."""
        flags = ContextFlags.INTEGRITY if integrity else ContextFlags.NONE
        scheme = replace(ONE, flags=flags)
        known = (Password("alice", "a password"), None)
        met = meet(Negotiate(Ntlm(), scheme, ntlm="always"), Negotiate(scheme), credentials=known)
        assert met.complete is integrity
        if not integrity:
            assert isinstance(met.error(), Downgrade)


def test_a_token_after_the_end_is_refused() -> None:
    def add(leg: int, token: bytes) -> bytes:
        if leg != 1:
            return token
        last = list(messages_of(token))[-1]
        scheme = ONE.info.negoex_scheme
        assert scheme is not None
        more = Message(MessageType.CHALLENGE, last.sequence + 1, last.conversation, ExchangeMessage(scheme, b"more"))
        return token + more.encode()

    met = meet([one()], [one()], alter=add)
    assert isinstance(met.errors[INITIATOR], InvalidToken)
