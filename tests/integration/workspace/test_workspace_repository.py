"""Finding the user's repository, in every shape that a user may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.repository import Repository
from agentcoord.workspace.shadow_git import write_shadow_git
from agentcoord.workspace.user_tree import list_tree
from workspace_kit import git, make_repo, save


async def test_the_top_level_is_found_from_any_folder_and_names_may_be_odd(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "mit Leer zeichen ü", {"src/a/b.py": b"x"})
    (tmp_path / "link").symlink_to(root)
    repo = await Repository.open(tmp_path / "link" / "src" / "a")
    assert repo.root == root
    assert repo.git_dir == root / ".git"
    assert repo.objects_dir == root / ".git/objects"
    assert repo.branch == "main"


async def test_a_repository_without_a_commit_works(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"x"}, commit=False)
    repo = await Repository.open(root)
    assert repo.branch == "main"
    assert list(list_tree(repo).files) == ["a.py"]


async def test_an_empty_repository_works(tmp_path: Path) -> None:
    repo = await Repository.open(make_repo(tmp_path / "repo", {}))
    assert not list_tree(repo).files


async def test_a_worktree_has_its_own_git_folder_and_shared_objects(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"x"})
    git(root, "worktree", "add", "-q", "-b", "side", str(tmp_path / "tree"))
    repo = await Repository.open(tmp_path / "tree")
    assert repo.root == tmp_path / "tree"
    assert repo.git_dir == root / ".git/worktrees/tree"
    assert repo.common_dir == root / ".git"
    assert repo.objects_dir == root / ".git/objects"
    assert repo.branch == "side"


async def test_a_submodule_is_a_repository_of_its_own_and_no_part_of_the_outer(tmp_path: Path) -> None:
    inner = make_repo(tmp_path / "inner", {"a.py": b"x"})
    outer = make_repo(tmp_path / "outer", {"b.py": b"x"})
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
    git(outer, "commit", "-q", "-m", "sub")
    repo = await Repository.open(outer / "sub")
    assert repo.root == outer / "sub"
    assert repo.objects_dir == outer / ".git/modules/sub/objects"
    listing = list_tree(await Repository.open(outer))
    assert sorted(listing.files) == [".gitmodules", "b.py"]
    assert listing.nested == {"sub"}


async def test_a_detached_head_is_named(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"x"})
    git(root, "checkout", "-q", "--detach")
    assert (await Repository.open(root)).branch.startswith("detached at ")


async def test_what_is_no_repository_is_refused_in_words_with_a_mend(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="not in a git repository") as refused:
        await Repository.open(tmp_path)
    assert refused.value.mend == "git init"
    with pytest.raises(WorkspaceError, match="no folder"):
        await Repository.open(tmp_path / "missing")


async def test_a_bare_repository_and_a_git_folder_are_refused_in_words(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    with pytest.raises(WorkspaceError, match="bare"):
        await Repository.open(tmp_path / "bare.git")
    root = make_repo(tmp_path / "repo", {"a.py": b"x"})
    with pytest.raises(WorkspaceError, match="no working tree"):
        await Repository.open(root / ".git")


async def test_opening_ignores_what_the_environment_says_about_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"x"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert (await Repository.open(root)).root == root


async def test_listing_runs_no_program_that_the_configuration_names(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"x"})
    canary = tmp_path / "canary"
    git(root, "config", "core.fsmonitor", f"touch {canary}; false")
    git(root, "config", "filter.x.clean", f"touch {canary}")
    (root / ".gitattributes").write_text("* filter=x\n")
    list_tree(await Repository.open(root))
    assert not canary.exists()


async def test_a_configuration_that_git_cannot_read_is_told_in_its_words(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"x"})
    (root / ".git/config").write_text("[core\n")
    with pytest.raises(WorkspaceError, match=r"git cannot read .*bad config"):
        await Repository.open(root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
async def test_a_folder_of_another_user_is_refused_with_the_command_that_trusts_it(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "my repo", {"a.py": b"x"})
    for path in (root, root / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(WorkspaceError, match="belongs to another user") as refused:
        await Repository.open(root)
    assert refused.value.mend == f"git config --global --add safe.directory '{root}'"


async def shown_git(root: Path, home: Path, *words: str) -> str:
    """Ask git for something with the folder that workers are shown in place of the user's."""
    repo = await Repository.open(root)
    write_shadow_git(repo, home)
    (home / "objects/info/alternates").write_text(
        f"{repo.objects_dir}\n"
    )  # Where it lies outside of a sandbox.
    return git(root, f"--git-dir={home}", f"--work-tree={root}", *words)


async def test_workers_are_shown_a_detached_head_and_a_split_index(tmp_path: Path) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"x", "b.py": b"x"})
    git(root, "update-index", "--split-index")
    git(root, "checkout", "-q", "--detach")
    save(root, "a.py", b"y")
    assert await shown_git(root, tmp_path / "shadow", "status", "--short") == " M a.py\n"
    head = git(root, "rev-parse", "HEAD")
    assert await shown_git(root, tmp_path / "shadow", "rev-parse", "HEAD") == head
    assert list((tmp_path / "shadow").glob("sharedindex.*"))


@pytest.mark.parametrize(
    ("setting", "value", "content", "mode"),
    [
        ("core.autocrlf", "true", b"one\r\ntwo\r\n", 0o644),
        ("core.fileMode", "false", b"one\ntwo\n", 0o755),
    ],
)
async def test_workers_are_shown_as_changed_only_what_git_calls_so_for_the_user(
    tmp_path: Path, setting: str, value: str, content: bytes, mode: int
) -> None:
    root = make_repo(tmp_path / "repo", {"a.py": b"one\ntwo\n", "b.py": b"x\n"})
    git(root, "config", setting, value)
    save(root, "a.py", content)
    git(root, "add", "a.py")
    (root / "a.py").chmod(mode)
    save(root, "b.py", b"y\n")
    assert git(root, "status", "--short") == " M b.py\n"
    assert await shown_git(root, tmp_path / "shadow", "status", "--short") == " M b.py\n"


async def test_workers_are_shown_a_repository_with_the_longer_hashes(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "--object-format=sha256")
    save(root, "a.py", b"x")
    git(root, "add", "a.py")
    git(root, "commit", "-q", "-m", "start")
    head = await shown_git(root, tmp_path / "shadow", "rev-parse", "HEAD")
    assert head == git(root, "rev-parse", "HEAD")
    assert len(head.strip()) == 64
