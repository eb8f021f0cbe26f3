"""The certificate of an `ssl.SSLContext` handed in: what its bindings are made from."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from securestream.credentials import Credentials
from securestream.errors import Unsupported, UsageError
from securestream_providers.schannel import Schannel
from tests.providers.schannel.loopback import CA, LEAF, Loop, run

BINDINGS = "tls-server-end-point"


def _loop(server: Schannel, **named: object) -> Loop:
    loop = run(Schannel(trust=CA.pem), server, **named)  # type: ignore[arg-type]  # keywords as the test gives them
    assert loop.say(b"text") == b"text"
    return loop


def _keep(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
    """Choose no other context, this time."""


def test_a_context_takes_the_credential_and_binds_to_it() -> None:
    loop = _loop(Schannel(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)))
    theirs = loop.client.connection.channel_bindings(BINDINGS)
    assert loop.server.connection.channel_bindings(BINDINGS) == theirs


def test_a_context_alone_has_no_bindings_to_its_certificate(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*LEAF.write(tmp_path))
    loop = _loop(Schannel(context), server_credential=None)
    with pytest.raises(Unsupported):
        loop.server.connection.channel_bindings(BINDINGS)


def test_a_context_that_may_choose_another_certificate_binds_to_none() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = _keep
    loop = _loop(Schannel(context))
    with pytest.raises(Unsupported):
        loop.server.connection.channel_bindings(BINDINGS)


def test_a_context_serves_one_certificate() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = Schannel(context)
    with pytest.raises(UsageError, match="one certificate"):
        run(Schannel(trust=CA.pem), server, server_credential=Credentials(LEAF.credential, CA.leaf().credential))
    _loop(server)
    with pytest.raises(UsageError, match="one certificate"):
        run(Schannel(trust=CA.pem), server, server_credential=CA.leaf().credential)
