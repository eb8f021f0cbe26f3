"""Finding security packages: by entry point among what is installed, or in an explicit set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from securestream.arguments import what_is
from securestream.errors import UsageError
from securestream.provider import PackageInfo, SecurityPackage

ENTRY_POINTS = "securestream.providers"
"""The entry point group. Each entry is a callable without arguments that returns a `SecurityPackage`."""

DEFAULT_PACKAGE: Final = "negotiate"
"""The package where nobody names one: Kerberos, or NTLM where policy allows it."""


class Registry:
    """An immutable set of packages, looked up by name without regard to case. Packages load when first asked for.

    Iteration, ``in`` and ``len`` are over the names under which they are announced.
    """

    def __init__(self, packages: dict[str, SecurityPackage | EntryPoint]) -> None:
        self._packages = {name.lower(): package for name, package in packages.items()}

    @classmethod
    def installed(cls) -> Registry:
        """All packages that installed distributions announce in the group `ENTRY_POINTS`."""
        return _installed()

    @classmethod
    def of(cls, *packages: SecurityPackage) -> Registry:
        """Exactly these packages.

        Raises:
            UsageError: one of them is none.
        """
        for package in packages:
            check_package(package, "Registry.of", "Registry.of(Ntlm())")
        return cls({package.info.name: package for package in packages})

    def __getitem__(self, name: str) -> SecurityPackage:
        """The package that is announced under that name, or else calls itself so.

        Raises:
            UsageError: there is none; the message lists those there are.
        """
        key = self.announced(name)
        if key is None:
            raise UsageError(f"no package is called {name!r}; there are: {', '.join(self) or 'none'}")
        found = self._packages[key]
        if isinstance(found, EntryPoint):
            self._packages[key] = found = _load(found)
        return found

    def announced(self, name: str) -> str | None:
        """Under which name the package `name` is announced: SSPI's WDigest is ``digest``. `None` if there is none."""
        if name in self:
            return name.lower()
        for key in self:  # that name is known only to the packages themselves
            with suppress(Exception):  # a third party's code may fail in any way; it is told of where it is asked for
                if self[key].info.name.lower() == name.lower():
                    return key
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._packages))

    def __len__(self) -> int:
        return len(self._packages)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._packages

    def enumerate(self) -> list[PackageInfo]:
        """What each package is, by name (EnumerateSecurityPackages)."""
        return [self[name].info for name in self]


def check_package(given: object, taker: str, example: str) -> None:
    """Refuse what is no package: its name, its class, several in a list.

    Args:
        given: what stands where a package is wanted.
        taker: who wants it, ``Negotiate``.
        example: what to write, ``Negotiate(Kerberos(), Ntlm())``.

    Raises:
        UsageError: it is none.
    """
    if isinstance(given, str):
        raise UsageError(f"{taker} takes a package itself, not the name {given!r} of one: give an instance, {example}")
    if isinstance(given, type):
        raise UsageError(
            f"{taker} takes a package, and {given.__name__} is a class: give an instance, {given.__name__}()"
        )
    if not isinstance(getattr(given, "info", None), PackageInfo):
        raise UsageError(f"{taker} takes a package, not {what_is(given)}: give an instance, {example}")


def package_of(given: str | SecurityPackage) -> SecurityPackage:
    """What an argument ``package`` stands for: the package itself, or the installed one of that name.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(given, str):
        return Registry.installed()[given]
    check_package(given, "package=", 'package=Ntlm(), or the name of an installed one, package="ntlm"')
    return given


def _load(point: EntryPoint) -> SecurityPackage:
    try:
        package: SecurityPackage = point.load()()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"package {point.name!r} ({place_of(point)}) cannot be loaded: {error}") from error
    return package


def place_of(point: EntryPoint) -> str:
    """What an entry point names, and the distribution that brings it."""
    return f"{point.value} of {point.dist.name}" if point.dist is not None else point.value


@cache
def _installed() -> Registry:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINTS):
        other = found.setdefault(point.name.lower(), point)
        if other.value != point.value:  # which one runs would depend on the order of a search path
            raise UsageError(
                f"two installed packages are called {point.name!r}: {place_of(other)} and {place_of(point)}; "
                "uninstall one, or give the package itself instead of its name"
            )
    return Registry(dict(found))
