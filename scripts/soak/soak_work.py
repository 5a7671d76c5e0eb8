"""The work of a soak: a small repository, and as many scripted tasks as are wanted, of several kinds.

Each task leaves one fact in the tree that no other leaves, so that a lost task and one that was done
twice can be told at the end.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

EDITOR = "str_replace_based_edit_tool"
SHARED_FILES = 4
CONFIG = """
[project]
scope = ["work/**", "shared/**"]

[checks]
quick = "! grep -rqs BROKEN work shared"

[budget]
run_usd = 1000.0
task_usd = 5.0
day_usd = 10000.0
"""
OUTCOME_UNKNOWN = "The outcome is unknown"
"""What a conversation hears that goes on after its daemon, or its Redis, was away in mid-call."""
KINDS = ("new file", "new file", "new file", "bash", "shared file", "after another", "red at first")

Turn = Mapping[str, Any]


def task_id(number: int) -> str:
    return f"t-{number:05}"


def make_project(root: Path, env: Mapping[str, str], tasks: int) -> None:
    """Write and commit a repository whose shared files have a place for each task."""
    (root / "shared").mkdir(parents=True)
    (root / "work").mkdir()
    (root / "work" / "first.txt").write_text("first\n")
    (root / "agentcoord.toml").write_text(CONFIG)
    for each in range(SHARED_FILES):
        # Lines apart, so that two tasks' edits merge.
        places = (f"place of {task_id(n)}: free\n\n\n\n" for n in range(tasks) if n % SHARED_FILES == each)
        (root / "shared" / f"{each}.txt").write_text("".join(places))
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "start")):
        subprocess.run(["git", *words], cwd=root, env=env, check=True)


def write_script(folder: Path, number: int) -> None:
    """What the model does for a task."""
    lines = [f"task = {json.dumps(task_id(number))}"]
    before: list[tuple[str, Turn]] = []
    for tools in _turns(number):
        lines += ["[[turn]]", *_calls("turn", tools)]
        if before:
            # A model that is told so looks, and does again what is not there.
            lines += ["[[turn.when]]", f"last_result_contains = {json.dumps(OUTCOME_UNKNOWN)}"]
            lines += _calls("turn.when", [*before, *tools])
        before += tools
    (folder / f"{task_id(number)}.toml").write_text("\n".join(lines) + "\n")


def _calls(table: str, tools: Sequence[tuple[str, Turn]]) -> Iterator[str]:
    for name, values in tools:
        yield from (f"[[{table}.tool]]", f"name = {json.dumps(name)}", f"[{table}.tool.input]")
        yield from (f"{key} = {json.dumps(value)}" for key, value in values.items())


def _turns(number: int) -> Sequence[Sequence[tuple[str, Turn]]]:
    task, path = task_id(number), own_file(number)
    kind = KINDS[number % len(KINDS)]
    finish = ("finish_task", {"summary": "done", "decisions": []})

    def create(text: str) -> tuple[str, Turn]:
        return EDITOR, {"command": "create", "path": path, "file_text": text}

    def replace(path: str, old: str, new: str) -> tuple[str, Turn]:
        return EDITOR, {"command": "str_replace", "path": path, "old_str": old, "new_str": new}

    match kind:
        case "bash":
            return [[("bash", {"command": f"printf '%s\\n' {task} > {path}"})], [finish]]
        case "shared file":
            shared = f"shared/{number % SHARED_FILES}.txt"
            return [[replace(shared, f"{task}: free", f"{task}: taken")], [create(f"{task}\n")], [finish]]
        case "red at first":
            return [[create("BROKEN\n"), finish], [replace(path, "BROKEN", task)], [finish]]
        case _:
            return [[create(f"{task}\n")], [finish]]


def plan(numbers: Iterable[int]) -> str:
    """The plan of some tasks."""
    pieces = []
    for number in numbers:
        needs = KINDS[number % len(KINDS)] == "after another" and number > 0
        pieces.append(f'[[task]]\nid = "{task_id(number)}"\ntitle = "Task {number}"\n')
        pieces.append(f'needs = ["{task_id(number - 1)}"]\n' if needs else "")
    return "".join(pieces)


def own_file(number: int) -> str:
    return f"work/{task_id(number)}.txt"


def wrong_in_tree(root: Path, env: Mapping[str, str], numbers: range) -> list[str]:
    """What is not in the tree as these tasks, all done, must have left it."""
    wrong = []
    for number in numbers:
        path, task = root / own_file(number), task_id(number)
        if not path.is_file() or path.read_text() != f"{task}\n":
            wrong.append(f"{own_file(number)} is not there as {task} made it")
        if KINDS[number % len(KINDS)] == "shared file":
            text = (root / "shared" / f"{number % SHARED_FILES}.txt").read_text()
            if text.count(f"{task}: taken") != 1:
                wrong.append(f"the shared place of {task} is not taken once")
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=root,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    ours = {own_file(number) for number in numbers} | {f"shared/{n}.txt" for n in range(SHARED_FILES)}
    return wrong + [f"nobody was to touch {line[3:]}" for line in changed if line[3:] not in ours]
