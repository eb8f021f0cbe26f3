"""Values that must not leak: the base of everything that may hold a token, a key or a password."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, fields
from typing import Any, Generic, NoReturn, TypeVar, cast

T = TypeVar("T", bytes, str)


class _NotCopied:
    """Stands in each redacted value and refuses the ways by which all its fields would be copied out."""

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("this value may hold a secret: it refuses asdict() and deepcopy()")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("this value may hold a secret: it refuses pickling")

    def __repr__(self) -> str:
        return "-"


_NOT_COPIED = _NotCopied()


@dataclass(frozen=True, repr=False)
class Redacted:
    """Base of frozen dataclasses whose `repr` shows no octets, and which refuse pickling, deepcopy and ``asdict``.

    Fields declared with ``field(repr=False)`` are left out; octets are shown by their number; `Secret` hides itself.
    """

    _not_copied: _NotCopied = field(default=_NOT_COPIED, init=False, repr=False, compare=False, kw_only=True)

    def __repr__(self) -> str:
        made = [f for f in fields(self) if f.repr and hasattr(self, f.name)]  # a traceback may show one half-made
        shown = (f"{f.name}={_describe(getattr(self, f.name))}" for f in made)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} may hold a secret: it refuses pickling")


def _describe(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} octets>"
    if isinstance(value, memoryview):
        return f"<{value.nbytes} octets>"
    return repr(value)


class Secret(Generic[T]):
    """A password, hash or key. `reveal` gives it; nothing else does.

    Equality is decided in constant time. Python cannot wipe memory: the value lives until it is collected.
    """

    __slots__ = ("_value",)
    _value: T

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The secret itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine: bytes | str = self._value
        theirs: Any = cast("Any", other).reveal()
        return type(mine) is type(theirs) and hmac.compare_digest(_octets(mine), _octets(theirs))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret(...)"

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise TypeError("a secret refuses asdict() and deepcopy()")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret refuses pickling")


def _octets(value: bytes | str) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
