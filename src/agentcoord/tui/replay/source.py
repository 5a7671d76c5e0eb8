"""A recorded night in the daemon's place: satisfies `FeedSource` and answers from the recording.

A jump is told as the daemon tells a subscriber that lagged: a snapshot of another epoch, so that the
model starts over. Nothing here can change anything: whatever would is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from agentcoord.domain.events import EventKind
from agentcoord.errors import RpcError
from agentcoord.tui.feed import Subscription
from agentcoord.tui.link import Mode
from agentcoord.tui.model import Position
from agentcoord.tui.replay.player import Player
from agentcoord.tui.replay.state import EVENTS_SHOWN, NightState
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import ExitCode, Method, Notification, RpcCode, Snapshot
from agentcoord.wire.night_file import Kept, NightFile
from agentcoord.wire.task_views import StepView
from agentcoord.wire.transcript_steps import read_piece

LOOK_S: Final = 0.05
"""How often it is asked what has happened by now."""
TASK_EVENTS_SHOWN: Final = 200
LATER_MS: Final = 60_000
"""A conversation that was written to so long after the end belongs to a later night."""
NOT_RECORDED: Final = "This was not recorded."


class ReplaySource:
    """Tells a night as the player moves through it."""

    def __init__(self, night: NightFile, player: Player, transcripts: Path | None = None) -> None:
        """`transcripts`: the folder of conversations, which are kept beside recordings."""
        self._transcripts = transcripts
        self._night = night
        self._player = player
        self._state = NightState()

    @asynccontextmanager
    async def subscribe(self, since: Position | None) -> AsyncIterator[Subscription]:
        """Begin at the moment where the player stands; `since` means nothing here."""
        del since
        shown, snapshot = await self._jumped()
        view: Any = {
            "epoch": snapshot["epoch"],
            "seq": snapshot["seq"],
            "mode": "resync",
            "snapshot": snapshot,
        }
        yield Subscription(view, self._notices(shown, snapshot["epoch"]))

    async def call(self, method: Method, **params: Any) -> dict[str, Any]:
        """Answer from the recording, as of the moment that is shown. Raises RpcError."""
        match method:
            case Method.STATUS:
                return self._state.status
            case Method.TASKS:
                return {"tasks": list(self._state.tasks.values()), "next_offset": None}
            case Method.WORKERS:
                return {"workers": list(self._state.workers.values())}
            case Method.TASK:
                return self._detail(str(params["id"]))
            case Method.DIFF:
                return {"text": self._diff(str(params["id"])), "next_offset": None}
            case Method.TRANSCRIPT:
                return await self._transcript(str(params["id"]))
            case _:
                raise RpcError(Mode.REPLAY.why_not, code=RpcCode.REFUSED, exit_code=ExitCode.REFUSED)

    async def _notices(self, shown: int, epoch: str) -> AsyncIterator[list[Notice]]:
        """What happens from the first `shown` records on, for ever."""
        jumps = self._player.jumps
        while True:
            if self._player.jumps != jumps:
                jumps = self._player.jumps
                shown, snapshot = await self._jumped()
                epoch = snapshot["epoch"]
                yield [Notice(Notification.LAGGED, {"snapshot": snapshot})]
            else:
                reached = self._night.until(self._player.now_ms())
                for index in range(shown, reached):
                    if notices := list(self._state.fold(self._night.record(index), epoch)):
                        yield notices
                shown = max(shown, reached)
            await self._player.sleep(LOOK_S)

    async def _jumped(self) -> tuple[int, Snapshot]:
        """Take the state of the player's moment; return how many records it holds, and all of it."""
        count = max(1, self._night.until(self._player.now_ms()))
        self._state = await asyncio.to_thread(NightState.at, self._night, count)
        events = await asyncio.to_thread(self._night.events_before, count, EVENTS_SHOWN)
        return count, self._state.snapshot(f"{self._night.run}-{self._player.jumps}", events)

    def _detail(self, task_id: str) -> dict[str, Any]:
        """What was known of a task by now. What only its end told is left out before that."""
        row = self._state.tasks.get(task_id)
        if row is None:
            raise RpcError(
                f"there is no task {task_id} at this moment",
                code=RpcCode.NOT_FOUND,
                exit_code=ExitCode.NOT_FOUND,
            )
        night = self._night
        count = night.until(self._player.now_ms())
        detail = night.about(Kept.DETAIL, task_id, count)
        if detail is None:
            later = night.about(Kept.DETAIL, task_id, len(night)) or {}
            detail = {"description": later.get("description", ""), "check": later.get("check", "")}
        empty = {"checks": [], "flags": [], "summary": "", "decisions": [], "questions": [], "history": []}
        events = [e for e in night.events_before(count, EVENTS_SHOWN) if e.get("task") == task_id]
        return {**empty, **detail, "task": row, "locks": [], "events": events[-TASK_EVENTS_SHOWN:]}

    async def _transcript(self, task_id: str) -> dict[str, Any]:
        """All that had been said in a task's attempt by now."""
        row = self._state.tasks.get(task_id) or {}
        attempt = int(row.get("attempt") or 0)
        steps: list[StepView] = []
        if attempt and self._transcripts is not None:
            path = self._transcripts / task_id / f"attempt-{attempt}.jsonl"
            steps = await asyncio.to_thread(_steps_in, path, self._night.end_ms)
        return {
            "id": task_id,
            "attempt": attempt,
            "steps": _until_turn(steps, self._turns_of(task_id)),
            "next_offset": 0,
            "more": False,
            "context_tokens": 0,
            "window_tokens": 0,
            "says": "",
        }

    def _turns_of(self, task_id: str) -> int:
        """How many turns the task's attempt had taken by now."""
        events = self._night.events_before(self._night.until(self._player.now_ms()), EVENTS_SHOWN)
        for event in reversed(events):
            if event.get("task") == task_id:
                if event["kind"] == EventKind.TASK_TURN:
                    return int(event["data"].get("turn") or 0)
                if event["kind"] == EventKind.TASK_CLAIMED and not event["data"].get("resumed"):
                    return 0
        return 0

    def _diff(self, task_id: str) -> str:
        found = self._night.about(Kept.DIFF, task_id, self._night.until(self._player.now_ms()))
        if found is None:
            raise RpcError(NOT_RECORDED, code=RpcCode.NOT_FOUND, exit_code=ExitCode.NOT_FOUND)
        return str(found["text"])


def _steps_in(path: Path, night_ended_ms: int) -> list[StepView]:
    """A whole conversation; none where the file is of a later night. Blocking."""
    try:
        if path.stat().st_mtime * 1000 > night_ended_ms + LATER_MS:
            return []
        steps: list[StepView] = []
        offset, more = 0, True
        while more:
            piece = read_piece(path, offset)
            steps += piece.steps
            offset, more = piece.next_offset, piece.more
    except OSError:
        return []
    return steps


def _until_turn(steps: list[StepView], turns: int) -> list[StepView]:
    """The steps up to the end of a turn, its results included."""
    seen = 0
    for i, step in enumerate(steps):
        seen += step["kind"] == "turn"
        if seen > turns:
            return steps[:i]
    return steps
