"""What of the host's own system a confined command is shown, read once.

Separate from the argument list so that the list is a pure function of it. Distributions differ in
whether `/bin` is a link, in where certificates lie, and in how they name the loader's folders.
Nothing of /etc is shown but what stands here; above all no private keys and no tool configuration,
which may hold tokens.
"""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

from agentcoord.values import dataclass

_TOP = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)
_STORES = ("/nix/store", "/gnu/store")
"""World-readable stores that the programs of some distributions live in."""


@dataclass(frozen=True, slots=True)
class HostLayout:
    """The system folders of this machine, and the bounds it already sets."""

    bash: Path
    """As it is called inside."""
    links: tuple[tuple[str, str], ...]
    """(target text, path) of each top-level link such as `/bin`."""
    folders: tuple[Path, ...]
    """Shown read-only at the same path; `/usr` is among them."""
    etc: tuple[Path, ...]
    """Shown read-only at the same path."""
    user_id: int
    group_id: int
    open_files_max: int
    processes_max: int
    memory_max_bytes: int
    """The hard limits of the daemon: asking for more inside would fail. -1: none."""
    memory_bytes: int
    """Of the machine."""


def read_layout() -> HostLayout | None:
    """Look at this machine; None when it has no bash."""
    links: list[tuple[str, str]] = []
    folders = [Path("/usr")]
    for name in _TOP:
        path = Path("/") / name
        if path.is_symlink():
            links.append((str(path.readlink()), str(path)))
        elif path.is_dir():
            folders.append(path)
    folders += [Path(store) for store in _STORES if Path(store).is_dir()]
    etc = tuple(Path("/etc") / name for name in _ETC if (Path("/etc") / name).exists())
    bash = _find_bash(folders)
    if bash is None:
        return None
    return HostLayout(
        bash=bash,
        links=tuple(links),
        folders=tuple(folders),
        etc=etc,
        user_id=os.getuid(),
        group_id=os.getgid(),
        open_files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        processes_max=resource.getrlimit(resource.RLIMIT_NPROC)[1],
        memory_max_bytes=resource.getrlimit(resource.RLIMIT_DATA)[1],
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    )


def _find_bash(folders: list[Path]) -> Path | None:
    for fixed in (Path("/bin/bash"), Path("/usr/bin/bash")):
        if fixed.exists():
            return fixed
    found = shutil.which("bash")
    if found is None:
        return None
    real = Path(found).resolve()
    return real if any(real.is_relative_to(folder) for folder in folders) else None
