"""Settings: file, then environment, then flags; every problem in words."""

from __future__ import annotations

import json
import os
import pwd
import re
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from agentcoord.config.init import propose
from agentcoord.config.load import load_settings, read_settings, settings_table
from agentcoord.config.paths import ProjectPaths, find_root
from agentcoord.config.sections import RetriesSection
from agentcoord.domain.setbacks import ENVIRONMENT_FAULTS, OWN_FAULTS
from agentcoord.errors import ConfigError


def test_defaults_are_the_six_workers_and_a_cap() -> None:
    settings = read_settings("", {})
    assert settings.workers[0].name == "Testing-Engineer-1"
    assert settings.budget.run_usd == 6.0
    assert settings.origins["budget.run_usd"] == "default"


def test_environment_overrides_file_and_flags_override_both() -> None:
    text = "[budget]\nrun_usd = 1\ntask_usd = 2\nday_usd = 3\n"
    env = {"AGENTCOORD_BUDGET_TASK_USD": "20", "AGENTCOORD_BUDGET_DAY_USD": "30"}
    settings = read_settings(text, env, {"budget.day_usd": 300.0})
    assert (settings.budget.run_usd, settings.budget.task_usd, settings.budget.day_usd) == (1.0, 20.0, 300.0)
    rows = {name: origin for name, _, origin in settings_table(settings)}
    assert rows["budget.run_usd"] == "agentcoord.toml"
    assert rows["budget.task_usd"] == "AGENTCOORD_BUDGET_TASK_USD"
    assert rows["budget.day_usd"] == "flag"


def test_lists_and_switches_come_from_the_environment() -> None:
    env = {"AGENTCOORD_PROJECT_SCOPE": "a/**, b/**", "AGENTCOORD_MODELS_CUSTOM_TOOLS": "yes"}
    settings = read_settings("", env)
    assert settings.project.scope == ("a/**", "b/**")
    assert settings.models.custom_tools is True


