"""`AgentCoord`: what can be asked of a project's daemon, and told to it, from Python.

Each call has a connection of its own, so that a restart of the daemon between two calls is not
noticed and calls may overlap. Answers are the views of `wire`, which are what `--json` prints.
Deliberately absent: starting a daemon (`agentcoordd start`), and what only a person should do (accept,
undo, land).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

from agentcoord.api.events import CLIENT_NAME, EventStream, Position
from agentcoord.clock import Clock, SystemClock
from agentcoord.config.paths import ProjectPaths, find_root
from agentcoord.errors import ConnectionLostError, DaemonNotRunningError, PlanError, UnavailableError
from agentcoord.wire.answers import CostsView, DraftView, LoadView, StatsView
from agentcoord.wire.client import CALL_TIMEOUT_S, ControlClient
from agentcoord.wire.messages import Method, ProjectView, StatusView, TaskView, WorkerView
from agentcoord.wire.task_views import DeadTaskView, TaskDetail

PULSE_S: Final = 2.0
"""`wait` asks after so long without an event, should one be missing."""
DRAFT_TIMEOUT_S: Final = 1_200.0
"""Two answers of a slow model, and what the daemon waits out."""
_ENDINGS: Final = frozenset({"task.done", "task.failed", "task.cancelled", "task.parked", "run.paused"})


class AgentCoord:
    """A project's daemon. Open it with `connect`.

    Every method raises DaemonNotRunningError when nobody listens, ConnectionLostError when the daemon
    hangs up in the middle, WireError when it does not answer in time, and RpcError (or a kind of it:
    NotFoundError, RefusedError, BadPlanError, UnavailableError) when it answers with an error.
    """

    def __init__(
        self, socket_path: Path, clock: Clock, open_streams: AsyncExitStack, timeout_s: float
    ) -> None:
        self._socket_path = socket_path
        self._clock = clock
        self._open_streams = open_streams
        self._timeout_s = timeout_s
        self.project = cast("ProjectView", {})
        """Which project it is: `id`, `root`, `name`, `branch`."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        project: str | Path = ".",
        *,
        env: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> AsyncIterator[AgentCoord]:
        """Find the daemon of the repository that `project` lies in, and make sure that it answers.

        Event streams that are still open are closed at the end. `env` says where sockets lie
        (`XDG_RUNTIME_DIR`), this process's environment unless given. Raises ConfigError when
        `project` is in no git repository.
        """
        root = await asyncio.to_thread(find_root, Path(project))
        paths = ProjectPaths.of(root, os.environ if env is None else env)
        async with AsyncExitStack() as open_streams:
            made = cls(paths.socket, clock or SystemClock(), open_streams, call_timeout_s)
            async with made._client() as client:
                made.project = client.hello["project"]
            yield made

    # What is.

    async def status(self) -> StatusView:
        """Counts by state, spend, cap, forecast, and what needs a person."""
        return cast("StatusView", await self._ask(Method.STATUS))

    async def tasks(self) -> list[TaskView]:
        """Every task; `why` says why one is not running, or why it ended so."""
        return [cast("TaskView", row) for row in await self._rows()]

    async def dead_tasks(self) -> list[DeadTaskView]:
        """Tasks that failed by themselves, newest first, each with how its attempts ended."""
        return [cast("DeadTaskView", row) for row in await self._rows(dead=True)]

    async def task(self, task_id: str) -> TaskDetail:
        """All that is known of one task. Raises NotFoundError."""
        return cast("TaskDetail", await self._ask(Method.TASK, id=task_id))

    async def workers(self) -> list[WorkerView]:
        """Every worker, and what it does right now."""
        return cast("list[WorkerView]", (await self._ask(Method.WORKERS))["workers"])

    async def costs(self) -> CostsView:
        """Dollars and tokens of the run, by task, worker and model."""
        return cast("CostsView", await self._ask(Method.COSTS))

    async def stats(self) -> StatsView:
        """How the run went: throughput, turns, checks, landings, waits, success."""
        return cast("StatsView", await self._ask(Method.STATS))

    async def diff(self, task_id: str) -> str:
        """What a task changed, as a unified diff. Raises NotFoundError."""
        pieces: list[str] = []
        offset: int | None = 0
        async with self._client() as client:
            while offset is not None:
                piece = await client.call(Method.DIFF, id=task_id, offset=offset)
                pieces.append(piece["text"])
                offset = piece["next_offset"]
        return "".join(pieces)

    def subscribe(self, *, since: Position | None = None) -> EventStream:
        """Events from now on, or all that came after `since`, through the daemon's restarts.

        `async for event in ac.subscribe():` begins when the first one is waited for; with
        `async with ac.subscribe() as events:` it begins at once.
        """
        stream = EventStream(self._socket_path, self._clock, since=since)
        self._open_streams.push_async_callback(stream.aclose)
        return stream

    # What shall be.

    async def load(self, plan: str | Path, *, format: str = "") -> LoadView:  # noqa: A002 (the wire's word)
        """Load the plan in the file `plan` (`.toml`, or a Markdown checklist in `.md`).

        `format` is `toml` or `markdown` where the name does not say it. What is done stays done. Raises
        PlanError when the file cannot be read, BadPlanError with every problem of it.
        """
        path = Path(plan)
        try:
            text = await asyncio.to_thread(path.read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise PlanError(
                f"the plan {path} cannot be read: {reason}", mend="give the path of a plan"
            ) from error
        kind = format or ("markdown" if path.suffix.lower() in (".md", ".markdown") else "toml")
        return await self.load_text(text, format=kind, source=path.name)

    async def load_text(
        self,
        text: str,
        *,
        format: str = "toml",  # noqa: A002 (the wire's word)
        source: str = "plan",
    ) -> LoadView:
        """Load a plan that is no file; `source` stands before the line in its problems."""
        return cast("LoadView", await self._ask(Method.LOAD, text=text, format=format, source=source))

    async def draft(self, goal: str) -> DraftView:
        """Have a model propose a plan, as `text`; nothing is loaded. Takes minutes, and is paid for.

        Raises BadPlanError when the model gave none that loads, asked twice, and RefusedError at a cap.
        """
        async with self._client(timeout_s=max(self._timeout_s, DRAFT_TIMEOUT_S)) as client:
            return cast("DraftView", await client.call(Method.DRAFT, goal=goal))

    async def retry(self, task_id: str) -> str:
        """Queue a failed, cancelled or parked task again; return its state."""
        return str((await self._ask(Method.RETRY, id=task_id))["state"])

    async def cancel(self, task_id: str, why: str = "") -> str:
        """End a task, nothing of which lands; return its state."""
        return str((await self._ask(Method.CANCEL, id=task_id, why=why))["state"])

    async def answer(self, task_id: str, text: str) -> None:
        """Answer the question that a task has asked. Raises NotFoundError when there is none."""
        await self._ask(Method.ANSWER, id=task_id, text=text)

    async def kill(self, worker: str) -> None:
        """Stop a worker for good; its task goes back to the queue. Raises NotFoundError."""
        await self._ask(Method.KILL, worker=worker)

    async def kill_all(self) -> list[str]:
        """Stop every worker; return their names."""
        return [str(name) for name in (await self._ask(Method.KILL, all=True))["killed"]]

    async def spawn(self, role: str, count: int = 1) -> list[str]:
        """Add workers of a role; return their names."""
        return [str(name) for name in (await self._ask(Method.SPAWN, role=role, n=count))["workers"]]

    async def pause(self) -> None:
        """Let nothing new begin; running tasks go on."""
        await self._ask(Method.PAUSE)

    async def resume(self) -> None:
        """Let tasks begin again."""
        await self._ask(Method.RESUME)

    async def wait(self) -> StatusView:
        """Return once every task has ended or is parked, or the daemon paused by itself.

        `ended` and `paused_why` of what is returned tell which. Goes on through restarts of the daemon.
        How long it may take is yours to say: `async with asyncio.timeout(3600): await ac.wait()`.
        """
        async with EventStream(self._socket_path, self._clock) as events:
            while True:
                with suppress(DaemonNotRunningError, ConnectionLostError, UnavailableError):
                    status = await self.status()
                    if status["ended"] or (status["paused_why"] and status["workers_busy"] == 0):
                        return status
                with suppress(TimeoutError):
                    async with asyncio.timeout(PULSE_S):
                        while (await anext(events)).kind not in _ENDINGS:
                            pass

    @asynccontextmanager
    async def _client(self, timeout_s: float | None = None) -> AsyncIterator[ControlClient]:
        async with ControlClient.connect(
            self._socket_path, client_name=CLIENT_NAME, call_timeout_s=timeout_s or self._timeout_s
        ) as client:
            yield client

    async def _ask(self, method: Method, **params: object) -> dict[str, Any]:
        async with self._client() as client:
            return await client.call(method, **params)

    async def _rows(self, **params: object) -> list[dict[str, Any]]:
        """All pages of the tasks, over one connection."""
        async with self._client() as client:
            return await client.tasks(**params)
