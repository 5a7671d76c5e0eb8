"""What `doctor` finds about the checks: whether there are any, and whether their programs are there for them.

Separate from `looks_project` because it asks where checks will run: inside the sandbox, whose PATH and
whose view of the disk are not the user's. Only what a command line plainly names is looked for; the check
itself is not run.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from agentcoord.cli.findings import Finding, Verdict
from agentcoord.config.guesses import json_of
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.sections import Settings
from agentcoord.errors import SandboxError
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.policy import Limits, Policy
from agentcoord.sandbox.toolchain import toolchain_prefixes

_SHELL_SIGNS: Final = frozenset("|&;<>()$`\\\"'*?[#~=%!{}")
_NEXT_BEGINS: Final = frozenset({"&&", ";"})
_SCRIPT_RUNNERS: Final = frozenset({"npm", "pnpm", "yarn"})
_LOOK_S: Final = 20.0
_GIT_S: Final = 10.0

AskSandbox = Callable[[], Sandbox | None]
"""The sandbox that checks will run in; None where none works."""


def checks(
    settings: Settings, paths: ProjectPaths, env: Mapping[str, str], ask_sandbox: AskSandbox
) -> Finding:
    """Whether there are checks, and whether the programs that they name are there inside."""
    commands = settings.checks.commands
    if not commands:
        return Finding(
            "checks",
            Verdict.WARN,
            "none: nothing proves a change before it lands",
            "name your test command under [checks] in agentcoord.toml",
        )
    wanted = {
        name: [*programs_of(command), *_programs_of_scripts(command, paths.root)]
        for name, command in commands.items()
    }
    words = list(dict.fromkeys(word for each in wanted.values() for word in each))
    unseen = _unseen(words, settings.project.share, paths.root, env, ask_sandbox)
    nowhere: list[str] = []
    hidden: list[str] = []
    for name, programs in wanted.items():
        for word in programs:
            if word not in unseen:
                continue
            outside = unseen[word]
            if outside is None:
                nowhere.append(f"{name} ({word})")
            else:
                hidden.append(f"{name} ({word}, which is {outside})")
    if nowhere or hidden:
        parts = [f"programs that are not there: {', '.join(nowhere)}"] if nowhere else []
        parts += [f"programs that commands in the sandbox do not see: {', '.join(hidden)}"] if hidden else []
        return Finding("checks", Verdict.WARN, "; ".join(parts), _mend(nowhere, hidden))
    modules = _missing_modules(commands, settings.project.share, paths.root, env, ask_sandbox)
    if modules:
        return Finding(
            "checks",
            Verdict.WARN,
            f"modules that Python does not have where checks run: {', '.join(modules)}",
            "install them into .venv in the repository, or link their environment there (with Poetry: "
            'ln -s "$(poetry env info -p)" .venv), or name its folder in project.share, '
            "or correct the command under [checks]",
        )
    return Finding(
        "checks", Verdict.OK, "; ".join(f"{name}: {command}" for name, command in commands.items())
    )


def programs_of(command: str) -> list[str]:
    """The programs that a command line surely starts: its first, and each after `&&` or `;`.

    What only a shell can read is left out. A path is told from where the command begins.
    """
    return list(dict.fromkeys(program for program, _ in _starts(command)))


def _programs_of_scripts(command: str, root: Path) -> list[str]:
    """What the scripts of package.json that a command line surely runs start themselves."""
    starts = _starts(command)
    if any(program == "cd" for program, _ in starts):
        return []
    scripts = json_of(root / "package.json").get("scripts")
    found: list[str] = []
    for program, words in starts:
        name = next((word for word in words if word != "run"), "")
        of_members = any(word.startswith(("--workspace", "--filter", "-w", "-r")) for word in words)
        if program in _SCRIPT_RUNNERS and isinstance(scripts, dict) and not of_members:
            found += programs_of(str(scripts.get(name, "")))
    return [word for word in dict.fromkeys(found) if word not in programs_of(command)]


def modules_of(command: str) -> list[tuple[str, str]]:
    """The Pythons that a command line surely starts with `-m`, each with the module."""
    found = [
        (program, words[1])
        for program, words in _starts(command)
        if Path(program).name.startswith("python") and len(words) > 1 and words[0] == "-m"
    ]
    return list(dict.fromkeys(found))


def _starts(command: str) -> list[tuple[str, list[str]]]:
    """Each program with the words after it."""
    splitter = shlex.shlex(command, posix=True, punctuation_chars=True)
    splitter.whitespace_split = True
    splitter.commenters = ""
    found: list[tuple[str, list[str]]] = []
    words: list[str] = []
    begins = True
    folder = ""
    try:
        for word in splitter:
            if word in _NEXT_BEGINS:
                begins = True
            elif begins and "=" in word and word.partition("=")[0].isidentifier():
                continue
            elif begins:
                begins, words = False, []
                if not _SHELL_SIGNS & set(word):
                    is_path = "/" in word and not word.startswith("/")
                    found.append((f"{folder}{word}" if is_path else word, words))
            else:
                words.append(word)
                if found and found[-1][1] is words and found[-1][0] == "cd" and len(words) == 1:
                    folder += f"{word.rstrip('/')}/"
    except ValueError:  # A quotation that does not end.
        return found[:1]
    return found


def _missing_modules(
    commands: Mapping[str, str],
    share: Sequence[str],
    root: Path,
    env: Mapping[str, str],
    ask_sandbox: AskSandbox,
) -> list[str]:
    """Modules that a check runs by `python -m` and that its Python does not have, in words.

    The project's own are left out: they are in every private copy, and here is none.
    """
    own = (root, root / "src")
    asked: dict[str, str] = {}
    wanted: dict[str, str] = {}
    for name, command in commands.items():
        for python, module in modules_of(command):
            top = module.partition(".")[0]
            if not top.isidentifier() or any(
                (each / top).exists() or (each / f"{top}.py").exists() for each in own
            ):
                continue
            look = f"import importlib.util as u; raise SystemExit(u.find_spec('{top}') is None)"
            key = f"{python} -m {module}"
            wanted[key] = f"{name} ({key})"
            run = shlex.quote(python)
            asked[key] = f"! type -t -- {run} >/dev/null || {run} -c {shlex.quote(look)}"
    seen = _answered_inside(asked, share, root, env, ask_sandbox) if asked else None
    return [] if seen is None else [words for key, words in wanted.items() if key not in seen]


def _mend(nowhere: Sequence[str], hidden: Sequence[str]) -> str:
    if not hidden:
        return "install what is missing, or correct the command under [checks]"
    own = "name its folder in project.share, if that is one of the project's, or "
    also = ", and what is missing" if nowhere else ""
    return f"{own}install it for the whole system{also}; or correct the command under [checks]"


def _unseen(
    words: Sequence[str],
    share: Sequence[str],
    root: Path,
    env: Mapping[str, str],
    ask_sandbox: AskSandbox,
) -> dict[str, Path | None]:
    """The programs that are not there for a check, each with where it is outside."""
    search = env.get("PATH", "")
    outside = {word: _found(word, root, search) for word in words}
    inside = _seen_inside(words, share, root, env, ask_sandbox)
    if inside is None:  # Nobody can be asked; `doctor` says so elsewhere.
        inside = {word for word in words if outside[word] or _is_of_the_shell(word, search)}
    missing = [word for word in words if word not in inside]
    # A file of the project is copied, unless git ignores it.
    return {
        word: outside[word] for word in missing if not (_is_copied(word, root) and outside[word] is not None)
    }


def _found(word: str, root: Path, search: str) -> Path | None:
    if "/" in word:
        path = root / word
        return path if path.is_file() else None
    found = shutil.which(word, path=search)
    return Path(found) if found else None


def _is_of_the_shell(word: str, search: str) -> bool:
    asked = ["bash", "-c", 'type -t -- "$1"', "sh", word]
    done = subprocess.run(
        asked,
        env={"PATH": search},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_GIT_S,
        check=False,
    )
    return done.returncode == 0


def _is_copied(word: str, root: Path) -> bool:
    """Whether a path is one of the project's own files, which are in every private copy."""
    if "/" not in word or not (root / word).resolve().is_relative_to(root):
        return False
    asked = ["git", "check-ignore", "--quiet", "--", word]
    done = subprocess.run(
        asked, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, timeout=_GIT_S, check=False
    )
    return done.returncode != 0


