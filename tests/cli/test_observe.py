"""--verbose."""

from __future__ import annotations

from securestream.ambient import system_options
from securestream.cli.observe import Observed
from securestream.machine import HandshakeMachine
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
