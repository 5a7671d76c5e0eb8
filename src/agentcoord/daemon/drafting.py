"""`plan draft` in the daemon: on whose account it is, what the model is told, and where answers are kept.

A draft has a run of its own: the run's and the task's cap hold for it alone, the day's for everything,
and what the last night cost stays what `costs` tells. Every answer is written to the state folder before
it is judged, so that nothing that was paid for is lost when it is no plan, or when whoever asked has left.
"""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from agentcoord.agent.drafting import DRAFT_TASK, BadDraftError, DraftBriefing, draft_plan
from agentcoord.agent.prompts import repository_map
from agentcoord.agent.window import ContextWindow
from agentcoord.daemon.params import Answer, Params, bad_params, refused, text_of
from agentcoord.daemon.task_caps import caps_of
from agentcoord.daemon.task_setup import read_instructions
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.ids import RunId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Task, TaskSpec
from agentcoord.domain.usage import usd
from agentcoord.domain.worker import WorkerSpec
from agentcoord.errors import RpcError
from agentcoord.llm.api import ROOMY_TOKENS, SpendRefused
from agentcoord.wire.protocol import ExitCode, RpcCode
from agentcoord.workspace.user_tree import list_tree

GOAL_CHARS: Final = 20_000
DEADLINE_S: Final = 300.0
"""How long faults of the environment are waited out."""
WORKER: Final = "(draft)"
"""On whose account it is shown."""

log = structlog.get_logger("drafting")


class Drafting:
    """Answers `draft`. One at a time: each is a call of minutes."""

    def __init__(self, shop: Workshop, workers: Callable[[], tuple[WorkerSpec, ...]]) -> None:
        self._shop = shop
        self._workers = workers
        self._busy = asyncio.Lock()

    async def draft(self, params: Params) -> Answer:
        """Have a plan proposed. Raises RpcError and LlmError in words."""
        goal = text_of(params, "goal").strip()
        if not goal or len(goal) > GOAL_CHARS:
            raise bad_params(f"goal must be a text of 1 to {GOAL_CHARS:,} characters")
        if self._busy.locked():
            raise refused("another draft is under way", mend="wait for it, then try again")
        async with self._busy:
            return await self._draft(goal)

    async def _draft(self, goal: str) -> Answer:
        shop = self._shop
        models, project = shop.settings.models, shop.settings.project
        rung = models.rungs[-1]  # Planning is where a better model pays.
        window = ContextWindow(models.context_tokens or shop.windows.get(rung.model) or ROOMY_TOKENS)
        files = (await asyncio.to_thread(list_tree, shop.repo)).files
        briefing = DraftBriefing(
            goal=goal,
            project_name=shop.repo.root.name,
            scope=project.scope,
            protect=project.protect,
            checks=shop.settings.checks.commands,
            workers=self._workers(),
            instructions=await asyncio.to_thread(read_instructions, shop.repo.root, window.instruction_bytes),
            repo_map=repository_map(sorted(filter(shop.rules.shows, files)), token_bound=window.map_tokens),
            loaded={task.id for task in await shop.store.queue.all()},
        )
        moment = datetime.datetime.fromtimestamp(shop.clock.now_ms() / 1000, datetime.UTC)
        name = f"{moment:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        kept = _Kept(shop.drafts / f"{name}.json")
        # The task's cap counts all that a task ever cost, so each draft is a task of its own.
        account = Task(TaskSpec(TaskId(f"{DRAFT_TASK} {name}"), "draft"), TaskState.RUNNING)
        gateway = shop.model_on(RunId(f"draft-{name}")).for_task(
            account.id, caps_of(account, shop.settings.budget), worker=WORKER, deadline_s=DEADLINE_S
        )
        shop.drafting.add(account.id)
        try:
            draft = await draft_plan(
                gateway,
                briefing,
                model=rung.model,
                effort=rung.effort,
                max_tokens=window.limits(max_turns=1).max_tokens_grown,
                keep=kept.keep,
            )
        except BadDraftError as error:
            raise RpcError(
                error.message,
                code=RpcCode.BAD_PLAN,
                exit_code=ExitCode.ERROR,
                problems=error.problems,
                mend=f"say the goal in other words; what the model said is in {kept.path}",
            ) from error
        finally:
            shop.drafting.discard(account.id)
        if isinstance(draft, SpendRefused):
            raise refused(f"a draft could pass {draft.in_words}", mend="raise the cap in [budget]")
        log.info("plan_drafted", tasks=draft.tasks, cost_usd=usd(draft.cost_usd_micros))
        return {
            "text": draft.text,
            "tasks": draft.tasks,
            "estimate_usd": draft.estimate_usd,
            "cost_usd": usd(draft.cost_usd_micros),
            "model": draft.model,
        }


class _Kept:
    """The answers of one draft, in one file of the owner's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers: list[str] = []

    async def keep(self, answer: str) -> None:
        self._answers.append(answer)
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        self.path.write_text(
            "[" + ",\n".join(self._answers) + "]\n", encoding="utf-8", errors="backslashreplace"
        )
