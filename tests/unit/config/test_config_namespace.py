"""The name of a project's keys in Redis: its id, or what the state folder says."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.config.namespace import keep_namespace, namespace_of, write_unused
from agentcoord.config.paths import ProjectPaths
from agentcoord.errors import ConfigError


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    env = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    found = ProjectPaths.of(tmp_path / "shop", env)
    found.state_dir.mkdir(parents=True)  # Not `make`: below a long temporary folder no socket fits.
    return found


def test_a_folder_that_says_nothing_has_its_id_and_keeps_it_once_written(
    paths: ProjectPaths,
) -> None:
    assert namespace_of(paths) == paths.project_id
    keep_namespace(paths)
    moved = paths.state_dir.rename(paths.state_dir.with_name("elsewhere"))
    there = ProjectPaths(Path("/elsewhere"), paths.project_id, moved, paths.runtime_dir)
    assert (moved / "namespace").read_text() == f"{paths.project_id}\n"
    assert namespace_of(there) == paths.project_id


def test_an_id_that_is_taken_is_given_to_nobody_again(paths: ProjectPaths) -> None:
    names = {paths.project_id}
    for _ in range(3):
        write_unused(paths.state_dir, paths.project_id)
        names.add(namespace_of(paths))
    assert len(names) == 4


@pytest.mark.parametrize("said", ["", "a b", "a}:x", "A", "x" * 65, "\xff"])
def test_a_file_that_names_no_keys_stops_a_start(paths: ProjectPaths, said: str) -> None:
    (paths.state_dir / "namespace").write_text(said, encoding="latin-1")
    with pytest.raises(ConfigError, match="namespace"):
        namespace_of(paths)
