"""What a token says, as a tree of values for people and programs: packages fill it, ``securestream inspect`` shows it.

A package that can read its tokens offers `securestream.extensions.TokenInspector`. It shows what could be read of any
octets, says where that ends, and raises nothing for them; what is not its own it leaves to others by returning `None`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from securestream.errors import SecureStreamError, UsageError
from securestream.oids import OID_NAMES
from securestream.redaction import Redacted, Secret
from securestream.wire import der

if TYPE_CHECKING:
    from securestream.extensions import TokenInspector

Value: TypeAlias = str | int | bytes | datetime | None
"""What a node holds: a text, a number, a truth, octets, a moment (aware), or nothing."""

DEEPEST: Final = 12
"""How many tokens may stand in one another; deeper ones are shown as octets."""

_GSS_FRAME: Final = b"\x60"

MOST_KEYS: Final = 256
"""Keys that are kept to try; those found in tokens are no longer kept beyond it."""


@dataclass(frozen=True, repr=False)
class Node(Redacted):
    """One thing in a token.

    Args:
        name: what it is, in the words of its specification.
        value: what it holds.
        note: what the value means, or what was found out about it.
        children: what it consists of.
        secret: whether `value` opens or proves something: it is shown only to who asks for secrets.
        problem: whether `note` says that something is malformed, missing or wrong.
    """

    name: str
    value: Value = field(default=None, repr=False)
    note: str = ""
    children: tuple[Node, ...] = ()
    secret: bool = False
    problem: bool = False

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the order in which they are shown."""
        pending: list[Node] = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.children))

    def find(self, name: str) -> Node | None:
        """The first node of that name, this one included."""
        return next((node for node in self.walk() if node.name == name), None)

    def annotated(self, note: str, *, problem: bool = False) -> Node:
        """This node with one more note."""
        return replace(self, note=f"{self.note}; {note}" if self.note else note, problem=self.problem or problem)


def octets_text(count: int) -> str:
    """How many octets something has, in words."""
    return "1 octet" if count == 1 else f"{count} octets"


def malformed(name: str, octets: bytes, why: str, children: tuple[Node, ...] = ()) -> Node:
    """A node for octets that could not be read.

    Args:
        name: what they should be.
        octets: what they are; shown where there are no `children`.
        why: a sentence.
        children: what could be read of them all the same.
    """
    return Node(name, None if children else octets, f"malformed: {why}", children, problem=True)


@dataclass(frozen=True, repr=False)
class InspectionKey(Redacted):
    """A key that may open something in a token.

    Args:
        kind: ``nt`` (an NT hash), ``session`` (a session key), the number or the name of a Kerberos encryption type, or
            empty where nobody said.
        octets: the key.
        origin: where it comes from, as notes name it.
    """

    kind: str
    octets: Secret[bytes]
    origin: str = field(default="the key file", compare=False)


_LINE: Final = re.compile(r"(?:(?P<kind>[A-Za-z0-9-]+)[ \t:=]+)?(?P<key>(?:[0-9A-Fa-f]{2})+)")
LARGEST_KEY: Final = 64


def read_keys(text: str) -> tuple[InspectionKey, ...]:
    """The keys in a key file: one a line, ``KIND HEX`` or ``HEX`` alone; ``#`` begins a comment.

    Args:
        text: the file's content; for KIND see `InspectionKey`.

    Raises:
        UsageError: a line is no key; its number is told, its content is not.
    """
    found: list[InspectionKey] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        parts = _LINE.fullmatch(line)
        if parts is None or len(parts["key"]) > 2 * LARGEST_KEY or len(found) == MOST_KEYS:
            raise UsageError(
                f"line {number} of the key file is no key: write KIND HEX, such as nt 0123... or 18 0123..."
            )
        origin = f"line {number} of the key file"
        found.append(InspectionKey((parts["kind"] or "").lower(), Secret(bytes.fromhex(parts["key"])), origin))
    return tuple(found)


class Inspection:
    """One look at one or several tokens of a conversation, in their order.

    What is learned in one token helps to read the next: a session key out of a ticket opens the reply to it.

    Args:
        inspectors: the packages that are asked, in order.
        keytab: the octets of a keytab in MIT's format, or `None`.
        keys: further keys to try.
    """

    def __init__(
        self,
        inspectors: Sequence[TokenInspector] = (),
        *,
        keytab: bytes | None = None,
        keys: Sequence[InspectionKey] = (),
    ) -> None:
        self._inspectors = tuple(inspectors)
        self._keytab = None if keytab is None else Secret(keytab)
        self._keys = list(keys)
        self._depth = 0
        self.memory: dict[str, object] = {}
        """What packages remember from one token to the next, by their names."""

    def __repr__(self) -> str:
        return f"<Inspection by {len(self._inspectors)} packages>"

    @property
    def keytab(self) -> bytes | None:
        """The octets of the keytab."""
        return None if self._keytab is None else self._keytab.reveal()

    @property
    def keys(self) -> tuple[InspectionKey, ...]:
        """The keys to try: those that were given, then those that were found on the way."""
        return tuple(self._keys)

    def learn(self, key: InspectionKey) -> None:
        """Keep a key that was found in a token."""
        if key not in self._keys and len(self._keys) < MOST_KEYS:
            self._keys.append(key)

    def token(self, octets: bytes, name: str | None = None) -> Node:
        """What a token says.

        Args:
            octets: the token.
            name: what it is within another one; it then stands before what was found.

        Raises:
            UsageError: the keytab or a key that was given cannot be used.
        """
        found = self._found(octets)
        return found if name is None else Node(name, None, "", (found,))

    def _found(self, octets: bytes) -> Node:
        if not octets:
            return Node("empty token")
        if self._depth >= DEEPEST:
            return Node("token", octets, f"not looked into: more than {DEEPEST} stand in one another")
        self._depth += 1
        try:
            for inspector in self._inspectors:
                node = self._asked(inspector, octets)
                if node is not None:
                    return node
            return unknown(octets)
        finally:
            self._depth -= 1

    def _asked(self, inspector: TokenInspector, octets: bytes) -> Node | None:
        try:
            return inspector.inspect_token(octets, self)
        except UsageError:  # the keys that were given cannot be used: no matter of the token
            raise
        except SecureStreamError as error:
            return malformed("token", octets, str(error))
        except Exception as error:  # a third party's package may fail in any way; the octets are shown all the same
            return malformed("token", octets, f"{type(inspector).__name__} failed on it ({type(error).__name__})")


def unknown(octets: bytes, name: str = "token") -> Node:
    """Octets of which no package knows anything: as ASN.1 where they are that, else as they are."""
    from securestream._asn1_tree import asn1_tree, looks_like_asn1  # pyasn1 is loaded only for what is unknown

    if octets[:1] == _GSS_FRAME:
        framed = _gss_token(octets)
        if framed is not None:
            return framed
    if looks_like_asn1(octets):
        return asn1_tree(octets, name)
    return Node(name, octets, f"unknown, {octets_text(len(octets))}")


def _gss_token(octets: bytes) -> Node | None:
    """A context token of a mechanism that no package has (RFC 2743 3.1); `None` where it is none, or cut short."""
    try:
        _, content, rest = der.split_element(octets)
        size = der.element_size(content, len(content))
        oid = der.oid_text(content[:size])
    except SecureStreamError:
        return None
    if rest:
        return None
    inner = content[size:]
    children = (Node("mechanism", oid, OID_NAMES.get(oid, "")), Node("inner token", inner, octets_text(len(inner))))
    return Node("GSS-API token", None, f"of an unknown mechanism, {octets_text(len(octets))}", children)
