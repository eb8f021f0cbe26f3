"""What the commands tell their user: sentences for people, or one JSON object a line for machines."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import anyio

from securestream.errors import ErrorKind, SecureStreamError
from securestream.negotiation import Negotiation
from securestream.readable import printable

_OURSELVES: Final = "securestream"
"""Whose failure it is where nobody else is named."""


def message_of(error: BaseException) -> str:
    """The message of `error` in one line; anyio's own say nothing by themselves, the system's begin with a number."""
    if isinstance(error, anyio.BrokenResourceError | anyio.EndOfStream) and not str(error):
        return "the connection was cut off before its end"
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return printable(" ".join(text.split())) or type(error).__name__


def sentence_of(error: BaseException) -> str:
    """One sentence on `error`, with its SSPI name where it has one."""
    text = message_of(error)
    kind = getattr(error, "kind", None)
    return f"{text} ({kind.sspi})" if isinstance(kind, ErrorKind) else text


def negotiation_of(negotiation: Negotiation) -> list[dict[str, Any]]:
    """What became of each mechanism of a negotiation, as JSON has it."""
    return [
        {
            "mechanism": one.mechanism,
            "identifier": one.identifier,
            "verdict": one.verdict.value,
            "reason": one.reason,
            "kind": None if one.kind is None else one.kind.name,
        }
        for one in negotiation.mechanisms
    ]


class Report:
    """Prints events. Nothing that is told to it may hold a secret.

    Args:
        out: where results and connections go.
        err: where errors and steps go.
        as_json: whether each event is one JSON object.
        verbose: whether handshake steps are shown.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        as_json: bool = False,
        verbose: bool = False,
    ) -> None:
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err
        self._json = as_json
        self.verbose = verbose

    def say(self, event: str, sentence: str, **facts: object) -> None:
        """Tell of an event on the output."""
        self._print(self._out, event, sentence, facts)

    def detail(self, event: str, sentence: str, **facts: object) -> None:
        """Tell of an event that people want to see only with ``--verbose``, and machines always."""
        if self.verbose or self._json:
            self._print(self._out, event, sentence, facts)

    def step(self, sentence: str, **facts: object) -> None:
        """Tell of a handshake step, if that was asked for."""
        if self.verbose:
            self._print(self._err, "step", sentence, facts)

    def warn(self, sentence: str) -> None:
        """Tell of something that works and should not be used so."""
        self._print(self._err, "warning", f"{_OURSELVES}: warning: {sentence}", {"message": sentence})

    def negotiated(self, negotiation: Negotiation, prefix: str = "") -> None:
        """Tell people what became of each mechanism, if they asked; machines find it in the events themselves."""
        if not self._json:
            for one in negotiation.mechanisms:
                self.step(f"{prefix}{one}")

    def fail(self, error: BaseException, *, event: str = "error", prefix: str = _OURSELVES, **facts: object) -> None:
        """Tell of a failure, in one sentence."""
        sentence = sentence_of(error)
        kind = getattr(error, "kind", None)
        facts |= {"error": type(error).__name__, "message": message_of(error)}
        negotiation = getattr(error, "negotiation", None)
        if isinstance(negotiation, Negotiation):
            facts["negotiation"] = negotiation_of(negotiation)
            self.negotiated(negotiation, "" if prefix == _OURSELVES else f"{prefix}: ")
        if isinstance(kind, ErrorKind):
            facts |= {"kind": kind.name, "sspi": kind.sspi, "hresult": f"{kind.hresult:#010x}"}
        self._print(self._err, event, f"{prefix}: {sentence}", facts)

    def _print(self, file: TextIO, event: str, sentence: str, facts: dict[str, object]) -> None:
        if self._json:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"event": event, "time": moment, **facts}, default=str)
        else:
            line = printable(sentence)
        encoding = getattr(file, "encoding", None) or "utf-8"
        try:
            # A terminal that cannot show a name shows its escapes.
            print(line.encode(encoding, "backslashreplace").decode(encoding), file=file, flush=True)
        except BrokenPipeError:
            # Whoever read has gone; what is served does not end for that.
            return


def is_expected(error: BaseException) -> bool:
    """Whether `error` is the kind of failure that a user is told in a sentence, rather than a bug."""
    return isinstance(error, SecureStreamError | OSError | anyio.BrokenResourceError | anyio.EndOfStream)
