"""pyspnego's NTLM, and its SPNEGO over that, in the test's own process."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Mapping
from importlib.metadata import version as distribution_version
from typing import Any, TypeVar
from unittest import mock

from tests.interop.peers.foreign import Refused

NAME = "pyspnego"
T = TypeVar("T")


def version() -> str | None:
    """The version, or `None` where it is missing."""
    return distribution_version("pyspnego") if importlib.util.find_spec("spnego") else None


def missing() -> str | None:
    """What to install before this peer can run, or `None`."""
    return None if version() else "pip install pyspnego"


class SpnegoPeer:
    """One security context of pyspnego, which reads its accounts from the environment as gss-ntlmssp does.

    Args:
        environment: as `accounts.ntlm_environment` gives it.
        negotiate: NTLM in SPNEGO.
    """

    def __init__(self, environment: Mapping[str, str], *, negotiate: bool = False) -> None:
        self._environment = environment
        self._negotiate = negotiate
        self._spnego: Any = importlib.import_module("spnego")
        self._context: Any = None

    def _call(self, function: Callable[..., T], *arguments: object, **named: object) -> T:
        with mock.patch.dict(os.environ, self._environment):
            try:
                return function(*arguments, **named)
            except self._spnego.exceptions.SpnegoError as error:
                raise Refused(f"{type(error).__name__}: {error}") from error

    def _common(self, bindings: bytes | None) -> dict[str, object]:
        structure: Any = importlib.import_module("spnego.channel_bindings").GssChannelBindings
        options = self._spnego.NegotiateOptions
        return {
            "protocol": "negotiate" if self._negotiate else "ntlm",
            "options": options.use_negotiate if self._negotiate else options.use_ntlm,
            "channel_bindings": None if bindings is None else structure(application_data=bindings),
        }

    @property
    def complete(self) -> bool:
        """Whether the handshake is complete."""
        complete: bool = self._context.complete
        return complete

    def initiate(
        self, user: str, password: str, target: str, *, encrypt: bool = True, bindings: bytes | None = None
    ) -> None:
        """Begin as an initiator; see `ForeignEnd.initiate`."""
        service, _, host = target.partition("@")
        flags = self._spnego.ContextReq
        asked = flags.integrity | flags.replay_detect | flags.sequence_detect
        asked = asked | flags.confidentiality if encrypt else asked
        self._context = self._call(
            self._spnego.client, user, password, host, service, context_req=asked, **self._common(bindings)
        )

    def accept(self, *, bindings: bytes | None = None) -> None:
        """Begin as an acceptor."""
        self._context = self._call(self._spnego.server, **self._common(bindings))

    def step(self, token: bytes | None) -> bytes | None:
        """Take a token, give the next."""
        reply: bytes | None = self._call(self._context.step, token)
        return reply

    def peer(self) -> str:
        r"""Who the acceptor sees, as ``DOMAIN\name``."""
        return str(self._context.client_principal)

    def session_key(self) -> bytes:
        """The exported session key."""
        key: bytes = self._context.session_key
        return key

    def wrap(self, data: bytes) -> bytes:
        """Seal."""
        sealed: bytes = self._call(self._context.wrap, data).data
        return sealed

    def unwrap(self, token: bytes) -> bytes:
        """Open."""
        plain: bytes = self._call(self._context.unwrap, token).data
        return plain

    def sign(self, data: bytes) -> bytes:
        """The detached signature of `data`."""
        signature: bytes = self._call(self._context.sign, data)
        return signature

    def verify(self, data: bytes, signature: bytes) -> None:
        """Check a detached signature."""
        self._call(self._context.verify, data, signature)

    def close(self) -> None:
        """Forget it."""
        self._context = None
