"""Transcripts of handshakes: record every effect, reply, clock reading and random draw; replay them exactly.

Without I/O; `securestream.recording_file` keeps transcripts in files. A transcript holds tokens and the replies of
services, which may be secret: nothing records unless it is told to, and files are for their owner alone.

Record by putting a handshake inside a recorder, which passes everything through::

    recorder = Recorder()
    options = recorder.options(options)
    machine = HandshakeMachine(recorder.record(package.initiate(credential, target, options)))
    ...                                                   # drive it as ever
    transcript = recorder.entries

Replay by making the same handshake again; the first difference is raised as `Diverged`::

    replay = Replay(transcript)
    options = replay.options(options)
    outcome = replay.run(package.initiate(credential, target, options))

Effects and replies are compared as values (`plain`): octets, numbers, texts, moments, enumerations and dataclasses of
them. What else an effect holds (a store, a function) is recorded by its type, and a `Secret` in it not at all. A reply
that cannot be given again raises `Unrecordable` while recording. What `Compute` gives is computed again. TLS engines
have randomness of their own: their handshakes can be recorded, but not replayed.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any, TypeAlias, cast

from securestream.errors import MalformedMessage, SecureStreamError, UsageError
from securestream.machine import HandshakeMachine, Step
from securestream.nested import Nested
from securestream.options import Limits, Options
from securestream.provider import Compute, Effect, Established, Exchange, Handshake
from securestream.redaction import Redacted, Secret

Plain: TypeAlias = bool | int | float | str | list["Plain"] | dict[str, "Plain"] | None
"""What JSON can say."""

_COUNTED_ELSEWHERE = Limits(token_size=1 << 62, legs=1 << 62, handshake_octets=1 << 62)
"""The machine around a recorder has the limits."""

_DEEPEST = 16


class Unrecordable(UsageError):
    """A reply that no transcript can give again."""


class Diverged(SecureStreamError):
    """A replayed handshake does not do what the transcript says.

    Args:
        position: number of the entry, from 1.
        expected: what the transcript says; no octets are shown.
        found: what happened instead.
    """

    def __init__(self, position: int, expected: str, found: str) -> None:
        super().__init__(f"entry {position} of the transcript is {expected}, but the handshake gave {found}")
        self.position = position


class Kind(Enum):
    """What an entry records."""

    CLOCK = "clock"
    RANDOM = "random"
    EFFECT = "effect"
    REPLY = "reply"
    FAILURE = "failure"
    """An exception that was thrown in instead of a reply."""
    ESTABLISHED = "established"
    FAILED = "failed"


@dataclass(frozen=True, repr=False)
class Entry(Redacted):
    """One thing that happened."""

    kind: Kind
    value: Plain = field(repr=False)

    def to_line(self) -> str:
        """The entry as a line of JSON."""
        return json.dumps({self.kind.value: self.value}, ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Entry:
        """The entry of a line.

        Raises:
            MalformedMessage: it is none.
        """
        try:
            read: object = json.loads(line)
            if not isinstance(read, dict) or len(cast("dict[str, Plain]", read)) != 1:
                raise MalformedMessage("a line of a transcript is an object with one member")
            ((name, value),) = cast("dict[str, Plain]", read).items()
            return cls(Kind(name), value)
        except (ValueError, RecursionError):
            raise MalformedMessage("this line belongs to no transcript") from None

    def describe(self) -> str:
        """What it is, without its octets."""
        value = self.value
        name = (value.get("type") or value.get("error")) if isinstance(value, dict) else None
        if isinstance(name, str):
            return f"{self.kind.value} {name.rpartition(':')[2]}"
        return self.kind.value


class Recorder:
    """Takes down one handshake; `entries` grows as it runs.

    Args:
        sink: called with each entry as it comes; `None` keeps them in `entries` alone.
    """

    def __init__(self, sink: Callable[[Entry], None] | None = None) -> None:
        self.entries: list[Entry] = []
        self._sink = sink

    def options(self, options: Options) -> Options:
        """`options` whose clock readings and random draws are recorded."""

        def clock() -> datetime:
            moment = options.clock()
            self._note(Kind.CLOCK, plain(moment))
            return moment

        def random(size: int) -> bytes:
            octets = options.random(size)
            self._note(Kind.RANDOM, plain(octets))
            return octets

        return replace(options, clock=clock, random=random)

    def record(self, handshake: Handshake) -> Handshake:
        """A handshake that does as `handshake` does and is taken down.

        Raises:
            Unrecordable: a reply that cannot be given again (raised from the handshake's next step).
        """
        with Nested(handshake, answers=(Effect,), limits=_COUNTED_ELSEWHERE) as inner:
            try:
                step = yield from inner.step()
                while step.established is None:
                    effect = Exchange(step.token) if step.need is None else step.need
                    self._note(Kind.EFFECT, plain(effect))
                    step = yield from self._perform(inner, effect)
            except GeneratorExit:
                raise
            except BaseException as error:  # whatever it is, it is noted and raised on
                self._note(Kind.FAILED, _plain_error(error))
                raise
        self._note(Kind.ESTABLISHED, _plain_outcome(inner.established))
        return inner.established

    def _perform(self, inner: Nested, effect: Effect[Any]) -> Generator[Effect[Any], Any, Step]:
        try:
            reply = yield from effect
        except Exception as error:  # thrown in by the driver; noted, and thrown on into the handshake
            self._note(Kind.FAILURE, _plain_error(error))
            return (yield from inner.fail(error))
        # what a computation gives is computed again in a replay
        self._note(Kind.REPLY, None if isinstance(effect, Compute) else plain(reply, strict=True))
        return (yield from inner.step(reply))

    def _note(self, kind: Kind, value: Plain) -> None:
        entry = Entry(kind, value)
        self.entries.append(entry)
        if self._sink is not None:
            self._sink(entry)


class Replay:
    """Gives a handshake what a transcript says, and holds it to the rest.

    Args:
        entries: the transcript, as `Recorder.entries`.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)
        self._position = 0
        self._first: Diverged | None = None

    def options(self, options: Options) -> Options:
        """`options` whose clock and randomness are the transcript's."""

        def clock() -> datetime:
            moment = revive(self._take(Kind.CLOCK, "a clock reading"))
            if not isinstance(moment, datetime):
                raise MalformedMessage("a clock reading of the transcript is no moment")
            return moment

        def random(size: int) -> bytes:
            octets = revive(self._take(Kind.RANDOM, f"a draw of {size} random octets"))
            if not isinstance(octets, bytes) or len(octets) != size:
                raise self._diverged(f"a draw of {size} random octets", back=1)
            return octets

        return replace(options, clock=clock, random=random)

    def run(self, handshake: Handshake) -> Established | None:
        """Run `handshake` against the transcript, to its last entry.

        Returns:
            What was established; `None` when the handshake failed as the transcript says, or when the transcript ends
            before the handshake did.

        Raises:
            Diverged: the first difference.
        """
        machine = HandshakeMachine(handshake, _COUNTED_ELSEWHERE)
        try:
            step = machine.step()
            while step.established is None:
                effect = Exchange(step.token) if step.need is None else step.need
                self._expect(Kind.EFFECT, plain(effect), f"effect {type(effect).__name__}")
                if self._position == len(self._entries):
                    return None
                step = self._answer(machine, effect)
            self._expect(Kind.ESTABLISHED, _plain_outcome(step.established), "an outcome")
            self._end()
        except (Diverged, MalformedMessage):
            raise
        except Exception as error:  # the transcript says whether it was to be so
            if self._first is not None:
                raise self._first from error  # the handshake made something else of it
            self._expect(Kind.FAILED, _plain_error(error), f"failure {type(error).__name__}", error)
            self._end()
            return None
        finally:
            machine.close()
        return step.established

    def _answer(self, machine: HandshakeMachine, effect: Effect[Any]) -> Step:
        entry = self._entries[self._position]
        if entry.kind is Kind.FAILURE:
            self._position += 1
            return machine.fail(_revive_error(entry.value))
        if isinstance(effect, Compute):
            computed = cast("Compute[object]", effect).function()
            self._take(Kind.REPLY, "a reply")
            return machine.step(computed)
        return machine.step(revive(self._take(Kind.REPLY, "a reply")))

    def _take(self, kind: Kind, found: str) -> Plain:
        if self._position == len(self._entries) or self._entries[self._position].kind is not kind:
            raise self._diverged(found)
        self._position += 1
        return self._entries[self._position - 1].value

    def _expect(self, kind: Kind, value: Plain, found: str, cause: Exception | None = None) -> None:
        if self._take(kind, found) != value:
            raise self._diverged(f"{found} with other values", back=1) from cause

    def _end(self) -> None:
        if self._position != len(self._entries):
            raise self._diverged("its end")

    def _diverged(self, found: str, back: int = 0) -> Diverged:
        position = self._position - back
        expected = self._entries[position].describe() if position < len(self._entries) else "its end"
        diverged = Diverged(position + 1, expected, found)
        self._first = self._first or diverged
        return self._first


