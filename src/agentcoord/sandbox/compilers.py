"""Where Rust's and Go's own installers put them, and what of it a check needs: programs and fetched sources.

Separate from `toolchain`, which follows interpreters link by link: here the places are agreed on
(`~/.cargo` beside `~/.rustup`, `/usr/local/go`, the module cache) and hold more than may be shown.
Only a repository that uses the language is shown its places.

Absent on purpose: Cargo's credentials and configuration, which may hold tokens, the clones that Go fetches
modules from, whose addresses may hold a password, and Cargo's notes of an address that holds one. What a
command writes (locks, build caches) goes to its own home, which vanishes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from agentcoord.sandbox.reachable import exists, is_file, is_folder, is_link, is_program

USUAL_GO = Path("/usr/local/go")
_ASK_S = 10.0
_UNREAD = frozenset({"node_modules", "target", "vendor"})
_CARGO_CACHES = ("registry", "git")
_CARGO_HOMES = (".cargo", "cargo")
_FETCHED_FROM = "FETCH_HEAD"
"""Where a clone of Cargo's notes which address it was fetched from. Nothing reads it to build."""
_ADDRESS_WITH_USER = re.compile(rb"://[^/\s]*@")
_GO_DOWNLOADS = ("cache", "download")


def uses(repo_root: Path, mark: str) -> bool:
    """Whether a file called `mark` is in the repository's root folder, or in one of those right below."""
    try:
        below = [entry for entry in repo_root.iterdir() if entry.name[0] != "." and entry.name not in _UNREAD]
    except OSError:
        return False
    return any(is_file(folder / mark) for folder in (repo_root, *below))


def rust_places(home: Path, search_path: str | None) -> Iterator[Path]:
    """Yield the folder of the programs, the toolchains behind them, and the sources that were fetched."""
    found = shutil.which("cargo", path=search_path)
    program = Path(found) if found else home / ".cargo" / "bin" / "cargo"
    if not is_program(program):
        return
    real = Path(os.path.realpath(program))
    homes = [each.parents[1] for each in (program, real) if each.parent.name == "bin"]
    of_rustup = next((each for each in homes if each.name in _CARGO_HOMES), None)
    cargo_home = of_rustup or home / ".cargo"
    rustup_home = cargo_home.with_name(cargo_home.name.replace("cargo", "rustup"))
    if of_rustup is not None:
        yield of_rustup / "bin"
    elif real.parent.name == "bin":
        yield real.parents[1]
    yield from _linked_toolchains(rustup_home / "toolchains")
    places = [rustup_home / "toolchains", rustup_home / "settings.toml"]
    places += [cargo_home / "registry", *_without_passwords(cargo_home / "git")]
    yield from (place for place in places if exists(place))


def _without_passwords(clones: Path) -> Iterator[Path]:
    """Yield the folder of Cargo's clones; in parts, when an address names a user, so perhaps a password."""
    try:
        bare = sorted((clones / "db").iterdir())
        telling = {each for each in bare if _ADDRESS_WITH_USER.search(_read(each / _FETCHED_FROM))}
        if not telling:
            yield clones
            return
        yield clones / "checkouts"
        for each in bare:
            if each in telling:
                yield from (part for part in sorted(each.iterdir()) if part.name != _FETCHED_FROM)
            else:
                yield each
    except (FileNotFoundError, NotADirectoryError):
        yield clones  # Nothing was fetched this way.
    except OSError:
        return  # What cannot be looked at is not shown.


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _linked_toolchains(folder: Path) -> Iterator[Path]:
    """Yield where `rustup toolchain link` leads to."""
    try:
        yield from (Path(os.path.realpath(entry)) for entry in sorted(folder.iterdir()) if is_link(entry))
    except OSError:
        return


def go_places(home: Path, search_path: str | None, *, usual: Path = USUAL_GO) -> Iterator[Path]:
    """Yield Go's own folder, and the modules that were fetched. Starts `go`, outside the repository."""
    found = shutil.which("go", path=search_path)
    program = Path(found) if found else usual / "bin" / "go"
    if not is_program(program):
        return
    root, modules = _told_by(program)
    yield root or Path(os.path.realpath(program)).parent.parent
    modules = modules or home / "go" / "pkg" / "mod"
    try:
        hosts = sorted(entry for entry in modules.iterdir() if entry.name != "cache" and is_folder(entry))
    except OSError:
        return
    yield from hosts
    downloads = modules.joinpath(*_GO_DOWNLOADS)
    if is_folder(downloads):
        yield downloads


def variables_of(toolchains: Sequence[Path]) -> dict[str, str]:
    """Return what tells rustup and Go where `toolchains` are."""
    variables: dict[str, str] = {}
    for tool in toolchains:
        if tool.name == "toolchains":
            variables.setdefault("RUSTUP_HOME", str(tool.parent))
        elif tool.parts[-2:] == _GO_DOWNLOADS:
            variables["GOMODCACHE"] = str(tool.parents[1])
    return variables


def home_links_of(toolchains: Sequence[Path]) -> dict[Path, Path]:
    """Return the links that a command's home has, relative to it: to Cargo's caches."""
    return {
        Path(".cargo") / folder.name: folder
        for tool in toolchains
        for folder in (tool, *tool.parents)  # A cache may be shown in parts.
        if folder.name in _CARGO_CACHES and folder.parent.name in _CARGO_HOMES
    }


def _told_by(program: Path) -> tuple[Path | None, Path | None]:
    """Return the root folder and the module cache that `go` names."""
    try:
        answer = subprocess.run(
            [str(program), "env", "GOROOT", "GOMODCACHE"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None, None
    told = [Path(line) for line in answer.stdout.splitlines()]
    root = next((path for path in told[:1] if path.is_absolute() and is_program(path / "bin" / "go")), None)
    modules = next((path for path in told[1:2] if path.is_absolute()), None)
    return root, modules
