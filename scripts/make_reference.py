#!/usr/bin/env python3
"""Writes the parts of the documentation that are made from the code: run it after changing either.

The commands come from the programs' own help, settings and events from the strings beneath their
fields, errors from their classes, and the drawing of the states from the table of legal moves.
Separate from `check_docs`, which compares what this makes with what lies there. Deliberately
absent: anything that a person would have to say twice.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from doc_sources import (
    ROOT,
    SOURCE,
    as_toml,
    class_docstring,
    command_section,
    commands_of_both,
    documented_fields,
    first_sentence,
    table,
)
from man_pages import man_pages
from protocol_page import with_methods
from state_drawing import with_drawing
from typer.main import get_command

from agentcoord.agent.outcomes import LoopLimits
from agentcoord.cli.agentcoord_app import app as agentcoord_app
from agentcoord.cli.agentcoordd_app import app as agentcoordd_app
from agentcoord.cli.boundary import INTERRUPTED, exit_code_of
from agentcoord.cli.completions import Shell, script
from agentcoord.cli.ready_completions import script_file
from agentcoord.config.load import ENV_PREFIX, OTHER_VARIABLES, SECTIONS
from agentcoord.config.sections import Settings
from agentcoord.domain.events import EventKind
from agentcoord.domain.worker import DEFAULT_TAGS, MISSION_WORKERS
from agentcoord.errors import AgentCoordError, RpcError
from agentcoord.sandbox.policy import Limits
from agentcoord.telemetry.metrics import Metrics, Reading, StoreReading
from agentcoord.wire.messages import ExitCode, RpcCode

NOTE: Final = "<!-- Made by scripts/make_reference.py from the code; change the code, then run it. -->"

WITHOUT_EFFECT: Final[dict[str, str]] = {}
"""Settings that are read and not used yet, with the words whose appearance in the code ends that."""
_EXIT_CODES: Final = {
    ExitCode.OK: "Done.",
    ExitCode.ERROR: "It did not work; the words say why. `doctor`: something is missing.",
    ExitCode.USAGE: "A wrong command line, plan, or setting; nothing was started or loaded.",
    ExitCode.NOT_RUNNING: "No daemon runs for this project.",
    ExitCode.NOT_FOUND: "No such task, worker, question or log.",
    ExitCode.REFUSED: "Refused: a conflict, or not possible in this state.",
    ExitCode.TIMEOUT: "It took longer than was allowed.",
    ExitCode.TASK_FAILED: "`run`, `rehearse`, `wait`, `demo`: a task failed, was cancelled, or needs you.",
}


def generated_pages() -> dict[Path, str]:
    """Return every page that is made whole, by its path."""
    folder = ROOT / "docs" / "reference"
    makers: Mapping[str, Callable[[], str]] = {
        "commands.md": commands_page,
        "settings.md": settings_page,
        "events.md": events_page,
        "errors-exit-codes.md": errors_page,
        "metrics.md": metrics_page,
    }
    pages = {folder / name: make() for name, make in makers.items()}
    pages |= {ROOT / "man" / "man1" / name: text for name, text in man_pages(_EXIT_CODES).items()}
    programs = {"agentcoord": get_command(agentcoord_app), "agentcoordd": get_command(agentcoordd_app)}
    return pages | {script_file(shell): script(shell, programs) for shell in Shell}


def part_pages() -> dict[Path, Callable[[str], str]]:
    """Return how the pages are made anew that people write but for a part; ValueError: they have no marks."""
    docs = ROOT / "docs"
    return {docs / "architecture.md": with_drawing, docs / "reference" / "protocol.md": with_methods}


def metrics_page() -> str:
    """Every metric of the Prometheus endpoint, from the page that it serves."""
    store = StoreReading(0.0, {"queued": 0}, 0.0, 0.0, 1.0, 0.0, 1.0, 0)
    reading = Reading(
        "0", 0.0, ready=True, loop_lag_s=0.0, loop_lag_max_s=0.0, workers={"idle": 1}, store=store
    )
    metrics = Metrics()
    rows = [
        (f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), words)
        for name, kind, labels, words in metrics.described(reading)
    ]
    return "\n".join(
        [
            "# Metrics",
            "",
            NOTE,
            "",
            "Served for Prometheus at `http://127.0.0.1:PORT/metrics` when `metrics.port` is set;",
            "`/healthz` answers 200 while the event loop runs, `/readyz` while workers run and the store",
            "answers, else 503.",
            "A dashboard for Grafana and alert rules are in [config/](../../config). Counters begin at 0",
            "with each start of the daemon; the process's own `process_*` metrics are there too.",
            "",
            *table(("Metric", "Kind", "Labels", "Meaning"), rows),
            "",
        ]
    )


def commands_page() -> str:
    """Every command of both programs, from their help."""
    commands = commands_of_both()
    lines = [
        "# Commands",
        "",
        NOTE,
        "",
        "`agentcoord` talks to the daemon of the repository you stand in; `agentcoordd` starts and stops it.",
        "Data goes to standard output, all else to standard error. `--json` prints one document with a",
        '`"schema"` of its own (for `logs`: one object a line). What the exit codes mean:',
        "[errors and exit codes](errors-exit-codes.md).",
        "",
        "Before any command, or after it: `-C DIR` (`--project DIR`) names the repository instead of the",
        "working directory. `-h` and `--help` explain a command, `--version` prints the version. The same as",
        "man pages: `man agentcoord`, `man agentcoordd`.",
        "",
    ]
    rows = [
        (f"[`{name}`](#{name.replace(' ', '-')})", first_sentence(command))
        for name, command in commands.items()
    ]
    lines += [*table(("Command", "What it does"), rows), ""]
    for name, command in commands.items():
        lines += command_section(name, command)
    return "\n".join(lines)


def settings_page() -> str:
    """Every setting, from the sections' fields, and the commented file."""
    lines = [
        "# Settings",
        "",
        NOTE,
        "",
        "Settings stand in `agentcoord.toml` at the root of your repository; `agentcoord init` writes",
        "one and you commit it. Every key is optional. An environment variable wins over the file, and a",
        "flag of the command over both; lists in a variable are separated by commas. `agentcoord config`",
        "prints every value with where it came from. An unknown key or variable is an error that names",
        "the nearest known one. Keys and tokens are refused in this file: they belong in the environment.",
        "",
        "A change takes effect when the daemon starts: `agentcoordd restart`.",
        "",
    ]
    defaults = Settings()
    for name, section in SECTIONS.items():
        said = documented_fields(SOURCE / "config" / "sections.py", section.__name__)
        held = getattr(defaults, name)
        rows = []
        for item in dataclasses.fields(section):
            if item.name == "commands":
                rows.append(("any name", "", "", "A command in quotes; it must exit 0 before a landing."))
                continue
            key = f"{name}.{item.name}"
            meaning = said.get(item.name, "")
            if key in WITHOUT_EFFECT:
                meaning += " **Read, but without effect in this version.**"
            default = as_toml(getattr(held, item.name))
            rows.append(
                (f"`{item.name}`", f"`{default}`", f"`{ENV_PREFIX}{name}_{item.name}`".upper(), meaning)
            )
        docstring = class_docstring(SOURCE / "config" / "sections.py", section.__name__)
        lines += [f"## [{name}]", ""]
        if words := docstring.partition("`")[2].partition("`")[2].lstrip(":; "):
            lines += [words[0].upper() + words[1:], ""]
        lines += [*table(("Key", "Default", "Variable", "Meaning"), rows), ""]
    lines += _workers_section()
    meanings = {
        "AGENTCOORD_ALLOW_ROOT": "As `--allow-root`, when it is 1.",
        "AGENTCOORD_COMPLETION_MS": "How long Tab waits for a daemon's names; 100, and 0 for not at all.",
    }
    lines += [
        "## Other variables",
        "",
        *table(
            ("Variable", "What it does"),
            [
                *((f"`{name}`", meanings[name]) for name in sorted(OTHER_VARIABLES)),
                (
                    "`ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN`",
                    "The key or token of the model's server.",
                ),
                ("`ANTHROPIC_BASE_URL`", "The model's server, unless `models.base_url` names one."),
                ("`XDG_STATE_HOME`, `XDG_RUNTIME_DIR`", "Where state and sockets lie."),
                ("`NO_COLOR`", "No colours."),
            ],
        ),
        "",
    ]
    lines += _bounds_section()
    template = (SOURCE / "config" / "agentcoord.toml").read_text(encoding="utf-8").rstrip()
    lines += ["## The commented file", "", "```toml", template, "```", ""]
    return "\n".join(lines)


