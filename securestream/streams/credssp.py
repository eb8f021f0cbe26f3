"""CredSspStream: TLS in which the client authenticated and delegated a credential to the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, Unpack

from anyio.abc import ByteStream

from securestream.credentials import Credential
from securestream.options import ContextFlags
from securestream.provider import Admit, SecurityPackage
from securestream.streams._handshake import CredentialArgument
from securestream.streams.attributes import SecurityAttribute
from securestream.streams.tls import TlsStream, WrapArguments


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
        admit: Admit | None = None,
        **further: Unpack[WrapArguments],
    ) -> Self:
        """Authenticate as a client over `transport`, and delegate; errors and cancellation as for `TlsStream`.

        Args:
            transport: an open byte stream; it belongs to the returned stream, and is closed if the handshake fails.
            package: ``CredSsp(delegation=Delegation("TERMSRV/server.example.com"))``: its default delegates to nobody.
            credential: what authenticates and what is delegated: a `Password`, or `Credentials` of several forms.
            target: the service to reach, ``TERMSRV/host``.
            admit: judges the server once it is proved, before the credentials leave.
            **further: `protection`, `options`, `services`, `handshake_timeout`, `received` and `standard_compatible`
                of `TlsStream.wrap_client`.
        """
        return await super().wrap_client(
            transport, package=package, credential=credential, target=target, admit=admit, **further
        )

    @classmethod
    async def wrap_server(
        cls,
        transport: ByteStream,
        *,
        package: str | SecurityPackage = "credssp",
        credential: Credential | None = None,
        admit: Admit | None = None,
        **further: Unpack[WrapArguments],
    ) -> Self:
        """Authenticate a client over `transport`, and take what it delegates; errors as for `TlsStream`.

        Args:
            transport: see `wrap_client`.
            package: ``CredSsp()``, or one with arguments of its own.
            credential: ``Credentials(Certificate(...), Accounts(...))``, with a `Keytab` for Kerberos.
            admit: judges the user once he is proved, before his credentials come (`Established.delegated` is `None`),
                and raises `NotAuthorized` to refuse. The client is told; one of version 2 or 5 only by the early
                verdict, where that was agreed: ``CredSsp(early_authorization=True)``.
            **further: see `wrap_client`.
        """
        return await super().wrap_server(transport, package=package, credential=credential, admit=admit, **further)
