"""--verbose."""

from __future__ import annotations

import pytest

from securestream.ambient import system_options
from securestream.cli.observe import Observed
from securestream.credentials import NtHash
from securestream.drive import respond_blocking
from securestream.errors import PeerRefused
from securestream.machine import HandshakeMachine
from securestream.provider import TargetName
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm
from tests.cli.fake import FakePackage


def test_each_token_of_both_ends_is_told_and_nothing_is_changed() -> None:
    told: list[str] = []
    package = Observed(FakePackage(), lambda source, text, size: told.append(f"{text} {size}"))
    client = HandshakeMachine(package.initiate(None, None, system_options()))
    server = HandshakeMachine(package.accept(None, system_options()))
    one = client.step().token
    two = server.step(one).token
    end = client.step(two)
    assert (one, two, end.token) == (b"one", b"two", b"three")
    assert end.established is not None
    done = server.step(end.token).established
    assert done is not None
    assert str(done.peer) == "alice"
    assert told == [
        "sent Fake token (3 octets) 3",
        "received Fake token (3 octets) 3",
        "sent Fake token (3 octets) 3",
        "received Fake token (3 octets) 3",
        "sent Fake token (5 octets) 5",
        "received Fake token (5 octets) 5",
    ]


def test_what_the_package_says_of_a_refusal_is_not_lost() -> None:
    """Who looks on wants to know most of all what a negotiation had considered."""
    watched = Observed(Negotiate(Kerberos(), Ntlm(), ntlm="always"), lambda source, text, size: None)
    target = TargetName("host/files.example")
    machine = HandshakeMachine(watched.initiate(NtHash("alice", bytes(16)), target, system_options()))
    assert respond_blocking(machine).token is not None
    with pytest.raises(PeerRefused) as refused:
        machine.fail(PeerRefused("no"))
    assert refused.value.negotiation is not None
    assert refused.value.negotiation.reason_against("Kerberos")
