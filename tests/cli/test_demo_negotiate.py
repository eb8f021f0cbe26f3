"""What the demonstration alters in a negotiation: just the octets that it says, and an end must refuse it for that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from securestream.ambient import system_options
from securestream.cli.demo import __main__ as demo
from securestream.cli.demo.processes import Ends, Outcome
from securestream.cli.demo.wire import CLIENT, SERVER, TOKEN, Flip, Unit
from securestream.credentials import Accounts, Password
from securestream.drive import respond_blocking
from securestream.machine import HandshakeMachine
from securestream.provider import TargetName
from securestream.registry import Registry
from securestream_providers.negotiate import Negotiate
from securestream_providers.negotiate.cli.demo import SCENES, covered, list_target, mic_targets
from securestream_providers.negotiate.messages import KERBEROS, NTLM, MechTypeList, NegTokenInit, NegTokenResp, frame
from securestream_providers.negotiate.messages import unframe as unframe_spnego
from securestream_providers.ntlm import Ntlm
from tests.cli.fake import FakePackage

HEAD = b"head "


@pytest.fixture(scope="module")
def units() -> list[Unit]:
    """The tokens of a negotiation of NTLM, each end with its MIC."""
    package, options = Negotiate(Ntlm()), system_options()
    client = HandshakeMachine(package.initiate(Password("alice", "x"), TargetName("host/a"), options))
    server = HandshakeMachine(package.accept(Accounts.memory(alice="x"), options))
    found: list[Unit] = []
    respond_blocking(server)
    ours = respond_blocking(client)
    while ours.token is not None:
        found.append(Unit(CLIENT, TOKEN, HEAD + ours.token, len(HEAD)))
        theirs = respond_blocking(server, ours.token)
        if theirs.token is None:
            break
        found.append(Unit(SERVER, TOKEN, HEAD + theirs.token, len(HEAD)))
        ours = respond_blocking(client, theirs.token)
    return found


def altered(units: list[Unit], flip: Flip) -> tuple[bytes, bytes]:
    """The token before and after."""
    unit = [unit for unit in units if unit.sender == flip.sender][flip.index]
    return unit.payload, unit.flipped(flip.fraction, flip.bit).payload


def test_the_mic_of_each_end_is_altered_and_taken_away(units: list[Unit]) -> None:
    targets = mic_targets(units)
    assert [target.flip.sender for target in targets] == [CLIENT, CLIENT, SERVER, SERVER]
    assert {target.refused_as for target in targets} == {"Downgrade"}
    for target in targets:
        before, after = (NegTokenResp.decode(token) for token in altered(units, target.flip))
        assert before.mech_list_mic is not None
        assert (before.neg_state, before.response_token) == (after.neg_state, after.response_token)
        if "taken away" in target.title:
            assert after.mech_list_mic is None
        else:
            assert after.mech_list_mic not in (None, before.mech_list_mic)


def test_a_negotiation_without_a_mic_has_none_to_alter() -> None:
    token = frame(NegTokenInit(MechTypeList((KERBEROS, NTLM)), mech_token=b"token"))
    with pytest.raises(LookupError, match="client sent no MIC"):
        mic_targets([Unit(CLIENT, TOKEN, token, 0)])


def test_the_list_loses_kerberos_and_nothing_else() -> None:
    token = frame(NegTokenInit(MechTypeList((KERBEROS, NTLM)), mech_token=b"token"))
    unit = Unit(CLIENT, TOKEN, HEAD + token, len(HEAD))
    (target,) = list_target([unit])
    before, after = (unframe_spnego(token) for token in altered([unit], target.flip))
    assert isinstance(before, NegTokenInit)
    assert isinstance(after, NegTokenInit)
    assert before.mech_types.mech_types == (KERBEROS, NTLM)
    assert after.mech_types.mech_types[1] == NTLM
    assert after.mech_types.mech_types[0] not in (KERBEROS, NTLM)
    assert after.mech_token == before.mech_token


def test_what_is_altered_at_random_is_protected_in_every_token(units: list[Unit]) -> None:
    for unit in units:
        token = unit.payload
        message = NegTokenResp.decode(token) if token[:1] == b"\xa1" else unframe_spnego(token)
        inner = message.response_token if isinstance(message, NegTokenResp) else message.mech_token
        inside = b"".join(token[position : position + 1] for position in covered(token))
        assert inside == (inner or b"") + (message.mech_list_mic or b"")
        assert inside


class Ended(Ends):
    """Ends whose next connection has that outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def exchange(self, plaintext: bytes, flip: Flip | None = None) -> Outcome:
        return self._outcome


def _told(error: str, refused_as: str | None) -> Iterator[str]:
    outcome = Outcome(
        [], altered=True, received=b"", status=1, client=None, server={"refused": {"error": error, "sspi": "SEC_E_X"}}
    )
    flip = Flip(CLIENT, 0, 0.5, 1)
    return demo.Demonstration(FakePackage(), "asyncio")._tamper("the handshake", flip, Ended(outcome), refused_as)  # pyright: ignore[reportPrivateUsage]  # the part under test


def test_a_refusal_for_another_reason_is_wrong_where_one_is_expected() -> None:
    assert list(_told("Downgrade", "Downgrade")) == []
    assert list(_told("LogonDenied", None)) == []
    (wrong,) = _told("LogonDenied", "Downgrade")
    assert "no end refused it as Downgrade" in wrong


def test_negotiate_is_shown_first_and_in_three_scenes(installed: None) -> None:
    order = demo._in_order(Registry.installed())  # pyright: ignore[reportPrivateUsage]  # the part under test
    assert order[0] == "negotiate"
    assert len(SCENES) == 3
