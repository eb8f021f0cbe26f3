"""Inspecting tokens in tests: what is found is a tree whose nodes are asked for by name."""

from __future__ import annotations

import io
import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from securestream.cli.arguments import parser
from securestream.cli.inspect import inspect, lines
from securestream.cli.inspect_frames import inspect_stream
from securestream.extensions import TokenInspector
from securestream.inspection import Inspection, InspectionKey, Node
from securestream.redaction import Secret
from securestream.registry import Registry
from securestream_providers.credssp import CredSsp
from securestream_providers.digest import Digest
from securestream_providers.kerberos import Kerberos
from securestream_providers.negotiate import Negotiate
from securestream_providers.ntlm import Ntlm

REGISTRY = Registry.of(CredSsp(), Digest(), Kerberos(), Negotiate(), Ntlm())


def key(kind: str, octets: bytes) -> InspectionKey:
    """A key of a key file."""
    return InspectionKey(kind, Secret(octets), "the test's key")


def inspection(keys: Sequence[InspectionKey] = (), keytab: bytes | None = None) -> Inspection:
    """An inspection by all packages."""
    return Inspection([cast("TokenInspector", REGISTRY[name]) for name in REGISTRY], keytab=keytab, keys=keys)


def look(*tokens: bytes, keys: Sequence[InspectionKey] = (), keytab: bytes | None = None) -> list[Node]:
    """The trees of tokens, in the order of a conversation. No package may fail on any."""
    looking = inspection(keys, keytab)
    nodes = [node for token in tokens for node in inspect_stream(token, looking)]
    for node in nodes:
        for inner in node.walk():
            assert "failed on it" not in inner.note, inner.note
        for line in lines(node, secrets=True):
            assert line.isprintable(), line
    return nodes


def value(node: Node, *way: str) -> Any:
    """What stands at a path of names."""
    return at(node, *way).value


def at(node: Node, *way: str) -> Node:
    """The node at a path of names, each found anywhere below the one before."""
    for name in way:
        found = node.find(name)
        assert found is not None, f"{name} is not in {[inner.name for inner in node.walk()]}"
        node = found
    return node


def problems(*nodes: Node) -> list[str]:
    """The notes of what is wrong."""
    return [inner.note for node in nodes for inner in node.walk() if inner.problem]


def asked(*arguments: str) -> Namespace:
    """The arguments as the command parses them."""
    return parser("inspect").parse_args(["inspect", *arguments])


def run(*arguments: str | Path) -> tuple[int, str]:
    """The command in this process: its status, and what it prints."""
    out = io.StringIO()
    return inspect(asked(*map(str, arguments)), REGISTRY, out), out.getvalue()


def run_json(*arguments: str | Path) -> list[dict[str, Any]]:
    """The trees of ``--json``."""
    return cast("list[dict[str, Any]]", json.loads(run(*arguments, "--json")[1]))
