"""Header fields of HTTP authentication, for readers: each scheme of each field, with the token that it carries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from securestream.errors import MalformedMessage, UsageError
from securestream.http.fields import Parameter, SchemeValue, encode_parameters, parse_challenges
from securestream.inspection import Inspection, Node, malformed

_FIELD: Final = re.compile(r"((?:www|proxy)-authenticate|(?:proxy-)?authorization)[ \t]*:[ \t]*", re.IGNORECASE)
_VALUE: Final = re.compile(r"(?:Negotiate|NTLM|Kerberos|CredSSP|Basic)[ \t]*(?:,|[ \t]\S|\Z)", re.IGNORECASE)
"""How a value begins that comes without its field, if what follows is no single token."""
_LONGEST: Final = 1 << 20
_PLAIN: Final = frozenset({"basic", "bearer"})
"""Schemes whose token is a secret by itself."""

Look: TypeAlias = Callable[[bytes, Inspection], Sequence[Node]]
"""Shows octets: a token, or what carries some."""


def fields_of(octets: bytes) -> list[tuple[str, str]]:
    """The fields in `octets`, one a line, each with its name (empty where none stands there); none where these are no
    such fields. Other fields among them are passed over.
    """
    if len(octets) > _LONGEST or not octets[:1].isalpha():
        return []
    found: list[tuple[str, str]] = []
    text = re.sub(r"\r?\n[ \t]+", " ", octets.decode("latin-1").strip())  # folded lines (RFC 9112 5.2)
    lines = re.split(r"\r?\n", text)
    for line in lines:
        named = _FIELD.match(line)
        if named is not None:
            found.append((named.group(1), line[named.end() :].strip()))
        elif len(lines) == 1 and _VALUE.match(line):
            found.append(("", line))
    return found


def inspect_fields(fields: Sequence[tuple[str, str]], inspection: Inspection, look: Look) -> Iterator[Node]:
    """What each field says.

    Args:
        fields: their names and values.
        inspection: who reads tokens.
        look: shows the octets of a token.
    """
    for name, value in fields:
        try:
            found = parse_challenges(value)
        except MalformedMessage as error:
            yield malformed(name or "HTTP authentication", value.encode("latin-1"), str(error))
            continue
        yield Node(name or "HTTP authentication", children=tuple(_scheme(one, inspection, look) for one in found))


def _scheme(value: SchemeValue, inspection: Inspection, look: Look) -> Node:
    if value.token68 is not None:
        if value.scheme.lower() in _PLAIN:
            return Node(value.scheme, value.token68, secret=True)
        try:
            token = value.token or b""
        except MalformedMessage as error:
            return malformed(value.scheme, value.token68.encode(), str(error))
        return Node(value.scheme, children=tuple(look(token, inspection)))
    if not value.parameters:
        return Node(value.scheme)
    return _with_parameters(value, inspection)


def _with_parameters(value: SchemeValue, inspection: Inspection) -> Node:
    """A scheme with parameters, as its package reads them, else as they are: what none knows may prove something."""
    try:
        text = encode_parameters(value.scheme, [Parameter(name, one) for name, one in value.parameters])
    except UsageError as error:
        return malformed(value.scheme, b"", str(error))
    found = inspection.token(text.encode("latin-1"))
    if not isinstance(found.value, bytes):
        return found
    return Node(value.scheme, children=tuple(Node(name, one, secret=True) for name, one in value.parameters))
