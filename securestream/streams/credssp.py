"""CredSspStream: TLS in which the client authenticated and delegated a credential to the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from anyio.abc import ByteStream

from securestream.carrier import Admit
from securestream.credentials import Credential
from securestream.drive import Services
from securestream.options import ContextFlags, Options, Protection
from securestream.provider import SecurityPackage
from securestream.streams._handshake import HANDSHAKE_TIMEOUT, CredentialArgument
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.tls import TlsStream


class CredSspStream(TlsStream):
    """A TLS connection whose client authenticated inside (CredSSP). `connect` and `listen` make one, or `wrap_client`
    and `wrap_server`.

    ``SecurityAttribute.peer`` is the user (at the client: the server, by Kerberos or by its certificate), and
    ``SecurityAttribute.negotiation`` how the mechanism was negotiated.
    """

    def _own_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        flags = ContextFlags.NONE if self._delegated is None else ContextFlags.DELEGATE
        of_tls = super()._own_attributes()
        return {
            **of_tls,
            SecurityAttribute.flags: lambda: of_tls[SecurityAttribute.flags]() | flags,
            SecurityAttribute.bound: lambda: True,  # pubKeyAuth, without which there is no such stream
        }

    @property
    def delegated(self) -> Credential | None:
        """The credential that the client delegated, at the server: fit to open the next connection as that client.

        `None` at the client, and of clients that delegate nothing (restricted admin mode).
        """
        return self._delegated

    @classmethod
    async def wrap_client(
        cls,
        transport: ByteStream,
        *,
        package: str | SecurityPackage = "credssp",
        credential: CredentialArgument = None,
        target: str | None = None,
        protection: Protection | None = None,
        options: Options | None = None,
        services: Services | None = None,
        admit: Admit | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        received: bytes = b"",
        standard_compatible: bool = True,
    ) -> Self:
        """Authenticate as a client over `transport`, and delegate; further arguments and errors as for `TlsStream`.

        Args:
            transport: an open byte stream; it belongs to the returned stream, and is closed if the handshake fails.
            package: ``CredSsp(delegation=Delegation("TERMSRV/server.example.com"))``: its default delegates to nobody.
            credential: what authenticates and what is delegated: a `Password`, or `Credentials` of several forms.
            target: the service to reach, ``TERMSRV/host``.
            protection: see `TlsStream.wrap_client`.
            options: see `TlsStream.wrap_client`.
            services: see `TlsStream.wrap_client`.
            admit: judges the server once it is proved, before the credentials leave.
            handshake_timeout: see `TlsStream.wrap_client`.
            received: see `TlsStream.wrap_client`.
            standard_compatible: see `TlsStream.wrap_client`.
        """
        return await super().wrap_client(
            transport,
            package=package,
            credential=credential,
            target=target,
            protection=protection,
            options=options,
            services=services,
            admit=admit,
            handshake_timeout=handshake_timeout,
            received=received,
            standard_compatible=standard_compatible,
        )

    @classmethod
    async def wrap_server(
        cls,
        transport: ByteStream,
        *,
        package: str | SecurityPackage = "credssp",
        credential: Credential | None = None,
        protection: Protection | None = None,
        options: Options | None = None,
        services: Services | None = None,
        admit: Admit | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        received: bytes = b"",
        standard_compatible: bool = True,
    ) -> Self:
        """Authenticate a client over `transport`, and take what it delegates; further arguments as for `wrap_client`.

        Args:
            transport: see `wrap_client`.
            package: see `wrap_client`.
            credential: ``Credentials(Certificate(...), Accounts(...))``, with a `Keytab` for Kerberos.
            protection: see `wrap_client`.
            options: see `wrap_client`.
            services: see `wrap_client`.
            admit: judges the user once he is proved, before his credentials come (`Established.delegated` is `None`),
                and raises `NotAuthorized` to refuse. The client is told; one of version 2 or 5 only by the early
                verdict, where that was agreed: ``CredSsp(early_authorization=True)``.
            handshake_timeout: see `wrap_client`.
            received: see `wrap_client`.
            standard_compatible: see `wrap_client`.
        """
        return await super().wrap_server(
            transport,
            package=package,
            credential=credential,
            protection=protection,
            options=options,
            services=services,
            admit=admit,
            handshake_timeout=handshake_timeout,
            received=received,
            standard_compatible=standard_compatible,
        )