# --- values ----------------------------------------------------------------------------------------------------------


def plain(value: object, *, strict: bool = False, depth: int = 0) -> Plain:
    """`value` as JSON can say it.

    Args:
        value: anything.
        strict: whether `revive` must be able to make it again; else what cannot be said is named by its type.
        depth: how deep it lies.

    Raises:
        Unrecordable: it cannot be said, and `strict` was asked for.
    """
    if depth > _DEEPEST:
        raise Unrecordable("a value that is nested too deeply")

    def inside(part: object) -> Plain:
        return plain(part, strict=strict, depth=depth + 1)

    if isinstance(value, Enum):
        return {"enum": _name(type(value)), "value": inside(cast("object", value.value))}
    if value is None or isinstance(value, bool | float | str) or type(value) is int:
        return value
    if isinstance(value, bytes | bytearray):
        return {"octets": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"moment": value.isoformat()}
    if isinstance(value, Secret):
        return {"secret": inside(cast("Any", value).reveal()) if strict else None}
    if type(value) in (tuple, list):
        items = cast("Iterable[object]", value)
        return {"items": [inside(item) for item in items], "of": type(value).__name__}
    if is_dataclass(value) and not isinstance(value, type):
        said: dict[str, Plain] = {
            field.name: inside(getattr(value, field.name)) for field in fields(value) if field.init
        }
        return {"type": _name(type(value)), "fields": said}
    if strict:
        raise Unrecordable(f"a reply with a {type(value).__name__} cannot be recorded")
    return {"type": _name(type(value))}


