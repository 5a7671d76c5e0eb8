"""`kill -9` before every single step of landing, undo and recovery: the tree is whole, always.

Before more of the system calls than the default: AGENTCOORD_KILLS=1000 (for each scenario).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crash_driver import AFTER, BEFORE, USERS

import agentcoord

TESTS = Path(__file__).parents[2]
SOURCES = Path(agentcoord.__file__).parents[1]
KILLS = int(os.environ.get("AGENTCOORD_KILLS", "25"))
A_KILL_S = 5


def text(files: dict[str, bytes]) -> dict[str, str]:
    return {path: content.decode() for path, content in files.items()}


def without_siblings(files: dict[str, str]) -> dict[str, str]:
    """What a person sees: without the landing's own files and its still empty folders."""
    return {p: c for p, c in files.items() if ".agentcoord-" not in p and not p.endswith("/")}


def play(
    tmp_path: Path, scenario: str, renames: str = "kernel", *, kills: int = 0
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what happened at each kill, and the names of the steps that it was killed before."""
    driver = Path(__file__).with_name("crash_driver.py")
    done = subprocess.run(
        [sys.executable, driver, str(tmp_path), scenario, renames, *([str(kills)] if kills else [])],
        capture_output=True,
        env={"PYTHONPATH": f"{TESTS}:{SOURCES}", "PATH": os.environ["PATH"]},
        timeout=50 + kills * A_KILL_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout), done.stderr.decode().split("\n")


@pytest.mark.parametrize("renames", ["kernel", "plain"])
def test_a_landing_killed_anywhere_is_whole_after_recovery_or_never_was(tmp_path: Path, renames: str) -> None:
    told, steps = play(tmp_path, "land", renames)
    assert len(told) >= 15
    assert {"verify", "record swapping", "swap 0", "swap 2", "record done", "clear 0"} <= set(steps)
    for outcome in told:
        assert outcome["end"] == text(AFTER if outcome["landed"] else BEFORE)
        for path, content in without_siblings(outcome["middle"]).items():
            assert content in (text(BEFORE).get(path), text(AFTER)[path])
        assert outcome["recovered_again"] == []
    assert {outcome["landed"] for outcome in told} == {True, False}
    landed = [outcome["landed"] for outcome in told]
    assert landed == sorted(landed)  # Once the right to land was verified and noted, it goes forward.
    if renames == "kernel":
        assert sum(outcome["kills"] for outcome in told) >= 20


def test_an_undo_killed_anywhere_is_whole_after_recovery_or_never_was(tmp_path: Path) -> None:
    told, steps = play(tmp_path, "undo")
    assert {"swap 0", "removed", "record done"} <= set(steps)
    for outcome in told:
        assert outcome["end"] == text(AFTER if outcome["landed"] else BEFORE)
        assert outcome["undone"] == [not outcome["landed"]]
    assert {outcome["landed"] for outcome in told} == {True, False}


def test_a_save_that_stops_a_landing_survives_a_kill_in_the_middle_of_going_back(tmp_path: Path) -> None:
    told, steps = play(tmp_path, "save in between")
    assert {"giving back", "back 0", "record abandoned"} <= set(steps)
    wholly_back = {**text(BEFORE), "d/b.py": USERS["d/b.py"].decode()}
    for outcome in told:
        saved = any(c == USERS["d/b.py"].decode() for c in outcome["middle"].values())
        assert not outcome["landed"] or not saved
        assert outcome["end"] == (wholly_back if saved else text(AFTER if outcome["landed"] else BEFORE))
    assert sum(outcome["end"] == wholly_back for outcome in told) >= 5


def test_a_save_on_top_of_what_went_in_is_kept_wherever_it_is_killed(tmp_path: Path) -> None:
    told, _ = play(tmp_path, "save behind the swap")
    saved = USERS["a.py"].decode()
    assert sum(outcome["middle"]["a.py"] == saved for outcome in told) >= 3
    for outcome in told:
        if outcome["middle"]["a.py"] == saved:
            assert outcome["end"]["a.py"] == saved
            assert {p: c for p, c in outcome["end"].items() if p != "a.py"} == {
                p: c for p, c in text(AFTER).items() if p != "a.py"
            }


def test_a_save_between_the_crash_and_the_recovery_is_never_overwritten(tmp_path: Path) -> None:
    told, _ = play(tmp_path, "save before recovery")
    saved = USERS["a.py"].decode()
    for outcome in told:
        assert outcome["end"]["a.py"] == saved
        others = {p: c for p, c in outcome["end"].items() if p != "a.py"}
        whole = AFTER if outcome["landed"] else BEFORE
        assert others == {p: c for p, c in text(whole).items() if p != "a.py"}
    assert {outcome["landed"] for outcome in told} == {True, False}


@pytest.mark.timeout(60 + KILLS * A_KILL_S)
@pytest.mark.parametrize(
    ("scenario", "renames"),
    [
        ("land", "kernel"),
        ("land", "plain"),
        ("land", "no links"),
        ("undo", "kernel"),
        ("undo", "no links"),
        ("save in between", "kernel"),
        ("save behind the swap", "kernel"),
        ("save before recovery", "kernel"),
    ],
)
def test_killed_before_any_system_call_nothing_is_lost_and_nothing_half(
    tmp_path: Path, scenario: str, renames: str
) -> None:
    told, calls = play(tmp_path, scenario, renames, kills=KILLS)
    assert len(told) == KILLS
    assert {"open", "write", "fsync"} <= set(calls)
    assert sum(not outcome["lived"] for outcome in told) >= KILLS * 0.8
    assert sum(outcome["kills"] for outcome in told) >= KILLS // 10
    for outcome in told:
        assert outcome["recovered_again"] == []
        landed, end = outcome["landed"], dict(outcome["end"])
        if scenario == "undo":
            assert outcome["undone"] == [not landed]
        for path, content in USERS.items():
            saved = content.decode()
            if saved in outcome["middle"].values() or (scenario == "save before recovery" and path == "a.py"):
                assert end.pop(path) == saved  # Whatever else happened, the user's save is there.
        whole = text(AFTER if landed else BEFORE)
        assert end == {path: content for path, content in whole.items() if path in end}
        assert whole.keys() - USERS.keys() <= end.keys()
        for path, middle in without_siblings(outcome["middle"]).items():
            assert middle in (text(BEFORE).get(path), text(AFTER)[path], text(USERS).get(path))
