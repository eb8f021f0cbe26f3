"""What the demonstration runs for each package: accounts or certificates of this run, and the commands' arguments.

A provider brings its scenes by an entry point in the group `ENTRY_POINTS`: it is named like the package, and its
value is a sequence of functions such as `Maker`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

from securestream.cli.demo.legs import Leg
from securestream.cli.demo.wire import Flip, Unit
from securestream.services.nt_hash import nt_hash


@dataclass(frozen=True)
class Target:
    """One octet that is altered on purpose, beside those that are chosen at random.

    Args:
        title: where it stands; with "handshake" in it if it stands there.
        flip: which one.
        refused_as: the error by which an end must refuse it; `None` where it depends on what the octet is.
    """

    title: str
    flip: Flip
    refused_as: str | None


@dataclass(frozen=True)
class Scene:
    """One package, ready to run. The password is not shown by `repr`.

    Args:
        title: what is run.
        serve: arguments of ``securestream serve`` but for the address.
        connect: arguments of ``securestream connect`` but for the address.
        wire: how the wire reads: ``nns`` or ``tls``.
        peer: who the server must see.
        password: the client's, or `None`.
        environ: further variables of both ends.
        hidden: what else must not appear in the wire, by what it is called.
        legs: what the ends ask of third parties.
        covered: the positions in a token of octets that the mechanism protects, which are the same in every exchange;
            `None`: it protects them all.
        targets: what to alter on purpose, by what passed in an honest exchange.
        at_random: whether octets of handshake and data chosen at random are altered, too.
    """

    title: str
    serve: list[str]
    connect: list[str]
    wire: str
    peer: str
    password: str | None = field(default=None, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    hidden: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    legs: tuple[Leg, ...] = ()
    covered: Callable[[bytes], Sequence[int]] | None = None
    targets: Callable[[Sequence[Unit]], Sequence[Target]] | None = None
    at_random: bool = True

    def secrets(self) -> dict[str, bytes]:
        """What must not appear in the wire, beside the plaintext."""
        if self.password is None:
            return dict(self.hidden)
        return {
            "the password": self.password.encode(),
            "the password in UTF-16LE": self.password.encode("utf-16-le"),
            "the NT hash": nt_hash(self.password),
            **self.hidden,
        }


Maker: TypeAlias = Callable[[Path], AbstractContextManager[Scene]]
"""Makes a scene whose files lie in a private folder; what else it needs runs while it is entered."""


ENTRY_POINTS = "securestream.demonstrations"
"""The entry point group in which providers bring scenes."""


def scenes_of(package: str) -> Sequence[Maker]:
    """What makes the scenes of `package`; empty where nobody brings any."""
    for point in entry_points(group=ENTRY_POINTS):
        if point.name.lower() == package.lower():
            makers: Sequence[Maker] = point.load()
            return makers
    return ()
