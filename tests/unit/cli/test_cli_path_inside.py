"""The path that a person gives, as the project names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.review_pages import path_inside
from agentcoord.wire.protocol import ExitCode


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shop"
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "one.py").touch()
    (root / "..dots.py").touch()
    (root / "link.py").symlink_to("lib/one.py")
    (root / "libs").symlink_to("lib")
    (root / "loop").symlink_to("loop")
    (tmp_path / "alias").symlink_to(root)
    return root


@pytest.mark.parametrize(
    ("folder", "path", "inside"),
    [
        ("shop", "lib/one.py", "lib/one.py"),
        ("shop/lib", "one.py", "lib/one.py"),
        ("shop/lib", "../lib/./one.py", "lib/one.py"),
        ("shop", "..dots.py", "..dots.py"),
        ("shop", "libs/one.py", "lib/one.py"),
        ("shop", "link.py", "link.py"),
        ("shop", "gone/away.py", "gone/away.py"),
        ("shop", "loop/x", "loop/x"),
        ("alias", "lib/one.py", "lib/one.py"),
        ("shop", "../alias/lib/one.py", "lib/one.py"),
        ("shop", "{base}/shop/lib/one.py", "lib/one.py"),
        ("alias", "{base}/alias/lib/one.py", "lib/one.py"),
        ("shop", "lib/..", "."),
    ],
)
def test_a_file_is_found_by_each_way_to_it(root: Path, folder: str, path: str, inside: str) -> None:
    given = path.format(base=root.parent)
    assert path_inside(given, folder=root.parent / folder, root=root) == inside


@pytest.mark.parametrize("path", ["..", "../other", "/etc/passwd", "../shop2/x", "{base}/alias/../x"])
def test_what_lies_outside_is_refused(root: Path, path: str) -> None:
    with pytest.raises(CommandError) as caught:
        path_inside(path.format(base=root.parent), folder=root, root=root)
    assert caught.value.exit_code is ExitCode.USAGE
