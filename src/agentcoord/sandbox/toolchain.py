"""Finds the interpreters and compilers that a project runs on, so that they can be shown inside the sandbox.

Separate because it looks at the user's machine before any sandbox exists. A program is followed
link by link; each link outside the system's folders is remembered (it is made anew inside), and
where the chain ends the installation's prefix is taken: `<prefix>/bin/python3.12` gives `<prefix>`.

A prefix that holds the home directory, the repository or one of the places where people keep
secrets is never shown; then only the program and its library folder are.

Rust and Go are shown where their installers put them (`compilers`). Absent on purpose: other
compilers and package managers below the home directory than these and uv. What a project needs
beyond the system's own belongs into its shared dependencies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from agentcoord.sandbox.compilers import go_places, rust_places, uses
from agentcoord.sandbox.reachable import exists, is_file, is_folder, is_link

_SYSTEM = tuple(
    Path(folder) for folder in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/nix/store", "/gnu/store")
)
_ON_EVERY_PATH = (Path("/usr"), Path("/usr/local"))
_PRIVATE = (
    *(".ssh", ".gnupg", ".aws", ".config", ".local", ".local/share", ".local/state", ".cache", ".kube"),
    *(".cargo/credentials", ".cargo/credentials.toml", ".cargo/config.toml"),
)
_ASK: dict[str, tuple[str, ...]] = {
    "python3": ("-I", "-c", "import sys; print(sys.executable)"),
    "node": ("-p", "process.execPath"),
}
"""How a program that turns out to be a script (a shim of pyenv or asdf) tells what it stands for."""
_ASK_S = 10.0
_LINKS_MAX = 40


def toolchain_prefixes(
    repo_root: Path, share: Sequence[str], *, search_path: str | None = None, home: Path | None = None
) -> tuple[Path, ...]:
    """Return what must be shown read-only besides the system's folders, PATH's own tools first.

    `share` are the shared folders of the configuration; virtual environments among them count.
    Entries are prefixes, single programs or symbolic links. Starts a program and reads many files:
    call it in a thread.
    """
    where = _Borders(repo_root.resolve(), (home or Path.home()).resolve())
    found: list[Path] = []
    for name in ("python3", "node"):
        program = shutil.which(name, path=search_path)
        if program is not None:
            found += where.parts_of(_real_program(Path(program), name))
    uv = shutil.which("uv", path=search_path)
    if uv is not None:
        found += where.single_program(Path(uv))
    if uses(repo_root, "Cargo.toml"):
        found += where.named_places(rust_places(where.home, search_path))
    if uses(repo_root, "go.mod"):
        found += where.named_places(go_places(where.home, search_path))
    for folder in share:
        config = repo_root / folder / "pyvenv.cfg"
        if is_file(config):
            found += where.environment_parts(config.parent)
    return _without_covered(dict.fromkeys(found))


class _Borders:
    """What may be shown, given the repository and the home directory."""

    def __init__(self, repo_root: Path, home: Path) -> None:
        self._repo_root = repo_root
        self.home = home
        self._entered: set[Path] = set()
        """Virtual environments looked at; two may name each other."""

    def parts_of(self, program: Path) -> Iterator[Path]:
        """Yield what `program` needs in order to run inside."""
        links, real = _follow(program)
        yield from (link for link in links if self._may_show(link))
        hops = dict.fromkeys(path.parent.parent for path in (program, *links, real))
        for environment in hops:
            if is_file(environment / "pyvenv.cfg"):
                if self._may_show(environment):
                    yield environment
                yield from self.environment_parts(environment)
        prefix = real.parent.parent
        if not is_file(real) or _is_system(real) or is_file(prefix / "pyvenv.cfg"):
            return
        if real.parent.name == "bin" and self._may_show(prefix):
            yield prefix
        else:
            yield from (part for part in _narrow_parts(real) if self._may_show(part))

    def environment_parts(self, environment: Path) -> Iterator[Path]:
        """Yield what the interpreter of a virtual environment needs, without the environment itself."""
        if environment in self._entered:
            return
        self._entered.add(environment)
        base = _base_interpreter(environment)
        for program in (environment / "bin" / "python", base):
            if program is not None and exists(program):
                links, real = _follow(program)
                if real.parent != environment / "bin":
                    yield from (link for link in links if self._may_show(link))
                    yield from self.parts_of(real)

    def single_program(self, program: Path) -> Iterator[Path]:
        """Yield a program that is one file."""
        links, real = _follow(program)
        for path in (*links, real):
            if self._may_show(path) and not _is_script(real):
                yield path

    def named_places(self, places: Iterable[Path]) -> Iterator[Path]:
        """Yield those that may be shown; the system's own too, for they belong on PATH."""
        for place in places:
            real = Path(os.path.realpath(place))
            if _is_system(real):
                yield from (real,) if real not in _ON_EVERY_PATH else ()
            elif self._may_show(place) and self._may_show(real):
                # A link is made anew inside, and leads to what it stands for.
                yield from (place, real) if is_link(place) else (place,)

    def _may_show(self, path: Path) -> bool:
        """Whether showing `path` shows neither the home, nor the repository, nor a place for secrets."""
        if _is_system(path) or path == Path("/") or path.is_relative_to(self._repo_root):
            return False
        private = [self.home / name for name in _PRIVATE]
        return not any(kept.is_relative_to(path) for kept in (self.home, self._repo_root, *private))


def _follow(program: Path) -> tuple[list[Path], Path]:
    """Return every symbolic link outside the system on the way to the real file, and that file."""
    links: list[Path] = []
    path = Path(os.path.abspath(program))  # noqa: PTH100 - resolve() would follow the links
    for _ in range(_LINKS_MAX):
        link = next((part for part in (*reversed(path.parents), path) if is_link(part)), None)
        if link is None:
            return links, path
        if not _is_system(link):
            links.append(link)
        beyond = path.relative_to(link)
        path = Path(os.path.normpath(link.parent / link.readlink() / beyond))
    return links, path


def _real_program(program: Path, name: str) -> Path:
    """Return what a shim stands for; the program itself when it is no script or does not tell."""
    if not _is_script(program):
        return program
    try:
        # From the root folder: a shim reads settings from where it is started, and the
        # repository's are not to be trusted with what runs outside the sandbox.
        answer = subprocess.run(
            [str(program), *_ASK[name]], cwd="/", capture_output=True, text=True, timeout=_ASK_S, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return program
    told = Path(answer.stdout.strip())
    return told if told.is_absolute() and is_file(told) else program


def _is_script(program: Path) -> bool:
    try:
        with program.open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


def _base_interpreter(environment: Path) -> Path | None:
    """Return the interpreter that `home =` in pyvenv.cfg names."""
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and key.strip() == "home":
            folder = Path(value.strip())
            names = ("python3", "python")
            return next((folder / name for name in names if exists(folder / name)), None)
    return None


def _narrow_parts(real: Path) -> Iterator[Path]:
    """Yield the program and its library folder alone, for a prefix too wide to be shown."""
    yield real
    library = real.parent.parent / "lib"
    if is_folder(library / real.name):
        yield library / real.name
    yield from sorted(library.glob(f"lib{real.name}*.so*"))


def _is_system(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _SYSTEM)


def _without_covered(paths: dict[Path, None]) -> tuple[Path, ...]:
    """Drop what lies below another entry that is a real folder."""
    folders = [path for path in paths if is_folder(path) and not is_link(path)]
    return tuple(
        path
        for path in paths
        if not any(path != folder and path.is_relative_to(folder) for folder in folders)
    )
