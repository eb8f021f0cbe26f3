"""What callers give in place of what is wanted: refused where it is given, by a sentence that says what to give."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, TypeVar, cast

from securestream.errors import UsageError
from securestream.redaction import Secret

E = TypeVar("E", bound=Enum)


def check_kind(name: str, given: object, kind: type | tuple[type, ...], advice: str) -> None:
    """Refuse a value of another type.

    Args:
        name: of the argument.
        given: what stands for it; it is not shown, since it may be a secret.
        kind: what it has to be.
        advice: what to give, ``write lifetime=timedelta(minutes=5)``.

    Raises:
        UsageError: it is none.
    """
    right, found = isinstance(given, kind), what_is(given)
    del given  # an error raised here shows the locals of this frame to crash reporters
    if not right:
        raise UsageError(f"{name} cannot be {found}: {advice}")


def check_choice(name: str, given: object, choices: Iterable[object]) -> None:
    """Refuse what is none of the values that an argument has: whatever it was meant to say, it would say nothing.

    Raises:
        UsageError: it is none of them.
    """
    known = tuple(choices)
    if not any(type(given) is type(one) and given == one for one in known):
        *others, last = (f'"{one}"' if isinstance(one, str) else repr(one) for one in known)
        raise UsageError(f"{name} is {', '.join(others)} or {last}, not {given!r}")


def check_sequence(name: str, given: object, example: str) -> None:
    """Refuse one value where several are wanted: a text would be taken apart, letter by letter.

    Args:
        name: of the argument.
        given: what stands for it.
        example: what to write, ``["HTTP/files.example.com"]``.

    Raises:
        UsageError: it is one value.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise UsageError(f"{name} takes a sequence, not {what_is(given)}: write {name}={example}")


def members(name: str, given: object, kind: type[E]) -> tuple[E, ...]:
    """What is given as a sequence of members of an enumeration.

    Args:
        name: of the argument.
        given: what stands for it.
        kind: the enumeration.

    Raises:
        UsageError: it is no sequence, or something in it is no member; the message names the one that was meant.
    """
    if isinstance(given, kind):
        raise UsageError(f"{name} takes a sequence: write {name}=[{given}]")
    check_sequence(name, given, f"[{next(iter(kind))}]")
    found = tuple(cast("Iterable[Any]", given))
    for one in found:
        if not isinstance(one, kind):
            meant = next((member for member in kind if _names(member, one)), None)
            advice = f"write {meant}" if meant else f"there are {', '.join(map(str, kind))}"
            raise UsageError(f"{name} takes members of {kind.__name__}, not {_shown(one)}: {advice}")
    return found


def hidden(given: Any) -> Secret[Any]:
    """What is given as it is, or hidden already. Callers ``del`` their own reference, and then `check_secret`: an error
    shows the locals of the frames that it leaves to crash reporters.
    """
    found: Any = given
    return found if isinstance(given, Secret) else Secret(bytes(found) if isinstance(given, bytearray) else found)


def check_secret(name: str, secret: Secret[Any] | None, kind: type[bytes | str]) -> None:
    """Refuse a secret that is not of octets, or not a text; `None` is none.

    Raises:
        UsageError: it is something else.
    """
    if secret is not None and not isinstance(secret.reveal(), kind):
        raise UsageError(f"{name} is {'octets: give bytes' if kind is bytes else 'text: give str'}, or Secret(...)")


def _names(member: Enum, given: object) -> bool:
    """Whether `given` is what a message or a program calls `member`."""
    value: Any = member.value
    known = (member.name, *(cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)))
    text = str(given).casefold()
    return any(isinstance(one, str) and one.casefold() == text for one in known)


def what_is(given: object) -> str:
    """What to call a value in a sentence, without showing it."""
    return "None" if given is None else f"a value of type {type(given).__name__}"


def _shown(given: object) -> str:
    return repr(given) if isinstance(given, str) else what_is(given)
