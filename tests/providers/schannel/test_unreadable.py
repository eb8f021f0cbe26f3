"""ClientHellos that OpenSSL reads and we do not: nobody on the way may switch off what we read in them."""

from __future__ import annotations

import pytest

from securestream.ambient import system_options
from securestream.errors import ErrorKind, HandshakeError, PeerRefused, kind_of
from securestream.machine import HandshakeMachine
from securestream.provider import TargetName
from securestream.records.endpoints import Engine
from securestream.records.settings import Version
from securestream_providers.schannel import Schannel
from tests.providers.schannel.loopback import CA, ENGINES, LEAF, Side

EMPTY = b"\x16\3\1\0\0"
"""A handshake record without content (RFC 8446 5.1 forbids it)."""

engines = pytest.mark.parametrize("engine", ENGINES)


def _sides(server: Schannel, **settings: object) -> tuple[Side, Side, bytes]:
    asked = system_options()
    client = Schannel(trust=CA.pem, **settings)  # type: ignore[arg-type]  # keywords as the test gives them
    initiator = Side(HandshakeMachine(client.initiate(None, TargetName("localhost"), asked)))
    acceptor = Side(HandshakeMachine(server.accept(LEAF.credential, asked)))
    acceptor.step(None)
    hello = initiator.step(None)
    assert hello is not None
    return initiator, acceptor, hello


@engines
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("protocol", ["ours", "theirs"])
@pytest.mark.parametrize("at", ["before", "within"])
def test_a_record_inserted_on_the_way_switches_no_check_off(
    engine: Engine, version: Version, protocol: str, at: str
) -> None:
    server = Schannel(engine=engine, alpn=["ours"])
    initiator, acceptor, hello = _sides(server, alpn=[protocol], maximum_version=version)
    half = len(hello) // 2
    first, second = hello[5:half], hello[half:]
    split = (b"\x16\3\1" + len(part).to_bytes(2, "big") + part for part in (first, second))
    altered = EMPTY + hello if at == "before" else EMPTY.join(split)
    alert = acceptor.step(altered)
    assert isinstance(acceptor.error, HandshakeError)
    assert acceptor.error.kind is ErrorKind.ILLEGAL_MESSAGE
    assert alert is not None
    initiator.step(alert)
    assert isinstance(initiator.error, PeerRefused)


@engines
@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\n\r\n", b"G", b"\x80\x2e\1\3\1", bytes(64)])
def test_what_is_no_tls_is_refused_with_an_alert(engine: Engine, octets: bytes) -> None:
    _, acceptor, _ = _sides(Schannel(engine=engine))
    alert = acceptor.step(octets)
    assert isinstance(acceptor.error, HandshakeError)
    assert kind_of(acceptor.error) in (ErrorKind.ILLEGAL_MESSAGE, ErrorKind.ALGORITHM_MISMATCH)
    assert alert is None or alert[0] == 21
