"""Every command explains itself: what it does, and an example that names it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import canned_daemon
import pytest
import typer
from canned_daemon import Run
from typer.main import get_command

from agentcoord.cli.agentcoord_app import app
from agentcoord.cli.agentcoordd_app import app as daemon_app
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.one_room import ROOMS, program_for
from agentcoord.cli.typer_run import run_app
from agentcoord.wire.protocol import SPAWN_MOST, ExitCode

project, run = canned_daemon.project, canned_daemon.run

READS = {
    "status",
    "tasks",
    "workers",
    "costs",
    "stats",
    "locks",
    "task",
    "diff",
    "logs",
    "config",
    "doctor",
    "wait",
}


def words_of_every_command(program: typer.Typer) -> Iterator[tuple[str, ...]]:
    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield path
        else:
            for name, child in children.items():
                yield from walk(child, (*path, name))

    yield from walk(get_command(program), ())


COMMANDS = [("agentcoord", *words) for words in words_of_every_command(app)] + [
    ("agentcoordd", *words) for words in words_of_every_command(daemon_app)
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_the_command_does_and_gives_an_example(run: Run, command: tuple[str, ...]) -> None:
    program, *words = command
    outcome = run(*words, "--help", program=program)
    assert outcome.code == 0
    usage, _, rest = outcome.out.partition("\n\n")
    assert usage.startswith(f"Usage: {' '.join(command)}")
    first_line = rest.splitlines()[0].strip()
    assert first_line[-1] in ".,:;" or len(first_line) > 60
    description, head, following = re.split(r"\n  (Examples?:)\n", outcome.out)
    examples, *options = re.split(r"\n(?:Arguments|Options):\n", following)
    assert options, "examples come first, then what they are made of"
    assert "--" not in description.partition("\n\n")[0]
    lines = examples.strip().splitlines()
    assert (head == "Examples:") == (len(lines) > 1)
    calls = [line for line in lines if not line.strip().startswith("mkdir ")]  # Which some need first.
    assert calls
    assert all(words[-1] in line and program in line for line in calls)
    if words[-1] in READS:
        assert "--json" in outcome.out


def test_a_command_alone_answers_as_it_does_in_the_whole_program(capfd: pytest.CaptureFixture[str]) -> None:
    """Its help, and what it says to an option that it has not: nothing of another file is in either."""

    def said(program: typer.Typer, words: list[str]) -> tuple[int, str, str]:
        return (run_app(program, "agentcoord", words, Invocation.of_process({})), *capfd.readouterr())

    for _, *words in (command for command in COMMANDS if command[0] == "agentcoord" and command[1] != "help"):
        for end in ("--help", "--no-such-option"):
            asked = ["-C", "somewhere", *words, end]
            alone = program_for(asked)
            assert alone is not app
            assert said(alone, asked) == said(app, asked)


def test_every_command_is_looked_for_where_it_is() -> None:
    names = [name for names in ROOMS.values() for name in names]
    assert sorted([*names, "help"]) == sorted(
        {command[1] for command in COMMANDS if command[0] == "agentcoord"}
    )


@pytest.mark.parametrize(
    "words",
    [
        *([], ["--help"], ["--version"], ["help", "undo"], ["--help", "undo"], ["--", "undo"], ["-C"]),
        *(["-C", "undo"], ["-C", "undo", "nonsense"], ["--project=undo", "--help"], ["-Cundo", "unod"]),
    ],
    ids=" ".join,
)
def test_what_is_no_plain_call_of_a_command_gets_the_whole_program(words: list[str]) -> None:
    assert program_for(words) is app


def test_every_command_of_the_design_is_there() -> None:
    wanted = {
        *("init", "doctor", "load", "run", "rehearse", "demo", "tasks", "task", "status", "workers", "stats"),
        *("costs", "logs", "dashboard", "spawn", "cleanup", "retry", "cancel", "answer", "diff", "accept"),
        *("land", "blame", "review", "adopt"),
        *(
            "undo",
            "reject",
            "commit",
            "wait",
            "config",
            "locks",
            "report",
            "completions",
            "schema",
            "help",
            "add",
            "plan draft",
            "plan check",
            "ctl kill",
            "ctl pause",
            "ctl resume",
            "ctl cleanup",
            "ctl drain",
        ),
    }
    assert {" ".join(words) for words in words_of_every_command(app)} == wanted
    daemon_words = {" ".join(words) for words in words_of_every_command(daemon_app)}
    services = {"reload", "install-service", "uninstall-service"}
    assert daemon_words == {"start", "run", "stop", "restart", "status", "logs", "help"} | services


@pytest.mark.parametrize("words", [(), ("run",), ("ctl",), ("ctl", "kill")])
def test_help_as_a_command_prints_the_same_as_the_option(run: Run, words: tuple[str, ...]) -> None:
    assert run("help", *words) == run(*words, "--help")


def test_help_of_what_is_no_command_says_which_there_are(run: Run) -> None:
    outcome = run("help", "ctl", "jump")
    assert outcome.code == ExitCode.USAGE
    assert "agentcoord ctl has no command 'jump'" in " ".join(outcome.err.split())
    assert "drain" in outcome.err


def test_more_workers_at_once_than_there_may_be_are_refused_with_the_limit(run: Run) -> None:
    outcome = run("spawn", "--role", "architect", "-n", "5000")
    assert outcome.code == ExitCode.USAGE
    assert str(SPAWN_MOST) in outcome.err
    assert f"<={SPAWN_MOST}" in run("spawn", "--help").out


@pytest.mark.parametrize("program", ["agentcoord", "agentcoordd"])
def test_version_and_bare_call(run: Run, program: str) -> None:
    assert run("--version", program=program).out.split()[0] == program
    page = run("--help", program=program).out
    assert page.index("Examples:") < page.index("Options:") < page.index("Commands:")
    assert run(program=program).out + run(program=program).err != ""
