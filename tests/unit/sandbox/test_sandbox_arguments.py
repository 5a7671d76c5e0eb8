"""The argument list of bubblewrap, read as a whole."""

from __future__ import annotations

import resource
from pathlib import Path

from agentcoord.sandbox.bubblewrap_arguments import (
    Descriptors,
    arguments,
    command_line,
    resource_bounds,
    tmpfs_bytes,
)
from agentcoord.sandbox.layout import HostLayout, read_layout
from agentcoord.sandbox.mount_guard import Mount
from agentcoord.sandbox.policy import Limits, Policy

REPO = Path("/home/user/project")
LAYOUT = HostLayout(
    bash=Path("/bin/bash"),
    links=(("usr/bin", "/bin"), ("usr/lib", "/lib")),
    folders=(Path("/usr"),),
    etc=(Path("/etc/ssl/certs"),),
    user_id=1000,
    group_id=1000,
    open_files_max=1024,
    processes_max=-1,
    memory_max_bytes=1024**3,
    memory_bytes=4 * 1024**3,
)
DESCRIPTORS = Descriptors(seccomp=9, status=7, hold=8, etc_files={"passwd": 5})


def built(tmp_path: Path, *, python_alias: Path | None = None) -> list[str]:
    workspace, tool, link = tmp_path / "w", tmp_path / "python", tmp_path / "python3"
    workspace.mkdir()
    tool.mkdir()
    link.symlink_to("python")
    policy = Policy(
        workspace=workspace,
        mount_at=REPO,
        shadow_git=tmp_path / "shadow",
        git_objects=tmp_path / "objects",
        toolchains=(tool, link),
    )
    return arguments(
        policy,
        Limits(),
        LAYOUT,
        mounts=(Mount(tmp_path / "shadow", REPO / ".git", is_folder=True),),
        environment={"PATH": "/usr/bin"},
        python_alias=python_alias,
        descriptors=DESCRIPTORS,
    )


def words_after(words: list[str], *start: str) -> int:
    """Return where the sequence begins; it must be there once."""
    places = [i for i in range(len(words)) if tuple(words[i : i + len(start)]) == start]
    assert len(places) == 1, f"{start} is there {len(places)} times"
    return places[0]


def test_every_namespace_is_new_and_no_capability_is_kept(tmp_path: Path) -> None:
    words = built(tmp_path)
    for flag in ("user", "pid", "net", "ipc", "uts", "cgroup-try"):
        assert f"--unshare-{flag}" in words
    assert "--disable-userns" in words
    assert "--die-with-parent" in words
    assert "--new-session" in words
    words_after(words, "--cap-drop", "ALL")
    assert "--share-net" not in words


def test_only_the_workspace_is_bound_writable(tmp_path: Path) -> None:
    words = built(tmp_path)
    assert words.count("--bind") == 1
    words_after(words, "--bind", str(tmp_path / "w"), str(REPO))
    assert not [word for word in words if word.startswith(("--dev-bind", "--bind-"))]


def test_the_root_proc_and_dev_are_made_read_only_after_everything_is_mounted(tmp_path: Path) -> None:
    words = built(tmp_path)
    last_mount = max(i for i, word in enumerate(words) if "bind" in word or word in {"--tmpfs", "--symlink"})
    places = [words_after(words, "--remount-ro", place) for place in ("/proc", "/dev", "/")]
    assert [last_mount, *places] == sorted([last_mount, *places])


def test_every_tmpfs_has_a_size(tmp_path: Path) -> None:
    words = built(tmp_path)
    places = [i for i, word in enumerate(words) if word == "--tmpfs"]
    assert [words[i + 1] for i in places] == ["/", "/dev/shm", "/tmp", "/home/agent"]
    assert all(words[i - 2] == "--size" for i in places)


def test_the_repository_comes_after_tmp_and_home_and_git_after_the_repository(tmp_path: Path) -> None:
    words = built(tmp_path)
    home = words_after(words, "--tmpfs", "/home/agent")
    repo = words_after(words, "--bind", str(tmp_path / "w"), str(REPO))
    git = words_after(words, "--ro-bind", str(tmp_path / "shadow"), str(REPO / ".git"))
    assert home < repo < git
    words_after(words, "--ro-bind", str(tmp_path / "objects"), "/run/objects")


def test_toolchains_are_bound_and_links_among_them_made_anew(tmp_path: Path) -> None:
    words = built(tmp_path)
    words_after(words, "--ro-bind", str(tmp_path / "python"), str(tmp_path / "python"))
    words_after(words, "--symlink", "python", str(tmp_path / "python3"))


def test_the_environment_is_cleared_before_it_is_set(tmp_path: Path) -> None:
    words = built(tmp_path)
    assert words_after(words, "--clearenv") < words_after(words, "--setenv", "PATH", "/usr/bin")


def test_a_python_alias_is_a_link_in_a_folder_of_its_own(tmp_path: Path) -> None:
    words = built(tmp_path, python_alias=Path("/usr/bin/python3"))
    words_after(words, "--symlink", "/usr/bin/python3", "/run/agentcoord/bin/python")


def test_bounds_never_exceed_the_hard_limits_of_the_daemon() -> None:
    bounds = resource_bounds(Limits(), LAYOUT, count_processes=True)
    assert bounds == {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 2 * 1024**3,
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_DATA: 1024**3,
        resource.RLIMIT_NPROC: 512,
    }
    assert resource.RLIMIT_NPROC not in resource_bounds(Limits(), LAYOUT, count_processes=False)
    assert command_line("true", LAYOUT) == ["/bin/bash", "-c", "true"]


def test_private_memory_shrinks_on_a_small_machine() -> None:
    assert tmpfs_bytes(Limits(), LAYOUT) == 256 * 1024**2


def test_the_layout_of_this_machine_shows_nothing_secret() -> None:
    layout = read_layout()
    assert layout is not None
    shown = {*map(str, layout.folders), *map(str, layout.etc)}
    assert "/usr" in shown
    assert not shown & {
        "/etc",
        "/etc/ssl",
        "/etc/shadow",
        "/etc/ssl/private",
        "/root",
        "/home",
        "/run",
        "/var",
    }
