"""Recording a handshake and replaying it: exactly, to the first difference, and in files for their owner alone."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from examples.custom_provider import SharedKey
from securestream.ambient import system_options
from securestream.credentials import Password
from securestream.drive import Services, respond_blocking
from securestream.errors import ErrorKind, LogonDenied, MalformedMessage, PeerGone, SecureStreamError, ServiceFailed
from securestream.machine import HandshakeMachine
from securestream.options import ContextFlags, Limits, Options
from securestream.principal import NameType, Principal
from securestream.provider import Compute, Effect, Exchange, FirstUse, Handshake
from securestream.recording import Diverged, Entry, Kind, Recorder, Replay, Unrecordable, plain, revive
from securestream.recording_file import RecordingFile, load
from securestream.redaction import Secret
from tests.core.canaries import PASSWORD, SETUPS
from tests.core.handshakes import ALICE, NOW, SHARED_KEY, Ask, asking, established, options, raising, run, script

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")


def shared_key(asked: Options, credential: SharedKey = ALICE) -> Handshake:
    return SHARED_KEY.initiate(credential, None, asked)


def recorded() -> list[Entry]:
    """A transcript of a real mechanism's initiator."""
    recorder = Recorder()
    mine, theirs = recorder.options(system_options()), system_options()
    initiator = HandshakeMachine(recorder.record(shared_key(mine)))
    run(initiator, HandshakeMachine(SHARED_KEY.accept(ALICE, theirs)))
    return recorder.entries


def take_down(handshake: Handshake, services: Services | None = None) -> list[Entry]:
    recorder = Recorder()
    try:
        respond_blocking(HandshakeMachine(recorder.record(handshake)), None, services)
    except (SecureStreamError, OSError, ValueError):
        pass  # what it was is in the transcript
    return recorder.entries


class TestRecording:
    def test_everything_that_passes_is_taken_down(self) -> None:
        asked = (Kind.EFFECT, Kind.REPLY)  # Exchange, and VerifyKeys
        assert [entry.kind for entry in recorded()] == [Kind.RANDOM, *asked, *asked, Kind.ESTABLISHED]

    def test_clock_readings_too(self) -> None:
        recorder = Recorder()
        asked = recorder.options(options())
        assert asked.clock() == NOW
        assert recorder.entries == [Entry(Kind.CLOCK, {"moment": NOW.isoformat()})]

    def test_it_changes_nothing_of_the_handshake(self) -> None:
        plain_machine, recorder = HandshakeMachine(script(b"a", None, b"", last=b"z")), Recorder()
        taken_down = HandshakeMachine(recorder.record(script(b"a", None, b"", last=b"z")))
        for token in (None, b"1", b"2", b"3"):
            one, two = plain_machine.step(token), taken_down.step(token)
            assert one.token == two.token
            assert (one.established is None) == (two.established is None)

    def test_failures_thrown_in_still_reach_it(self) -> None:
        tried: list[str] = []

        def handshake() -> Handshake:
            try:
                yield from Ask("first")
            except ServiceFailed:
                tried.append("second")
            return established()

        services = Services()

        def fail(ask: Ask) -> int:
            raise OSError("unreachable")

        services.register(Ask, blocking=fail)
        entries = take_down(handshake(), services)
        assert tried == ["second"]
        assert [entry.kind for entry in entries] == [Kind.EFFECT, Kind.FAILURE, Kind.ESTABLISHED]

    def test_a_reply_that_cannot_be_given_again_is_refused_at_once(self) -> None:
        services = Services()
        services.register(Ask, blocking=lambda ask: object())  # type: ignore[arg-type, return-value] # that is the point
        with pytest.raises(Unrecordable, match="object"):
            respond_blocking(HandshakeMachine(Recorder().record(asking(Ask()))), None, services)

    def test_the_outer_machines_limits_hold(self) -> None:
        recorder = Recorder()
        machine = HandshakeMachine(recorder.record(script(*[None] * 50)), Limits(legs=100, token_size=1 << 20))
        machine.step()
        for _ in range(50):
            machine.step(bytes(100_000 if _ == 0 else 1))
        assert recorder.entries[-1].kind is Kind.ESTABLISHED

    def test_an_entry_shows_no_octets(self) -> None:
        assert "deadbeef" not in repr(Entry(Kind.RANDOM, {"octets": "deadbeef"}))

    def test_closing_the_outer_closes_the_handshake(self) -> None:
        closed: list[bool] = []

        def handshake() -> Handshake:
            try:
                yield from Exchange()
            finally:
                closed.append(True)
            return established()

        machine = HandshakeMachine(Recorder().record(handshake()))
        machine.step()
        machine.close()
        assert closed == [True]


