"""The daemon as the system's business: units, reload, and every daemon at a glance."""

from __future__ import annotations

import json
import plistlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Project, Run

from agentcoord.cli.looks_machine import name_of_user
from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.service_units import key_file, launchd_agent, systemd_unit

project, run, daemon = canned_daemon.project, canned_daemon.run, canned_daemon.daemon

linux = pytest.mark.skipif(sys.platform == "darwin", reason="systemd's")


@pytest.fixture
def manager(tmp_path: Path, project: Project) -> Path:
    """A `systemctl` and a `loginctl` that write down what they are told; returns that file."""
    calls = tmp_path / "calls"
    folder = tmp_path / "tools"
    folder.mkdir()
    for tool in ("systemctl", "loginctl"):
        path = folder / tool
        path.write_text(
            f'#!/bin/sh\necho "{tool} $*" >> "{calls}"\n[ {tool} = systemctl ] || echo Linger=no\n'
        )
        path.chmod(0o755)
    project.env["PATH"] = f"{folder}:/usr/bin:/bin"
    return calls


def unit_path(project: Project) -> Path:
    return systemd_unit(project.paths, [], project.env).path


@linux
def test_a_service_is_written_enabled_and_taken_away_again(run: Run, project: Project, manager: Path) -> None:
    done = run("install-service", "--now", program="agentcoordd")
    path = unit_path(project)
    assert (done.code, done.out) == (0, f"wrote {path}\n")
    assert "enable-linger" in done.err
    assert f"systemctl --user enable --now {path.name}" in manager.read_text()
    assert run("uninstall-service", program="agentcoordd").code == 0
    assert not path.exists()
    assert f"systemctl --user disable --now {path.name}" in manager.read_text()
    again = run("uninstall-service", program="agentcoordd")
    assert again.code == 4
    assert "fix: agentcoordd install-service" in again.err


@linux
@pytest.mark.parametrize("command", ["restart", "reload"])
def test_a_daemon_that_systemd_keeps_is_started_again_by_systemd(
    run: Run, project: Project, daemon: CannedDaemon, manager: Path, command: str
) -> None:
    assert run("install-service", program="agentcoordd").code == 0
    project.paths.make()
    project.paths.identity_file.write_text(json.dumps({"pid": 4711}))
    daemon.answers["stop"] = {}
    systemctl = manager.parent / "tools/systemctl"
    systemctl.write_text(f'{systemctl.read_text()}[ "$2" != show ] || echo 4711\n')
    done = run(command, program="agentcoordd")
    assert (done.code, done.out.splitlines()[0]) == (0, "pid     4711")
    assert ("stop", {"now": False, "restarting": True}) in daemon.asked
    assert manager.read_text().splitlines()[-1] == f"systemctl --user start {unit_path(project).name}"
    systemctl.write_text(f'{systemctl.read_text()}[ "$2" != start ] || {{ echo no bus >&2; exit 1; }}\n')
    failed = run(command, program="agentcoordd")
    assert failed.code == 1
    assert "its service did not start it again: no bus" in failed.err


@linux
def test_a_unit_of_somebody_elses_is_left_alone(run: Run, project: Project, manager: Path) -> None:
    path = unit_path(project)
    path.parent.mkdir(parents=True)
    path.write_text("[Unit]\n")
    for command in ("install-service", "uninstall-service"):
        done = run(command, program="agentcoordd")
        assert done.code == 5
        assert "was not made by this command" in done.err
    assert path.read_text() == "[Unit]\n"
    assert not manager.exists()


@linux
def test_without_a_service_manager_the_file_is_written_and_the_rest_is_told(
    run: Run, project: Project
) -> None:
    project.env["PATH"] = "/nowhere"
    done = run("install-service", program="agentcoordd")
    assert done.code == 0
    assert unit_path(project).exists()
    assert "in a login session, run: systemctl --user daemon-reload" in done.err


@linux
@pytest.mark.parametrize(("tool", "why"), [("", "it is not here"), ("no bus", "no bus")])
def test_now_without_a_service_manager_is_an_error_and_the_file_stays(
    run: Run, project: Project, tmp_path: Path, tool: str, why: str
) -> None:
    project.env["PATH"] = f"{tmp_path}"
    if tool:
        path = tmp_path / "systemctl"
        path.write_text(f'#!/bin/sh\necho "{tool}" >&2\nexit 1\n')
        path.chmod(0o755)
    done = run("install-service", "--now", program="agentcoordd")
    path = unit_path(project)
    assert done.code == 1
    assert f"error: nothing was enabled or started: systemctl: {why}" in done.err
    assert f"{path} stays as it was written" in done.err
    assert f"fix: in a login session, run: systemctl --user enable --now {path.name}" in done.err
    assert path.exists()


