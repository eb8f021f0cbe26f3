"""pyspnego's CredSSP in the test's own process, over its own TLS, with what is wanted inside."""

from __future__ import annotations

import importlib
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeVar
from unittest import mock

from tests.certificates import Pair
from tests.interop.peers.foreign import Refused
from tests.interop.peers.gssapi_krb5 import KerberosPeer

T = TypeVar("T")
NEWEST: Final = 6

Inside = Literal["spnego", "ntlm"] | KerberosPeer
"""What it negotiates with: its own NTLM in SPNEGO or bare, or a context of MIT's that has begun."""


class _Context:
    """A context of MIT's in the shape that pyspnego's CredSSP works with."""

    def __init__(self, context: KerberosPeer) -> None:
        self._context = context

    @property
    def complete(self) -> bool:
        return self._context.complete

    @property
    def client_principal(self) -> str:
        return self._context.peer()

    def step(self, token: bytes | None = None) -> bytes | None:
        return self._context.step(token)

    def wrap(self, data: bytes) -> SimpleNamespace:
        return SimpleNamespace(data=self._context.wrap(data))

    def unwrap(self, token: bytes) -> SimpleNamespace:
        data, encrypted = self._context.unwrap(token)
        assert encrypted
        return SimpleNamespace(data=data)


class _Tls:
    """A TLS object of which pyspnego's CredSSP reads all there is: it never stops at a close_notify by itself."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def read(self) -> bytes:
        data: bytes = self._connection.read()
        if not data:
            raise ssl.SSLWantReadError
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class CredSspPeer:
    """One end of one CredSSP connection.

    Args:
        environment: the accounts, as `accounts.ntlm_environment` gives them.
        version: what it calls its version.
        tls: the newest TLS that it speaks.
        minimum: the oldest version of its peers.
        stops: whether it is made to stop reading at a close_notify, which it does not do by itself.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        version: int = NEWEST,
        tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        minimum: int = 2,
        stops: bool = True,
    ) -> None:
        self._environment = environment
        self._version = version
        self._tls = tls
        self._minimum = minimum
        self._stops = stops
        self._spnego: Any = importlib.import_module("spnego")
        self._module: Any = importlib.import_module("spnego._credssp")
        self._context: Any = None

    def _call(self, function: Callable[..., T], *arguments: object, **named: object) -> T:
        version = mock.patch.object(self._module, "_CREDSSP_VERSION", self._version)
        with mock.patch.dict(os.environ, self._environment), version:
            try:
                return function(*arguments, **named)
            except self._spnego.exceptions.SpnegoError as error:
                raise Refused(f"{type(error).__name__}: {error}") from error

    def _tls_context(self, usage: str) -> Any:
        made = self._call(importlib.import_module("spnego.tls").default_tls_context, usage)
        made.context.maximum_version = self._tls
        return made

    def initiate(self, user: str, password: str, target: str, *, inside: Inside = "spnego") -> None:
        r"""Begin as an initiator, which verifies no certificate.

        Args:
            user: ``DOMAIN\name``.
            password: the password: what is delegated, and what its own NTLM logs on with.
            target: ``service@host``.
            inside: what it negotiates with.
        """
        service, _, host = target.partition("@")
        options = self._spnego.NegotiateOptions.use_negotiate
        context: Any = None
        if inside == "ntlm":
            named = {"protocol": "ntlm", "options": self._spnego.NegotiateOptions.use_ntlm}
            context = self._call(self._spnego.client, user, password, host, service, **named)
        elif not isinstance(inside, str):
            context = _Context(inside)
        self._begin(
            self._spnego.client,
            user,
            password,
            host,
            service,
            protocol="credssp",
            options=options,
            credssp_negotiate_context=context,
            credssp_tls_context=self._tls_context("initiate"),
            credssp_min_protocol=self._minimum,
        )

    def accept(self, own: Pair, *, inside: Inside = "spnego") -> None:
        """Begin as an acceptor with a certificate, whose key is of RSA."""
        tls = self._tls_context("accept")
        with tempfile.TemporaryDirectory() as folder:
            tls.context.load_cert_chain(*own.write(Path(folder)))
        tls.public_key = importlib.import_module("spnego.tls").get_certificate_public_key(own.der)
        context: Any = None
        if inside == "ntlm":
            named = {"protocol": "ntlm", "options": self._spnego.NegotiateOptions.use_ntlm}
            context = self._call(self._spnego.server, **named)
        elif not isinstance(inside, str):
            context = _Context(inside)
        self._begin(
            self._spnego.server,
            protocol="credssp",
            options=self._spnego.NegotiateOptions.use_negotiate,
            credssp_negotiate_context=context,
            credssp_tls_context=tls,
            credssp_min_protocol=self._minimum,
        )

    def _begin(self, function: Callable[..., Any], *arguments: object, **named: object) -> None:
        self._context = self._call(function, *arguments, **named)
        if self._stops:
            self._context._tls_object = _Tls(self._context._tls_object)

    @property
    def complete(self) -> bool:
        """Whether the handshake is complete."""
        complete: bool = self._context.complete
        return complete

    def step(self, token: bytes | None) -> bytes | None:
        """Take records, give the next; none at all are given as well, where it is to go on by itself."""
        reply: bytes | None = self._call(self._context.step, token)
        return reply

    def peer(self) -> str:
        """Who the acceptor sees."""
        return str(self._context.client_principal)

    def has_credentials(self) -> bool:
        """Whether anything was delegated to the acceptor."""
        return self._context.get_extra_info("client_credential") is not None

    def delegated(self) -> tuple[str, str, str]:
        """The domain, the name and the password that were delegated to the acceptor."""
        creds: Any = self._context.get_extra_info("client_credential")
        return creds.domain_name, creds.username, creds.password

    def wrap(self, data: bytes) -> bytes:
        """Data as records of the connection."""
        sealed: bytes = self._call(self._context.wrap, data).data
        return sealed

    def unwrap(self, records: bytes) -> bytes:
        """The data in records."""
        plain: bytes = self._call(self._context.unwrap, records).data
        return plain
