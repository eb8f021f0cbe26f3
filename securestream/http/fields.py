"""The grammar of HTTP authentication fields (RFC 9110 11, RFC 7615): challenges, credentials, parameters; bounded.

Field values are text whose characters are octets (ISO 8859-1), as HTTP libraries give them; no scheme is known here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from securestream.errors import MalformedMessage, UsageError
from securestream.redaction import Redacted

FIELD_SIZE: Final = 131072
"""Characters in all the values of one field: a token of `Limits.token_size` in base64, and more beside it."""
CHALLENGES: Final = 32
"""Challenges in one response."""
PARAMETERS: Final = 64
"""Parameters in one challenge."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 5.6.2
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|\Z))")  # RFC 9110 11.2
_QUOTED = re.compile('"((?:[\\t \\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t \\x21-\\x7e\\x80-\\xff])*)"')  # 5.6.4
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_SPACE = re.compile(r"[ \t]*")
_COMMAS = re.compile(r"[ \t]*(?:,[ \t]*)*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_QUOTABLE = re.compile("[\\t \\x21-\\x7e\\x80-\\xff]*")

Text = str | bytes
"""A field value as a library gives it."""


@dataclass(frozen=True, repr=False)
class Parameter(Redacted):
    """One auth-param to be written.

    Args:
        name: a token.
        value: its value, without quotes and escapes.
        quoted: whether it is written as a quoted string; RFC 7616 3.3 and 3.4 say which parameters must and must not.
    """

    name: str
    value: str = field(repr=False)
    quoted: bool = True

    def encode(self) -> str:
        """The parameter as it stands in a field.

        Raises:
            UsageError: it cannot be written.
        """
        if not _TOKEN.fullmatch(self.name):
            raise UsageError(f"{self.name!r} is no name of an authentication parameter")
        if not self.quoted:
            if not _TOKEN.fullmatch(self.value):
                raise UsageError(f"the value of {self.name} is no token: quote it")
            return f"{self.name}={self.value}"
        return f"{self.name}={quote(self.value)}"


@dataclass(frozen=True, repr=False)
class SchemeValue(Redacted):
    """A challenge or credentials: a scheme with a token68, or with parameters, or alone.

    Args:
        scheme: name of the scheme, as it came; compared without regard to case.
        token68: what stands there in place of parameters, or `None`.
        parameters: names in lower case with their values, in order, each name once.
    """

    scheme: str
    token68: str | None = field(default=None, repr=False)
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def is_scheme(self, name: str) -> bool:
        """Whether it is of that scheme."""
        return self.scheme.lower() == name.lower()

    def parameter(self, name: str) -> str | None:
        """The value of a parameter, or `None`."""
        return next((value for known, value in self.parameters if known == name), None)

    @property
    def token(self) -> bytes | None:
        """The octets that `token68` stands for in base64 (RFC 4559 4), or `None` where there is none.

        Raises:
            MalformedMessage: it is no base64.
        """
        return None if self.token68 is None else decode_token(self.token68)


class Challenge(SchemeValue):
    """One challenge of a WWW-Authenticate or Proxy-Authenticate field (RFC 9110 11.3)."""


class Authorization(SchemeValue):
    """The credentials in an Authorization or Proxy-Authorization field (RFC 9110 11.4)."""


V = TypeVar("V", bound=SchemeValue)


def parse_challenges(values: Text | Iterable[Text]) -> tuple[Challenge, ...]:
    """All challenges of a response, in order.

    Args:
        values: the values of all WWW-Authenticate (or all Proxy-Authenticate) fields; each may hold several challenges.

    Raises:
        MalformedMessage: the values are no challenges, or more than the bounds of this module allow.
    """
    texts = _texts(values)
    found: list[Challenge] = []
    for text in texts:
        found += _parse(text, Challenge)
        if len(found) > CHALLENGES:
            raise MalformedMessage(f"more than {CHALLENGES} challenges in one response")
    return tuple(found)


def parse_authorization(values: Text | Iterable[Text]) -> Authorization | None:
    """The credentials of a request, or `None` where there are none.

    Args:
        values: the values of all Authorization (or all Proxy-Authorization) fields.

    Raises:
        MalformedMessage: they are no credentials, or several.
    """
    texts = _texts(values)
    if not texts:
        return None
    if len(texts) > 1:
        raise MalformedMessage("a request has one Authorization field, not several")
    found = _parse(texts[0], Authorization)
    if len(found) != 1:
        raise MalformedMessage("an Authorization field holds the credentials of one scheme")
    return found[0]


def parse_information(values: Text | Iterable[Text]) -> Mapping[str, str]:
    """The parameters of Authentication-Info or Proxy-Authentication-Info (RFC 7615 3), names in lower case.

    Raises:
        MalformedMessage: the values are no parameters, or one occurs twice.
    """
    found: dict[str, str] = {}
    for text in _texts(values):
        at = _COMMAS.match(text, 0)
        position = 0 if at is None else at.end()
        while position < len(text):
            parsed = _parameter(text, position)
            if parsed is None:
                raise MalformedMessage(f"no parameter where one is due, at character {position}")
            name, value, position = parsed
            _add(found, name, value)
            position = _next_element(text, position)
    return found


def encode_token(scheme: str, token: bytes | None = None) -> str:
    """The value of a field that carries `token` in base64 (RFC 4559 4), or the scheme alone."""
    if token is None:
        return scheme
    return f"{scheme} {base64.b64encode(token).decode('ascii')}"


def encode_parameters(scheme: str, parameters: Sequence[Parameter]) -> str:
    """The value of a field of `scheme` with parameters."""
    return f"{scheme} {', '.join(parameter.encode() for parameter in parameters)}"


def encode_information(parameters: Sequence[Parameter]) -> str:
    """The value of an Authentication-Info field."""
    return ", ".join(parameter.encode() for parameter in parameters)


def decode_token(token68: str) -> bytes:
    """The octets of a base64 token.

    Raises:
        MalformedMessage: it is no base64 (RFC 4648 4), with its padding.
    """
    if not _BASE64.fullmatch(token68):  # Python's own check takes excess padding, up to 3.12
        raise MalformedMessage("the token is no base64 with padding (RFC 4648 4)")
    return base64.b64decode(token68)


def quote(value: str) -> str:
    """`value` as a quoted string.

    Raises:
        UsageError: it holds characters that no field may hold.
    """
    if not _QUOTABLE.fullmatch(value):
        raise UsageError("a quoted string holds no control characters, and octets only: encode it to UTF-8 first")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _texts(values: Text | Iterable[Text]) -> list[str]:
    given: Iterable[Text] = (values,) if isinstance(values, str | bytes) else values
    texts: list[str] = []
    size = 0
    for value in given:
        size += len(value)
        if size > FIELD_SIZE or len(texts) >= CHALLENGES:
            raise MalformedMessage(f"the authentication fields are longer than {FIELD_SIZE} characters, or too many")
        texts.append(value.decode("latin-1") if isinstance(value, bytes) else value)
    return texts


def _parse(text: str, kind: type[V]) -> list[V]:
    """The elements of one value. What follows a comma is a parameter of the element before it if an equals sign follows
    its name, else another scheme (RFC 9110 11.6.1).
    """
    found: list[V] = []
    leading = _COMMAS.match(text, 0)
    position = 0 if leading is None else leading.end()
    while position < len(text):
        if len(found) >= CHALLENGES:
            raise MalformedMessage(f"more than {CHALLENGES} challenges in one response")
        name = _TOKEN.match(text, position)
        if name is None:
            raise MalformedMessage(f"no authentication scheme where one is due, at character {position}")
        value, position = _scheme_value(text, name.group(), name.end(), kind)
        found.append(value)
    return found


def _scheme_value(text: str, scheme: str, position: int, kind: type[V]) -> tuple[V, int]:
    if position == len(text) or text[position] == ",":
        return kind(scheme), _next_element(text, position)
    if text[position] not in " \t":
        raise MalformedMessage(f"the name of an authentication scheme ends with a space, at character {position}")
    position = _skip(text, position)
    if position == len(text) or text[position] == ",":
        return kind(scheme), _next_element(text, position)
    if token := _TOKEN68.match(text, position):
        return kind(scheme, token.group()), _next_element(text, token.end())
    parameters: dict[str, str] = {}
    while position < len(text):
        parsed = _parameter(text, position)
        if parsed is None:
            break
        name, value, position = parsed
        _add(parameters, name, value)
        position = _next_element(text, position)
    if not parameters:
        raise MalformedMessage(f"neither a token nor parameters behind the scheme, at character {position}")
    return kind(scheme, None, tuple(parameters.items())), position


def _parameter(text: str, position: int) -> tuple[str, str, int] | None:
    """Name, value and what comes next, or `None` where no parameter stands."""
    name = _TOKEN.match(text, position)
    equals = None if name is None else _EQUALS.match(text, name.end())
    if name is None or equals is None:
        return None
    quoted = _QUOTED.match(text, equals.end())
    if quoted is not None:
        return name.group().lower(), _ESCAPED.sub(r"\1", quoted.group(1)), quoted.end()
    value = _TOKEN.match(text, equals.end())
    if value is None:
        raise MalformedMessage(
            f"the parameter {name.group()[:32]!r} has neither a token nor a quoted string as its value"
        )
    return name.group().lower(), value.group(), value.end()


def _add(parameters: dict[str, str], name: str, value: str) -> None:
    if name in parameters:
        raise MalformedMessage(f"the parameter {name[:32]!r} occurs twice (RFC 9110 11.2)")
    if len(parameters) >= PARAMETERS:
        raise MalformedMessage(f"more than {PARAMETERS} parameters in one challenge")
    parameters[name] = value


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return position if space is None else space.end()


def _next_element(text: str, position: int) -> int:
    """Where the next element of a list begins; empty elements are passed over (RFC 9110 5.6.1.2)."""
    position = _skip(text, position)
    if position < len(text) and text[position] != ",":
        raise MalformedMessage(f"a comma is due between two elements, at character {position}")
    commas = _COMMAS.match(text, position)
    return position if commas is None else commas.end()