def revive(value: Plain) -> Any:
    """What `plain` said.

    Only dataclasses and enumerations of modules that are loaded already are made, and none of their code is called: a
    transcript is data.

    Raises:
        MalformedMessage: it is nothing that `plain` says.
    """
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise MalformedMessage("a bare list stands in the transcript")
        return value
    try:
        return _revive(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedMessage(f"a value of the transcript cannot be made again ({type(error).__name__})") from None


def _revive(value: dict[str, Plain]) -> Any:
    match value:
        case {"octets": str(text)}:
            return base64.b64decode(text, validate=True)
        case {"moment": str(text)}:
            return datetime.fromisoformat(text)
        case {"secret": inner}:
            return Secret(revive(inner))
        case {"enum": str(name), "value": inner}:
            kind = _loaded(name)
            if not issubclass(kind, Enum):
                raise TypeError
            return kind(revive(inner))
        case {"items": list(items), "of": "tuple" | "list" as kind}:
            revived = [revive(item) for item in items]
            return tuple(revived) if kind == "tuple" else revived
        case {"type": str(name), "fields": dict(members)}:
            kind = _loaded(name)
            if not is_dataclass(kind):
                raise TypeError
            made = object.__new__(kind)
            for member, inner in members.items():
                object.__setattr__(made, member, revive(inner))
            return made
        case _:
            raise ValueError


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _loaded(name: str) -> type:
    """The class of that name; nothing is imported for it."""
    module, _, path = name.partition(":")
    found: Any = sys.modules[module]
    for part in path.split("."):
        found = getattr(found, part)
    if not isinstance(found, type):
        raise TypeError
    return found


def _plain_error(error: BaseException) -> Plain:
    said = {name: plain(getattr(error, name, None)) for name in ("kind", "token", "code")}
    return {"error": _name(type(error)), "message": str(error), **said}


def _revive_error(value: Plain) -> Exception:
    try:
        match value:
            case {"error": str(name), "message": str(message), "kind": kind, "token": token, "code": code}:
                kind_of_error = _loaded(name)
                if not issubclass(kind_of_error, Exception):
                    raise TypeError
                error = kind_of_error.__new__(kind_of_error)
                error.args = (message,)
                if isinstance(error, SecureStreamError):
                    vars(error).update(kind=revive(kind), token=revive(token), code=revive(code))
                return error
            case _:
                raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MalformedMessage("a failure of the transcript cannot be made again") from None


def _plain_outcome(outcome: Established) -> Plain:
    return {"type": _name(type(outcome.result)), "peer": plain(outcome.peer), "token": plain(outcome.token)}
