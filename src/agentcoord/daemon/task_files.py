"""Where the files of a task's attempts lie, below the folder of all transcripts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agentcoord.domain.ids import TaskId

SUMMARY_NAME: Final = "summary.json"
"""In the task's folder: what the worker said when it claimed to be finished."""


def transcript_file(home: Path, task_id: TaskId, attempt: int) -> Path:
    """Where the conversation of an attempt lies."""
    return home / task_id / f"attempt-{attempt}.jsonl"
