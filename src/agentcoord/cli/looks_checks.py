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
from agentcoord.cli.named_programs import modules_of, programs_of, programs_of_scripts
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.sections import Settings
from agentcoord.errors import SandboxError
from agentcoord.sandbox.backend import Sandbox
from agentcoord.sandbox.policy import Limits, Policy
from agentcoord.sandbox.toolchain import toolchain_prefixes

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
        name: [*programs_of(command), *programs_of_scripts(command, paths.root)]
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