@linux
def test_a_service_that_nobody_runs_leaves_no_link_by_which_it_would_be_started(
    run: Run, project: Project, manager: Path
) -> None:
    """Without a bus systemctl enables, and disables, but stops nothing."""
    systemctl = manager.parent / "tools/systemctl"
    systemctl.write_text(f'{systemctl.read_text()}[ "$3" != --now ] || {{ echo no bus >&2; exit 1; }}\n')
    assert run("install-service", program="agentcoordd").code == 0
    done = run("uninstall-service", program="agentcoordd")
    name = unit_path(project).name
    assert (done.code, done.out) == (0, f"removed {unit_path(project)}\n")
    assert f"fix: in a login session, run: systemctl --user disable --now {name}" in done.err
    assert f"systemctl --user disable {name}" in manager.read_text().splitlines()


def test_a_user_without_a_name_is_called_by_number() -> None:
    assert name_of_user(0) == "root"
    assert name_of_user(2**31 - 7) == str(2**31 - 7)


@linux
def test_print_writes_nothing(run: Run, project: Project) -> None:
    done = run("install-service", "--print", program="agentcoordd")
    assert "Type=notify\n" in done.out
    assert "WatchdogSec=60\n" in done.out
    assert not unit_path(project).exists()


def test_no_unit_has_a_key_in_it(project: Project) -> None:
    env = {**project.env, "ANTHROPIC_API_KEY": "sk-ant-secret"}
    for make in (systemd_unit, launchd_agent):
        assert "sk-ant" not in make(project.paths, ["x"], env).text
    assert key_file(project.env).parts[-2:] == ("agentcoord", "env")


def test_odd_letters_in_a_path_stay_what_they_are(project: Project) -> None:
    odd = replace(project.paths, root=Path('/tmp/50% "a" $HOME'))
    words = ["python", "-C", str(odd.root)]
    assert r'"/tmp/50%% \"a\" $$HOME"' in systemd_unit(odd, words, project.env).text
    agent = plistlib.loads(launchd_agent(odd, words, project.env).text.encode())
    assert agent["ProgramArguments"] == words
    assert agent["KeepAlive"] == {"SuccessfulExit": False}


@pytest.mark.systemd
def test_systemd_finds_no_fault_with_the_unit(project: Project, tmp_path: Path) -> None:
    unit = systemd_unit(project.paths, [sys.executable, "-m", "x", "-C", str(project.root)], project.env)
    path = tmp_path / unit.name
    path.write_text(unit.text)
    env = {**project.env, "SYSTEMD_LOG_LEVEL": "warning"}
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(path)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["reload", "restart"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[project]\nscop = []\n", "did you mean scope"),
        ('[models]\nladder = ["claude-nobody-1"]\n', "no price is known for the model 'claude-nobody-1'"),
        ('[models]\nprice_file = "none.toml"\n', "none.toml cannot be read: No such file or directory"),
        ('[redis]\nurl = "unix:///nowhere/redis.sock"\n', "/nowhere/redis.sock"),
    ],
)
def test_a_daemon_is_not_stopped_for_settings_that_none_would_start_with(
    run: Run, project: Project, daemon: CannedDaemon, command: str, text: str, words: str
) -> None:
    (project.root / "agentcoord.toml").write_text(text)
    done = run(command, program="agentcoordd")
    assert done.code in (1, 2)
    assert words in done.err
    assert daemon.asked == []


def test_a_daemon_is_not_stopped_for_a_variable_that_none_would_start_with(
    run: Run, project: Project, daemon: CannedDaemon
) -> None:
    project.env["AGENTCOORD_NOTIFY_URL"] = "ntfy.sh/mine"
    done = run("restart", program="agentcoordd")
    assert "notify.url is no http(s) address" in done.err
    assert daemon.asked == []


def test_every_daemon_is_listed_with_the_dead_ones(run: Run, project: Project, daemon: CannedDaemon) -> None:
    daemon.answers["status"] = {"state": "running", "pid": 77, "version": "1"}
    dead = ProjectPaths.of(project.root.parent / "dead", project.env)
    for paths in (project.paths, dead):
        paths.state_dir.mkdir(parents=True)
        said = {"pid": 77, "version": "1", "socket": str(paths.socket), "root": str(paths.root)}
        paths.identity_file.write_text(json.dumps(said))
    (dead.state_dir.parent / "broken").mkdir()
    (dead.state_dir.parent / "broken" / "daemon.json").write_text("{")
    found = json.loads(run("status", "--all", "--json", program="agentcoordd").out)
    assert found["schema"] == "agentcoordd.status-all/1"
    states = {each["root"]: each["state"] for each in found["daemons"]}
    assert states == {str(project.root): "running", str(dead.root): "crashed"}
    assert "crashed" in run("status", "--all", program="agentcoordd").out


def test_nothing_to_list_is_no_error(run: Run) -> None:
    done = run("status", "--all", program="agentcoordd")
    assert (done.code, done.out, done.err) == (0, "", "no daemon runs\n")
