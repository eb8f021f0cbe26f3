"""The syntax of krb5.conf: texts to a tree of sections, with the file and line of each value. MIT's profile format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from securestream.errors import MalformedMessage

MOST_FILES: Final = 256
"""Files, with those that are included."""

MOST_TEXT: Final = 4 << 20
"""Characters of all files together."""

DEEPEST: Final = 16
"""Sections in sections, and files included by files."""

_ESCAPES: Final = {"n": "\n", "t": "\t", "b": "\b"}


@dataclass(frozen=True)
class ConfigText:
    """A file of configuration.

    Args:
        name: its path, for messages.
        text: its content.
    """

    name: str
    text: str


IncludeReader = Callable[[str, bool], Sequence[ConfigText]]
"""Gives what an ``include`` (a file) or ``includedir`` (then the second argument is True) names."""


@dataclass(frozen=True)
class Value:
    """A value, and where it stands."""

    text: str
    where: str


@dataclass
class Section:
    """Relations and sections by name. A final one takes nothing from later files."""

    values: dict[str, list[Value]] = field(default_factory=dict[str, list[Value]])
    sections: dict[str, Section] = field(default_factory=dict[str, "Section"])
    final: bool = False
    final_values: set[str] = field(default_factory=set[str])

    def first(self, name: str) -> Value | None:
        """The value that counts where there can be one only: the first."""
        found = self.values.get(name)
        return found[0] if found else None

    def section(self, name: str) -> Section:
        """The section of that name, an empty one if there is none."""
        return self.sections.get(name) or Section()

    def add_later(self, other: Section) -> None:
        """Take what a later file has, behind what is here."""
        if self.final:
            return
        for name, values in other.values.items():
            if name not in self.final_values:
                self.values.setdefault(name, []).extend(values)
        self.final_values |= other.final_values
        for name, section in other.sections.items():
            if name in self.sections:
                self.sections[name].add_later(section)
            else:
                self.sections[name] = section
        self.final = other.final


def parse_tree(texts: Sequence[ConfigText], read: IncludeReader | None) -> Section:
    """The sections of files, of which an earlier one has precedence.

    Args:
        texts: the files.
        read: performs includes; without it they are refused.

    Raises:
        MalformedMessage: a line that is none of the format's; the message gives the file and the line.
    """
    root = Section()
    budget = _Budget(read)
    for text in texts:
        tree = Section()
        _File(text, tree, budget, 0).parse()
        root.add_later(tree)
    return root


class _Budget:
    """What all files together may take."""

    def __init__(self, read: IncludeReader | None) -> None:
        self.read = read
        self.files = 0
        self.characters = 0


class _File:
    """The parser of one file: the open sections, and the line."""

    def __init__(self, source: ConfigText, root: Section, budget: _Budget, depth: int) -> None:
        budget.files += 1
        budget.characters += len(source.text)
        self._name = source.name
        self._lines = source.text.split("\n")
        self._root = root
        self._budget = budget
        self._depth = depth
        self._open: list[Section] = []
        self._number = 0
        if depth > DEEPEST or budget.files > MOST_FILES or budget.characters > MOST_TEXT:
            self._fail(f"too much is included: {MOST_FILES} files, {MOST_TEXT} characters, {DEEPEST} deep at most")

    @property
    def _where(self) -> str:
        return f"{self._name}, line {self._number}"

    def _fail(self, why: str) -> NoReturn:
        raise MalformedMessage(f"{self._where}: {why}")

    def parse(self) -> None:
        """Add what the file says to the root."""
        lines = self._content()
        for line in lines:
            if line.startswith("["):
                self._begin(line)
            elif line.startswith("}"):
                self._end(line)
            elif not self._include(line):
                self._relation(line, lines)
        if len(self._open) > 1:
            self._fail("the file ends inside of a section: a } is missing")

    def _content(self) -> Iterator[str]:
        """The lines that say something, trimmed."""
        for number, raw in enumerate(self._lines, 1):
            self._number = number
            line = raw.strip()
            if number == 1:
                line = line.removeprefix("\ufeff")
            if line and line[0] not in "#;":
                yield line

    def _begin(self, line: str) -> None:
        name, bracket, rest = line[1:].partition("]")
        name = name.strip()
        if len(self._open) > 1:
            self._fail("a [section] inside of another: a } is missing before it")
        if not bracket or not name or rest.strip() not in ("", "*"):
            self._fail("a section is written [name]")
        section = self._root.sections.setdefault(name, Section())
        section.final |= rest.strip() == "*"
        self._open = [section]

    def _end(self, line: str) -> None:
        rest = line[1:].strip()
        if len(self._open) < 2 or rest not in ("", "*"):
            self._fail("a } that closes nothing" if len(self._open) < 2 else "something follows a }")
        self._open.pop().final |= rest == "*"

    def _relation(self, line: str, lines: Iterator[str]) -> None:
        tag, equals, text = line.partition("=")
        tag, text = tag.strip(), text.strip()
        final = tag.endswith("*")
        tag = tag.removesuffix("*").rstrip()
        if not equals or not tag or any(character.isspace() for character in tag):
            self._fail("neither [section] nor name = value")
        if not self._open:
            self._fail("a relation before the first [section]")
        if not text:
            text = next(lines, "")
            if text != "{":
                self._fail("a value, or a { on the next line, is missing")
        if text == "{":
            if len(self._open) >= DEEPEST:
                self._fail(f"sections in sections are {DEEPEST} deep at most")
            section = self._open[-1].sections.setdefault(tag, Section())
            section.final |= final
            self._open.append(section)
            return
        self._open[-1].values.setdefault(tag, []).append(Value(self._unquoted(text), self._where))
        if final:
            self._open[-1].final_values.add(tag)

    def _unquoted(self, text: str) -> str:
        if not text.startswith('"'):
            return text
        found: list[str] = []
        characters = iter(text[1:])
        for character in characters:
            if character == '"':
                break
            if character == "\\":
                character = next(characters, "")
                character = _ESCAPES.get(character, character)
            found.append(character)
        return "".join(found)

    def _include(self, line: str) -> bool:
        word, _, path = line.partition(" ") if " " in line else line.partition("\t")
        path = path.strip()
        if word == "module":
            self._fail("modules of configuration are not supported: write what it says into a file")
        if word not in ("include", "includedir") or not path or path.startswith("="):
            return False
        if self._budget.read is None:
            self._fail("nothing can be included here")
        try:
            found = self._budget.read(path, word == "includedir")
        except OSError as error:
            self._fail(f"{path} cannot be included: {error.strerror or error}")
        for text in found:
            _File(text, self._root, self._budget, self._depth + 1).parse()
        return True
