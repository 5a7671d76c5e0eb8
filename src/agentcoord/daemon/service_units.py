"""What systemd and launchd are told so that they keep a project's daemon: the texts, and where they go.

Pure. Separate from the command that writes them. No secret is ever written into a unit: the key
comes from a file of the person's own, which the unit only names.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentcoord.config.paths import ProjectPaths
from agentcoord.values import dataclass

MADE_BY_US = "Made by `agentcoordd install-service`"
WATCHDOG_S = 60
STOP_TIMEOUT_S = 180
_KEPT_VARIABLES = ("PATH", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "ANTHROPIC_BASE_URL", "LANG")
"""What the daemon needs and a service manager would not give it; never a key."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A file that a service manager reads."""

    name: str
    """By which the manager calls it."""
    path: Path
    text: str


def systemd_unit(paths: ProjectPaths, words: Sequence[str], env: Mapping[str, str]) -> Unit:
    """A user unit that runs `words` (a whole command line). See systemd.service(5)."""
    name, file = systemd_place(paths, env)
    # The manager sets its own XDG_RUNTIME_DIR, which is the user's.
    kept = {key: env[key] for key in _KEPT_VARIABLES if env.get(key) and key != "XDG_RUNTIME_DIR"}
    lines = [
        f"# {MADE_BY_US}; `agentcoordd uninstall-service` takes it away.",
        "[Unit]",
        f"Description=AgentCoord for {_plain(str(paths.root))}",
        "StartLimitIntervalSec=600",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"WatchdogSec={WATCHDOG_S}",
        f"ExecStart={' '.join(_quoted(word) for word in words)}",
        f"WorkingDirectory={_plain(str(paths.root))}",
        *(f"Environment={_quoted(f'{key}={value}', dollar=False)}" for key, value in sorted(kept.items())),
        f"EnvironmentFile=-{_plain(str(key_file(env)))}",
        "Restart=on-failure",
        "RestartSec=5",
        "# A wrong configuration and a daemon that runs already are not mended by trying again.",
        "RestartPreventExitStatus=2 5",
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_TIMEOUT_S}",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return Unit(name, file, "\n".join(lines) + "\n")


def systemd_place(paths: ProjectPaths, env: Mapping[str, str]) -> tuple[str, Path]:
    """The name and the file of a project's user unit."""
    name = f"agentcoord-{paths.project_id}.service"
    config_home = Path(env.get("XDG_CONFIG_HOME") or Path(env["HOME"]) / ".config")
    return name, config_home / "systemd" / "user" / name


def launchd_agent(paths: ProjectPaths, words: Sequence[str], env: Mapping[str, str]) -> Unit:
    """A launchd agent that runs `words`. See launchd.plist(5). launchd reads no file with a key."""
    label, file = launchd_place(paths, env)
    agent = {
        "Label": label,
        "ProgramArguments": list(words),
        "WorkingDirectory": str(paths.root),
        "EnvironmentVariables": {key: env[key] for key in _KEPT_VARIABLES if env.get(key)},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 30,
        "ExitTimeOut": STOP_TIMEOUT_S,
        "ProcessType": "Background",
        "StandardErrorPath": str(paths.startup_log),
    }
    text = plistlib.dumps(agent).decode().replace("<plist ", f"<!-- {MADE_BY_US} -->\n<plist ", 1)
    return Unit(label, file, text)


def launchd_place(paths: ProjectPaths, env: Mapping[str, str]) -> tuple[str, Path]:
    """The label and the file of a project's agent."""
    label = f"dev.agentcoord.{paths.project_id}"
    return label, Path(env["HOME"]) / "Library" / "LaunchAgents" / f"{label}.plist"


def key_file(env: Mapping[str, str]) -> Path:
    """Where a person puts `ANTHROPIC_API_KEY=...` for the service; mode 0600."""
    return Path(env.get("XDG_CONFIG_HOME") or Path(env["HOME"]) / ".config") / "agentcoord" / "env"


def _plain(value: str) -> str:
    """A value without quoting rules; only `%` means something there."""
    return value.replace("%", "%%")


def _quoted(word: str, *, dollar: bool = True) -> str:
    """A word of a command line, or an assignment, by the rules of systemd.service(5)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + (escaped.replace("$", "$$") if dollar else escaped) + '"'
