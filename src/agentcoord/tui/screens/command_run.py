"""Carrying out a typed command: each calls what the keys call, so that both mean the same."""

from __future__ import annotations

from agentcoord.domain.worker import Role
from agentcoord.tui.actions import why_not_act
from agentcoord.tui.commands import Command, Problem, parse_command
from agentcoord.tui.effects import EFFECTS
from agentcoord.tui.messages import (
    LogWanted,
    MomentWanted,
    ReviewWanted,
    SpeedWanted,
    TaskWanted,
    WorkerWanted,
)
from agentcoord.tui.screens.confirm import ConfirmScreen
from agentcoord.tui.screens.live import LiveScreen
from agentcoord.tui.text import plural
from agentcoord.wire.protocol import Method


def run_command(screen: LiveScreen, line: str, selected: list[str]) -> None:
    """Do what a line says, on a screen; tasks that it does not name are the selected ones."""
    command = parse_command(line)
    match command:
        case None:
            return
        case Problem(words):
            screen.say(words, warn=True)
        case Command(name, words) if name in EFFECTS:
            screen.act(EFFECTS[name], list(words) or selected)
        case Command("answer", (task_id,)):
            screen.answer_task(task_id)
        case Command("answer", (task_id, *text)):
            screen.run_worker(screen.send_answer(task_id, " ".join(text)), group="effects")
        case Command("comment", (task_id, *text)):
            screen.comment_on(task_id, " ".join(text))
        case Command("reject", (task_id, *text)):
            screen.reject_task(task_id, " ".join(text))
        case Command("diff", words):
            screen.open_diff(next(iter(words or selected), None))
        case Command("task", (task_id,)):
            _open_task(screen, task_id)
        case Command("worker", (name,)):
            _open_worker(screen, name)
        case Command("kill" | "cleanup", _) if why_not_act(screen.model):
            screen.say(why_not_act(screen.model), warn=True)
        case Command("kill", ("--all",)):
            _confirmed(screen, "Kill all workers?", "Their tasks go back to the queue.", Method.KILL)
        case Command("cleanup", ("--all",)):
            _confirmed(
                screen,
                "Clean up everything?",
                "Every task, its history and its costs leave the daemon's memory; your tree stays as it is.",
                Method.CLEANUP,
            )
        case Command("cleanup", (word,)):
            screen.say(f"Usage: cleanup [--all], not {word}.", warn=True)
        case Command("kill", (name,)):
            screen.kill_worker(name)
        case Command("log", words):
            _open_log(screen, next(iter(words), ""))
        case Command("goto", (moment,)):
            screen.post_message(MomentWanted(moment))
        case Command("speed", (times,)):
            screen.post_message(SpeedWanted(times))
        case Command("spawn" | "drain" | "pause" | "resume", _) if why_not_act(screen.model):
            screen.say(why_not_act(screen.model), warn=True)
        case Command("spawn", words):
            _spawn(screen, words)
        case Command("drain", _):
            _confirmed(screen, "Drain?", "The daemon stops when the running tasks have ended.", Method.DRAIN)
        case Command("review", _):
            screen.post_message(ReviewWanted())
        case Command("theme", (name,)):
            _theme(screen, name)
        case Command("help", _):
            screen.action_show_help()
        case Command("quit", _):
            screen.app.exit()
        case Command(name, _):
            _plainly(screen, name)


def _plainly(screen: LiveScreen, name: str) -> None:
    """Commands that are one request and nothing else."""
    method, words = {
        "pause": (Method.PAUSE, "Paused: running tasks go on."),
        "resume": (Method.RESUME, "Resumed: workers claim tasks again."),
        "cleanup": (Method.CLEANUP, "Cleaned up."),
    }[name]

    async def ask() -> None:
        if await screen.ask(method) is not None:
            screen.say(words)

    screen.run_worker(ask(), group="effects")


def _open_task(screen: LiveScreen, task_id: str) -> None:
    if task_id in screen.model.tasks:
        screen.post_message(TaskWanted(task_id))
    else:
        screen.say(f"There is no task {task_id}.", warn=True)


def _open_worker(screen: LiveScreen, name: str) -> None:
    if any(worker["name"] == name for worker in screen.model.workers):
        screen.post_message(WorkerWanted(name))
    else:
        screen.say(f"There is no worker {name}.", warn=True)


def _open_log(screen: LiveScreen, about: str) -> None:
    known = about in screen.model.tasks or any(w["name"] == about for w in screen.model.workers)
    if about and not known:
        screen.say(f"There is no task and no worker {about}.", warn=True)
    else:
        screen.post_message(LogWanted(about))


def _theme(screen: LiveScreen, name: str) -> None:
    if name in screen.app.available_themes:
        screen.app.theme = name
    else:
        screen.say(f"There is no theme {name}. Ctrl+P lists them.", warn=True)


def _spawn(screen: LiveScreen, words: tuple[str, ...]) -> None:
    role, number = words[0], words[1] if len(words) > 1 else "1"
    if role not in list(Role) or not number.isdigit():
        screen.say(f"Usage: spawn ROLE [N]; roles are {', '.join(Role)}.", warn=True)
        return

    async def ask() -> None:
        answer = await screen.ask(Method.SPAWN, role=role, n=int(number))
        if answer is not None:
            screen.say(f"Started {', '.join(answer['workers'])}.")

    screen.run_worker(ask(), group="effects")


def _confirmed(screen: LiveScreen, asked: str, consequence: str, method: Method) -> None:
    """Ask first, then do it."""

    async def ask() -> None:
        answer = await screen.ask(method, **({} if method is Method.DRAIN else {"all": True}))
        if answer is not None and method is Method.KILL:
            screen.say(f"Killed {plural(len(answer.get('killed') or ()), 'worker')}.")
        elif answer is not None:
            screen.say("Draining." if method is Method.DRAIN else "Cleaned up.")

    def decided(yes: bool | None) -> None:
        if yes:
            screen.run_worker(ask(), group="effects")

    screen.app.push_screen(ConfirmScreen(asked, consequence), decided)
