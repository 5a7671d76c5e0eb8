"""What to tell the user when no sandbox works: the command that helps, for this distribution.

Separate because it is knowledge about distributions and about bubblewrap's messages, and nothing
else. Messages are matched because bubblewrap has no error codes. `scripts/install_bubblewrap.sh`
knows the same distributions; change both.
"""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

_INSTALL = {
    "debian": "sudo apt-get install -y bubblewrap",
    "fedora": "sudo dnf install -y bubblewrap",
    "arch": "sudo pacman -S --needed bubblewrap",
    "suse": "sudo zypper install -y bubblewrap",
    "alpine": "sudo apk add bubblewrap",
}
_FAMILY = {
    "debian": "debian",
    "ubuntu": "debian",
    "fedora": "fedora",
    "rhel": "fedora",
    "centos": "fedora",
    "arch": "arch",
    "suse": "suse",
    "opensuse": "suse",
    "alpine": "alpine",
}
_NO_NAMESPACES = (
    "loopback: Failed RTM_NEWADDR",
    "setting up uid map: Permission denied",
    "No permissions to create a new namespace",
    "No permissions to creating new namespace",
    "Creating new namespace failed",
    "Can't mount proc on /newroot/proc",
)
_ANYWHERE = "install bubblewrap with your system's package manager"


def install_command(os_release: str) -> str:
    """Return how to install bubblewrap, given the text of /etc/os-release."""
    fields = _fields(os_release)
    for name in [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]:
        family = _FAMILY.get(name.split("-")[0])
        if family is not None:
            return _INSTALL[family]
    return _ANYWHERE


def means_no_namespaces(message: str) -> bool:
    """Whether bubblewrap says that this user may not make namespaces."""
    return any(known in message for known in _NO_NAMESPACES)


def mend_for(message: str, proc: Path = Path("/proc")) -> str:
    """Return what helps against a message of bubblewrap's."""
    if not means_no_namespaces(message):
        return f"{_ANYWHERE} again: what is there does not work (`bwrap --ro-bind / / true` shows how)"
    if _number(proc / "sys/kernel/apparmor_restrict_unprivileged_userns") == 1:
        return (
            "sudo apt-get install -y apparmor-profiles && "
            "sudo ln -sf /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
            "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict"
        )
    if _number(proc / "sys/kernel/unprivileged_userns_clone") == 0:
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if _number(proc / "sys/user/max_user_namespaces") == 0:
        return "sudo sysctl -w user.max_user_namespaces=15000"
    return (
        "user namespaces are closed here, as in most containers: start the container so that it "
        "may make them, or start the daemon with --unsafe-no-sandbox if the container is the sandbox"
    )


def system_install_command(os_release: Path = Path("/etc/os-release")) -> str:
    """Return how to install bubblewrap on this machine."""
    try:
        return install_command(os_release.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return _ANYWHERE


def other_system_mend() -> str:
    """Return what to say where neither bubblewrap nor seatbelt exists."""
    return f"there is no sandbox for {platform.system()}: use Linux, macOS, or a Linux container"


def _fields(os_release: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in os_release.splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            try:
                words = shlex.split(value)
            except ValueError:
                continue
            fields[name.strip()] = " ".join(words)
    return fields


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