def _workers_section() -> list[str]:
    rows = [
        (f"`{worker.name}`", f"`{worker.role}`", ", ".join(sorted(worker.tags))) for worker in MISSION_WORKERS
    ]
    tags = "; ".join(f"`{role}`: {', '.join(held)}" for role, held in DEFAULT_TAGS.items())
    return [
        "## [[worker]]",
        "",
        "One table a worker: `name` (required), `role` (required), `tags`. A worker takes a task when it has",
        "all of the task's tags. Without `tags` it has those of its role",
        f"({tags}).",
        "None given, there are these six:",
        "",
        *table(("Worker", "Role", "Tags"), rows),
        "",
    ]


def _bounds_section() -> list[str]:
    lines = ["## Bounds that no setting changes", ""]
    for title, path, limits in (
        ("Of one attempt at a task:", SOURCE / "agent" / "outcomes.py", LoopLimits()),
        ("Of one command in the sandbox:", SOURCE / "sandbox" / "policy.py", Limits()),
    ):
        said = documented_fields(path, type(limits).__name__)
        rows = [(f"`{name}`", _amount(name, getattr(limits, name)), words) for name, words in said.items()]
        lines += [title, "", *table(("Bound", "Value", "Meaning"), rows), ""]
    return lines


def _amount(name: str, value: float) -> str:
    """A number as people read it: sizes in the largest unit that fits."""
    if name.endswith("_bytes"):
        unit, shift = next((u, s) for u, s in (("GiB", 30), ("MiB", 20), ("KiB", 10)) if value >= 1 << s)
        return f"{value / (1 << shift):g} {unit}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def events_page() -> str:
    """Every kind of event, from the strings beneath them, and whether anything tells it yet."""
    said = documented_fields(SOURCE / "domain" / "events.py", "EventKind")
    told = "".join(
        path.read_text(encoding="utf-8")
        for room in ("agent", "daemon")
        for path in sorted((SOURCE / room).rglob("*.py"))
    )
    rows = []
    for kind in EventKind:
        words = said.get(kind.name, "")
        if f"EventKind.{kind.name}" not in told:
            words += " Not told in this version."
        rows.append((f"`{kind}`", words.strip()))
    lines = [
        "# Events",
        "",
        NOTE,
        "",
        "What happens in a run is told as events: by `agentcoord logs -f --json`, one object a line, and",
        "on the [control socket](protocol.md#listening). Each has `kind`, `at_ms` (milliseconds since",
        "1970), `task` and `worker` (or null), `data` with the particulars below, and `seq`, which counts",
        "up without holes, but of events that a fail-over of Redis lost. Money in events is in",
        "micro-dollars. A kind may have more particulars than those named here; read past what you do",
        "not know.",
        "",
        *table(("Kind", "Particulars in `data`"), rows),
        "",
    ]
    return "\n".join(lines)


