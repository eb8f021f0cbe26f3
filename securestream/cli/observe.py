"""A package that does what another does and tells of each handshake step: ``--verbose``."""

from __future__ import annotations

from collections.abc import Callable

from securestream.cli.tokens import describe_token
from securestream.credentials import Credential
from securestream.errors import SecureStreamError
from securestream.nested import Nested
from securestream.options import Options, Role
from securestream.provider import Exchange, Handshake, PackageInfo, SecurityPackage, TargetName, Unusable

Observer = Callable[[str, str, int], None]
"""Is told the peer's address ('' where unknown), what happened, and the octets of the token."""


class Observed:
    """`package`, with an observer that is told of each token: its size and kind, never what it holds.

    Args:
        package: the package that does the work.
        observer: is told of each step.
    """

    def __init__(self, package: SecurityPackage, observer: Observer) -> None:
        self._package = package
        self._observer = observer

    @property
    def info(self) -> PackageInfo:
        """What the package is."""
        return self._package.info

    def usable(self, credential: Credential | None, role: Role) -> Unusable | None:
        """Why the package cannot work with `credential`."""
        return self._package.usable(credential, role)

    def initiate(self, credential: Credential | None, target: TargetName | None, options: Options) -> Handshake:
        """The initiator's handshake."""
        return self._watch(self._package.initiate(credential, target, options), options)

    def accept(self, credential: Credential | None, options: Options) -> Handshake:
        """The acceptor's handshake."""
        return self._watch(self._package.accept(credential, options), options)

    def _watch(self, handshake: Handshake, options: Options) -> Handshake:
        def tell(direction: str, token: bytes | None) -> None:
            if token is not None:
                text = f"{direction} {describe_token(self._package, token)}"
                self._observer(options.source, text, len(token))

        with Nested(handshake, limits=options.limits) as inner:
            step = yield from inner.step()
            while step.established is None:
                tell("sent", step.token)
                try:
                    token = yield from Exchange(step.token)
                except SecureStreamError as refusal:  # the package may have something to say to that
                    step = yield from inner.fail(refusal)
                    continue
                tell("received", token)
                step = yield from inner.step(token)
            tell("sent", step.token)
            return step.established
