"""The supervisor: what it starts again, how often, and what it leaves alone. Real (small) children."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agentcoord.daemon.supervisor import Patience, Supervisor

QUICK = Patience(restarts=2, first_pause_s=0.0, ask_every_s=0.05, silences=2, dump_s=1.0)
READY = "import os, sys, time, signal; os.write(int(sys.argv[-1]), b'{\"ready\": true}\\n'); "


class Children:
    """A child that runs `code` and counts its lives; what the starter was told; who answers."""

    def __init__(self, folder: Path, code: str) -> None:
        self.lives_file = folder / "lives"
        name = repr(str(self.lives_file))
        count = f"open({name}, 'a').write('x'); n = len(open({name}).read()); "
        self.words: list[bytes] = []
        self.command = [sys.executable, "-c", count + code]

    @property
    def lives(self) -> int:
        return len(self.lives_file.read_text())

    def run(self, answers: Callable[[float], bool] = lambda _: True, patience: Patience = QUICK) -> int:
        tell = self.words.append
        return Supervisor(self.command, answers=answers, tell_starter=tell, patience=patience).run()


def test_an_orderly_end_is_the_end(tmp_path: Path) -> None:
    children = Children(tmp_path, READY)
    assert children.run() == 0
    assert (children.lives, children.words) == (1, [b'{"ready": true}\n'])


def test_a_death_is_answered_with_a_new_life(tmp_path: Path) -> None:
    children = Children(tmp_path, READY + "n == 1 and os.kill(os.getpid(), signal.SIGKILL)")
    assert children.run() == 0
    assert children.lives == 2
    assert len(children.words) == 1


def test_one_that_keeps_dying_is_given_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    children = Children(tmp_path, READY + "sys.exit(70)")
    assert children.run() == 70
    assert children.lives == 1 + QUICK.restarts
    assert "given up: 2 restarts" in capfd.readouterr().err


@pytest.mark.parametrize("word", ["", 'os.write(int(sys.argv[-1]), b\'{"error": "no"}\\n\'); '])
def test_a_first_start_that_fails_is_told_and_not_repeated(tmp_path: Path, word: str) -> None:
    children = Children(tmp_path, f"import os, sys; {word}sys.exit(1)")
    assert children.run() == 5
    assert children.lives == 1
    assert len(children.words) == 1


def test_another_daemon_that_was_started_by_hand_is_left_alone(tmp_path: Path) -> None:
    children = Children(tmp_path, READY + "sys.exit(5 if n == 2 else 1)")
    assert children.run() == 5
    assert children.lives == 2


def test_one_that_does_not_answer_says_where_it_stands_and_is_killed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hangs = "import faulthandler; faulthandler.register(signal.SIGQUIT); n == 1 and time.sleep(60)"
    children = Children(tmp_path, READY.replace("os.write", hangs.partition(";")[0] + "; os.write") + hangs)
    assert children.run(answers=lambda _: False) == 0
    said = capfd.readouterr().err
    assert "does not answer" in said
    assert "most recent call first" in said
    assert children.lives == 2


def test_restarts_that_are_long_past_do_not_count(tmp_path: Path) -> None:
    children = Children(tmp_path, READY + "sys.exit(70 if n < 5 else 0)")
    assert children.run(patience=replace(QUICK, window_s=0.0)) == 0
    assert children.lives == 5 > 1 + QUICK.restarts


def test_a_stop_that_comes_before_the_first_child_lets_no_second_one_begin(tmp_path: Path) -> None:
    children = Children(tmp_path, READY + "sys.exit(70)")
    supervisor = Supervisor(
        children.command, answers=lambda _: True, tell_starter=children.words.append, patience=QUICK
    )
    supervisor.stop(15, None)
    assert supervisor.run() == 70
    assert children.lives == 1
