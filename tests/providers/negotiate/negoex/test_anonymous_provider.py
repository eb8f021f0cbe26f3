"""The example of a real mechanism, anonymous X25519: what it proves, and what it refuses."""

from __future__ import annotations

import pytest

from examples.anonymous_provider import NAME, OID, PUBLIC, AnonymousPackage
from securestream.channel_bindings import ChannelBindings
from securestream.credentials import Anonymous, Credential
from securestream.errors import ContextExpired, HandshakeError, InvalidToken, NoCredentials
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags, Role
from securestream.provider import SecurityContext
from securestream.wire import der
from tests.core.handshakes import ALICE, options, pair, run
from tests.providers.negotiate.negoex.meeting import Alter

PACKAGE = AnonymousPackage()
LOW_ORDER = (bytes(32), bytes((1, *bytes(31))))


def contexts(mine: ChannelBindings | None = None, theirs: ChannelBindings | None = None) -> list[SecurityContext]:
    asked = (options(channel_bindings=mine), options(channel_bindings=theirs))
    ends = pair(PACKAGE, Anonymous(), Anonymous(), initiator_options=asked[0], acceptor_options=asked[1])
    outcomes = run(*ends)
    found: list[SecurityContext] = []
    for outcome in outcomes:
        assert outcome.peer.is_anonymous
        assert not outcome.peer.is_authenticated
        assert isinstance(outcome.result, SecurityContext)
        found.append(outcome.result)
    return found


def fails(alter: Alter) -> HandshakeError:
    with pytest.raises(HandshakeError) as failure:
        run(*pair(PACKAGE, Anonymous(), Anonymous()), alter=alter)
    return failure.value


def test_nobody_is_proved_and_data_is_protected() -> None:
    initiator, acceptor = contexts()
    assert ContextFlags.MUTUAL not in initiator.flags
    assert ContextFlags.ANONYMOUS in acceptor.flags
    for mine, theirs in ((initiator, acceptor), (acceptor, initiator)):
        for size in (0, 1, 100, 70_000):
            data = bytes(size)
            assert theirs.unwrap(mine.wrap(data)) == (data, True)
            assert theirs.unwrap(mine.wrap(data, encrypt=False)) == (data, False)
            theirs.verify(data, mine.sign(data))
    initiator.discard()
    with pytest.raises(ContextExpired):
        initiator.wrap(b"")


def test_equal_bindings_bind_and_others_are_refused() -> None:
    one, other = (ChannelBindings(application_data=data) for data in (b"tls-exporter:1", b"tls-exporter:2"))
    assert [context.bound for context in contexts(one, one)] == [True, True]
    for mine, theirs in ((one, other), (one, None), (None, one)):
        with pytest.raises(InvalidToken, match="the bindings differ"):
            contexts(mine, theirs)


def test_an_altered_key_or_mic_is_refused() -> None:
    for at in (0, 31, 32, 59):

        def alter(leg: int, token: bytes, at: int = at) -> bytes:
            return token[:at] + bytes((token[at] ^ 1,)) + token[at + 1 :] if leg == 1 else token

        assert isinstance(fails(alter), InvalidToken)
    assert "too few" in str(fails(lambda leg, token: token[:PUBLIC] if leg else token))


@pytest.mark.parametrize("key", LOW_ORDER)
def test_a_key_of_low_order_is_refused(key: bytes) -> None:
    hello = der.element(0x60, der.oid_octets(OID) + key)
    assert "low order" in str(fails(lambda leg, token: hello if leg == 0 else token))
    assert "low order" in str(fails(lambda leg, token: key + token[PUBLIC:] if leg == 1 else token))


@pytest.mark.parametrize(
    "hello", [b"", b"x", der.element(0x60, b""), der.element(0x60, der.oid_octets(OID) + bytes(31))]
)
def test_what_is_no_hello_is_refused(hello: bytes) -> None:
    assert isinstance(fails(lambda leg, token: hello), InvalidToken)


@pytest.mark.parametrize("credential", [None, ALICE])
@pytest.mark.parametrize("role", Role)
def test_nobody_is_anonymous_unasked(credential: Credential | None, role: Role) -> None:
    unusable = PACKAGE.usable(credential, role)
    assert unusable is not None
    assert "Anonymous" in unusable.reason
    asked = options()
    handshake = (
        PACKAGE.initiate(credential, None, asked) if role is Role.INITIATOR else PACKAGE.accept(credential, asked)
    )
    with pytest.raises(NoCredentials):
        HandshakeMachine(handshake).step()
    assert PACKAGE.info.name == NAME
