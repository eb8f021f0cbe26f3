"""Performing what HTTP authentication needs, for adapters: the async and the blocking form of the same few lines."""

from __future__ import annotations

from dataclasses import replace

from securestream.ambient import system_options
from securestream.channel_bindings import ChannelBindings, tls_server_end_point
from securestream.drive import Services, respond, respond_blocking
from securestream.errors import HandshakeError, Unsupported
from securestream.http.schemes import HttpRequest, SendChallenge
from securestream.http.server import Admitted, HttpConnection, HttpServer, Refused
from securestream.options import Options, Protection


async def authenticate(
    server: HttpServer,
    request: HttpRequest,
    options: Options,
    connection: HttpConnection | None = None,
    services: Services | None = None,
) -> Admitted | Refused:
    """Authenticate one request; arguments are those of `HttpServer.authenticate`.

    Args:
        services: who performs effects; `None` for the process-wide ones.

    Raises:
        HandshakeError: the server is set up so that it can authenticate nobody by the scheme of this request.
    """
    authentication = server.authenticate(request, options, connection)
    if authentication.machine is None:
        return authentication.outcome
    try:
        step = await respond(authentication.machine, authentication.reply, services, answers=(SendChallenge,))
    except HandshakeError as error:
        return authentication.refuse(error)
    except BaseException:  # cancellation, or a bug: the connection is not kept busy by it
        authentication.abandon()
        raise
    return authentication.answer(step)


def authenticate_blocking(
    server: HttpServer,
    request: HttpRequest,
    options: Options,
    connection: HttpConnection | None = None,
    services: Services | None = None,
) -> Admitted | Refused:
    """`authenticate` for servers without an event loop (WSGI)."""
    authentication = server.authenticate(request, options, connection)
    if authentication.machine is None:
        return authentication.outcome
    try:
        step = respond_blocking(authentication.machine, authentication.reply, services, answers=(SendChallenge,))
    except HandshakeError as error:
        return authentication.refuse(error)
    except BaseException:  # an interrupt, or a bug: the connection is not kept busy by it
        authentication.abandon()
        raise
    return authentication.answer(step)


def http_options(options: Options | None = None) -> Options:
    """The options of a handshake in HTTP, which protects no data of its own: TLS does."""
    return system_options(protection=Protection.NONE) if options is None else options


def bound(options: Options, certificate: bytes | None) -> Options:
    """The options with the tls-server-end-point bindings of the server's certificate.

    Args:
        options: what is asked; bindings that it has already are kept.
        certificate: DER; `None` where it is not known, or there is no TLS. A certificate without such bindings
            (Ed25519) gives none: each scheme decides whether it works without.
    """
    if certificate is None or options.channel_bindings is not None:
        return options
    return replace(options, channel_bindings=end_point_bindings(certificate))


def end_point_bindings(certificate: bytes) -> ChannelBindings | None:
    """The tls-server-end-point bindings of a certificate in DER, or `None` where RFC 5929 defines none for it."""
    try:
        return tls_server_end_point(certificate)
    except Unsupported:
        return None
