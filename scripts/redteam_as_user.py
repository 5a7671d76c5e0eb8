#!/usr/bin/env python3
"""Run tests/redteam as an ordinary user, when the tests are run by root.

Root is not bound by permissions, by the kernel's process limit, nor by what user namespaces may do: what
holds for root need not hold for the people who run AgentCoord. So the attacks are tried again as `nobody`,
from a copy of the checkout that `nobody` may read (it often lies in a closed home), with a copy of the
interpreter and the packages where those are closed too. Nothing is installed, no user is made, and the
copy is removed.

Whoever is not root has run the tests as an ordinary user already, and is told so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534
COPIED = ("src", "tests", "docs", "scripts", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", "pip", "setuptools", "mypy", "mypyc", "*__mypyc.*", "grimp"
)
NOT_NEEDED = shutil.ignore_patterns(
    *("__pycache__", "site-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "config-*")
)
TIMEOUT_S = 900.0


def main() -> int:
    """Return pytest's exit code."""
    if os.geteuid() != 0:
        print(f"red team: run as an ordinary user already (uid {os.geteuid()}); as root it was not")
        return 0
    with tempfile.TemporaryDirectory(prefix="ac-user-") as name:
        folder = Path(name)
        for part in COPIED:
            _copy(ROOT / part, folder / part)
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(folder / "src"),
        }
        python = Path(sys.executable)
        if not _works_for_nobody(python, env):
            python = _copy_interpreter(folder, env)
        for made in ("home", "tmp"):
            (folder / made).mkdir()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        print(f"red team: once more as an ordinary user (uid {NOBODY})", flush=True)
        pytest = [str(python), "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *sys.argv[1:]]
        return _as_nobody([*pytest, "tests/redteam"], cwd=folder, env=env).returncode


def _works_for_nobody(python: Path, env: dict[str, str]) -> bool:
    try:
        return (
            _as_nobody([str(python), "-c", "import pytest, agentcoord"], cwd=Path("/"), env=env).returncode
            == 0
        )
    except OSError:
        return False


def _copy_interpreter(folder: Path, env: dict[str, str]) -> Path:
    """Copy the base interpreter, its library and the packages; Python finds its home by itself."""
    base, home = Path(sys.base_prefix), folder / "python"
    library = Path(sysconfig.get_path("stdlib")).relative_to(base)
    program = home / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    program.parent.mkdir(parents=True)
    shutil.copy2(Path(sys.executable).resolve(), program)
    shutil.copytree(base / library, home / library, ignore=NOT_NEEDED)
    for shared in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(shared, home / "lib" / shared.name)
    _copy(Path(sysconfig.get_path("platlib")), folder / "packages")
    env["PYTHONPATH"] += f":{folder / 'packages'}"
    env["LD_LIBRARY_PATH"] = str(home / "lib")
    return program


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=LEFT_OUT, symlinks=True)
    else:
        shutil.copy2(source, target)


def _as_nobody(argv: list[str], *, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv, cwd=cwd, env=env, user=NOBODY, group=NOBODY, extra_groups=[], timeout=TIMEOUT_S, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