@pytest.mark.parametrize(
    ("text", "env", "words"),
    [
        ("[budget]\nrun_us = 3\n", {}, "unknown key budget.run_us (did you mean run_usd?)"),
        ("[chekcs]\n", {}, "unknown section [chekcs] (did you mean checks?)"),
        ("[budget]\nrun_usd = '3'\n", {}, "agentcoord.toml: budget.run_usd: must be a number"),
        ("[budget]\nrun_usd = -1\n", {}, "it must be 0 or more"),
        ("[budget]\ndeadline = '7am'\n", {}, "is not a time such as 07:00"),
        ("[models]\napi_key = 'sk-x'\n", {}, "looks like a secret"),
        ("[models]\neffort = 'huge'\n", {}, "is none of low, medium"),
        ("[models]\nladder = []\n", {}, "models.ladder names no model"),
        ("[redis]\nlease_s = 1\n", {}, "it must be 5 or more"),
        ("[metrics]\nport = 99999\n", {}, "metrics.port is 99999; it must be 65535 or less"),
        ("[retries]\noverloaded = 0\n", {}, "retries.overloaded is 0; it must be 1 or more"),
        ("[retries]\ncrashed = -1\n", {}, "retries.crashed is -1; it must be 0 or more"),
        ("[retries]\ncrashd = 1\n", {}, "did you mean crashed?"),
        ("[checks]\ntests = 3\n", {}, "checks.tests is a command in quotes"),
        ("[checks\n", {}, "is not valid TOML"),
        (f"[budget]\nrun_usd = {'9' * 5_000}\n", {}, "is not valid TOML"),
        ("[[worker]]\nname = 'a'\nrole = 'arkitect'\n", {}, "did you mean architect?"),
        (
            "[[worker]]\nname = 'a'\nrole = 'architect'\n[[worker]]\nname = 'a'\nrole = 'architect'\n",
            {},
            "two workers are called 'a'",
        ),
        ("", {"AGENTCOORD_BUDGET_RUN_USD": "lots"}, "must be a number, not 'lots'"),
        ("", {"AGENTCOORD_BUDGET_RUNUSD": "1"}, "did you mean AGENTCOORD_BUDGET_RUN_USD?"),
    ],
)
def test_each_mistake_is_told_in_words(text: str, env: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(text, env)
    assert words in str(caught.value)


def test_every_setback_that_may_be_limited_has_a_setting() -> None:
    waits = {"first_wait_s", "most_wait_s"}
    assert {each.name for each in fields(RetriesSection)} == waits | OWN_FAULTS | ENVIRONMENT_FAULTS


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings("[budget]\nx = 1\n[redis]\ny = 2\n", {})
    assert "budget.x" in str(caught.value)
    assert "redis.y" in str(caught.value)


def test_the_template_documents_every_setting_and_parses() -> None:
    template = (Path(__file__).parents[3] / "config" / "agentcoord.toml").read_text(encoding="utf-8")
    read_settings(template, {})
    section = ""
    documented = set()
    for line in template.splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            documented.add(f"{section}.{key[1]}")
    assert {name for name, _, _ in settings_table(read_settings("", {}))} <= documented


def test_a_proposal_for_this_kind_of_project_can_be_read_back(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").write_text("import unittest\nclass T(unittest.TestCase): pass\n")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'shop'\n")
    proposal = propose(tmp_path)
    settings = read_settings(proposal.text, {})
    assert settings.project.scope == ("shop/**", "tests/**")
    assert settings.checks.commands == {"tests": "python -m unittest discover -s tests"}


@pytest.mark.parametrize(
    ("name", "text", "command"),
    [
        ("go.mod", "module x\n", "go test ./..."),
        ("Cargo.toml", "[package]\n", "cargo test --quiet --offline"),
        ("package.json", '{"scripts": {"test": "vitest"}}', "npm test --silent"),
        ("pyproject.toml", "[tool.pytest]\n", "python -m pytest -q"),
        ("Makefile", "test:\n\ttrue\n", "make test"),
    ],
)
def test_the_test_command_is_guessed_from_what_is_there(
    tmp_path: Path, name: str, text: str, command: str
) -> None:
    (tmp_path / name).write_text(text)
    assert propose(tmp_path).checks == (("tests", command),)


def test_no_test_command_is_said_and_not_invented(tmp_path: Path) -> None:
    proposal = propose(tmp_path)
    assert proposal.checks == ()
    assert any("no test command found" in note for note in proposal.notes)
    assert read_settings(proposal.text, {}).checks.commands == {}


def test_the_root_is_found_from_inside_and_refused_in_words(tmp_path: Path) -> None:
    inside = tmp_path / "a b ü" / "deep"
    inside.mkdir(parents=True)
    with pytest.raises(ConfigError, match="not inside a git repository"):
        find_root(inside)
    (tmp_path / "a b ü" / ".git").mkdir()
    assert find_root(inside) == (tmp_path / "a b ü").resolve()
    bare = tmp_path / "bare"
    for name in ("objects", "refs"):
        (bare / name).mkdir(parents=True)
    (bare / "HEAD").touch()
    with pytest.raises(ConfigError, match="bare repository"):
        find_root(bare)
    with pytest.raises(ConfigError, match="is not there"):
        find_root(tmp_path / "nowhere")


def test_state_is_private_and_outside_the_repository(tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    repository.mkdir()
    with tempfile.TemporaryDirectory(prefix="ac-") as short:  # pytest's own folders overrun a socket's path.
        paths = ProjectPaths.of(repository, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": f"{short}/run"})
        paths.make()
        assert paths.runtime_dir.stat().st_mode & 0o777 == 0o700
    assert not paths.state_dir.is_relative_to(repository)
    assert paths.state_dir.stat().st_mode & 0o777 == 0o700


def test_a_socket_path_that_is_too_long_is_told_with_its_mend(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / ("x" * 100))}
    with pytest.raises(ConfigError, match="bytes long") as caught:
        ProjectPaths.of(tmp_path / "repo", env).make()
    assert "XDG_RUNTIME_DIR" in caught.value.mend


def test_a_state_in_the_repository_is_refused_before_anything_is_made_there(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "repo" / "state")}
    (tmp_path / "repo").mkdir()
    with pytest.raises(ConfigError, match="inside the repository") as caught:
        ProjectPaths.of(tmp_path / "repo", env).make()
    assert "XDG_STATE_HOME" in caught.value.mend
    assert list((tmp_path / "repo").iterdir()) == []


@pytest.mark.parametrize("home", ["", "relative", None])
def test_places_that_are_not_absolute_are_passed_over(tmp_path: Path, home: str | None) -> None:
    env = {"XDG_STATE_HOME": "state", "XDG_RUNTIME_DIR": "run"} | ({} if home is None else {"HOME": home})
    paths = ProjectPaths.of(tmp_path, env)
    account = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert paths.state_dir == account / ".local/state/agentcoord" / paths.project_id
    assert paths.socket.is_absolute()


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "agentcoord.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(tmp_path, {})


def test_a_link_that_leads_nowhere_is_no_missing_file(tmp_path: Path) -> None:
    (tmp_path / "agentcoord.toml").symlink_to("nowhere.toml")
    with pytest.raises(ConfigError, match=r"a link to nowhere\.toml, which is not there"):
        load_settings(tmp_path, {})
    (tmp_path / "nowhere.toml").write_text("[budget]\nrun_usd = 3\n")
    assert load_settings(tmp_path, {}).budget.run_usd == 3


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "agentcoord.toml")
    with pytest.raises(ConfigError, match="it is no file"):
        load_settings(tmp_path, {})


