"""What a package may offer beside `SecurityPackage`; who wants it asks by ``isinstance``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from securestream.provider import SecurityContext, SecurityPackage

if TYPE_CHECKING:
    from securestream.inspection import Inspection, Node


@runtime_checkable
class ContextImporter(Protocol):
    """What a package offers when its contexts can be exported."""

    def import_context(self, exported: bytes) -> SecurityContext:
        """Revive what `SecurityContext.export` gave.

        Raises:
            UsageError: the octets are no exported context of this package and version.
        """
        ...


@runtime_checkable
class TokenDescriber(Protocol):
    """What a package offers when it can tell what its tokens say."""

    def describe_token(self, token: bytes) -> str:
        """One readable line on a token, malformed ones included; it shows no secret and raises nothing."""
        ...


@runtime_checkable
class TokenInspector(Protocol):
    """What a package offers when it can show all that its tokens say."""

    def inspect_token(self, token: bytes, inspection: Inspection) -> Node | None:
        """The tree of a token, malformed ones included, or `None` where it is no token of this package.

        Args:
            token: the octets; a token of its handshake, or one that protects a message.
            inspection: the keys to try, and who reads the tokens inside of this one.

        Raises:
            UsageError: the keytab or a key of `inspection` cannot be used; nothing else.
        """
        ...


@runtime_checkable
class Negotiating(Protocol):
    """What a package offers when it negotiates which of several packages does the work."""

    @property
    def mechanisms(self) -> tuple[SecurityPackage, ...]:
        """The packages it negotiates, the preferred one first."""
        ...

    def with_mechanisms(self, *mechanisms: SecurityPackage) -> SecurityPackage:
        """The same package over others, configured as this one is."""
        ...


@runtime_checkable
class Composed(Protocol):
    """What a package offers when others work inside it, each an argument of its class."""

    @property
    def parts(self) -> Mapping[str, SecurityPackage]:
        """The packages inside, by the names of the arguments that they are."""
        ...


@runtime_checkable
class ListenerScoped(Protocol):
    """What a package offers when its acceptors keep state that no two listeners may share."""

    def for_listener(self) -> SecurityPackage:
        """The same package for one listener: TLS sessions of one are never resumed at another."""
        ...


@runtime_checkable
class Discouraged(Protocol):
    """What a package offers when it is weak, so that whoever uses it is told."""

    @property
    def warning(self) -> str | None:
        """Why it should not be used, in one sentence; `None` where nothing is to be told of how it is configured."""
        ...
