"""Tells the user that the supervisor has given up: `python -m agentcoord.daemon.last_notice`, its child.

A process of its own because the supervisor imports none of what can send a notice, and outlives whatever
goes wrong here. Where notices go, and whether those of this kind are wanted, is what the settings and the
environment say, as in the daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentcoord.config.load import load_settings
from agentcoord.daemon.notices import Notice, NoticeKind
from agentcoord.daemon.notifications import send_to_all, ways_to_notify
from agentcoord.daemon.start_args import StartArgs
from agentcoord.errors import AgentCoordError


def main(arguments: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> int:
    """Send `--text` by every way that is set up; 1 when the settings do not allow to know them."""
    parser = argparse.ArgumentParser(prog="agentcoord.daemon.last_notice")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--args", required=True)
    parser.add_argument("--text", required=True)
    words = parser.parse_args(arguments)
    env = os.environ if env is None else env
    try:
        notify = load_settings(words.root, env, StartArgs.from_json(words.args).flags).notify
        ways = ways_to_notify(notify, env)
    except AgentCoordError as error:
        sys.stderr.write(f"nobody was told: {error.message}\n")
        return 1
    if NoticeKind.NEEDS_YOU in notify.events:
        notice = Notice(NoticeKind.NEEDS_YOU, f"{words.root.name} needs you", words.text, urgent=True)
        asyncio.run(send_to_all(ways, notice))
    return 0


if __name__ == "__main__":
    sys.exit(main())
