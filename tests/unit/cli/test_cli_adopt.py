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

from agentcoord.config.namespace import namespace_of
from agentcoord.config.paths import ProjectPaths
from agentcoord.config.place import former_places, has_commit, write_place
from agentcoord.daemon.project_lock import lock_of
from agentcoord.daemon.service_units import launchd_place, systemd_place
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


def say(paths: ProjectPaths, **changed: object) -> None:
    """Let the state folder say something else of its place."""
    place = paths.state_dir / "place.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **changed}))


def known(project: Project) -> list[tuple[str, str]]:
    return former_places(str(project.paths.state_dir), str(project.root))


def test_the_state_of_a_former_place_is_found_and_taken_along(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    (former.redis_dir / "of-the-former-id").touch()
    named = namespace_of(former)
    assert known(project) == [(str(former.state_dir), str(former.root))]
    assert f"this repository was at {former.root}" in run("doctor").out
    done = run("adopt", "--json")
    document = json.loads(done.out)
    assert misfits(document, json.loads(run("schema", "agentcoord.adopt").out)) == []
    assert document["set_aside"] is None
    assert project.paths.kept_file.read_bytes() == TASK
    assert (project.paths.redis_dir / "of-the-former-id").exists()
    assert (named, namespace_of(project.paths)) == (former.project_id, former.project_id)
    assert [each.name for each in former.state_dir.iterdir()] == ["namespace"]
    assert namespace_of(former).startswith(f"{former.project_id}-"), "who begins there has keys of its own"
    assert run("adopt").code == ExitCode.NOT_FOUND


def test_keys_keep_their_name_through_every_move(run: Run, project: Project, former: ProjectPaths) -> None:
    assert run("adopt").code == ExitCode.OK
    commit = git(project.root, "rev-parse", "HEAD")
    write_place(str(project.paths.state_dir), str(project.root), commit)
    project.root.rename(former.root)
    back = run("-C", str(former.root), "adopt", "--json")
    assert (back.code, json.loads(back.out)["set_aside"]) == (ExitCode.OK, None), back.err
    assert namespace_of(former) == former.project_id
    assert namespace_of(project.paths).startswith(f"{project.paths.project_id}-")


def test_what_only_the_server_knows_of_is_taken_along_and_not_told(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    former.kept_file.unlink()
    assert run("adopt").code == ExitCode.NOT_FOUND
    (former.redis_dir / "appendonlydir").mkdir()
    (former.redis_dir / "appendonlydir" / "appendonly.aof.1.incr.aof").touch()
    assert "this repository was at" not in run("doctor").out
    assert run("adopt").code == ExitCode.OK
    assert (project.paths.redis_dir / "appendonlydir").is_dir()


def test_a_former_place_with_tasks_comes_before_a_newer_one_without(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    newer = ProjectPaths.of(former.root.with_name("between"), project.env)
    shutil.copytree(former.state_dir, newer.state_dir)
    newer.kept_file.unlink()
    (newer.redis_dir / "appendonlydir").mkdir()
    (newer.redis_dir / "appendonlydir" / "appendonly.aof.1.incr.aof").touch()
    say(newer, root=str(newer.root))
    assert [place for _, place in known(project)] == [str(newer.root), str(former.root)]
    assert json.loads(run("adopt", "--json").out)["root"] == str(former.root)


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


def test_a_repository_without_a_commit_is_not_found_and_taken_along_when_named(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    say(former, commit="")
    assert (known(project), run("adopt").code) == ([], ExitCode.NOT_FOUND)
    assert run("adopt", str(former.root)).code == ExitCode.OK


def test_a_folder_that_got_the_number_of_a_removed_one_is_another(
    project: Project, former: ProjectPaths
) -> None:
    made = json.loads((former.state_dir / "place.json").read_text())["made"]
    for other in (made - 1, 0):
        say(former, made=other)
        assert known(project) == []
    say(former, made=made)
    assert known(project) != []


def test_a_copy_of_a_repository_that_is_gone_hears_of_it_from_doctor_alone(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    moved = project.root.with_name("moved")
    project.root.rename(moved)
    shutil.copytree(moved, project.root)
    assert known(project) == []
    assert "this repository was at" not in run("undo", "nothing").err
    words = f"a repository with the same commits was at {former.root}; if this is it, moved: agentcoord adopt"
    found = {each["name"]: each for each in json.loads(run("doctor", "--json").out)["findings"]}["state"]
    assert (found["verdict"], words in found["words"]) == ("ok", True)
    refused = run("adopt")
    assert (refused.code, str(former.root) in refused.err) == (ExitCode.NOT_FOUND, True)
    assert run("adopt", str(former.root)).code == ExitCode.OK
    assert project.paths.kept_file.read_bytes() == TASK


@pytest.mark.parametrize("how", ["no folder above", "another disk"])
def test_a_repository_whose_disk_may_be_away_has_not_moved(
    run: Run, project: Project, former: ProjectPaths, how: str
) -> None:
    if how == "another disk":
        _, inode = json.loads((former.state_dir / "place.json").read_text())["folder"]
        say(former, folder=[-1, inode])
        away = former
    else:
        away = ProjectPaths.of(former.root.parent / "away" / "its former name", project.env)
        former.state_dir.rename(away.state_dir)
        say(away, root=str(away.root))
        assert known(project) == []
        say(away, made=0)
    assert known(project) == []
    refused = run("adopt", str(away.root))
    assert (refused.code, "its disk may only be away" in refused.err) == (ExitCode.REFUSED, True)
    assert away.kept_file.exists()
    assert run("adopt", str(away.root), "--yes").code == ExitCode.OK


def test_the_state_of_another_repository_is_not_taken(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    project.root.rename(project.root.with_name("moved"))
    project.root.mkdir()
    git(project.root, "init", "-q")
    git(project.root, "commit", "-q", "--allow-empty", "-m", "another", "--author", "b <b@b>")
    commit = json.loads((former.state_dir / "place.json").read_text())["commit"]
    refused = run("adopt", str(former.root), "--yes")
    assert (refused.code, f"had the commit {commit[:12]}" in refused.err) == (ExitCode.REFUSED, True)
    assert former.kept_file.exists()
    (former.state_dir / "place.json").unlink()
    assert run("adopt", str(former.root)).code == ExitCode.OK


def test_a_commit_is_looked_for_on_no_server(project: Project, former: ProjectPaths, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": "ssh://host/x",
        "remote.origin.promisor": "true",
        "core.sshCommand": f"touch {asked}; false",
    }.items():
        git(project.root, "config", name, value)
    here = git(project.root, "rev-parse", "HEAD")
    assert (has_commit(str(project.root), here), has_commit(str(project.root), "1" * 40)) == (True, False)
    assert not asked.exists()


def test_services_that_still_start_at_the_former_place_are_named(
    run: Run, project: Project, former: ProjectPaths
) -> None:
    files = [place(former, project.env)[1] for place in (systemd_place, launchd_place)]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    said = run("adopt").err
    assert [str(file) in said for file in files] == [True, True]


def test_a_file_that_makes_no_sense_is_no_former_place(project: Project, former: ProjectPaths) -> None:
    place = former.state_dir / "place.json"
    for text in ("", "[]", '{"root": 5}', '{"root": "/elsewhere", "commit": "", "folder": [], "linked": 0}'):
        place.write_text(text)
        assert known(project) == []
