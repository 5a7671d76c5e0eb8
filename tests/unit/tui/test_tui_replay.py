"""A past night, played: time, speed, jumps, the scrubber, and nothing that could change anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from tui_fakes import NOW_MS, HandClock, event, screen_lines, settle, status, task, toasts, worker

from agentcoord.daemon.night_writer import NightWriter
from agentcoord.domain.events import EventKind
from agentcoord.errors import RpcError
from agentcoord.tui.app import DashboardApp
from agentcoord.tui.context import Replay
from agentcoord.tui.link import Mode
from agentcoord.tui.replay.moments import marks_of, moment_of, share_of
from agentcoord.tui.replay.player import SPEEDS, Player
from agentcoord.tui.replay.scrubber_text import scrubber_line, track_of
from agentcoord.tui.replay.source import LOOK_S, ReplaySource
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.task_detail import TaskDetailScreen
from agentcoord.tui.styled import plain_text
from agentcoord.tui.widgets.scrubber import Scrubber
from agentcoord.wire.messages import Method
from agentcoord.wire.night_file import Kept, NightFile, encode_record

MINUTE = 60_000
DIFF = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n"


def a_recording(folder: Path) -> Path:
    """Ten minutes: `a` is claimed after one, lands after five; a second epoch begins after eight."""

    def at(minute: float, kind: EventKind, seq: int, **data: Any) -> tuple[int, str, dict[str, Any]]:
        at_ms = NOW_MS + round(minute * MINUTE)
        return at_ms, Kept.EVENT, {**event(seq, kind, **data), "at_ms": at_ms}

    def rows(minute: float, method: Kept, **params: Any) -> tuple[int, str, dict[str, Any]]:
        return NOW_MS + round(minute * MINUTE), method, params

    detail = {"task": task("a", "done"), "description": "Do it well.", "check": "pytest", "checks": []}
    records = [
        rows(0, Kept.SNAPSHOT, status=status(), tasks=[task("a"), task("b")], workers=[worker("W")]),
        at(1, EventKind.TASK_CLAIMED, 1, attempt=1),
        rows(1, Kept.TASKS, tasks=[task("a", "running")]),
        rows(1, Kept.WORKERS, workers=[worker("W", "working", task="a", doing="thinks")]),
        at(5, EventKind.TASK_DONE, 2, files=["x"]),
        rows(5, Kept.TASKS, tasks=[task("a", "done", files=["x"])]),
        rows(5, Kept.STATUS, counts={"done": 1}, spend=status()["spend"], state="draining"),
        rows(5, Kept.DETAIL, **detail, summary="Did it.", decisions=["kept x"]),
        rows(5, Kept.DIFF, id="a", text=DIFF),
        rows(8, Kept.SNAPSHOT, status=status(), tasks=[task("b", "failed")], workers=[worker("V")]),
        at(9, EventKind.TASK_FAILED, 1, why="no luck"),
        at(10, EventKind.DAEMON_STOPPING, 2),
    ]
    lines = [encode_record(at_ms, method, params) for at_ms, method, params in records]
    NightWriter(folder, "r1").append(lines, NOW_MS)
    return folder / "r1.jsonl"


class Played:
    """A dashboard that plays the recording."""

    def __init__(self, app: DashboardApp, player: Player, clock: HandClock, pilot: Pilot[None]) -> None:
        self.app = app
        self.player = player
        self.clock = clock
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.look()

    async def look(self) -> None:
        """Let the source look until it is where the player is, and draw."""
        for _ in range(100):
            self.clock.advance(LOOK_S)
            await settle(self.pilot)
            position = self.app.model.position
            if position is not None and position.epoch == f"r1-{self.player.jumps}":
                return
        raise AssertionError("the source never followed the player")

    async def see(self, text: str) -> None:
        for _ in range(20):
            await self.look()
            if text in "\n".join(screen_lines(self.app)):
                return
        raise AssertionError(f"no {text!r} in:\n" + "\n".join(screen_lines(self.app)))

    def minute(self) -> float:
        return round((self.player.now_ms() - NOW_MS) / MINUTE, 1)

    def state_of(self, task_id: str) -> str:
        return self.app.model.tasks[task_id]["state"]


@asynccontextmanager
async def played(folder: Path, *, size: tuple[int, int] = (110, 32)) -> AsyncIterator[Played]:
    """The night at its beginning, not moving."""
    night, clock = NightFile.read(a_recording(folder)), HandClock()
    player = Player(night.begin_ms, night.end_ms, clock)
    player.toggle()
    app = DashboardApp(
        ReplaySource(night, player),
        project_name="shop",
        clock=player,
        zone=UTC,
        mode=Mode.REPLAY,
        replay=Replay(night, player, marks_of(night.events())),
    )
    async with app.run_test(size=size) as pilot:
        p = Played(app, player, clock, pilot)
        await settle(pilot, until=lambda: app.model.live)
        yield p


class TestPlayer:
    def test_time_passes_as_fast_as_it_is_told_and_stops_at_the_end(self) -> None:
        clock = HandClock()
        player = Player(0, 10 * MINUTE, clock)
        assert player.speed == 5, "the whole night takes about two minutes"
        clock.advance(12)
        assert player.now_ms() == MINUTE
        player.toggle()
        clock.advance(60)
        assert player.now_ms() == MINUTE
        player.faster(1)
        player.toggle()
        clock.advance(6)
        assert player.now_ms() == 2 * MINUTE
        clock.advance(10_000)
        assert (player.now_ms(), player.playing, player.share) == (10 * MINUTE, False, 1.0)
        player.toggle()
        assert (player.now_ms(), player.playing) == (0, True)

    def test_speeds_go_from_1_to_1000(self) -> None:
        player = Player(0, 1000, HandClock())
        assert (SPEEDS[0], SPEEDS[-1]) == (1, 1000)
        player.faster(-1)
        assert player.speed == 1
        player.set_speed(100_000)
        player.faster(1)
        assert player.speed == 1000
        player.set_speed(55)
        assert player.speed == 60

    def test_a_long_night_begins_fast_and_a_jump_stays_within_it(self) -> None:
        player = Player(0, 8 * 60 * MINUTE, HandClock())
        assert player.speed == 300
        player.seek(-5)
        assert player.now_ms() == 0
        player.seek(10**12)
        assert player.now_ms() == player.end_ms
        assert Player(7, 7, HandClock()).share == 1.0


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ("04:12", 0),
        ("4:12:30", 0.5),
        ("04:20", 8),
        ("03:00", 22 * 60 + 48),
        ("+10m", 15),
        ("-90s", 3.5),
        ("+1h", 65),
        ("+2", 7),
    ],
)
def test_moments_are_understood(words: str, minutes: float) -> None:
    begin_ms = NOW_MS - NOW_MS % MINUTE + MINUTE  # 04:12:00
    found = moment_of(words, begin_ms=begin_ms, now_ms=begin_ms + 5 * MINUTE, zone=UTC)
    assert found == begin_ms + minutes * MINUTE


def test_other_words_are_no_moment() -> None:
    for words in ("", "noon", "25:00", "04:61", "10m", "50%"):
        assert moment_of(words, begin_ms=NOW_MS, now_ms=NOW_MS, zone=UTC) is None
    assert (share_of("50%"), share_of("12.5%"), share_of("half")) == (0.5, 0.125, None)


def test_the_scrubber_shows_the_night_its_marks_and_where_it_stands(tmp_path: Path) -> None:
    night, clock = NightFile.read(a_recording(tmp_path)), HandClock()
    player = Player(night.begin_ms, night.end_ms, clock)
    marks = marks_of(night.events())
    for width in (40, 80, 200):
        line = plain_text(scrubber_line(player, marks, width=width, zone=UTC))
        assert len(line) == width
        assert line.startswith(" ▶ 5x     04:11:15  ●─")
        assert line.endswith("  04:21:15 ")
        track = track_of(width)
        drawn = line[track.begin : track.begin + track.cells]
        assert [drawn.index("✔") / (track.cells - 1), drawn.index("✗") / (track.cells - 1)] == pytest.approx(
            [0.5, 0.9], abs=0.05
        )
        assert (track.share_at(track.begin), track.share_at(track.begin + track.cells - 1)) == (0.0, 1.0)
        assert (track.share_at(0), track.share_at(width)) == (0.0, 1.0)
    player.toggle()
    player.seek(night.end_ms)
    line = plain_text(scrubber_line(player, marks, width=80, zone=UTC))
    assert line.startswith(" ‖ 5x     04:21:15  ━")
    assert line.endswith("━●  04:21:15 ")


class TestReplay:
    async def test_it_plays_the_night_from_its_beginning(self, tmp_path: Path) -> None:
        async with played(tmp_path) as p:
            await p.see(" replay ")
            assert p.state_of("a") == "queued"
            assert list(p.app.model.events) == []
            await p.press("space")
            p.clock.advance(13)
            await p.see("a claimed, attempt 1")
            await p.see("thinks")
            assert p.state_of("a") == "running"
            p.clock.advance(1000)
            await p.see("the daemon is stopping")
            assert [e["seq"] for e in p.app.model.events] == [1, 2, 3, 4], "epochs are told as one"

    async def test_it_steps_from_event_to_event_and_back(self, tmp_path: Path) -> None:
        async with played(tmp_path) as p:
            await p.press("full_stop")
            assert (p.minute(), p.state_of("a")) == (1, "running")
            await p.press("full_stop")
            assert (p.minute(), p.state_of("a")) == (5, "done")
            await p.press("comma")
            assert (p.minute(), p.state_of("a")) == (1, "running")
            assert [e["kind"] for e in p.app.model.events] == ["task.claimed"]
            await p.press("comma", "comma")
            assert p.minute() == 1, "there is no event before the first"
            assert not p.player.playing

    async def test_it_jumps_to_the_ends_by_arrows_and_to_a_time(self, tmp_path: Path) -> None:
        async with played(tmp_path) as p:
            await p.press("end")
            assert (p.minute(), list(p.app.model.tasks)) == (10, ["b"])
            assert [w["name"] for w in p.app.model.workers] == ["V"]
            await p.press("home")
            assert (p.minute(), p.state_of("a")) == (0, "queued")
            await p.press("right", "right", "left")
            assert p.minute() == 0.2
            await p.press("t", *"04:17:15", "enter")
            assert (p.minute(), p.state_of("a")) == (6, "done")
            await p.press("t", *"50%", "enter")
            assert p.minute() == 5
            await p.press("t", *"soon", "enter")
            await settle(
                p.pilot, until=lambda: any("A moment is written" in toast for toast in toasts(p.app))
            )
            await p.press("colon", *"goto -1m", "enter")
            assert p.minute() == 4
            await p.press("colon", *"speed 60x", "enter")
            assert p.player.speed == 60

    async def test_the_mouse_sets_the_moment(self, tmp_path: Path) -> None:
        async with played(tmp_path) as p:
            track = track_of(110)
            await p.pilot.click("#scrubber", offset=(track.begin + track.cells // 2, 0))
            await p.look()
            assert p.minute() == pytest.approx(5, abs=0.2)
            await p.pilot.mouse_down("#scrubber", offset=(track.begin, 0))
            await p.pilot.hover("#scrubber", offset=(track.begin + track.cells - 1, 0))
            await p.pilot.mouse_up("#scrubber", offset=(track.begin + track.cells - 1, 0))
            assert p.minute() == 10
            await p.pilot.hover("#scrubber", offset=(track.begin, 0))
            assert p.minute() == 10, "let go is let go"

    async def test_keys_are_letters_while_a_person_types(self, tmp_path: Path) -> None:
        async with played(tmp_path) as p:
            await p.press("slash", "a", "space", "t", "full_stop", "plus")
            assert p.app.screen.query_one("#filter").value == "a t.+"  # type: ignore[attr-defined]  # an Input
            assert (p.minute(), p.player.playing) == (0, False)

    async def test_every_key_that_acts_says_why_it_does_not(self, tmp_path: Path) -> None:
        async with played(tmp_path) as p:
            await p.press("end")
            for key in ("p", "x", "r", "y", "u", "a"):
                p.app.clear_notifications()
                await p.press(key)
                assert not isinstance(p.app.screen, ConfirmScreen)
                assert toasts(p.app) == [Mode.REPLAY.why_not], key
            for command in ("drain", "spawn architect", "cleanup", "kill --all", "retry b", "pause"):
                p.app.clear_notifications()
                await p.press("colon", *command, "enter")
                assert toasts(p.app) == [Mode.REPLAY.why_not], command

    async def test_whatever_would_change_something_is_refused_by_the_source_itself(
        self, tmp_path: Path
    ) -> None:
        night = NightFile.read(a_recording(tmp_path))
        source = ReplaySource(night, Player(night.begin_ms, night.end_ms, HandClock()))
        reading = {Method.STATUS, Method.TASKS, Method.WORKERS, Method.TASK, Method.DIFF, Method.TRANSCRIPT}
        for method in set(Method) - reading:
            with pytest.raises(RpcError, match="replay of a past night"):
                await source.call(method, id="a")

    async def test_a_task_is_told_as_it_was_known_then(self, tmp_path: Path) -> None:
        async with played(tmp_path) as p:
            await p.press("full_stop", "enter")
            assert type(p.app.screen) is TaskDetailScreen
            await p.see("Do it well.")
            assert "Did it." not in "\n".join(screen_lines(p.app)), "nobody knew it then"
            assert p.app.screen.query(Scrubber)
            await p.press("full_stop")
            p.clock.advance(1)
            await p.press("escape", "enter")
            await p.see("Did it.")
            await p.see("kept x")
            await p.press("d")
            await p.see("Diff of a")
            await p.see("+new")
            await p.press("home")
            assert p.minute() == 0

    async def test_a_diff_that_was_not_recorded_says_so(self, tmp_path: Path) -> None:
        night = NightFile.read(a_recording(tmp_path))
        source = ReplaySource(night, Player(night.begin_ms, night.end_ms, HandClock()))
        with pytest.raises(RpcError, match="not recorded"):
            await source.call(Method.DIFF, id="b")
        with pytest.raises(RpcError, match="no task b at this moment"):
            await source.call(Method.TASK, id="b")

    @pytest.mark.parametrize("size", [(60, 20), (80, 24), (200, 60)])
    async def test_the_scrubber_is_there_at_every_size(self, tmp_path: Path, size: tuple[int, int]) -> None:
        async with played(tmp_path, size=size) as p:
            await p.see("04:21:15")
            lines = screen_lines(p.app)
            assert "04:11:15  ●" in lines[-2]
            assert "space play" in lines[-1]
            assert len(lines) == size[1]


async def test_a_recording_of_an_older_version_plays(tmp_path: Path) -> None:
    """Fields that did not exist then are empty now."""
    rows = {"status": {"counts": {"queued": 1}}, "tasks": [{"id": "a"}], "workers": [{"name": "W"}]}
    path = tmp_path / "r1.jsonl"
    path.write_bytes(encode_record(NOW_MS, Kept.SNAPSHOT, rows))
    night, clock = NightFile.read(path), HandClock()
    player = Player(night.begin_ms, night.end_ms, clock)
    app = DashboardApp(
        ReplaySource(night, player),
        project_name="shop",
        clock=player,
        zone=UTC,
        mode=Mode.REPLAY,
        replay=Replay(night, player, ()),
    )
    async with app.run_test(size=(110, 32)) as pilot:
        await settle(pilot, until=lambda: "a" in app.model.tasks)
        assert app.model.tasks["a"] == {**dict.fromkeys(task("a"), None), **app.model.tasks["a"]}
        await settle(pilot, until=lambda: any(" W " in line for line in screen_lines(app)))