class TestReplay:
    def test_a_real_mechanism_runs_again_without_a_peer(self) -> None:
        entries = recorded()
        for _ in range(2):
            replay = Replay(entries)
            outcome = replay.run(shared_key(replay.options(system_options())))
            assert outcome is not None
            assert outcome.peer.name == "alice"

    def test_a_changed_credential_diverges_where_it_first_shows(self) -> None:
        replay = Replay(recorded())
        with pytest.raises(Diverged, match=r"entry 4 .* VerifyKeys.* failure LogonDenied"):
            replay.run(shared_key(replay.options(system_options()), SharedKey("alice", bytes(32))))
        replay = Replay(recorded())
        with pytest.raises(
            Diverged, match=r"entry 2 .* effect Exchange, .* effect Exchange with other values"
        ) as caught:
            replay.run(shared_key(replay.options(system_options()), SharedKey("bob", bytes(32))))
        assert caught.value.position == 2

    def test_another_order_diverges(self) -> None:
        entries = take_down(script(b"x"))

        def drawing(asked: Options) -> Handshake:
            asked.random(8)
            return (yield from script(b"x"))

        replay = Replay(entries)
        with pytest.raises(Diverged, match=r"entry 1 .* effect Exchange, .* a draw of 8 random octets"):
            replay.run(drawing(replay.options(options())))

    def test_a_handshake_cannot_hide_that_it_diverged(self) -> None:
        def hiding(asked: Options) -> Handshake:
            try:
                asked.clock()
            except SecureStreamError:
                raise LogonDenied("something else") from None
            return (yield from script(b"x"))

        replay = Replay(take_down(script(b"x")))
        with pytest.raises(Diverged, match="a clock reading"):
            replay.run(hiding(replay.options(options())))

    def test_a_failure_is_replayed_as_a_failure(self) -> None:
        entries = take_down(raising(LogonDenied("no", token=b"reject")))
        assert Replay(entries).run(raising(LogonDenied("no", token=b"reject"))) is None
        for other in (LogonDenied("no", token=b"other"), LogonDenied("yes", token=b"reject"), PeerGone("no")):
            with pytest.raises(Diverged, match="failed LogonDenied"):
                Replay(entries).run(raising(other))
        with pytest.raises(Diverged, match="an outcome"):
            Replay(entries).run(script())

    def test_what_was_thrown_in_is_thrown_in_again(self) -> None:
        seen: list[LogonDenied] = []

        def handshake() -> Handshake:
            try:
                yield from Ask()
            except LogonDenied as denied:
                seen.append(denied)
            return established()

        services = Services()

        def deny(ask: Ask) -> int:
            raise LogonDenied("locked", kind=ErrorKind.NOT_AUTHORIZED, token=b"t")

        services.register(Ask, blocking=deny)
        entries = take_down(handshake(), services)
        assert Replay(entries).run(handshake()) is not None
        assert [(str(e), e.kind, e.token) for e in seen] == [("locked", ErrorKind.NOT_AUTHORIZED, b"t")] * 2

    def test_a_computation_is_done_again(self) -> None:
        entries = take_down(asking(Compute(lambda: 6 * 7)))
        got: list[int] = []
        assert Replay(entries).run(asking(Compute(lambda: 6 * 7), got)) is not None
        assert got == [42]

    def test_a_transcript_that_was_cut_short_replays_to_its_end(self) -> None:
        entries = recorded()
        replay = Replay(entries[:2])
        assert replay.run(shared_key(replay.options(system_options()))) is None

    def test_a_transcript_that_goes_on_diverges_at_its_next_entry(self) -> None:
        entries = [*take_down(script()), Entry(Kind.CLOCK, {"moment": NOW.isoformat()})]
        with pytest.raises(Diverged, match="entry 2 of the transcript is clock, but the handshake gave its end"):
            Replay(entries).run(script())


