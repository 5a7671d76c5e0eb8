"""What `init` proposes for the projects that people have: scopes that name something, checks that run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentcoord.config.init import Proposal, propose
from agentcoord.config.load import read_settings
from agentcoord.workspace.scope import ScopeRules

UNITTEST = "import unittest\nclass T(unittest.TestCase):\n    def test_it(self): pass\n"


def proposed(root: Path, files: dict[str, str]) -> Proposal:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    proposal = propose(root)
    settings = read_settings(proposal.text, {})
    assert (settings.project.scope, settings.checks.commands) == (proposal.scope, dict(proposal.checks))
    return proposal


def takes(proposal: Proposal, *paths: str) -> list[str]:
    """Those of the paths that may not change."""
    rules = ScopeRules(proposal.scope)
    return [path for path in paths if not rules.allows(path)]


def test_a_workspace_of_npm_may_change_in_its_packages(tmp_path: Path) -> None:
    proposal = proposed(
        tmp_path,
        {
            "package.json": '{"workspaces": ["packages/*", "./apps/*"]}',
            "packages/one/package.json": '{"scripts": {"test": "vitest run"}}',
            "packages/one/src/index.ts": "",
            "apps/web/index.tsx": "",
        },
    )
    assert (
        takes(proposal, "packages/one/src/index.ts", "apps/web/index.tsx", "packages/new/new.test.ts") == []
    )
    assert proposal.checks == (("tests", "npm test --silent --workspaces --if-present"),)


def test_a_workspace_of_pnpm_is_read_too(tmp_path: Path) -> None:
    files = {
        "package.json": '{"scripts": {"test": "turbo test"}}',
        "pnpm-workspace.yaml": "packages:\n  - 'libs/*'\n  - '!libs/old'\n",
        "libs/a/index.ts": "",
    }
    assert takes(proposed(tmp_path, files), "libs/a/index.ts") == []


def test_typescript_at_the_top_may_change(tmp_path: Path) -> None:
    files = {
        "package.json": '{"scripts": {"test": "jest"}}',
        "tsconfig.json": "{}",
        "index.ts": "",
        "a.tsx": "",
    }
    proposal = proposed(tmp_path, files)
    assert takes(proposal, "index.ts", "a.tsx", "index.test.ts") == []
    assert takes(proposal, "index.js") == ["index.js"]


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": "", "src/shop/__init__.py": ""},
        {"Cargo.toml": "", "src/lib.rs": ""},
        {"package.json": '{"scripts": {"test": "jest"}}', "src/index.js": ""},
        {"Makefile": "test:\n", "src/main.c": ""},
    ],
)
def test_there_is_a_place_for_tests_where_there_are_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert takes(proposed(tmp_path, files), "tests/test_new") == []


def test_python_without_tests_gets_no_check_that_finds_none(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, {"pyproject.toml": "[project]\nname = 'x'\n", "x/__init__.py": ""})
    assert proposal.checks == ()
    assert "a Python project, but no tests were found: nothing of it is checked" in proposal.notes


def test_tests_beside_the_code_are_found_and_run(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, {"setup.py": "", "x/__init__.py": "", "x/test_x.py": UNITTEST})
    assert proposal.checks == (("tests", "python -m unittest"),)
    done = subprocess.run(
        [sys.executable, "-m", "unittest"], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert "Ran 1 test" in done.stderr


def test_django_is_tested_by_its_manage_py(tmp_path: Path) -> None:
    files = {
        "manage.py": "from django.core.management import execute_from_command_line\n",
        "shop/__init__.py": "",
        "shop/tests.py": "",
        "templates/a.html": "",
    }
    proposal = proposed(tmp_path, files)
    assert proposal.checks == (("tests", "python manage.py test"),)
    assert takes(proposal, "shop/tests.py", "templates/a.html") == []


def test_both_halves_of_a_mixed_project_are_taken(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": "[tool.pytest.ini_options]\n",
        "app/main.py": "",
        "package.json": '{"scripts": {"test": "vitest"}}',
    }
    proposal = proposed(tmp_path, files)
    assert dict(proposal.checks) == {"python": "python -m pytest -q", "node": "npm test --silent"}
    (tmp_path / "package.json").write_text("{}")
    only = propose(tmp_path)
    assert only.checks == (("tests", "python -m pytest -q"),)
    assert any(note.startswith("a Node project, but package.json has no test script") for note in only.notes)


def test_a_package_of_python_beside_scripts_of_node_leaves_both_a_place(tmp_path: Path) -> None:
    files = {
        "setup.py": "",
        "shop/__init__.py": "",
        "package.json": "{}",
        "index.mjs": "",
        "tests/test_a.py": UNITTEST,
    }
    assert takes(proposed(tmp_path, files), "shop/a.py", "index.mjs", "tests/test_b.py") == []


def test_c_with_a_makefile_may_change_where_its_files_are(tmp_path: Path) -> None:
    proposal = proposed(
        tmp_path, {"GNUmakefile": "check: all\n\t./t\n", "main.c": "", "util/u.h": "", "pics/a.png": ""}
    )
    assert proposal.checks == (("tests", "make check"),)
    assert takes(proposal, "main.c", "util/u.h", "tests/t.c") == []
    assert takes(proposal, "pics/a.png", "GNUmakefile") == ["pics/a.png", "GNUmakefile"]


def test_make_for_a_language_that_nobody_knows_may_change_the_folders_with_code(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, {"Makefile": "test:\n", "rooms/hall.rb": "", "pics/a.png": ""})
    assert proposal.scope == ("rooms/**", "tests/**")


def test_a_broken_package_json_is_said_to_be_broken(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, {"package.json": '{\n"scripts": {,\n}', "index.js": ""})
    assert proposal.checks == ()
    assert any("package.json is broken, line 2" in note for note in proposal.notes)


def test_a_scope_of_folders_that_are_not_there_is_said_to_be_one(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, {"README.md": ""})
    assert any(note.startswith("none of these folders is there") for note in proposal.notes)


def test_a_workspace_of_pnpm_alone_is_tested_by_pnpm(tmp_path: Path) -> None:
    files = {
        "package.json": "{}",
        "pnpm-workspace.yaml": "packages:\n  - 'libs/*'\n",
        "libs/a/package.json": '{"scripts": {"test": "vitest run"}}',
    }
    assert proposed(tmp_path, files).checks == (("tests", "pnpm -r test"),)


def test_tests_that_are_a_package_are_named_once(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": '[tool.poetry]\nname = "shop"\n',
        "src/shop/__init__.py": "",
        "tests/__init__.py": "",
        "tests/test_shop.py": "def test_a():\n    pass\n",
    }
    assert proposed(tmp_path, files).scope == ("src/**", "tests/**")


def test_tests_that_are_a_package_are_not_the_code_of_the_project(tmp_path: Path) -> None:
    files = {
        "shop.py": "def add(): pass\n",
        "tests/__init__.py": "",
        "tests/test_shop.py": UNITTEST,
    }
    assert proposed(tmp_path, files).scope == ("tests/**", "*.py")


def test_what_each_package_of_a_workspace_has_of_dependencies_is_shared(tmp_path: Path) -> None:
    files = {
        "package.json": '{"scripts": {"test": "pnpm -r test"}}',
        "pnpm-workspace.yaml": "packages:\n  - 'libs/*'\n  - site\n",
        "libs/a/package.json": "{}",
        "libs/a/node_modules/ms/index.js": "",
        "libs/b/package.json": "{}",
        "site/package.json": "{}",
        "site/node_modules/ms/index.js": "",
    }
    shared = read_settings(proposed(tmp_path, files).text, {}).project.share
    assert shared == (".venv", "node_modules", "libs/a/node_modules", "site/node_modules")


def test_of_a_workspace_of_cargo_every_member_is_tested_and_may_change(tmp_path: Path) -> None:
    files = {
        "Cargo.toml": '[package]\nname = "a"\n[workspace]\nmembers = ["macros", "tools/*", "."]\n',
        "src/lib.rs": "",
        "macros/src/lib.rs": "",
        "tools/x/src/main.rs": "",
    }
    proposal = proposed(tmp_path, files)
    assert proposal.checks == (("tests", "cargo test --quiet --offline --workspace"),)
    assert takes(proposal, "src/a.rs", "macros/src/lib.rs", "tools/x/src/main.rs") == []
    assert takes(proposal, "other/a.rs") == ["other/a.rs"]


@pytest.mark.parametrize("used", ["use (\n\t./a // the first\n\t./b/c\n)\n", "use ./a\nuse ./b/c\n"])
def test_of_a_workspace_of_go_its_modules_are_tested(tmp_path: Path, used: str) -> None:
    files = {"go.work": f"go 1.22\n\n{used}", "a/go.mod": "", "b/c/go.mod": "", "a/a.go": ""}
    proposal = proposed(tmp_path, files)
    assert proposal.checks == (("tests", "go test ./a/... ./b/c/..."),)
    assert takes(proposal, "a/a_test.go", "b/c/d.go") == []


@pytest.mark.parametrize("by_pnpm", [True, False])
def test_members_outside_of_the_repository_are_left_out(tmp_path: Path, by_pnpm: bool) -> None:
    root = tmp_path / "repo"
    for folder in (root / "apps/a", tmp_path / "sib/b", tmp_path / "far"):
        (folder / "node_modules").mkdir(parents=True)
        (folder / "package.json").write_text('{"scripts": {"test": "x"}}')
    members = ["../sib/*", f"{tmp_path}/far", "apps/../../far", "apps/*"]
    package = "{}" if by_pnpm else json.dumps({"workspaces": members})
    files = {"package.json": package}
    if by_pnpm:
        files["pnpm-workspace.yaml"] = "packages:\n" + "".join(f"  - '{each}'\n" for each in members)
    settings = read_settings(proposed(root, files).text, {})
    assert settings.project.share == (".venv", "node_modules", "apps/a/node_modules")
    assert not [glob for glob in settings.project.scope if glob.startswith(("/", ".."))]
    assert "apps/**" in settings.project.scope


def test_projects_in_folders_are_each_tested_where_they_are(tmp_path: Path) -> None:
    files = {
        "backend/pyproject.toml": "[tool.pytest.ini_options]\n",
        "backend/app/main.py": "",
        "front end/package.json": '{"scripts": {"test": "vitest run"}}',
        "front end/src/a.ts": "",
        "backend/.venv/bin/python": "",
        "examples/b/package.json": '{"scripts": {"test": "x"}}',
        "shell/a.sh": "",
    }
    proposal = proposed(tmp_path, files)
    assert dict(proposal.checks) == {
        "backend-python": "cd backend && .venv/bin/python -m pytest -q",
        "front-end-node": "cd 'front end' && npm test --silent",
    }
    assert takes(proposal, "backend/app/main.py", "front end/src/a.ts", "shell/a.sh") == []
    shared = read_settings(proposal.text, {}).project.share
    assert shared == (".venv", "node_modules", "backend/.venv")


def test_a_folder_in_another_language_is_tested_beside_the_top_level(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": "[tool.pytest.ini_options]\n",
        "app/__init__.py": "",
        "web/package.json": '{"scripts": {"test": "jest"}}',
        "tools/pyproject.toml": "[tool.pytest.ini_options]\n",
    }
    proposal = proposed(tmp_path, files)
    checks = {"python": "python -m pytest -q", "web-node": "cd web && npm test --silent"}
    assert dict(proposal.checks) == checks
    assert takes(proposal, "app/a.py", "web/src/a.js") == []


def test_the_make_target_of_the_top_level_goes_before_the_projects_of_folders(tmp_path: Path) -> None:
    files = {"Makefile": "test:\n", "web/package.json": '{"scripts": {"test": "jest"}}'}
    assert proposed(tmp_path, files).checks == (("tests", "make test"),)


def test_python_without_any_file_of_a_project_is_known_by_its_tests(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, {"src/mod.py": "", "tests/test_mod.py": "def test_it(): pass\n"})
    assert proposal.checks == (("tests", "python -m pytest -q"),)


def test_an_environment_of_another_name_is_shown_to_checks(tmp_path: Path) -> None:
    files = {"venv/pyvenv.cfg": "", "tests/test_mod.py": "def test_it(): pass\n", "a.py": ""}
    assert read_settings(proposed(tmp_path, files).text, {}).project.share == (
        ".venv",
        "node_modules",
        "venv",
    )
