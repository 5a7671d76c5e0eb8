"""The supervisor: what it starts again, how often, and what it leaves alone. Real (small) children."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agentcoord.config.paths import ProjectPaths
from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.supervisor import Patience, Supervisor, command_of, hindrance_to
from agentcoord.daemon.supervisor_words import tell_user, tell_user_of_wait
from agentcoord.daemon.told_to_stop import told_to_stop

QUICK = Patience(restarts=2, first_pause_s=0.0, ask_every_s=0.05, silences=2, dump_s=1.0)
READY = "import os, sys, time, signal; os.write(int(sys.argv[-1]), b'{\"ready\": true}\\n'); "


class Children:
    """A child that runs `code` and counts its lives; what the starter was told; who answers."""

    def __init__(self, folder: Path, code: str) -> None:
        self.lives_file = folder / "lives"
        name = repr(str(self.lives_file))
        count = f"open({name}, 'a').write('x'); n = len(open({name}).read()); "
        self.words: list[bytes] = []
        self.given_up: list[int] = []
        self.hindered: list[str] = []
        self.command = [sys.executable, "-c", count + code]

    @property
    def lives(self) -> int:
        return len(self.lives_file.read_text())

    def run(
        self,
        answers: Callable[[float], bool] = lambda _: True,
        patience: Patience = QUICK,
        told_to_stop: Callable[[int], bool] = lambda _: False,
        hindrance: Callable[[], str] = lambda: "",
    ) -> int:
        return Supervisor(
            self.command,
            answers=answers,
            tell_starter=self.words.append,
            tell_given_up=self.given_up.append,
            told_to_stop=told_to_stop,
            hindrance=hindrance,
            tell_hindered=self.hindered.append,
            patience=patience,
        ).run()


def test_an_orderly_end_is_the_end(tmp_path: Path) -> None:
    children = Children(tmp_path, READY)
    assert children.run() == 0
    assert (children.lives, children.words) == (1, [b'{"ready": true}\n'])
    assert children.given_up == []


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
    assert children.given_up == [2]


def test_giving_up_leaves_word_and_sends_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv(
        "AGENTCOORD_NOTIFY_COMMAND", f'echo "$NOTICE_KIND $NOTICE_TITLE: $NOTICE_TEXT" > "{told}"'
    )
    paths = ProjectPaths.of(tmp_path / "shop", {"HOME": str(tmp_path)})
    paths.root.mkdir()
    paths.state_dir.mkdir(parents=True)
    tell_user(paths, StartArgs().to_json())(5)
    words = paths.given_up_file.read_text()
    assert re.fullmatch(
        rf"the supervisor gave up at [-\d]+ [:\d]+ after 5 restarts: read {paths.startup_log}\n", words
    )
    assert told.read_text() == f"needs_you shop needs you: {words}"


def test_a_notice_that_nobody_wants_or_that_cannot_be_sent_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv("AGENTCOORD_NOTIFY_COMMAND", f'touch "{told}"')
    monkeypatch.setenv("AGENTCOORD_NOTIFY_EVENTS", "finished")
    paths = ProjectPaths.of(tmp_path, {"HOME": str(tmp_path)})
    tell_user(paths, StartArgs().to_json())(5)
    assert not told.exists()
    assert "no word is left" in capfd.readouterr().err
    (tmp_path / "agentcoord.toml").write_text("nonsense")
    tell_user(paths, StartArgs().to_json())(5)
    assert "nobody was told" in capfd.readouterr().err


def test_each_daemon_is_told_when_its_supervisor_began(tmp_path: Path) -> None:
    args = StartArgs(supervised=True, flags={"budget.run_usd": 2.0})
    *_, told = command_of(tmp_path, args.to_json(), 1_000)
    assert StartArgs.from_json(told) == replace(args, since_ms=1_000)


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


def _supervisor_of(
    children: Children,
    patience: Patience = QUICK,
    hindrance: Callable[[], str] = lambda: "",
    tell_hindered: Callable[[str], None] = lambda _: None,
    note: Callable[[], None] = lambda: None,
) -> Supervisor:
    return Supervisor(
        children.command,
        answers=lambda _: True,
        tell_starter=children.words.append,
        tell_given_up=children.given_up.append,
        hindrance=hindrance,
        tell_hindered=tell_hindered,
        note=note,
        patience=patience,
    )


def test_a_stop_that_comes_before_the_first_child_lets_none_stay(tmp_path: Path) -> None:
    children = Children(tmp_path, READY + "signal.pause()")
    supervisor = _supervisor_of(children)
    supervisor.stop(15, None)
    assert supervisor.run() in {-15, 5}, "it was ended, before or after it had said that it is ready"
    assert supervisor.was_told_to_stop
    assert children.given_up == []


def test_it_notes_itself_before_each_pause(tmp_path: Path) -> None:
    children, notes = Children(tmp_path, READY + "sys.exit(70 if n < 3 else 0)"), list[int]()
    supervisor = _supervisor_of(children, note=lambda: notes.append(children.lives))
    assert supervisor.run() == 0
    assert notes == [1, 2]


def test_a_stop_while_it_waits_is_the_end(tmp_path: Path) -> None:
    children = Children(tmp_path, READY + "sys.exit(70)")
    supervisor = _supervisor_of(
        children,
        replace(QUICK, look_again_s=3600.0),
        hindrance=lambda: "gone",
        tell_hindered=lambda _: supervisor.stop(15, None),
    )
    assert supervisor.run() == 70
    assert children.lives == 1


def test_one_that_was_told_to_stop_is_not_started_again_however_it_ended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    note = tmp_path / "told-to-stop"
    tells = f"n == 2 and open({str(note)!r}, 'w').write(str(os.getpid())); "
    children = Children(tmp_path, READY + tells + "os.kill(os.getpid(), signal.SIGKILL)")
    assert children.run(told_to_stop=told_to_stop(note)) == -9
    assert children.lives == 2
    assert "was told to stop and ended with -9; it is not started again" in capfd.readouterr().err
    assert children.given_up == []


@pytest.mark.parametrize("left", [None, "1", "nonsense", ""])
def test_a_note_that_is_no_note_of_this_daemon_lets_it_be_started_again(
    tmp_path: Path, left: str | None
) -> None:
    note = tmp_path / "told-to-stop"
    if left is not None:
        note.write_text(left)
    children = Children(tmp_path, READY + "n == 1 and os.kill(os.getpid(), signal.SIGKILL)")
    assert children.run(told_to_stop=told_to_stop(note)) == 0
    assert children.lives == 2


def test_none_is_started_in_vain_while_its_folders_cannot_be_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    looks: list[str] = []
    children = Children(tmp_path, READY + "n == 1 and os.kill(os.getpid(), signal.SIGKILL)")
    with tempfile.TemporaryDirectory(prefix="ac-") as short:  # pytest's own folders overrun a socket's path.
        runtime = Path(short) / "run"
        paths = ProjectPaths.of(tmp_path / "shop", {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)})
        runtime.write_text("in the way")

        def hindrance() -> str:
            if len(looks) == 2 * QUICK.restarts:
                runtime.unlink()
            looks.append(hindrance_to(paths)())
            return looks[-1]

        patience = replace(QUICK, look_again_s=0.0, looks=20)
        assert children.run(hindrance=hindrance, patience=patience) == 0
        assert paths.runtime_dir.is_dir()
    assert children.lives == 2
    why = f"cannot make the folder {paths.runtime_dir}: Not a directory"
    assert looks == [why] * 2 * QUICK.restarts + [""]
    assert children.hindered == [why]
    assert f"cannot be started again yet: {why}" in capfd.readouterr().err


def test_a_hindrance_that_stays_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    children = Children(tmp_path, READY + "sys.exit(1)")
    assert children.run(hindrance=lambda: "gone", patience=replace(QUICK, look_again_s=0.0, looks=3)) == 1
    assert children.hindered == ["gone"]
    assert children.given_up == [QUICK.restarts]


def test_a_wait_leaves_word_that_names_who_waits(tmp_path: Path) -> None:
    paths = ProjectPaths.of(tmp_path / "shop", {"HOME": str(tmp_path)})
    paths.root.mkdir()
    paths.state_dir.mkdir(parents=True)
    tell_user_of_wait(paths, StartArgs().to_json())("no folder")
    assert re.fullmatch(
        r"since [-\d]+ [:\d]+ the supervisor \(pid \d+\) waits to start the daemon again: no folder\n",
        paths.given_up_file.read_text(),
    )