def errors_page() -> str:
    """Exit codes, the classes of errors, and the codes of the control socket."""
    codes = [(f"{int(code)}", _EXIT_CODES[code]) for code in ExitCode]
    codes.append((f"{INTERRUPTED}", "Ctrl-C. The daemon goes on."))
    said = documented_fields(SOURCE / "wire" / "protocol.py", "RpcCode")
    rpc = [(f"{int(code)}", f"`{code.name}`", said.get(code.name, "")) for code in RpcCode]
    lines = [
        "# Errors and exit codes",
        "",
        NOTE,
        "",
        "A command that cannot do what it was asked says so on standard error: `error:` what happened",
        "and why, its single problems one a line, and `fix:` what helps. Never a traceback.",
        "",
        "## Exit codes",
        "",
        *table(("Code", "Meaning"), codes),
        "",
        "## Errors",
        "",
        "The classes that the code raises, by room; the exit code is that of a command which meets it",
        "directly. What the daemon refuses arrives as `RpcError` with the exit code that it names.",
        "",
        *table(("Error", "Is a", "Means", "Exit"), list(_error_rows())),
        "",
        "## Codes of the control socket",
        "",
        *table(("Code", "Name", "Meaning"), rpc),
        "",
    ]
    return "\n".join(lines)


def _error_rows() -> Iterator[tuple[str, str, str, str]]:
    for kind in _below(AgentCoordError):
        if kind.__module__ != AgentCoordError.__module__:
            continue
        words = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        exit_code = "its own" if issubclass(kind, RpcError) else str(int(exit_code_of(kind("x"))))
        yield f"`{kind.__name__}`", f"`{kind.__bases__[0].__name__}`", words, exit_code


def _below(kind: type[AgentCoordError]) -> Iterator[type[AgentCoordError]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _below(inner)


def main() -> int:
    """Write what is stale; say what was written."""
    for path, text in generated_pages().items():
        _write(path, text)
    for path, made_anew in part_pages().items():
        _write(path, made_anew(path.read_text(encoding="utf-8")))
    return 0


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
