"""The names of things: distinct types for distinct ids, and the rules they obey."""

from __future__ import annotations

import datetime
import re
from typing import NewType

from agentcoord.domain.project_slug import project_slug

TaskId = NewType("TaskId", str)
"""A task's id within its project: 1 to 64 of `a-z A-Z 0-9 . _ -`, the first a letter or digit."""
WorkerName = NewType("WorkerName", str)
"""A worker's display name, such as `Backend-Engineer-2`; the same alphabet as a task id."""
ProjectId = NewType("ProjectId", str)
"""`<folder name, cleaned>-<10 hex digits of the real path's SHA-256>`."""
RunId = NewType("RunId", str)
"""One night: `r<UTC time>`, such as `r20261122-211530`."""
FencingToken = NewType("FencingToken", int)
"""Grows with every claim; a landing with an older token than the lease's is refused."""

TASK_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RUN_ID_FORMAT = "r%Y%m%d-%H%M%S"


def project_id_of(real_path: str) -> ProjectId:
    """Return the id of the project whose repository's real path is `real_path`."""
    return ProjectId(project_slug(real_path))


def run_began_ms(run: str) -> int:
    """Return when a run began, to the second, as its id says; 0 for a text that says nothing of it."""
    try:
        moment = datetime.datetime.strptime(run, RUN_ID_FORMAT).replace(tzinfo=datetime.UTC)
    except ValueError:
        return 0
    return int(moment.timestamp()) * 1000
