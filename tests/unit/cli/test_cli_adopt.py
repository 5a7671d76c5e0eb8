"""`adopt`, and who says that a repository's state is at a former place: recognised, refused, taken along."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import canned_daemon
import pytest
from canned_daemon import Project, Run
from test_cli_schemas import misfits

from agentcoord.config.paths import ProjectPaths
from agentcoord.config.place import former_places, write_place
from agentcoord.daemon.project_lock import lock_of
from agentcoord.wire.messages import ExitCode

project, run = canned_daemon.project, canned_daemon.run
TASK = b'["t:one",[0,"","",{},[]]]\n'


def git(root: Path, *words: str) -> str:
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", *named, *words], cwd=root, capture_output=True, check=True, text=True
    ).stdout.strip()


@pytest.fixture
def former(project: Project) -> ProjectPaths:
    """The places of the project when it had another name, with a task in its state; it is gone from there."""
    shutil.rmtree(project.root / ".git")
    git(project.root, "init", "-q")
    git(project.root, "commit", "-q", "--allow-empty", "-m", "start")
    old = project.root.with_name("its former name")
    project.root.rename(old)
    paths = ProjectPaths.of(old, project.env)
    paths.make()
    paths.kept_file.write_bytes(TASK)
    write_place(str(paths.state_dir), str(old), git(old, "rev-parse", "HEAD"))
    old.rename(project.root)
    return paths


def known(project: Project) -> list[tuple[str, str]]:
    return former_places(str(project.paths.state_dir), str(project.root))


def test_the_state_of_a_former_place_is_found_and_taken_along(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    (former.redis_dir / "of-the-former-id").touch()
    assert known(project) == [(str(former.state_dir), str(former.root))]
    assert f"this repository was at {former.root}" in run("doctor").out
    done = run("adopt", "--json")
    document = json.loads(done.out)
    assert misfits(document, json.loads(run("schema", "agentcoord.adopt").out)) == []
    assert document["set_aside"] is None
    assert project.paths.kept_file.read_bytes() == TASK
    assert not former.state_dir.exists()
    assert not project.paths.redis_dir.exists()
    assert run("adopt").code == ExitCode.NOT_FOUND


def test_what_the_new_place_had_is_set_aside(run: Run, project: Project, former: ProjectPaths) -> None:
    project.paths.make()
    (project.paths.drafts_dir).mkdir()
    done = run("adopt", str(former.root))
    assert done.code == ExitCode.OK, done.err
    assert (project.paths.state_dir.with_name(f"{project.paths.project_id}.aside-1") / "drafts").is_dir()
    assert project.paths.kept_file.read_bytes() == TASK


def test_nothing_is_taken_from_a_place_where_something_is(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    former.root.mkdir()
    assert known(project) == []
    refused = run("adopt", str(former.root))
    assert (refused.code, "still there" in refused.err) == (ExitCode.REFUSED, True)
    former.root.rmdir()
    former.root.symlink_to(project.root)
    assert known(project) != [], "a link that leads to the place of today"
    assert former.kept_file.exists()


def test_tasks_of_the_new_place_are_left_alone(run: Run, project: Project, former: ProjectPaths) -> None:
    project.paths.make()
    project.paths.kept_file.write_bytes(TASK)
    refused = run("adopt")
    assert (refused.code, "tasks of its own" in refused.err) == (ExitCode.REFUSED, True)
    assert former.kept_file.exists()


def test_a_daemon_of_either_place_keeps_its_state(run: Run, project: Project, former: ProjectPaths) -> None:
    project.paths.make()
    for place in (former, project.paths):
        with lock_of(place):
            refused = run("adopt")
        assert (refused.code, "runs for" in refused.err) == (ExitCode.REFUSED, True)
        assert (former.kept_file.exists(), project.paths.state_dir.exists()) == (True, True)


def test_another_repository_is_not_taken_for_the_one_that_moved(
    project: Project, former: ProjectPaths
) -> None:
    shutil.rmtree(project.root / ".git")
    git(project.root, "init", "-q")
    git(project.root, "commit", "-q", "--allow-empty", "-m", "another", "--author", "b <b@b>")
    assert known(project) == []


def test_a_worktree_is_not_taken_for_another_that_was_removed(
    project: Project, former: ProjectPaths, tmp_path: Path
) -> None:
    tree, another = tmp_path / "tree", tmp_path / "another"
    git(project.root, "worktree", "add", "-q", "-b", "t", str(tree))
    git(project.root, "worktree", "add", "-q", "-b", "u", str(another))
    paths = ProjectPaths.of(tree, project.env)
    paths.make()
    shutil.rmtree(former.state_dir)
    write_place(str(paths.state_dir), str(tree), git(tree, "rev-parse", "HEAD"))
    git(project.root, "worktree", "move", str(tree), str(tmp_path / "moved"))
    assert [place for _, place in former_places("/x/nowhere", str(tmp_path / "moved"))] == []
    moved = ProjectPaths.of(tmp_path / "moved", project.env)
    assert former_places(str(moved.state_dir), str(moved.root)) == [(str(paths.state_dir), str(tree))]
    for root in (project.root, another):
        assert former_places(str(ProjectPaths.of(root, project.env).state_dir), str(root)) == []


def test_a_place_is_named_by_a_link_above_it_as_well(
    run: Run, project: Project, former: ProjectPaths, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(former.root.parent)
    done = run("adopt", str(tmp_path / "link" / former.root.name))
    assert done.code == ExitCode.OK, done.err
    assert run("adopt", str(tmp_path / "nothing")).code == ExitCode.NOT_FOUND


def test_a_repository_without_a_commit_is_known_by_its_folders(
    project: Project, former: ProjectPaths, tmp_path: Path
) -> None:
    project.root.rename(former.root)
    write_place(str(former.state_dir), str(former.root), "")
    former.root.rename(project.root)
    assert len(known(project)) == 1
    shutil.copytree(project.root, tmp_path / "copy")
    assert former_places(str(project.paths.state_dir), str(tmp_path / "copy")) == []


def test_a_file_that_makes_no_sense_is_no_former_place(project: Project, former: ProjectPaths) -> None:
    place = former.state_dir / "place.json"
    for text in ("", "[]", '{"root": 5}', '{"root": "/elsewhere", "commit": "", "folders": [], "linked": 0}'):
        place.write_text(text)
        assert known(project) == []
