"""A night from the command line: judge the plan, start what is missing, load, follow, sum up.

`run`, `rehearse`, `wait` and the demo are made of these steps. Everything that can be wrong with a
plan or the settings is told before anything is started.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

from agentcoord.cli.boundary import CommandError, problems_of
from agentcoord.cli.follow import Follower, Position, position_now
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.progress import Progress, Silence
from agentcoord.cli.reading import fetch
from agentcoord.cli.summary import Ending, commands, next_steps, summary_page
from agentcoord.clock import SystemClock
from agentcoord.config.load import load_settings
from agentcoord.config.sections import Settings
from agentcoord.domain.plan import parse_plan, read_plan
from agentcoord.errors import ConfigError, PlanError
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.text import plural
from agentcoord.values import dataclass
from agentcoord.wire.answers import LoadView, StatsView
from agentcoord.wire.client import ControlClient
from agentcoord.wire.messages import NO_MODEL, ExitCode, Method, StatusView


@dataclass(frozen=True, slots=True)
class PlanText:
    """A plan as it travels to the daemon."""

    text: str
    format: str
    source: str


def read_plan_file(plan: Path) -> PlanText:
    """Read a plan; `-` is standard input. Raises CommandError when that cannot be."""
    kind = "markdown" if plan.suffix.lower() in (".md", ".markdown") else "toml"
    if str(plan) == "-":
        text = sys.stdin.read()
        return PlanText(text, "toml" if "[[task]]" in text else "markdown", "standard input")
    try:
        return PlanText(plan.read_text(encoding="utf-8"), kind, plan.name)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandError(
            f"the plan {plan} cannot be read: {reason}",
            exit_code=ExitCode.USAGE,
            mend="give the path of a plan (a .toml, or a Markdown checklist); README shows one",
        ) from error


def judge(
    invocation: Invocation, plan: PlanText | None, flags: Mapping[str, object], *, running: bool
) -> Settings:
    """Return the settings, once they and the plan are found to be good.

    Raises CommandError (exit 2) with every problem of both. What a plan needs of loaded tasks and of
    the fleet is judged here only when nothing is `running`: otherwise the daemon knows better.
    """
    problems: list[str] = []
    settings: Settings | None = None
    try:
        settings = load_settings(invocation.root(), invocation.env, flags)
    except ConfigError as error:
        problems.append(str(error))
    if plan is not None:
        try:
            if running or settings is None:
                parse_plan(plan.text, format=plan.format, source=plan.source)
            else:
                read_plan(
                    plan.text, format=plan.format, source=plan.source, known=(), workers=settings.workers
                )
        except PlanError as error:
            problems += problems_of(error) or [str(error)]
    if settings is None or problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise CommandError(
            f"the plan or the settings have {count}; nothing was started or loaded",
            exit_code=ExitCode.USAGE,
            problems=problems,
            mend="mend these lines, then run the command again",
        )
    return settings


def refuse_without_model(status: StatusView, *, loads: bool) -> None:
    """Raise CommandError when work that is there (or `loads`) can never end: the daemon has no model.

    Its environment counts and not that of the command, so nothing would show that it waits in vain.
    """
    if not status["model_source"].startswith(NO_MODEL) or (status["ended"] and not loads):
        return
    raise CommandError(
        "the daemon that runs here has no model: it was started with neither an API key nor a base URL",
        exit_code=ExitCode.REFUSED,
        mend="export ANTHROPIC_API_KEY or ANTHROPIC_BASE_URL, agentcoordd restart, then run this again",
    )


def refuse_vain_wait(status: StatusView) -> None:
    """Raise CommandError when waiting would have no end: nothing is loaded, or there is no model."""
    if not any(status["counts"].values()):
        raise CommandError(
            "there is nothing to wait for: no task is loaded",
            exit_code=ExitCode.USAGE,
            mend="agentcoord load plan.toml",
        )
    refuse_without_model(status, loads=False)


def status_of(invocation: Invocation) -> StatusView:
    """Ask how the daemon stands."""
    return cast("StatusView", invocation.ask(Method.STATUS))


def load(invocation: Invocation, plan: PlanText) -> LoadView:
    """Hand the plan to the daemon. Raises RpcError with its problems."""
    answer = invocation.ask(Method.LOAD, text=plan.text, format=plan.format, source=plan.source)
    return cast("LoadView", answer)


def load_words(view: LoadView) -> str:
    """What loading did, in one line."""
    parts = [f"{plural(len(view['added']), 'task')} added"]
    if view["changed"]:
        parts.append(f"{len(view['changed'])} changed")
    if view["unchanged"]:
        parts.append(f"{len(view['unchanged'])} unchanged")
    return ", ".join(parts)


class Leaving:
    """What is true if the person leaves now, with Ctrl-C."""

    __slots__ = ("words",)

    def __init__(self, plan: PlanText | None) -> None:
        """With a plan: before it is loaded."""
        self.loaded()
        if plan is not None:
            self.words = f"Left before {plan.source} was loaded; the daemon runs without it."

    def asked(self, plan: PlanText) -> None:
        """The daemon is being asked to load the plan."""
        self.words = f"Left while {plan.source} was being loaded: agentcoord tasks shows whether it is."

    def loaded(self) -> None:
        self.words = "Left the run alone; the daemon goes on."


def load_and_follow(
    invocation: Invocation,
    plan: PlanText | None,
    *,
    leaving: Leaving | None = None,
    timeout_s: float | None = None,
) -> Ending:
    """Load the plan, show how it goes until everything has ended, and return how it ended.

    Without a plan, follows what is loaded. Raises CommandError (exit 6) after `timeout_s`;
    KeyboardInterrupt passes through, the daemon goes on, and `leaving` says what came of the plan.
    """
    leaving = leaving or Leaving(plan)
    socket_path, terminal = invocation.paths().socket, invocation.terminal
    position: Position = asyncio.run(position_now(socket_path))
    ours: Collection[str] | None = None
    if plan is not None:
        leaving.asked(plan)
        view = load(invocation, plan)
        leaving.loaded()
        terminal.say(load_words(view))
        ours = {*view["added"], *view["changed"], *view["unchanged"]}
    elif not fetch(Method.TASKS, invocation)["tasks"]:
        raise CommandError(
            "there is nothing to run: no plan was given and no task is loaded",
            exit_code=ExitCode.USAGE,
            mend="agentcoord run plan.toml",
        )
    progress = Progress(terminal)
    try:
        follower = Follower(socket_path, progress, SystemClock(), position=position)
        return _follow(follower, ours, timeout_s)
    finally:
        progress.close()


def _follow(follower: Follower, ours: Collection[str] | None, timeout_s: float | None) -> Ending:
    async def sum_up(client: ControlClient, status: StatusView) -> Ending:
        """Gather what the summary is made of; `ours` limits it to these tasks."""
        stats = cast("StatsView", await client.call(Method.STATS))
        tasks: list[Any] = await client.tasks()
        return Ending(status, [task for task in tasks if ours is None or task["id"] in ours], stats)

    async def follow() -> Ending:
        async with asyncio.timeout(timeout_s):
            return await follower.until_ended(sum_up)

    try:
        return asyncio.run(follow())
    except TimeoutError as error:
        raise CommandError(
            f"not every task has ended within {timeout_s:g} s; the daemon goes on",
            exit_code=ExitCode.TIMEOUT,
            mend="agentcoord status shows what is under way",
        ) from error


def wait_for_end(invocation: Invocation, timeout_s: float | None) -> Ending:
    """Return how everything ended, once it has.

    Raises CommandError (exit 6) after `timeout_s`, DaemonNotRunningError when nobody listens.
    """
    follower = Follower(invocation.paths().socket, Silence(invocation.terminal), SystemClock())
    return _follow(follower, None, timeout_s)


def print_ending(invocation: Invocation, ending: Ending, *, schema: str, as_json: bool) -> None:
    """Write the summary: the data of `run`, `rehearse` and `wait`."""
    terminal = invocation.terminal
    if as_json:
        terminal.document(schema, ending.document())
        return
    terminal.lines(summary_page(ending, terminal.width))
    terminal.say("")
    terminal.say(Span("Look further", Tone.TITLE))
    for line in next_steps(ending):
        terminal.say(*line)


def tell_how_to_watch(invocation: Invocation, words: str) -> None:
    """Say how to watch and how to stop a run that goes on without us."""
    invocation.terminal.say(words)
    steps = [
        ("agentcoord dashboard", "watch it live"),
        ("agentcoord logs -f", "watch it as lines"),
        ("agentcoord wait", "wait for the end"),
        ("agentcoord ctl pause", "begin nothing new"),
        ("agentcoordd stop", "stop; agentcoordd start goes on later"),
    ]
    for line in commands(steps):
        invocation.terminal.say(*line)
