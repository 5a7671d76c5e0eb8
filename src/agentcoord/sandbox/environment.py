"""The environment of a confined command: fixed, scrubbed, and the same every night.

Separate from the backends because all of them need it. Nothing is taken from the daemon's own
environment, so no key can leak through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agentcoord.sandbox.compilers import variables_of
from agentcoord.sandbox.policy import Policy
from agentcoord.sandbox.reachable import is_file, is_folder, is_link, is_program

HOME = Path("/home/agent")
ALIASES = Path("/run/agentcoord/bin")
"""A folder, last on PATH, that holds `python` where only `python3` exists."""
COMMAND_BYTES_MAX = 120_000
"""The kernel takes at most 128 KiB in one argument."""
SYSTEM_PATH = (Path("/usr/local/bin"), Path("/usr/bin"), Path("/bin"))

_FIXED: Mapping[str, str] = {
    "LANG": "C.UTF-8",
    "CI": "1",
    "TERM": "dumb",
    "SHELL": "/bin/bash",
    "PYTHONDONTWRITEBYTECODE": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    # No network: tools that would ask for it are told so at once instead of timing out.
    "UV_OFFLINE": "1",
    "UV_NO_SYNC": "1",
    "PIP_NO_INDEX": "1",
    "npm_config_offline": "true",
    "CARGO_NET_OFFLINE": "true",
    # Else rustup (1.28 and newer) writes into its folder before each call, which is shown read-only.
    "RUSTUP_AUTO_INSTALL": "0",
    "GOPROXY": "off",
}


def command_environment(policy: Policy, *, path: str, home: Path, temporary: Path) -> dict[str, str]:
    """Return the whole environment of a command; `policy.env` has the last word."""
    environment = {
        **_FIXED,
        "PATH": path,
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "UV_CACHE_DIR": str(temporary / "uv"),
        "USER": "agent",
        "LOGNAME": "agent",
        **variables_of(policy.toolchains),
    }
    for source, target in policy.read_only.items():
        if target == policy.mount_at / ".venv" and is_file(source / "pyvenv.cfg"):
            environment["VIRTUAL_ENV"] = str(target)
    environment.update(policy.env)
    return environment


def search_folders(policy: Policy) -> tuple[Path, ...]:
    """Return the folders of PATH as they are called inside: shared dependencies, toolchains, system."""
    folders: list[Path] = []
    targets = sorted(policy.read_only.items(), key=lambda pair: (pair[1].name != ".venv", pair[1]))
    for source, target in targets:
        if is_file(source / "pyvenv.cfg"):
            folders.append(target / "bin")
        elif target.name == "node_modules":
            folders.append(target / ".bin")
    for tool in policy.toolchains:
        if is_folder(tool / "bin"):
            folders.append(tool / "bin")
        elif tool.name == "bin" and is_folder(tool):
            folders.append(tool)
        elif is_program(tool) or is_link(tool):
            folders.append(tool.parent)
    return tuple(dict.fromkeys([*folders, *SYSTEM_PATH]))


def host_of(policy: Policy) -> Callable[[Path], Path]:
    """Return a function from a path inside to the path on the host that it shows."""

    def on_host(inside: Path) -> Path:
        for source, target in policy.read_only.items():
            if inside.is_relative_to(target):
                return source / inside.relative_to(target)
        return inside

    return on_host


def python_to_alias(folders: tuple[Path, ...], on_host: Callable[[Path], Path]) -> Path | None:
    """Return the `python3` that a `python` is to be made for; None when there is one, or neither."""
    if any(is_program(on_host(folder / "python")) for folder in folders):
        return None
    for folder in folders:
        if is_program(on_host(folder / "python3")):
            return folder / "python3"
    return None


def unfit_command(command: str) -> str:
    """Return why no shell could be given this command, or nothing."""
    if "\0" in command:
        return "The command was not run: it contains a NUL character.\n"
    try:
        size_bytes = len(command.encode())
    except UnicodeEncodeError:
        return "The command was not run: it is not valid Unicode.\n"
    if size_bytes > COMMAND_BYTES_MAX:
        return (
            f"The command was not run: it has {size_bytes} bytes, and {COMMAND_BYTES_MAX} is the most. "
            "Write it to a file and run that.\n"
        )
    return ""
