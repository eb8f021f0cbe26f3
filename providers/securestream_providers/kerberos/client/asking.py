"""Asking a KDC: one request, and its reply or error."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, TypeVar

from securestream.errors import InvalidToken, MalformedMessage
from securestream.provider import Effect
from securestream_providers.kerberos.client.settings import ClientSettings
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.krb5.messages import AsRep, KrbError, TgsRep
from securestream_providers.krb5.numbers import ErrorCode

R = TypeVar("R", AsRep, TgsRep)

_ERROR_TAG: Final = b"\x7e"


def ask(
    settings: ClientSettings, realm: str, request: bytes, kind: type[R]
) -> Generator[Effect[Any], Any, R | KrbError]:
    """Send `request` to a KDC of `realm`.

    Raises:
        NoAuthority: no KDC of the realm is known or answers.
        InvalidToken: what came is no reply to such a request.
    """
    octets = yield from KdcRequest(realm, request, settings.config, stream=settings.stream)
    reply = _decoded(octets, realm, kind)
    if isinstance(reply, KrbError) and reply.error_code == ErrorCode.RESPONSE_TOO_BIG and not settings.stream:
        octets = yield from KdcRequest(realm, request, settings.config, stream=True)
        reply = _decoded(octets, realm, kind)
    return reply


def _decoded(octets: bytes, realm: str, kind: type[R]) -> R | KrbError:
    try:
        return KrbError.decode(octets) if octets[:1] == _ERROR_TAG else kind.decode(octets)
    except MalformedMessage as problem:
        raise InvalidToken(f"the reply of the KDC of {realm} is malformed: {problem}") from problem
