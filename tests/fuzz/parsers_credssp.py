"""CredSSP's parsers of peers' octets: requests, credentials, certificates' keys, and both ends' use of a message."""

from __future__ import annotations

from securestream.errors import (
    CertificateRejected,
    HandshakeError,
    MalformedMessage,
    PeerGone,
    PeerRefused,
    Unsupported,
)
from securestream.options import Role
from securestream_providers.credssp import binding, credentials
from securestream_providers.credssp.messages import TSRequest
from tests.fuzz.harness import Parser
from tests.providers.credssp.ends import CA, SERVER, clear_ends, meet, options, start
from tests.providers.credssp.test_messages import CREDENTIALS

_PLAIN = meet(*clear_ends(), asked=options(1)).raise_any()
_CLIENT, _SERVER = _PLAIN.client.sent[1:], _PLAIN.server.sent[1:]
_REFUSALS = (MalformedMessage, HandshakeError, PeerGone, PeerRefused)


def _request(octets: bytes) -> object:
    message = TSRequest.decode(octets)
    return message.ntstatus, message.token, message.encode()


def _credentials(octets: bytes) -> object:
    return credentials.encode(credentials.decode(octets))


def _acceptor(octets: bytes) -> object:
    """An acceptor given an altered first request."""
    ends = start(*clear_ends())
    ends.server.step(ends.client.step())
    ends.server.step(octets)
    if ends.server.error is not None:
        raise ends.server.error
    return ends.server.sent


def _initiator(octets: bytes) -> object:
    """An initiator given an altered answer to its first request."""
    ends = start(*clear_ends())
    ends.client.step(ends.server.step(ends.client.step()))
    ends.client.step(octets)
    if ends.client.error is not None:
        raise ends.client.error
    return ends.client.role is Role.INITIATOR


PARSERS = [
    Parser("credssp.request", _request, [*_CLIENT, *_SERVER]),
    Parser(
        "credssp.credentials",
        _credentials,
        [credentials.encode(one) for one in CREDENTIALS.values()],
        (MalformedMessage, Unsupported),
    ),
    Parser("credssp.public_key", binding.public_key, [SERVER.der, CA.der], (CertificateRejected,)),
    Parser("credssp.acceptor", _acceptor, _CLIENT[:1], _REFUSALS),
    Parser("credssp.initiator", _initiator, _SERVER[:1], _REFUSALS),
]
