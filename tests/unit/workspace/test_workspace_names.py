"""Names alone: what never lands, what looks like a secret, what runs on the user's machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.names import (
    is_debris,
    is_git_folder,
    is_secret,
    is_sibling,
    refusal_of,
    runs_on_your_machine,
)
from agentcoord.workspace.scope import ScopeRules


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".GIT/config",
        "src/.git/hooks/pre-commit",
        ".g\u200cit/config",
        "\u202e.git/config",
        ".\uff47\uff49\uff54/config",
        ".git\u00ad/config",
        ".git./config",
        ".git /config",
        ".git::$INDEX_ALLOCATION/config",
        "git~1/config",
        "GIT~2/config",
        ".gitattributes",
        ".gitmodules",
        ".gitignore",
        ".github/workflows/ci.yml",
        ".gitlab-ci.yml",
        "a\\.git\\config",
    ],
)
def test_everything_of_git_is_refused_in_any_spelling(path: str) -> None:
    assert refusal_of(path) == "it belongs to git"
    assert refusal_of(path, exists=True) == "it belongs to git"


@pytest.mark.parametrize(
    "path",
    [
        "sitecustomize.py",
        "src/UserCustomize.py",
        "lib/evil.pth",
        ".envrc",
        ".vscode/tasks.json",
        ".vscode/settings.json",
        ".mcp.json",
        "AGENTS.md",
        "docs/agents.md",
        "CLAUDE.md",
        ".claude/settings.json",
        ".pre-commit-config.yaml",
        ".circleci/config.yml",
        "Jenkinsfile",
        "agentcoord.toml",
        "conf/.AGENTCOORD-1.tmp",
    ],
)
def test_what_executes_or_instructs_by_itself_is_refused_even_when_the_user_has_it(path: str) -> None:
    assert refusal_of(path, exists=True) is not None


@pytest.mark.parametrize(
    "path", ["a\nb.py", "a\x1b[31m.py", "x\udcff.py", "-rf", "src/--all/x.py", ".env", "k.pem"]
)
def test_names_that_must_not_be_introduced_are_no_reason_for_files_that_exist(path: str) -> None:
    assert refusal_of(path) is not None
    assert refusal_of(path, exists=True) is None


@pytest.mark.parametrize(
    "path",
    [
        "src/app.py",
        "docs/git.md",
        "src/gitlike.py",
        "a b/ü.py",
        "github/x.py",
        "path.py",
        "src/credential_store.py",
    ],
)
def test_ordinary_names_are_not_refused(path: str) -> None:
    assert refusal_of(path) is None


@given(st.text(min_size=1, max_size=30))
def test_no_name_makes_the_lists_fail(path: str) -> None:
    refusal_of(path)
    is_secret(path)
    is_debris(path)
    runs_on_your_machine(path)


@given(st.lists(st.sampled_from("\u200b\u200d\u2060\ufeff\u00ad\ufe0f"), max_size=4), st.integers(0, 4))
def test_invisible_characters_anywhere_do_not_hide_git(invisible: list[str], at: int) -> None:
    assert is_git_folder(".git"[:at] + "".join(invisible) + ".git"[at:])


def test_secrets_debris_siblings_and_what_runs_here_are_told_by_name() -> None:
    assert is_secret(".env.local")
    assert is_secret("deploy/Server.KEY")
    for name in (
        "id_ed25519",
        "deploy/ID_RSA",
        "cert.p12",
        "app.keystore",
        ".git-credentials",
        "terraform.tfstate",
    ):
        assert is_secret(name), name
    assert not is_secret("src/environment.py")
    assert not is_secret("id_rsa.pub")
    assert is_debris("src/__pycache__/a.cpython-311.pyc")
    assert not is_debris("src/cache.py")
    assert is_sibling("src/.agentcoord-1-2-3.tmp")
    assert runs_on_your_machine("tests/conftest.py")
    assert runs_on_your_machine("Makefile")
    assert runs_on_your_machine("web/vite.config.ts")
    assert runs_on_your_machine(".GitHub/workflows/ci.yml")
    assert runs_on_your_machine(".githooks/pre-push")
    assert runs_on_your_machine("src/x.pth")
    assert runs_on_your_machine("analysis/.Rprofile")
    assert runs_on_your_machine(".pdbrc")
    assert runs_on_your_machine(".mvn/extensions.xml")
    assert not runs_on_your_machine("docs/.github/workflows.md")
    assert not runs_on_your_machine(".github/CODEOWNERS")
    assert not runs_on_your_machine("src/app.py")


def test_what_runs_here_is_asked_of_a_million_files_in_no_time() -> None:
    """The event loop asks it of each file of all tasks that it shows."""
    paths = (f"src/some/package/of/mine/new{number}.txt" for number in range(1_000_000))
    assert not any(map(runs_on_your_machine, paths))


def test_the_scope_allows_what_it_names_and_protect_wins() -> None:
    rules = ScopeRules(["src/**", "docs", "!src/generated/"], ["src/keep.py"])
    assert rules.allows("src/a/b.py")
    assert rules.allows("docs/x.md")
    assert not rules.allows("src/generated/x.py")
    assert not rules.allows("src/keep.py")
    assert not rules.allows("setup.py")


def test_an_empty_scope_allows_nothing() -> None:
    assert not ScopeRules([]).allows("a.py")


@pytest.mark.parametrize("glob", ["", "!", "/", "! "])
def test_a_glob_that_names_nothing_names_its_setting(glob: str) -> None:
    with pytest.raises(WorkspaceError, match=r"project\.scope"):
        ScopeRules(["src/**", glob])


def test_the_last_glob_that_matches_decides_and_a_slash_at_its_end_means_a_folder() -> None:
    rules = ScopeRules(["*.py", "!build/", "/build/keep.py", "lib/"])
    assert rules.allows("a/b.py")
    assert not rules.allows("a/build/b.py")
    assert rules.allows("build/keep.py")
    assert not rules.allows("a/build/keep.py")
    assert rules.allows("lib/x.txt")
    assert not rules.allows("lib")


def test_what_is_out_of_sight_is_out_of_scope_too() -> None:
    rules = ScopeRules(["src/**"], sight=["**", "!src/vendor/", "src/vendor/README.md"])
    assert rules.allows("src/a.py")
    assert not rules.shows("src/vendor/a.py")
    assert not rules.allows("src/vendor/a.py")
    assert rules.allows("src/vendor/README.md")
    assert rules.shows("docs/a.md")
    assert ScopeRules(["src/**"]).shows("anything/at/all")
    with pytest.raises(WorkspaceError, match=r"project\.sight"):
        ScopeRules(["src/**"], sight=["/"])


def test_a_file_under_the_name_of_a_folder_that_instructs_is_refused_too() -> None:
    assert refusal_of(".vscode", exists=True) == "editors run commands from it"
