"""Plays a night on a package that none of us wrote, and looks at what is left of it.

The source distribution of boltons comes from the package index (or from the folder that
AGENTCOORD_SDIST_DIR names), becomes a git repository in a temporary folder, and gets its own
`.venv`. Six real improvements run on it through the installed `agentcoord` command, with the
package's own test suite as the check. Only the model is scripted: see `real_package/`.

Separate from the tests because it needs the network and a minute or two. Standard library only.
Exit code 0: everything held. Run it with the interpreter that AgentCoord is installed for.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "boltons"
VERSION = "26.2.0"
SHA256 = "d39cfd15c1a1c3bd4d705c82252fa9edb8e4f5e8cc039f8e39afac7b1b47e92c"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
SDIST_DIR_VARIABLE = "AGENTCOORD_SDIST_DIR"

MATERIAL = Path(__file__).resolve().parent / "real_package"
SUITE = ".venv/bin/python -m pytest -q -p no:cacheprovider --doctest-modules boltons tests"
SETTINGS = f"""\
[project]
scope = ["boltons/**", "tests/**"]
share = [".venv"]

[checks]
tests = "{SUITE}"

[budget]
run_usd = 6.00
task_usd = 0.60
"""
IGNORED = ".venv/\n__pycache__/\n"

DOWNLOAD_TIMEOUT_S = 300.0
SUITE_TIMEOUT_S = 300.0
RUN_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 60.0
SHOWN_LOG_LINES = 40


class ProofError(Exception):
    """Something that was promised does not hold, or a step on the way there failed."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The temporary folder and what is in it."""

    root: Path

    @property
    def repository(self) -> Path:
        return self.root / PACKAGE

    @property
    def python(self) -> Path:
        return self.repository / ".venv" / "bin" / "python"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proof; return the process's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder for a look")
    parser.add_argument(
        "--unsafe-no-sandbox", action="store_true", help="run without a sandbox, for machines that have none"
    )
    args = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Or the daemon and the folder would be left.
    bench = Bench(Path(tempfile.mkdtemp(prefix="acp-")).resolve())
    try:
        prove(bench, unsafe_no_sandbox=args.unsafe_no_sandbox)
    except ProofError as failure:
        print(f"not proven: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("not proven: interrupted", file=sys.stderr)
        return 130
    finally:
        if args.keep:
            print(f"left for a look: {bench.root}")
        else:
            shutil.rmtree(bench.root, ignore_errors=True)
    return 0


def prove(bench: Bench, *, unsafe_no_sandbox: bool) -> None:
    """Do all of it. Raises ProofError."""
    began = time.monotonic()
    print(f"preparing {PACKAGE} {VERSION} in {bench.repository}")
    prepare(bench)
    before = run_suite(bench)
    print(f"its own suite: {before}")
    head = git(bench, "rev-parse", "HEAD")
    environment = night_environment(bench.root)
    with rehearsal_server(bench, environment) as base_url:
        environment["ANTHROPIC_BASE_URL"] = base_url
        try:
            run_night(bench, environment, unsafe_no_sandbox=unsafe_no_sandbox)
            tasks = read_tasks(bench, environment)
        except ProofError:
            show_log(bench, environment)
            raise
        finally:
            stop_daemon(bench, environment)
    look_at_tasks(tasks)
    changed = look_at_tree(bench, head)
    after = run_suite(bench)
    summarise(tasks, changed, before=before, after=after, seconds=time.monotonic() - began)


def prepare(bench: Bench) -> None:
    """Make the repository: the package as published, its environment, our settings, one commit."""
    environment = bench.root / "environment"
    run([sys.executable, "-m", "venv", str(environment)], timeout_s=DOWNLOAD_TIMEOUT_S)
    archive = find_archive(bench.root, environment / "bin" / "python")
    with tarfile.open(archive) as source:
        # The first patch releases of Python 3.11 have no filters; the hash vouches for the content.
        source.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        source.extractall(bench.root)
    (bench.root / f"{PACKAGE}-{VERSION}").rename(bench.repository)
    run(
        [sys.executable, "-m", "venv", "--without-pip", str(bench.repository / ".venv")],
        timeout_s=DOWNLOAD_TIMEOUT_S,
    )
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--python", str(bench.python)]
    run([*pip, "install", "--quiet", "--no-compile", "pytest>=8,<10"], timeout_s=DOWNLOAD_TIMEOUT_S)
    (bench.repository / ".gitignore").write_text(IGNORED)
    (bench.repository / "agentcoord.toml").write_text(SETTINGS)
    git(bench, "init", "--quiet", "--initial-branch=main")
    git(bench, "add", "--all")
    git(bench, "commit", "--quiet", "--message", f"{PACKAGE} {VERSION} as published")


def find_archive(folder: Path, python: Path) -> Path:
    """Return the source distribution, from the given folder or the package index; its hash is right."""
    kept = os.environ.get(SDIST_DIR_VARIABLE)
    if kept and (Path(kept) / ARCHIVE).is_file():
        archive = Path(kept) / ARCHIVE
    else:
        download = [str(python), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        run([*download, "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}"], timeout_s=DOWNLOAD_TIMEOUT_S)
        archive = folder / ARCHIVE
    if not archive.is_file():
        raise ProofError(f"the package index gave something else than {ARCHIVE}")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise ProofError(f"{archive} is not the {ARCHIVE} that this proof was written for")
    return archive


def night_environment(root: Path) -> dict[str, str]:
    """The environment of the daemon and the commands: a state of its own, and no way to a real model."""
    left_out = ("ANTHROPIC_", "AGENTCOORD_", "XDG_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    for name, folder in (("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run"), ("XDG_CONFIG_HOME", "etc")):
        (root / folder).mkdir(mode=0o700)
        environment[name] = str(root / folder)
    environment |= {"ANTHROPIC_API_KEY": "rehearsal", "NO_COLOR": "1"}
    if os.geteuid() == 0:
        environment["AGENTCOORD_ALLOW_ROOT"] = "1"
    return environment


@contextlib.contextmanager
def rehearsal_server(bench: Bench, environment: Mapping[str, str]) -> Iterator[str]:
    """Run the scripted Messages API server; yield its base URL."""
    command = [sys.executable, "-m", "agentcoord.llm.rehearsal", "--exit-with-parent"]
    command += ["--scripts", str(MATERIAL / "turns")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=bench.root,
        env=dict(environment),
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            ready = server.stdout.readline()
            if not ready:
                raise ProofError("the rehearsal server did not start")
            yield json.loads(ready)["base_url"]
        finally:
            server.terminate()


def run_night(bench: Bench, environment: Mapping[str, str], *, unsafe_no_sandbox: bool) -> None:
    """Run the plan with the installed command; its output is shown as it comes."""
    command = [tool("agentcoord"), "run", str(MATERIAL / "plan.toml")]
    if unsafe_no_sandbox:
        command.append("--unsafe-no-sandbox")
    print(f"$ agentcoord run {MATERIAL.name}/plan.toml", flush=True)
    try:
        code = subprocess.run(
            command, cwd=bench.repository, env=dict(environment), timeout=RUN_TIMEOUT_S, check=False
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise ProofError(f"the run did not end in {RUN_TIMEOUT_S:.0f} s") from error
    if code != 0:
        raise ProofError(f"`agentcoord run` ended with exit code {code}")


def read_tasks(bench: Bench, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Ask the daemon for its tasks, as a script would."""
    document = run([tool("agentcoord"), "tasks", "--json"], cwd=bench.repository, env=environment)
    tasks = json.loads(document)["tasks"]
    if not isinstance(tasks, list):
        raise ProofError("`agentcoord tasks --json` has no list of tasks")
    return tasks


def look_at_tasks(tasks: Sequence[Mapping[str, Any]]) -> None:
    """Every task that has a script is done, and there is no other."""
    expected = sorted(path.stem for path in (MATERIAL / "turns").glob("*.toml"))
    done = sorted(task["id"] for task in tasks if task["state"] == "done")
    if done != expected or len(tasks) != len(expected):
        states = ", ".join(f"{task['id']} {task['state']} ({task['why']})" for task in tasks)
        raise ProofError(f"not all of the {len(expected)} tasks are done: {states}")
    empty = [task["id"] for task in tasks if not task["files"]]
    if empty:
        raise ProofError(f"done without a single file: {', '.join(empty)}")


def look_at_tree(bench: Bench, head: str) -> list[str]:
    """Nothing is committed, staged or deleted; return the paths that changed."""
    if git(bench, "rev-parse", "HEAD") != head:
        raise ProofError("HEAD moved: something was committed")
    status = git(bench, "status", "--porcelain", "--untracked-files=all").splitlines()
    wrong = [line for line in status if line[:2] not in (" M", "??")]
    if wrong:
        raise ProofError(f"staged, deleted or renamed: {'; '.join(wrong)}")
    paths = sorted(line[3:] for line in status)
    outside = [path for path in paths if not path.startswith(("boltons/", "tests/"))]
    if outside:
        raise ProofError(f"changed outside the scope: {', '.join(outside)}")
    if not paths:
        raise ProofError("no file changed")
    return paths


def run_suite(bench: Bench) -> str:
    """Run the package's own suite in the real tree; return pytest's last line."""
    output = run(
        [str(bench.python), *SUITE.split()[1:]],
        cwd=bench.repository,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout_s=SUITE_TIMEOUT_S,
    )
    return output.strip().splitlines()[-1]


def summarise(
    tasks: Sequence[Mapping[str, Any]], changed: Sequence[str], *, before: str, after: str, seconds: float
) -> None:
    cost_usd = sum(task["cost_usd"] for task in tasks)
    print(f"\nproven on {PACKAGE} {VERSION} in {seconds:.0f} s; the model was scripted")
    print(f"  tasks   {len(tasks)} of {len(tasks)} done, ${cost_usd:.3f} as it would have been")
    print(f"  files   {len(changed)} changed, nothing staged, committed or deleted, HEAD unmoved")
    print(f"  suite   before: {before}")
    print(f"          after:  {after}")


def show_log(bench: Bench, environment: Mapping[str, str]) -> None:
    """Print the end of the daemon's log, for whoever has to find out why."""
    shown = subprocess.run(
        [tool("agentcoordd"), "logs"],
        cwd=bench.repository,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=STOP_TIMEOUT_S,
        check=False,
    )
    for line in shown.stdout.splitlines()[-SHOWN_LOG_LINES:]:
        print(f"  log: {line}", file=sys.stderr)


def stop_daemon(bench: Bench, environment: Mapping[str, str]) -> None:
    """Stop the daemon if one runs; not running (3) is as good."""
    stopped = subprocess.run(
        [tool("agentcoordd"), "stop", "--now"],
        cwd=bench.repository,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=STOP_TIMEOUT_S,
        check=False,
    )
    if stopped.returncode not in (0, 3):
        print(f"the daemon did not stop: {stopped.stderr.strip()}", file=sys.stderr)


def tool(name: str) -> str:
    """The console script beside the running interpreter."""
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise ProofError(f"there is no {path}: run this with the interpreter that has AgentCoord")
    return str(path)


def git(bench: Bench, *arguments: str) -> str:
    identity = ["-c", "user.name=Proof", "-c", "user.email=proof@example.invalid"]
    return run(["git", *identity, *arguments], cwd=bench.repository).rstrip("\n")


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60.0,
) -> str:
    """Run a command; return its standard output. Raises ProofError with what it said."""
    try:
        done = subprocess.run(
            list(command),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProofError(str(error)) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ProofError(f"`{' '.join(command)}` ended with exit code {done.returncode}:\n{said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