@pytest.mark.parametrize("key", ["command", "url"])
def test_where_to_notify_comes_from_the_person_and_not_from_the_repository(key: str) -> None:
    with pytest.raises(ConfigError, match=f"AGENTCOORD_NOTIFY_{key.upper()}"):
        read_settings(f'[notify]\n{key} = "x"\n', {})
    assert getattr(read_settings("", {f"AGENTCOORD_NOTIFY_{key.upper()}": "x"}).notify, key) == "x"


def test_a_notice_that_does_not_exist_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean finished"):
        read_settings('[notify]\nevents = ["finish"]\n', {})


def test_what_is_wrong_is_said_of_where_it_was_set() -> None:
    env = {
        "AGENTCOORD_BUDGET_DEADLINE": "25:99",
        "AGENTCOORD_BUDGET_RUN_USD": "a lot",
        "AGENTCOORD_METRIC_PORT": "1",
    }
    with pytest.raises(ConfigError) as refused:
        read_settings("[budget]\ntask_usd = -1\n", env)
    told = str(refused.value).split("; ")
    assert told == [
        "AGENTCOORD_BUDGET_RUN_USD: budget.run_usd: must be a number, not 'a lot'",
        "AGENTCOORD_METRIC_PORT: unknown variable (did you mean AGENTCOORD_METRICS_PORT?)",
        "agentcoord.toml: budget.task_usd is -1.0",
        "it must be 0 or more",
        "AGENTCOORD_BUDGET_DEADLINE: budget.deadline '25:99' is not a time such as 07:00",
    ]
    assert "AGENTCOORD_BUDGET_DEADLINE in the environment" in refused.value.mend
    with pytest.raises(ConfigError) as refused:
        read_settings("", {"AGENTCOORD_BUDGET_DEADLINE": "25:99"})
    assert refused.value.mend.startswith("mend AGENTCOORD_BUDGET_DEADLINE in the environment (")
    with pytest.raises(ConfigError, match=r"^flag: budget\.run_usd is -3") as refused:
        read_settings("", {}, {"budget.run_usd": -3})
    assert refused.value.mend.startswith("mend the option (")


@pytest.mark.parametrize(
    "share", ["/opt/env", "~/env", "../env", "a/../../env", "", "/", ".git", "a/.git/hooks"]
)
def test_a_shared_folder_outside_of_the_repository_is_refused_with_what_to_do(share: str) -> None:
    with pytest.raises(ConfigError, match=r"project\.share") as refused:
        read_settings(f"[project]\nshare = [{json.dumps(share)}]\n", {})
    assert "ln -s" in str(refused.value)