def _seen_inside(
    words: Iterable[str],
    share: Sequence[str],
    root: Path,
    env: Mapping[str, str],
    ask_sandbox: AskSandbox,
) -> set[str] | None:
    """The words that a command finds, as checks would; None where no command can be run."""
    asked = {word: f"type -t -- {shlex.quote(word)} >/dev/null" for word in words}
    return _answered_inside(asked, share, root, env, ask_sandbox)


def _answered_inside(
    asked: Mapping[str, str],
    share: Sequence[str],
    root: Path,
    env: Mapping[str, str],
    ask_sandbox: AskSandbox,
) -> set[str] | None:
    """The keys of the questions, each a command, that are answered with yes where checks run."""
    sandbox = ask_sandbox()
    if sandbox is None:
        return None
    home = Path(env["HOME"]) if env.get("HOME") else None
    tools = toolchain_prefixes(root, share, search_path=env.get("PATH", ""), home=home)
    shared = {Path(os.path.realpath(root / name)): root / name.rstrip("/") for name in share}
    there = {real: target for real, target in shared.items() if real.is_dir()}
    script = "; ".join(f"{{ {look}; }} && echo {shlex.quote(key)}" for key, look in asked.items())
    with tempfile.TemporaryDirectory(prefix="agentcoord-doctor-") as workspace:
        policy = Policy(workspace=Path(workspace), mount_at=root, read_only=there, toolchains=tools)
        try:
            result = asyncio.run(sandbox.run(script, policy, Limits(timeout_s=_LOOK_S)))
        except SandboxError:
            return None
    return set(result.output.splitlines())
