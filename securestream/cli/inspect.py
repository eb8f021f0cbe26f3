"""``securestream inspect``: tokens as a tree, decrypted as far as the given keys open them."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from securestream.cli.inspect_frames import inspect_stream
from securestream.cli.report import Report, is_expected
from securestream.errors import UsageError
from securestream.extensions import TokenInspector
from securestream.files import read_private
from securestream.inspection import Inspection, InspectionKey, Node, octets_text, read_keys
from securestream.readable import printable
from securestream.registry import Registry
from securestream.sasl.inspect import SaslInspector

LARGEST: Final = 16 << 20
"""Octets that are read of a file or of standard input."""

MOST_TOKENS: Final = 10_000
"""Tokens that are read of one text."""

SHOWN: Final = 48
"""Octets of a value that are shown to people unless all are asked for; programs get them all."""

HIDDEN: Final = "hidden; --show-secrets shows it"

_SCHEMES: Final = re.compile(
    r"(?:[A-Za-z-]+:[ \t]*)?(?:Negotiate|NTLM|Kerberos|CredSSP|GSSAPI|GSS-SPNEGO|AUTH)[ \t]+", re.IGNORECASE
)
_HEX: Final = re.compile(r"(?:0x)?(?:[0-9A-Fa-f]{2}[\s:,]*)+")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def inspect(asked: Namespace, registry: Registry | None = None, out: TextIO | None = None) -> int:
    """Show what the tokens say; the status is 1 if something in them could not be read.

    Args:
        asked: the arguments of the command.
        registry: whose packages are asked; `None` for all that are installed.
        out: where the tree goes; `None` for standard output.

    Raises:
        UsageError: there is nothing to look at, or a key file cannot be used.
        OSError: a file cannot be read.
    """
    output = sys.stdout if out is None else out
    inspection = Inspection(
        [*_inspectors(Registry.installed() if registry is None else registry), SaslInspector()],
        keytab=None if asked.keytab is None else read_private(asked.keytab, group_reads=True),
        keys=_keys(asked.key_file),
    )
    nodes = [node for octets in _tokens(asked) for node in inspect_stream(octets, inspection)]
    if asked.json:
        print(json.dumps([as_json(node, secrets=asked.show_secrets) for node in nodes], indent=2), file=output)
    else:
        for node in nodes:
            for line in lines(node, secrets=asked.show_secrets, whole=asked.whole):
                print(_encodable(line, output), file=output)
    return 1 if any(inner.problem for node in nodes for inner in node.walk()) else 0


def _inspectors(registry: Registry) -> list[TokenInspector]:
    """The packages that can read tokens; one that cannot be loaded is told of, and missed."""
    found: list[TokenInspector] = []
    for name in registry:
        try:
            package = registry[name]
        except (
            Exception
        ) as error:  # a third party's code may fail in any way; the others read their tokens all the same
            Report().fail(error, prefix="securestream" if is_expected(error) else f"securestream: package {name!r}")
            continue
        if isinstance(package, TokenInspector):
            found.append(package)
    return found


def _keys(file: str | None) -> tuple[InspectionKey, ...]:
    if file is None:
        return ()
    try:
        return read_keys(read_private(file, largest=1 << 20).decode("utf-8"))
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no UTF-8 text: write one key a line, KIND HEX") from None


# --- what goes in ----------------------------------------------------------------------------------------------------


def _tokens(asked: Namespace) -> list[bytes]:
    """The tokens: one of each paragraph of a text, or the octets of a file."""
    given = asked.hex or asked.base64
    if given and asked.file is not None:
        raise UsageError("a token is given, and --file too: give one of them")
    octets = given.encode() if given else _read(asked.file)
    if not octets.strip():
        raise UsageError("there is nothing to inspect: give a token, --file FILE, or octets on standard input")
    if asked.hex is not None:
        return [_of_hex(text) for text in _paragraphs(octets)]
    if asked.base64 is not None:
        return [_of_base64(text) for text in _paragraphs(octets)]
    return _guessed(octets)


def _read(file: str | None) -> bytes:
    if file is None:
        octets = sys.stdin.buffer.read(LARGEST + 1)
    else:
        with Path(file).open("rb") as opened:
            octets = opened.read(LARGEST + 1)
    if len(octets) > LARGEST:
        raise UsageError(f"more than {LARGEST} octets: give a part of them")
    return octets


def _paragraphs(octets: bytes) -> list[str]:
    text = octets.decode("ascii", "replace").replace("\r\n", "\n")
    parts = [part.strip() for part in re.split(r"\n[ \t]*\n", text) if part.strip()]
    if len(parts) > MOST_TOKENS:
        raise UsageError(f"more than {MOST_TOKENS} tokens: give a part of them")
    return parts


def _of_hex(text: str) -> bytes:
    if _HEX.fullmatch(text) is None:
        raise UsageError("this is no hexadecimal text: two digits an octet, spaces, colons and line ends between them")
    return bytes.fromhex(re.sub(r"[^0-9A-Fa-f]", "", text.removeprefix("0x")))


def _of_base64(text: str) -> bytes:
    """Of base64 in either alphabet, behind the header and scheme of HTTP and the like, if they stand there."""
    compact = re.sub(r"\s", "", _without_scheme(text)).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("this is no base64: give a token's text, alone or behind 'Negotiate '") from None


def _guessed(octets: bytes) -> list[bytes]:
    """A text of hexadecimal digits or of base64 is read as that, anything else as the octets that it is."""
    if not octets.isascii() or any(octet < 9 for octet in octets):
        return [octets]
    texts = _paragraphs(octets)
    if all(_HEX.fullmatch(text) for text in texts):
        return [_of_hex(text) for text in texts]
    if all(_is_base64(re.sub(r"\s", "", _without_scheme(text))) for text in texts):
        with contextlib.suppress(UsageError):  # a text that only looks like it
            return [_of_base64(text) for text in texts]
    return [octets]


def _without_scheme(text: str) -> str:
    """What stands behind the header and scheme at the beginning, if they stand there."""
    found = _SCHEMES.match(text)
    return text if found is None else text[found.end() :]


def _is_base64(text: str) -> bool:
    return len(text) % 4 == 0 and _BASE64.fullmatch(text) is not None


# --- what comes out --------------------------------------------------------------------------------------------------


def as_json(node: Node, *, secrets: bool = False) -> dict[str, Any]:
    """A tree for programs: ``name``, and ``value``, ``note``, ``children``, ``secret``, ``problem`` where they matter.

    Octets are hexadecimal, moments ISO 8601. The value of a secret is left out unless `secrets`.
    """
    found: dict[str, Any] = {"name": node.name}
    if node.value is not None and (secrets or not node.secret):
        found["value"] = _plain(node.value)
    if node.note:
        found["note"] = node.note
    if node.secret:
        found["secret"] = True
    if node.problem:
        found["problem"] = True
    if node.children:
        found["children"] = [as_json(child, secrets=secrets) for child in node.children]
    return found


def _plain(value: str | int | bytes | datetime) -> str | int:
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, datetime) else value


def lines(node: Node, *, secrets: bool = False, whole: bool = False, depth: int = 0) -> Iterator[str]:
    """A tree for people, one node a line.

    Args:
        node: the root.
        secrets: show values that open or prove something.
        whole: show long octets to their end.
        depth: how far the lines are set in.
    """
    shown = _text(node, secrets=secrets, whole=whole)
    note = f"  ({printable(node.note)})" if node.note else ""
    mark = "  <!>" if node.problem else ""
    yield f"{'  ' * depth}{printable(node.name)}{': ' if shown else ''}{shown}{note}{mark}"
    for child in node.children:
        yield from lines(child, secrets=secrets, whole=whole, depth=depth + 1)


def _text(node: Node, *, secrets: bool, whole: bool) -> str:
    value = node.value
    if value is None:
        return ""
    if node.secret and not secrets:
        return f"<{HIDDEN}>"
    if isinstance(value, bytes):
        if len(value) <= SHOWN or whole:
            return value.hex() or "no octets"
        return f"{value[:SHOWN].hex()}... of {octets_text(len(value))}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return str(value).replace("+00:00", " UTC")
    return printable(str(value))


def _encodable(line: str, out: TextIO) -> str:
    encoding = getattr(out, "encoding", None) or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)