class TestPackages:
    """The mechanisms that come with securestream, whole: both roles, with what their services replied."""

    FORMS = ("ntlm password", "ntlm hash", "sharedkey key")

    @pytest.mark.parametrize("form", FORMS)
    def test_both_roles_replay_from_a_file_alone(self, form: str, tmp_path: Path) -> None:
        name, _, variant = form.partition(" ")
        setup = SETUPS[name][variant]()
        paths = tmp_path / "initiator", tmp_path / "acceptor"
        with RecordingFile(paths[0]) as one, RecordingFile(paths[1]) as two:
            initiating = setup.initiator.initiate(setup.initiating, None, one.recorder.options(system_options()))
            accepting = setup.acceptor.accept(setup.accepting, two.recorder.options(system_options()))
            machines = [
                HandshakeMachine(one.recorder.record(initiating)),
                HandshakeMachine(two.recorder.record(accepting)),
            ]
            outcomes = run(machines[0], machines[1], Services())
        for path in paths:
            assert PASSWORD not in path.read_text()
        replay = Replay(load(paths[0]))
        again = replay.run(setup.initiator.initiate(setup.initiating, None, replay.options(system_options())))
        assert again is not None
        assert again.token == outcomes[0].token
        replay = Replay(load(paths[1]))
        again = replay.run(setup.acceptor.accept(setup.accepting, replay.options(system_options())))
        assert again is not None
        assert again.peer == outcomes[1].peer


@dataclass(frozen=True)
class Answer:
    """What a service might reply."""

    peer: Principal
    key: Secret[bytes]
    at: datetime
    flags: ContextFlags
    names: tuple[str, ...]


ANSWER = Answer(
    Principal("alice", "NTLM", "CORP", NameType.USER, "S-1-5-21", ("S-1-5-32",)),
    Secret(b"key"),
    NOW,
    ContextFlags.INTEGRITY | ContextFlags.CONFIDENTIALITY,
    ("a", "b"),
)


class TestValues:
    @pytest.mark.parametrize(
        "value", [None, True, 0, -5, 1.5, "text \u20ac", b"", b"\xff\0", NOW, ANSWER, [1, [b"x"]], (1,)]
    )
    def test_a_reply_comes_back_as_it_was(self, value: object) -> None:
        line = Entry(Kind.REPLY, plain(value, strict=True)).to_line()
        assert revive(Entry.from_line(line).value) == value

    def test_what_equality_leaves_out_comes_back_too(self) -> None:
        again: Answer = revive(plain(ANSWER, strict=True))
        assert (again.peer.sid, again.peer.groups) == ("S-1-5-21", ("S-1-5-32",))

    def test_a_secret_in_an_effect_is_left_out(self) -> None:
        @dataclass(frozen=True, repr=False)
        class Logon(Effect[int]):
            credential: Password
            store: object

        line = Entry(Kind.EFFECT, plain(Logon(Password("alice", "hunter2"), object()))).to_line()
        assert "hunter2" not in line
        assert '"alice"' in line
        assert '"builtins:object"' in line

    @pytest.mark.parametrize("value", [object(), len, {1}, {"a": 1}, memoryview(b"x")])
    def test_what_cannot_come_back_is_refused(self, value: object) -> None:
        with pytest.raises(Unrecordable):
            plain(value, strict=True)

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "[]",
            "{}",
            '{"reply":1,"clock":2}',
            '{"nothing":1}',
            "[" * 100_000,
        ],
    )
    def test_a_line_that_is_none(self, line: str) -> None:
        with pytest.raises(MalformedMessage):
            Entry.from_line(line)

    @pytest.mark.parametrize(
        "value",
        [
            [],
            {},
            {"octets": "?"},
            {"moment": "yesterday"},
            {"type": "os:system", "fields": {}},
            {"type": "subprocess:Popen", "fields": {}},
            {"type": "no_such_module:X", "fields": {}},
            {"type": "securestream.machine:HandshakeMachine", "fields": {}},
            {"enum": "builtins:eval", "value": "1"},
            {"enum": "builtins:int", "value": "1"},
            {"enum": "securestream.options:Role", "value": "nobody"},
            {"items": [], "of": "set"},
        ],
    )
    def test_a_transcript_is_data_and_makes_nothing_but_values(self, value: Any) -> None:
        with pytest.raises(MalformedMessage):
            revive(value)


