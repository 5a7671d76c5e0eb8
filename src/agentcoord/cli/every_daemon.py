"""`agentcoordd status --all`: every daemon of this user, one line each, wherever one stands.

Reads what each daemon left beside its state and asks it on its socket; a daemon whose socket is
silent ended without a word. Needs no repository.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agentcoord.cli.invocation import Invocation
from agentcoord.cli.render import Column, cell, table
from agentcoord.config.paths import ProjectPaths
from agentcoord.errors import DaemonNotRunningError, WireError
from agentcoord.tui.styled import Tone
from agentcoord.wire.call import call_once
from agentcoord.wire.protocol import ExitCode, Method

ASK_TIMEOUT_S = 3.0
MAX_DAEMONS = 500


def answer_every_daemon(invocation: Invocation, *, as_json: bool) -> int:
    """Print them; exits 0 even when there are none."""
    home = ProjectPaths.of(Path("/"), invocation.env).state_dir.parent
    found = [_look(path) for path in sorted(home.glob("*/daemon.json"))[:MAX_DAEMONS]]
    daemons = [each for each in found if each is not None]
    terminal = invocation.terminal
    if as_json:
        terminal.document("agentcoordd.status-all", {"daemons": daemons})
    elif daemons:
        columns = [
            Column("STATE"),
            Column("PID", right=True),
            Column("VERSION"),
            Column("PROJECT", elastic=True),
        ]
        rows = [
            (
                cell(each["state"], Tone.BAD if each["state"] in ("crashed", "silent") else Tone.GOOD),
                cell(each["pid"] or ""),
                cell(each["version"], Tone.MUTED),
                cell(each["root"]),
            )
            for each in daemons
        ]
        terminal.lines(table(columns, rows, width=terminal.width))
    else:
        terminal.say("no daemon runs")
    return ExitCode.OK


def _look(identity_file: Path) -> dict[str, Any] | None:
    """What one daemon says, or is known to have been; None for a file that tells nothing."""
    try:
        said = json.loads(identity_file.read_text(encoding="utf-8"))
        socket, root = Path(said["socket"]), str(said["root"])
        version, pid = str(said["version"]), int(said["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    state = "crashed"
    try:
        status = call_once(socket, Method.STATUS, {}, ASK_TIMEOUT_S)
        state, pid, version = str(status["state"]), int(status["pid"]), str(status["version"])
    except DaemonNotRunningError:
        pid = 0
    except (WireError, KeyError):
        state = "silent"
    return {"state": state, "pid": pid or None, "version": version, "root": root, "socket": str(socket)}
