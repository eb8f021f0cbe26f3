"""``python -m securestream.cli.demo``: the demonstration; exit status 0 only if every exchange was right."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from securestream.cli.demo.legs import TAIL, Leg, Message, MessageFlip
from securestream.cli.demo.processes import Broken, Ends, Outcome
from securestream.cli.demo.scenes import Scene, scenes_of
from securestream.cli.demo.show import hexdump, leaks
from securestream.cli.demo.wire import CLIENT, SERVER, TOKEN, Flip, Unit, find_data, find_tokens
from securestream.cli.tokens import describe_records, describe_token
from securestream.errors import SecureStreamError
from securestream.provider import SecurityPackage
from securestream.readable import printable
from securestream.registry import DEFAULT_PACKAGE, Registry

BACKENDS = ("asyncio", "trio")
ARROWS = {CLIENT: "client -> server", SERVER: "server -> client"}
SECONDHAND = {"PeerRefused", "PeerGone", "Bug"}
"""Errors by which an end says that the other one refused, or that nobody did."""

SABOTAGE = {
    "leak": "show the plaintext to the relay, which must be found",
    "blind": "let the relay pass what it should alter, which must be found",
}


def _plaintext() -> bytes:
    lines = [f"Line {number} of this run's secret: {secrets.token_urlsafe(24)}\n" for number in range(1, 5)]
    return "".join(lines).encode()


class Demonstration:
    """Runs the scenes of one package on one event loop and prints what happens.

    Args:
        package: the package.
        backend: the event loop.
        sabotage: what goes wrong on purpose (`SABOTAGE`), or `None`.
    """

    def __init__(self, package: SecurityPackage, backend: str, sabotage: str | None = None) -> None:
        self._package = package
        self._backend = backend
        self._sabotage = sabotage
        self.alterations = 0
        """How often an octet was altered so far."""

    def run(self, scene: Scene) -> list[str]:
        """Play `scene`; returns what was wrong with it."""
        print(f"\n== {self._package.info.name} on {self._backend}: {scene.title}")
        loop = ["--backend", self._backend]
        try:
            with Ends(
                [*scene.serve, *loop], [*scene.connect, *loop], scene.wire, scene.password, scene.environ
            ) as ends:
                problems = list(self._play(scene, ends))
                if complaints := ends.complaints():
                    problems.append(f"a process complained: {complaints}")
                return problems
        except (Broken, LookupError) as error:
            return [str(error)]

    def _play(self, scene: Scene, ends: Ends) -> Iterator[str]:
        plaintext = _plaintext()
        _begin(scene)
        honest = ends.exchange(plaintext)
        asked = {leg: list(leg.recorded) for leg in scene.legs}
        if self._sabotage == "leak":
            honest.units.append(replace(honest.units[0], octets=plaintext))
        wrong = list(self._judge(scene, plaintext, honest))
        yield from wrong
        if wrong:
            return  # what comes next takes an honest exchange apart
        for leg, messages in asked.items():
            yield from self._show_leg(leg, messages)
        self._show(scene, plaintext, honest)
        for title, flip in _flips(scene, honest, len(plaintext)) if scene.at_random else ():
            yield from self._tamper(title, flip, ends)
        for target in () if scene.targets is None else scene.targets(honest.units):
            yield from self._tamper(target.title, target.flip, ends, target.refused_as)
        for leg, messages in asked.items():
            for title, message_flip in _message_flips(leg, messages):
                yield from self._tamper_leg(title, leg, message_flip, ends)
        _begin(scene)
        again = _plaintext()
        if ends.exchange(again).received != again:
            yield "after the altered connections the server no longer serves an honest one"

    def _judge(self, scene: Scene, plaintext: bytes, outcome: Outcome) -> Iterator[str]:
        """What is wrong with the honest exchange."""
        if outcome.received != plaintext:
            cause = outcome.client or outcome.server.get("refused") or outcome.server.get("ended") or {}
            yield f"the echo did not come back as it went: {cause.get('message', 'no reason was given')}"
            return
        connection = outcome.server.get("connection", {})
        print(f"   the server saw    {connection.get('peer')} from {connection.get('address')}")
        print(f"   the channel is    {connection.get('protection')}, by {connection.get('detail')}")
        if "delegated" in connection:
            print(f"   it was delegated  {printable(connection['delegated'])}")
        for one in outcome.considered:
            why = f": {one.get('reason')}" if one.get("reason") else ""
            print(f"   negotiated        {one.get('mechanism')}: {one.get('verdict')}{printable(why)}")
        if outcome.status != 0:
            yield f"the client ended with status {outcome.status}"
        if connection.get("peer") != scene.peer:
            yield f"the server saw {connection.get('peer')!r} instead of {scene.peer!r}"
        if connection.get("level") != "encrypt":
            yield f"the channel is at level {connection.get('level')!r} instead of 'encrypt'"
        hidden = {"the plaintext": plaintext} | scene.secrets()
        asked = [message.octets for leg in scene.legs for message in leg.recorded]
        found = sorted({name for octets in (*outcome.both, *asked) for name in leaks(octets, hidden)})
        for name in found:
            yield f"8 octets of {name} stand in the wire"
        if not found:
            print(f"   not in the wire   {', '.join(hidden)}")

    def _show(self, scene: Scene, plaintext: bytes, outcome: Outcome) -> None:
        data: dict[str, Unit] = {}
        for sender in (CLIENT, SERVER):
            own = [unit for unit in outcome.units if unit.sender == sender]
            data[sender] = own[find_data(outcome.units, sender, len(plaintext))]
        print("   the tokens")
        for unit in outcome.units:
            if unit is data[CLIENT]:
                break
            print(f"     {ARROWS[unit.sender]}  {printable(self._describe(scene, unit))}")
        for sender, unit in data.items():
            print(f"   the data, {ARROWS[sender]}: the wire | the plaintext")
            for line in hexdump(unit.octets, plaintext):
                print(f"     {line}")

    def _show_leg(self, leg: Leg, messages: list[Message]) -> Iterator[str]:
        print(f"   the messages with {leg.name}")
        for message in messages:
            arrow = f"client -> {leg.name}" if message.sender == CLIENT else f"{leg.name} -> client"
            print(f"     {message.transport}  {arrow}  {printable(leg.describe(message.octets))}")
        if leg.transport not in {message.transport for message in messages}:
            yield f"{leg.name} was not asked over {leg.transport}"

    def _describe(self, scene: Scene, unit: Unit) -> str:
        if scene.wire == "tls":
            return describe_records(unit.octets)
        return describe_token(self._package, unit.payload) if unit.kind == TOKEN else "a frame without a token"

    def _tamper(self, title: str, flip: Flip, ends: Ends, refused_as: str | None = None) -> Iterator[str]:
        plaintext = _plaintext()
        outcome = ends.exchange(plaintext, None if self._sabotage == "blind" else flip)
        if not outcome.altered and self._sabotage is None:
            yield f"one octet flipped in {title}: the relay found nothing to flip"
            return
        refused = _refusals(outcome)
        wrong = _accepted(title, flip, outcome, plaintext, set(refused))
        if (
            wrong is None
            and refused_as is not None
            and not any(told.startswith(refused_as) for told in refused.values())
        ):
            wrong = f"no end refused it as {refused_as}: {refused}"
        yield from self._verdict(title, wrong, refused)

    def _tamper_leg(self, title: str, leg: Leg, flip: MessageFlip, ends: Ends) -> Iterator[str]:
        plaintext = _plaintext()
        leg.begin(None if self._sabotage == "blind" else flip)
        outcome = ends.exchange(plaintext)
        if not leg.altered and self._sabotage is None:
            yield f"one octet flipped in {title}: the relay found nothing to flip"
            return
        refused = _refusals(outcome)
        yield from self._verdict(title, _let_in(outcome, plaintext, set(refused)), refused)

    def _verdict(self, title: str, wrong: str | None, refused: dict[str, str]) -> Iterator[str]:
        self.alterations += 1
        if wrong:
            yield f"one octet flipped in {title}: {wrong}"
        else:
            print(f"   one octet flipped in {title}: refused by " + "; ".join(f"{n}: {t}" for n, t in refused.items()))


def _begin(scene: Scene) -> None:
    for leg in scene.legs:
        leg.begin()


def _message_flips(leg: Leg, messages: list[Message]) -> Iterator[tuple[str, MessageFlip]]:
    """An octet near the end of the last request and of the last reply, chosen anew in each run."""
    for sender, what in ((CLIENT, f"a request to {leg.name}"), (SERVER, f"a reply of {leg.name}")):
        kind = [message.kind for message in messages if message.sender == sender][-1]
        yield what, MessageFlip(sender, kind, secrets.randbelow(TAIL), secrets.randbelow(8))


def _flips(scene: Scene, outcome: Outcome, length: int) -> Iterator[tuple[str, Flip]]:
    """An octet of the handshake and one of the data, in both directions, chosen anew in each run."""
    for sender in (CLIENT, SERVER):
        own = [unit for unit in outcome.units if unit.sender == sender]
        tokens = find_tokens(outcome.units, sender)
        if scene.covered is not None:
            tokens = [index for index in tokens if scene.covered(own[index].payload)]
        for what, index in (
            ("handshake", secrets.choice(tokens)),
            ("data", find_data(outcome.units, sender, length)),
        ):
            fraction = secrets.randbelow(1 << 20) / (1 << 20)
            if scene.covered is not None and what == "handshake":
                token = own[index].payload
                fraction = (secrets.choice(scene.covered(token)) + 0.5) / len(token)
            yield f"the {what}, {ARROWS[sender]}", Flip(sender, index, fraction, secrets.randbelow(8))


def _refusals(outcome: Outcome) -> dict[str, str]:
    """Which end refused on its own account, and why."""
    events = {"the server": outcome.server.get("refused") or outcome.server.get("ended"), "the client": outcome.client}
    told: dict[str, str] = {}
    for name, event in events.items():
        if event is not None and event.get("error") and event["error"] not in SECONDHAND:
            told[name] = f"{event['error']} ({event.get('sspi', 'no code')})"
    return told


def _accepted(title: str, flip: Flip, outcome: Outcome, plaintext: bytes, refused: set[str]) -> str | None:
    """What is wrong with the outcome of an altered connection; `None` when it was refused as it must be."""
    if outcome.received == plaintext:
        return "accepted: the echo came back as though nothing had happened"
    if "handshake" in title:
        return _let_in(outcome, plaintext, refused, final=flip.sender == SERVER)
    receiver = "the server" if flip.sender == CLIENT else "the client"
    if receiver not in refused:
        return f"{receiver}, which received it, did not refuse it"
    if outcome.received and not plaintext.startswith(outcome.received):
        return "altered data was delivered"
    return None


def _let_in(outcome: Outcome, plaintext: bytes, refused: set[str], *, final: bool = False) -> str | None:
    """What is wrong with the outcome of a handshake that was altered; `None` when it failed as it must.

    Args:
        outcome: of the connection.
        plaintext: what the client would have sent.
        refused: which ends refused on their own account.
        final: whether the server's last token may be the altered one: then it ends believing in the handshake, and the
            client is the one to refuse.
    """
    if outcome.received == plaintext:
        return "accepted: the echo came back as though nothing had happened"
    believed = "connection" in outcome.server and not (final and "the client" in refused)
    if believed or outcome.status == 0:
        return "accepted: an end holds the handshake to be good"
    return None if refused else "no end refused it on its own account"


def _in_order(registry: Registry) -> list[str]:
    """All packages, first the one that a program gets without asking."""
    return sorted(registry, key=lambda name: (name != DEFAULT_PACKAGE, name))


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything that was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="securestream-demo", description=__doc__)
    parser.add_argument("--package", action="append", metavar="NAME", help="only this package; may be repeated")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="only this event loop")
    parser.add_argument("--scene", action="append", type=int, metavar="N", help="only its Nth scene; may be repeated")
    parser.add_argument("--sabotage", choices=sorted(SABOTAGE), help="show that the demonstration can fail")
    asked = parser.parse_args(argv)
    registry = Registry.installed()
    if not list(registry):
        print(
            "No security package is installed, since securestream itself is not: run `make demo`, or `pip install -e .`"
        )
        return 1
    problems: list[str] = []
    played = altered = 0
    for name in asked.package or _in_order(registry):
        makers = scenes_of(registry.announced(name) or name)
        if not makers:
            print(f"\n== {name}: not demonstrated, since no scene of it is installed")
            continue
        for backend in asked.backend or BACKENDS:
            for number, make in enumerate(makers, 1):
                if asked.scene and number not in asked.scene:
                    continue
                played += 1
                try:
                    demonstration = Demonstration(registry[name], backend, asked.sabotage)
                    with (
                        tempfile.TemporaryDirectory(prefix="securestream-demo-") as folder,
                        make(Path(folder)) as scene,
                    ):
                        found = demonstration.run(scene)
                    altered += demonstration.alterations
                except (Broken, SecureStreamError, OSError) as error:
                    found = [str(error)]
                for problem in found:
                    print(f"   WRONG: {printable(problem)}")
                problems += found
    if not played:
        print("\nThe demonstration FAILED: nothing was run.")
        return 1
    if problems:
        print(f"\nThe demonstration FAILED: {len(problems)} things were wrong in {played} runs.")
        return 1
    print(f"\nEverything was right: {played} exchanges, altered {altered} times and refused each time.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
