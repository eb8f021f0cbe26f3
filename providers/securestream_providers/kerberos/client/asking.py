"""Asking a KDC: one request, and its reply or error."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final, TypeVar

from securestream.errors import InvalidToken, MalformedMessage, NoAuthority, NoAuthorityKnown
from securestream.provider import Effect
from securestream_providers.kerberos.client.settings import ClientSettings
from securestream_providers.kerberos.effects import KdcRequest
from securestream_providers.krb5.messages import AsRep, KrbError, TgsRep
from securestream_providers.krb5.numbers import ErrorCode

R = TypeVar("R", AsRep, TgsRep)

_ERROR_TAG: Final = b"\x7e"


def ask(
    settings: ClientSettings, realm: str, request: bytes, kind: type[R], *, first: bool = False
) -> Generator[Effect[Any], Any, R | KrbError]:
    """Send `request` to a KDC of `realm`.

    Args:
        settings: how KDCs are asked.
        realm: whose KDC.
        request: the message.
        kind: what the reply is, unless it is an error.
        first: whether the realm is the one that the caller means, and nobody was asked before. Only then may nobody be
            known: a ticket comes from a KDC, and a KDC's word, or a forged one, must not lead to a realm without one.

    Raises:
        NoAuthorityKnown: no KDC of the `first` realm is known.
        NoAuthority: no KDC of the realm is known or answers.
        InvalidToken: what came is no reply to such a request.
    """
    try:
        octets = yield from KdcRequest(realm, request, settings.config, stream=settings.stream)
    except NoAuthorityKnown as unknown:
        if first:
            raise
        raise NoAuthority(str(unknown)) from unknown
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
