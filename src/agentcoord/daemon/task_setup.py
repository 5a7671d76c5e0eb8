"""Before the first word: the model, the transcript, the briefing and the loop of one attempt.

Separate from `task_run`, which drives what is made here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from agentcoord.agent.loop import AgentLoop
from agentcoord.agent.prompts import Briefing, repository_map
from agentcoord.agent.retrospect import earlier_attempts
from agentcoord.agent.transcript import Transcript
from agentcoord.agent.window import ContextWindow
from agentcoord.daemon.adapters import LockedFiles, SandboxedShell, TaskQuestions, TaskReporter
from agentcoord.daemon.booked_gateway import BookedGateway
from agentcoord.daemon.copy_policy import policy_for
from agentcoord.daemon.copy_quota import CopyQuota
from agentcoord.daemon.rejections import rejected_diff, rejections_of
from agentcoord.daemon.task_caps import caps_of
from agentcoord.daemon.task_files import transcript_file
from agentcoord.daemon.worker_row import TaskAtHand
from agentcoord.daemon.workshop import Workshop
from agentcoord.domain.ladder import Rung
from agentcoord.domain.task import Claim, Task
from agentcoord.domain.worker import WorkerState
from agentcoord.errors import AgentError
from agentcoord.llm.api import ROOMY_TOKENS
from agentcoord.workspace.pool import Staged, Workspace

INSTRUCTION_FILES = ("AGENTS.md", "CLAUDE.md")

log = structlog.get_logger("task")


async def make_loop(
    shop: Workshop, at: TaskAtHand, claim: Claim, workspace: Workspace, rung: Rung
) -> AgentLoop:
    """Build the conversation of one attempt, new or resumed."""
    task = claim.task
    files = LockedFiles(workspace, shop.rules, shop.store.locks, claim, shop.hub, shop.board, at)
    transcript = await asyncio.to_thread(open_transcript, shop.transcripts, task, resumed=workspace.resumed)
    reporter = TaskReporter(shop.hub, shop.board, at, task.id)
    models = shop.settings.models
    window = ContextWindow(models.context_tokens or shop.windows.get(rung.model) or ROOMY_TOKENS)
    paid = shop.paid_model().for_task(
        task.id,
        caps_of(task, shop.settings.budget),
        worker=at.spec.name,
        priority=task.spec.priority,
    )
    return AgentLoop(
        gateway=BookedGateway(paid, shop.store, claim, at.time_spent),
        shell=SandboxedShell(
            shop.sandbox,
            policy_for(workspace, shop.repo, shop.toolchains),
            shop.redactor,
            quota=CopyQuota(workspace.root, workspace.grown_bytes, resumed=workspace.resumed),
            show=reporter.printed,
        ),
        files=files,
        reporter=reporter,
        questions=TaskQuestions(shop.store.questions, shop.hub, at, task.id, shop.clock),
        transcript=transcript,
        briefing=await make_briefing(shop, at, task, files, window),
        model=rung.model,
        effort=rung.effort,
        clock=shop.clock,
        limits=window.limits(max_turns=models.max_turns, compact_at_tokens=models.compact_at_tokens),
        stopping=shop.stopping,
        custom_tools=models.custom_tools,
    )


async def copy_for(shop: Workshop, at: TaskAtHand, task: Task, ahead: Sequence[Staged]) -> Workspace:
    """Acquire a private copy. The worker's row says what it waits for; the log too, once.

    Raises what `WorkspacePool.acquire` raises.
    """
    doing = at.doing

    def tell(words: str) -> None:
        if at.doing != words:
            log.warning("copy_waited_for", task=task.id, why=words)
        shop.board.set_state(at, WorkerState.WAITING, words)

    fresh = await asyncio.to_thread(wants_fresh_copy, shop.transcripts, task)
    workspace = await shop.pool.acquire(task.id, task.attempt, fresh=fresh, ahead=ahead, on_wait=tell)
    if at.state is WorkerState.WAITING:
        shop.board.set_state(at, WorkerState.WORKING, doing)
    return workspace


def wants_fresh_copy(home: Path, task: Task) -> bool:
    """Whether this attempt's conversation goes on in a new private copy, and in no other. Blocking."""
    try:
        return Transcript.open(transcript_file(home, task.id, task.attempt)).wants_fresh_copy
    except (AgentError, OSError):  # Whoever opens it to go on is told; what cannot be read promises nothing.
        return False


def open_transcript(home: Path, task: Task, *, resumed: bool) -> Transcript:
    """Open this attempt's transcript; one whose private copy is gone moves aside, unless it was told so.

    Blocking.
    """
    folder = home / task.id
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = transcript_file(home, task.id, task.attempt)
    if path.exists() and not resumed and not wants_fresh_copy(home, task):
        aside = next(
            candidate
            for number in range(1, 10_000)
            if not (candidate := folder / f"attempt-{task.attempt}.before-{number}.jsonl").exists()
        )
        path.rename(aside)
    return Transcript.open(path)


async def make_briefing(
    shop: Workshop, at: TaskAtHand, task: Task, files: LockedFiles, window: ContextWindow
) -> Briefing:
    """Gather what the first message says."""
    tasks = {each.id: each for each in await shop.store.queue.all()} if task.spec.needs else {}
    notes = [
        f"{need}: {tasks[need].spec.title} (changed {', '.join(tasks[need].files) or 'nothing'})"
        for need in task.spec.needs
        if need in tasks
    ]
    rejected = rejections_of(task, await shop.lander.history_of(task.id))
    return Briefing(
        project_name=shop.repo.root.name,
        role=at.spec.role,
        worker=at.spec.name,
        instructions=await asyncio.to_thread(read_instructions, shop.repo.root, window.instruction_bytes),
        task=task.spec,
        checks=shop.settings.checks.commands,
        scope=shop.settings.project.scope,
        protect=shop.settings.project.protect,
        sight=shop.settings.project.sight,
        needs_notes=notes,
        repo_map=repository_map(await files.list_files(), token_bound=window.map_tokens),
        rejections=rejected,
        rejected_diff=await rejected_diff(shop.lander, task) if rejected else "",
        earlier_attempt=await asyncio.to_thread(
            earlier_attempts, shop.transcripts / task.id, task.attempt, task.why
        ),
    )


def read_instructions(root: Path, most_bytes: int) -> str:
    """The project's instructions to agents: `AGENTS.md`, else `CLAUDE.md`, else nothing. Blocking."""
    for name in INSTRUCTION_FILES:
        path = root / name
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                return file.read(most_bytes).decode("utf-8", "replace")
    return ""
