"""`init`, `config`, `doctor`, the demo's folder and the daemon's log: all without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import canned_daemon
import pytest
from canned_daemon import Project, Run

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.demo import look_further
from agentcoord.cli.demo_folder import git, make_project
from agentcoord.cli.summary import Ending
from agentcoord.telemetry.log_file import lines_from_now, newest_lines
from agentcoord.tui.log_text import log_line
from agentcoord.tui.styled import plain_text
from agentcoord.wire.answers import StatsView
from agentcoord.wire.messages import ExitCode, StatusView

project, run = canned_daemon.project, canned_daemon.run


def test_init_writes_what_it_shows_and_never_over_a_file_that_is_there(run: Run, project: Project) -> None:
    (project.root / "src").mkdir()
    printed = run("init", "--print")
    assert not project.paths.config_file.exists()
    outcome = run("init")
    assert outcome.code == 0
    assert "src/**" in outcome.out
    assert project.paths.config_file.read_text() == printed.out
    project.paths.config_file.write_text("# mine\n")
    again = run("init")
    assert again.code == ExitCode.REFUSED
    assert project.paths.config_file.read_text() == "# mine\n"


def test_init_prints_the_guesses_as_json_and_writes_nothing(run: Run, project: Project) -> None:
    project.paths.config_file.unlink(missing_ok=True)
    printed = run("init", "--print", "--json")
    assert json.loads(printed.out)["schema"] == "agentcoord.init/1"
    assert not project.paths.config_file.exists()


def test_config_prints_each_value_with_where_it_came_from(run: Run, project: Project) -> None:
    project.paths.config_file.write_text('[checks]\ntests = "make test"\n[budget]\nrun_usd = 2.5\n')
    document = json.loads(run("config", "--json", AGENTCOORD_BUDGET_TASK_USD="0.2").out)
    rows = {row["key"]: (row["value"], row["origin"]) for row in document["settings"]}
    assert rows["budget.run_usd"] == (2.5, "agentcoord.toml")
    assert rows["budget.task_usd"] == (0.2, "AGENTCOORD_BUDGET_TASK_USD")
    assert rows["budget.day_usd"] == (20.0, "default")
    assert rows["checks.tests"] == ("make test", "agentcoord.toml")
    assert len(document["workers"]) == 6
    page = run("config").out
    assert "budget.run_usd" in page
    assert "worker Architect" in page


def test_config_shows_no_secret_of_an_address(run: Run) -> None:
    addresses = {
        "REDIS_URL": "rediss://me:secret@host:6379/0",
        "NOTIFY_URL": "https://secret@hooks.slack.com/services/secret",
        "NOTIFY_APPRISE": "tgram://secret/1,mailto://me:secret@example.org",
        "MODELS_BASE_URL": "http://127.0.0.1:8080",
    }
    for words in (["config"], ["config", "--json"]):
        shown = run(*words, **{f"AGENTCOORD_{name}": value for name, value in addresses.items()}).out
        assert "secret" not in shown
        for part in (
            "rediss://...@host:6379/0",
            "https://hooks.slack.com/...",
            "tgram://...",
            "mailto://...",
        ):
            assert part in shown
        assert "http://127.0.0.1:8080" in shown
    assert run("config", AGENTCOORD_NOTIFY_URL="secret").out.count("secret") == 0


def test_what_the_mend_of_a_wrong_setting_names_works_although_it_is_wrong(
    run: Run, project: Project
) -> None:
    project.paths.config_file.write_text("[budget]\nrun_us = 1\n")
    told = run("config")
    assert told.code == ExitCode.USAGE
    assert "fix: mend agentcoord.toml (agentcoord init --print shows what there is)" in told.err
    shown = run("init", "--print")
    assert shown.code == 0
    assert "# run_usd = " in shown.out


def test_config_names_an_unknown_key_and_exits_with_2(run: Run, project: Project) -> None:
    project.paths.config_file.write_text("[budget]\nrun_us = 2\n")
    outcome = run("config")
    assert outcome.code == ExitCode.USAGE
    assert "run_usd" in outcome.err


def test_doctor_names_what_is_missing_with_its_mend(run: Run, project: Project) -> None:
    document = json.loads(run("doctor", "--json").out)
    findings = {each["name"]: each for each in document["findings"]}
    assert findings.keys() >= {
        *("python", "git", "user", "repository", "config", "model", "redis", "sandbox", "daemon", "disk")
    }
    assert findings["model"]["verdict"] == "fail"
    assert "agentcoord demo" in findings["model"]["mend"]
    assert findings["config"]["mend"] == "agentcoord init"
    assert findings["git"]["verdict"] == "ok"
    outcome = run("doctor")
    assert outcome.code == ExitCode.ERROR
    assert not project.paths.state_dir.exists()  # Looking changes nothing.
    with_key = json.loads(run("doctor", "--json", ANTHROPIC_API_KEY="secret-key").out)
    assert "secret-key" not in json.dumps(with_key)


def test_the_demo_folder_is_a_repository_with_one_commit_whatever_the_users_git_is_like(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    (source / "pkg" / "__pycache__").mkdir(parents=True)
    (source / "pkg" / "a.py").write_text("x = 1\n")
    (source / "pkg" / "__pycache__" / "a.pyc").write_text("junk")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[commit]\n\tgpgsign = true\n[init]\n\ttemplateDir = /nowhere\n[core]\n\thooksPath = /nowhere\n"
    )
    env = {**os.environ, "HOME": str(home), "GIT_DIR": str(tmp_path / "elsewhere")}
    folder = make_project(source, None, tmp_path, env)
    assert folder == tmp_path.resolve() / "agentcoord-demo"
    assert git(folder, env, "ls-files") == "pkg/a.py"
    assert git(folder, env, "rev-list", "--count", "HEAD") == "1"
    assert git(folder, env, "branch", "--show-current") == "main"
    assert git(folder, env, "status", "--porcelain") == ""
    assert make_project(source, None, tmp_path, env).name == "agentcoord-demo-2"


def test_the_demo_says_where_its_programs_are_to_who_has_them_not_on_the_path() -> None:
    ending, programs = Ending(cast("StatusView", {}), [], cast("StatsView", {})), Path(sys.executable).parent

    def told(path: str) -> str:
        return "\n".join(map(plain_text, look_further(ending, Path("/demo"), {"PATH": path}, keep=False)))

    assert f'export PATH={programs}:"$PATH"' in told("/nowhere")
    assert "export" not in told(f"/nowhere:{programs}")


def test_the_demo_never_writes_into_a_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(CommandError, match="not empty") as caught:
        make_project(tmp_path, tmp_path, tmp_path, os.environ)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_log_lines_are_words_and_foreign_lines_stay_as_they_are() -> None:
    raw = json.dumps(
        {"event": "landed", "level": "warning", "timestamp": "2026-11-22T17:00:00Z", "n": 3, "why": "x\x1b"}
    )
    text = plain_text(log_line(raw))
    assert text[2] == ":"
    assert text[8:].split() == ["warning", "landed", "n=3", "why=x"]
    assert text.index("n=3") == plain_text(log_line(raw.replace("landed", "landed.twice"))).index("n=3")
    assert plain_text(log_line("Traceback (most recent call last):")) == "Traceback (most recent call last):"
    assert plain_text(log_line("[1]")) == "[1]"


def test_following_a_log_goes_on_in_the_file_that_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    steps: Iterator[None] = iter(())

    def write_and_rotate() -> Iterator[None]:
        with path.open("a") as file:
            file.write("half ")
        yield
        with path.open("a") as file:
            file.write("line\n")
        yield
        path.rename(tmp_path / "log.1")
        yield
        path.write_text("new\n")
        yield

    steps = write_and_rotate()
    lines = lines_from_now(path, pause=lambda _seconds: next(steps))
    assert next(lines) == "half line"
    assert next(lines) == "new"
    lines.close()  # type: ignore[attr-defined]  # a generator at heart
    assert newest_lines(tmp_path / "log.1", 1) == ["half line"]
    assert newest_lines(tmp_path / "none", 1) == []


LAUNCH = Path(__file__).parents[3] / "scripts" / "launch_overnight_improvements.sh"


@pytest.mark.parametrize(
    ("in_repository", "env", "code", "words"),
    [
        (False, {"ANTHROPIC_API_KEY": "k"}, 2, "not inside a git repository"),
        (True, {}, 1, "neither ANTHROPIC_API_KEY nor a base URL"),
        (True, {"ANTHROPIC_API_KEY": "k"}, 1, "one was written with a guessed scope"),
    ],
)
def test_the_launch_script_checks_repository_key_and_settings_first(
    tmp_path: Path, in_repository: bool, env: dict[str, str], code: int, words: str
) -> None:
    folder = tmp_path / "repo with spaces"
    folder.mkdir()
    if in_repository:
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    outcome = subprocess.run(
        ["bash", str(LAUNCH)],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "GIT_CEILING_DIRECTORIES": str(tmp_path),
            **env,
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert outcome.returncode == code
    assert words in outcome.stderr
    assert "fix: " in outcome.stderr
