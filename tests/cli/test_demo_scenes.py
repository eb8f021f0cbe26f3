"""Scenes of the demonstration: the own ones, those of providers, and what is altered in them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from securestream.cli.demo import __main__ as demo
from securestream.cli.demo import scenes
from securestream.cli.demo.legs import TAIL, TCP, UDP, Leg, Message
from securestream.cli.demo.processes import Outcome
from securestream.cli.demo.scenes import ENTRY_POINTS, Maker, Scene, scenes_of
from securestream.cli.demo.wire import CLIENT, SEALED, SERVER, TOKEN, Unit
from tests.cli.fake import FakePackage


@contextmanager
def _made(folder: Path) -> Generator[Scene]:
    yield Scene("elsewhere", [], [], "nns", "nobody")


SCENES: tuple[Maker, ...] = (_made,)


def test_scenes_of_providers_are_found_by_their_package_s_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point = EntryPoint("Elsewhere", f"{__name__}:SCENES", ENTRY_POINTS)

    def found(*, group: str) -> list[EntryPoint]:
        return [point] if group == ENTRY_POINTS else []

    monkeypatch.setattr(scenes, "entry_points", found)
    (maker,) = scenes_of("ELSEWHERE")
    with maker(tmp_path) as scene:
        assert scene.title == "elsewhere"
    assert scenes_of("nowhere") == ()


def test_each_installed_package_brings_its_own(installed: None, tmp_path: Path) -> None:
    with scenes_of("Schannel")[0](tmp_path) as own:
        assert own.secrets() == {}
    assert all(scenes_of(package) for package in ("credssp", "digest", "kerberos", "negotiate", "ntlm"))


def test_a_scene_hides_its_password_and_what_else_it_names() -> None:
    scene = Scene("", [], [], "nns", "alice", "a password", hidden={"a key": b"octets of a key"})
    assert set(scene.secrets()) == {"the password", "the password in UTF-16LE", "the NT hash", "a key"}
    assert "octets of a key" not in repr(scene)
    assert Scene("", [], [], "nns", "alice", hidden={"a key": b"x"}).secrets() == {"a key": b"x"}


def test_only_what_the_mechanism_protects_of_a_token_is_altered() -> None:
    units = [
        Unit(CLIENT, TOKEN, b"head" + bytes(40), 4),
        Unit(SERVER, TOKEN, b"head" + bytes(10), 4),
        Unit(CLIENT, SEALED, bytes(4 + 120), 4),
        Unit(SERVER, SEALED, bytes(4 + 120), 4),
    ]
    outcome = Outcome(units, altered=False, received=b"", status=0, client=None, server={})
    scene = Scene("", [], [], "nns", "alice", covered=lambda token: range(len(token) - 3, len(token)))
    for _ in range(50):
        for title, flip in demo._flips(scene, outcome, 100):  # pyright: ignore[reportPrivateUsage]  # the part under test
            unit = [unit for unit in units if unit.sender == flip.sender][flip.index]
            altered = unit.flipped(flip.fraction, flip.bit).octets
            (position,) = [at for at in range(len(altered)) if altered[at] != unit.octets[at]]
            assert position >= (len(altered) - 3 if "handshake" in title else 4)


def test_the_last_request_and_the_last_reply_are_altered_near_their_end() -> None:
    with Leg("the KDC", 1, UDP, str) as leg:
        messages = [
            Message(CLIENT, UDP, b"\x6a"),
            Message(SERVER, UDP, b"\x6b"),
            Message(CLIENT, UDP, b"\x6c"),
            Message(SERVER, UDP, b"\x6d"),
        ]
        flips = dict(demo._message_flips(leg, messages))  # pyright: ignore[reportPrivateUsage]  # the part under test
    assert [(flip.sender, flip.kind) for flip in flips.values()] == [(CLIENT, 0x6C), (SERVER, 0x6D)]
    assert list(flips) == ["a request to the KDC", "a reply of the KDC"]
    assert all(flip.from_end < TAIL for flip in flips.values())


@pytest.mark.parametrize(
    ("final", "refused", "status", "wrong"),
    [
        (True, {"the client"}, 1, None),
        (True, {"the server"}, 1, "accepted"),
        (False, {"the client"}, 1, "accepted"),
        (True, {"the client"}, 0, "accepted"),
        (True, set[str](), 1, "accepted"),
    ],
)
def test_a_server_may_believe_in_a_handshake_whose_last_token_the_client_refused(
    final: bool, refused: set[str], status: int, wrong: str | None
) -> None:
    outcome = Outcome([], altered=True, received=b"", status=status, client=None, server={"connection": {}})
    told = demo._let_in(outcome, b"plaintext", refused, final=final)  # pyright: ignore[reportPrivateUsage]  # the part under test
    assert told is None if wrong is None else told is not None and told.startswith(wrong)


def test_a_server_that_was_not_asked_over_its_transport_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    demonstration = demo.Demonstration(FakePackage(), "asyncio")
    show = demonstration._show_leg  # pyright: ignore[reportPrivateUsage]  # the part under test
    with Leg("the KDC", 1, TCP, lambda octets: octets.decode()) as leg:
        assert list(show(leg, [Message(CLIENT, TCP, b"asked")])) == []
        (problem,) = show(leg, [Message(CLIENT, UDP, b"asked")])
    assert problem == "the KDC was not asked over TCP"
    assert "UDP  client -> the KDC  asked" in capsys.readouterr().out
