"""What a path's name alone says: never lands, looks like a secret, is debris, runs on your machine.

Separate from `scope`, which is what the user chose; these lists hold whatever the user
chose. Pure functions on `/`-separated paths relative to the repository. Deliberately
absent: anything that looks at the disk (symlinks, set-id bits: see `landing`).
"""

from __future__ import annotations

import re
import unicodedata
from fnmatch import fnmatchcase, translate
from functools import cache, lru_cache

SIBLING_PREFIX = ".agentcoord-"
SIBLING_SUFFIX = ".tmp"
"""Names of the files that a landing puts beside its targets for some milliseconds."""

_FORBIDDEN_FILES: dict[str, str] = {
    "sitecustomize.py": "Python runs it at every start",
    "usercustomize.py": "Python runs it at every start",
    ".envrc": "direnv runs it when the folder is entered",
    ".mcp.json": "it starts programs for coding agents",
    ".cursorrules": "it instructs coding agents",
    ".windsurfrules": "it instructs coding agents",
    "agents.md": "it instructs coding agents",
    "agents.override.md": "it instructs coding agents",
    "claude.md": "it instructs coding agents",
    "claude.local.md": "it instructs coding agents",
    "gemini.md": "it instructs coding agents",
    ".pre-commit-config.yaml": "it runs at every commit",
    ".pre-commit-config.yml": "it runs at every commit",
    ".pre-commit-hooks.yaml": "it runs at every commit",
    "lefthook.yml": "it runs at every commit",
    "lefthook.yaml": "it runs at every commit",
    "jenkinsfile": "it is a CI workflow",
    ".travis.yml": "it is a CI workflow",
    ".drone.yml": "it is a CI workflow",
    ".woodpecker.yml": "it is a CI workflow",
    ".woodpecker.yaml": "it is a CI workflow",
    ".appveyor.yml": "it is a CI workflow",
    "appveyor.yml": "it is a CI workflow",
    "azure-pipelines.yml": "it is a CI workflow",
    "bitbucket-pipelines.yml": "it is a CI workflow",
    "agentcoord.toml": "it sets the rules that workers obey",
    ".worktreeinclude": "it sets what workers may see",
    ".lfsconfig": "it says where git-lfs sends files",
}
_FORBIDDEN_FOLDERS: dict[str, str] = {
    ".vscode": "editors run commands from it",
    ".idea": "editors run commands from it",
    ".zed": "editors run commands from it",
    ".devcontainer": "editors run commands from it",
    ".claude": "it instructs coding agents",
    ".cursor": "it instructs coding agents",
    ".husky": "it runs at every commit",
    ".circleci": "it is a CI workflow",
    ".buildkite": "it is a CI workflow",
    ".woodpecker": "it is a CI workflow",
    ".forgejo": "it is a CI workflow",
    ".hg": "programs run commands from it",
    ".jj": "programs run commands from it",
    ".sl": "programs run commands from it",
    ".svn": "programs run commands from it",
}
_SECRETS = (
    *(".env*", "*.pem", "*.key", ".netrc", ".npmrc", ".pypirc", "credentials*"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx"),
    *(".git-credentials", ".htpasswd", ".pgpass", ".vault-token", "*.tfstate", "*.ovpn"),
)
_DEBRIS_FOLDERS = frozenset(
    {
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".tox",
        ".nox",
        "node_modules",
    }
)
_DEBRIS_FILES = ("*.pyc", "*.pyo", ".coverage", ".coverage.*", ".ds_store", "*.swp")
_RUNS_HERE = (
    "conftest.py",
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "pytest.ini",
    "tox.ini",
    "noxfile.py",
    "tasks.py",
    "manage.py",
    "makefile",
    "gnumakefile",
    "*.mk",
    "justfile",
    "taskfile.y*ml",
    "mise.toml",
    ".mise.toml",
    "cmakelists.txt",
    "*.cmake",
    "meson.build",
    "configure",
    "configure.ac",
    "build",
    "build.bazel",
    "workspace",
    "build.xml",
    "pom.xml",
    "*.gradle",
    "*.gradle.kts",
    "build.rs",
    "cargo.toml",
    "rakefile",
    "gemfile",
    "mix.exs",
    "package.json",
    "*.config.js",
    "*.config.cjs",
    "*.config.mjs",
    "*.config.ts",
    "gulpfile.*",
    "gruntfile.*",
    "dockerfile",
    "dockerfile.*",
    "*.dockerfile",
    "compose.y*ml",
    "docker-compose*.y*ml",
    "*.sh",
    "*.bash",
    "*.bat",
    "*.cmd",
    "*.ps1",
    "sitecustomize.py",
    "usercustomize.py",
    "*.pth",
    ".envrc",
    ".npmrc",
    ".pnpmfile.cjs",
    ".yarnrc.yml",
    ".pre-commit-config.yaml",
    "lefthook.y*ml",
    ".lefthook.y*ml",
    ".gitlab-ci.y*ml",
    ".travis.yml",
    "azure-pipelines.y*ml",
    "bitbucket-pipelines.yml",
    "jenkinsfile",
    ".rprofile",
    ".pdbrc",
    ".irbrc",
    ".pryrc",
    ".ghci",
    ".octaverc",
    ".gdbinit",
    ".lldbinit",
    ".exrc",
    ".vimrc",
    ".nvimrc",
    ".nvim.lua",
    ".lvimrc",
    ".dir-locals.el",
    ".bazelrc",
)
_RUNS_HERE_BELOW = (
    ".github/workflows",
    ".github/actions",
    ".circleci",
    ".buildkite",
    ".githooks",
    "githooks",
    ".vscode",
    ".cargo",
    ".mvn",
    ".yarn",
)
"""Folders of the root all of whose files do: hooks, what a continuous integration runs, build settings."""
_RUNS_HERE_FOLDERS = tuple(f"{below}/" for below in _RUNS_HERE_BELOW)
_SHORT_NAME = re.compile(r"\.?git~[0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TURNING = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that turn text around: `a<U+202E>gnp.py` is shown as `ayp.png`."""


@cache
def _runs_here_name() -> re.Pattern[str]:
    """All in one: the event loop asks this of every file of every task that it shows."""
    return re.compile("|".join(map(translate, _RUNS_HERE)))


def folded(component: str) -> str:
    """Return `component` as the most forgiving file system or reader would see it.

    Compatibility forms are folded (NFKC), case too, characters that HFS+ and readers ignore
    are dropped, and so are an NTFS stream and trailing dots and spaces.
    """
    if component.isascii():  # Nothing of it is ignored or has another form: thousands of names are folded.
        plain = component.lower()
        return plain.partition(":")[0].rstrip(". ") or plain
    visible = "".join(c for c in component if not _is_ignorable(c))
    plain = unicodedata.normalize("NFKC", visible).casefold()
    plain = "".join(c for c in unicodedata.normalize("NFKC", plain) if not _is_ignorable(c))
    return plain.partition(":")[0].rstrip(". ") or plain


def is_git_name(component: str) -> bool:
    """Whether `component` is `.git...` in any spelling, or the short name Windows gives it."""
    plain = folded(component)
    return plain.startswith(".git") or _SHORT_NAME.fullmatch(plain) is not None


def is_git_folder(component: str) -> bool:
    """Whether `component` is `.git` itself in any spelling; `.gitignore` is not."""
    plain = folded(component)
    return plain == ".git" or _SHORT_NAME.fullmatch(plain) is not None


def refusal_of(path: str, *, exists: bool = False) -> str | None:
    """Say why `path` never lands, or None when its name is no reason.

    `exists` is for a file that the user already has: a name that only must not be introduced
    (a secret's, one with control characters, one that a command takes for an option) is then
    no reason.
    """
    components = re.split(r"[/\\]", path)
    for component in components:
        if is_git_name(component):
            return "it belongs to git"
    plain = [folded(c) for c in components]
    for component in plain[:-1]:
        if component in _FORBIDDEN_FOLDERS:
            return _FORBIDDEN_FOLDERS[component]
    name = plain[-1]
    if name in _FORBIDDEN_FILES:
        return _FORBIDDEN_FILES[name]
    if name.endswith(".pth"):
        return "Python runs it at every start"
    if name in _FORBIDDEN_FOLDERS:
        return _FORBIDDEN_FOLDERS[name]
    if name.startswith(SIBLING_PREFIX) and name.endswith(SIBLING_SUFFIX):
        return "the name is reserved for landings"
    return None if exists else _refusal_of_new(path, components, name)


def _refusal_of_new(path: str, components: list[str], name: str) -> str | None:
    if _CONTROL.search(path):
        return "its name has control characters"
    if _TURNING.search(path):
        return "its name has characters that turn text around"
    if any("\udc80" <= c <= "\udcff" for c in path):
        return "its name is not UTF-8"
    if any(c.startswith("-") for c in components):
        return "a command would take its name for an option"
    if is_secret(name):
        return "its name looks like a secret's"
    return None


def is_secret(path: str) -> bool:
    """Whether the file's name looks like one that holds secrets; untracked ones stay out of copies."""
    name = folded(path.rpartition("/")[2])
    return any(fnmatchcase(name, glob) for glob in _SECRETS)


def is_debris(path: str) -> bool:
    """Whether a new file is what tools leave behind when they run, ignored by git or not."""
    *folders, name = path.split("/")
    if any(folder in _DEBRIS_FOLDERS for folder in folders):
        return True
    return any(fnmatchcase(name.casefold(), glob) for glob in _DEBRIS_FILES)


def is_sibling(path: str) -> bool:
    """Whether `path` is a landing's own file, there for some milliseconds; never copied."""
    if not path.endswith(SIBLING_SUFFIX):
        return False
    return path.rpartition("/")[2].startswith(SIBLING_PREFIX)


def runs_on_your_machine(path: str) -> bool:
    """Whether it executes, or says what executes, when the user or their CI builds, tests or commits."""
    folder, _, name = path.rpartition("/")
    return _all_run_here(folder) or _runs_here_name().match(folded(name)) is not None


@lru_cache(maxsize=1000)
def _all_run_here(folder: str) -> bool:
    """Whether all that is in `folder` does, whatever it is called."""
    folders = "/".join(folded(component) for component in folder.split("/"))
    return f"{folders}/".startswith(_RUNS_HERE_FOLDERS)


def _is_ignorable(char: str) -> bool:
    """Format characters, variation selectors and fillers: drawn as nothing."""
    return (
        unicodedata.category(char) == "Cf"
        or char in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
        or (
            "\ufe00" <= char <= "\ufe0f"
            or "\u180b" <= char <= "\u180f"
            or "\U000e0100" <= char <= "\U000e01ef"
        )
    )