class TestFile:
    def record(self, path: Path) -> None:
        with RecordingFile(path) as recording:
            mine = recording.recorder.options(options())
            machine = HandshakeMachine(recording.recorder.record(shared_key(mine)))
            run(machine, HandshakeMachine(SHARED_KEY.accept(ALICE, options())))

    def test_it_is_written_and_replayed(self, tmp_path: Path) -> None:
        path = tmp_path / "handshake.jsonl"
        self.record(path)
        assert path.read_text().count("\n") == 6
        replay = Replay(load(path))
        assert replay.run(shared_key(replay.options(options()))) is not None

    @posix
    def test_it_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        """SECURITY 3: files are created 0600, whatever the umask."""
        before = os.umask(0)
        try:
            self.record(tmp_path / "handshake.jsonl")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "handshake.jsonl").stat().st_mode) == 0o600

    @posix
    @pytest.mark.parametrize("there", ["file", "link", "dangling link"])
    def test_nothing_that_is_there_is_written_to(self, tmp_path: Path, there: str) -> None:
        """SECURITY 3: whoever puts something there first wins nothing."""
        path, elsewhere = tmp_path / "handshake.jsonl", tmp_path / "elsewhere"
        if there == "file":
            path.touch()
        else:
            path.symlink_to(elsewhere)
        if there == "link":
            elsewhere.touch()
        with pytest.raises(FileExistsError):
            RecordingFile(path)
        assert not elsewhere.exists() or elsewhere.read_bytes() == b""

    @posix
    def test_a_link_is_not_read_either(self, tmp_path: Path) -> None:
        self.record(tmp_path / "real")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        with pytest.raises(OSError, match="symbolic"):
            load(tmp_path / "link")

    def test_a_handshake_that_outlives_its_file_is_a_mistake(self, tmp_path: Path) -> None:
        with RecordingFile(tmp_path / "x") as recording:
            machine = HandshakeMachine(recording.recorder.record(script(b"a", b"b")))
            machine.step()
        with pytest.raises(SecureStreamError, match="recording is closed"):
            machine.step(b"x")

    def test_nothing_records_unless_it_is_told_to(self) -> None:
        """SECURITY 1: the recording driver never runs by default."""
        root = Path(__file__).resolve().parents[2]
        own = {"recording.py", "recording_file.py"}
        for path in [*(root / "securestream").rglob("*.py"), *(root / "providers").rglob("*.py")]:
            if path.name not in own:
                assert "securestream.recording" not in path.read_text(), f"{path.name} records"


def test_keys_of_the_replay_cache_and_moments_are_compared() -> None:
    services = Services()
    services.register(FirstUse, blocking=lambda effect: True)
    entries = take_down(asking(FirstUse(b"key", datetime(2026, 1, 1, tzinfo=UTC))), services)

    def make(key: bytes) -> Handshake:
        return asking(FirstUse(key, datetime(2026, 1, 1, tzinfo=UTC)))

    assert Replay(entries).run(make(b"key")) is not None
    with pytest.raises(Diverged, match="FirstUse with other values"):
        Replay(entries).run(make(b"other"))
