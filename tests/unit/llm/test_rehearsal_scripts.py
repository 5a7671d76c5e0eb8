"""Rehearsal scripts: what is read, what is refused, and what the page about them says."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.errors import RehearsalScriptError
from agentcoord.llm.rehearsal import scripts as scripts_module
from agentcoord.llm.rehearsal.faults import Dice, Fault, FaultKind
from agentcoord.llm.rehearsal.scripts import load_scripts

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "rehearsal-scripts.md"

GOOD = """
task = "unit-tests"
[[turn]]
text = "I will look first."
thinking = "Where?"
thinking_ms = 400
[[turn.tool]]
name = "bash"
input = { command = "ls" }
[[turn]]
text = "Green."
fault = "drop"
[[turn.when]]
last_result_contains = "FAILED"
text = "Red: I will mend it."
fault = { kind = "rate_limit", times = 2, retry_after_s = 0.5 }
[[turn.when.tool]]
name = "bash"
input = { command = "mend" }
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def test_a_script_is_read_whole(tmp_path: Path) -> None:
    script = load_scripts(write(tmp_path, a=GOOD))["unit-tests"]
    first = script.answer_to(0, "")
    assert (first.text, first.thinking, first.thinking_ms) == ("I will look first.", "Where?", 400)
    assert (first.tools[0].name, first.tools[0].input) == ("bash", {"command": "ls"})
    assert first.effective_stop_reason == "tool_use"
    second = script.answer_to(1, "3 passed")
    assert (second.text, second.effective_stop_reason) == ("Green.", "end_turn")
    assert second.fault == Fault(FaultKind.DROP)


def test_a_variant_is_played_when_the_last_result_holds_its_words(tmp_path: Path) -> None:
    script = load_scripts(write(tmp_path, a=GOOD))["unit-tests"]
    red = script.answer_to(1, "test_x FAILED\n1 failed")
    assert red.text.startswith("Red")
    assert red.tools[0].input == {"command": "mend"}
    assert red.fault == Fault(FaultKind.RATE_LIMIT, times=2, retry_after_s=0.5)


def test_beyond_the_last_turn_comes_a_plain_end(tmp_path: Path) -> None:
    answer = load_scripts(write(tmp_path, a=GOOD))["unit-tests"].answer_to(2, "FAILED")
    assert answer.text
    assert answer.effective_stop_reason == "end_turn"
    assert answer.tools == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[turn]]\ntext = 'x'", "needs `task`"),
        ("task = 'a'\n[[turn]]\ntxt = 'x'", "turn 0: unknown key 'txt'"),
        ("task = 'a'\nturns = 1", "the file: unknown key 'turns'"),
        ("task = 'a'\n[[turn]]\ntext = 1", "`text` must be of type str"),
        ("task = 'a'\n[[turn]]\nthinking_ms = -1", "must not be negative"),
        ("task = 'a'\n[[turn]]\nthinking_ms = true", "`thinking_ms` must be of type int"),
        ("task = 'a'\n[[turn]]\nstop_reason = 'over'", "unknown stop_reason 'over'"),
        ("task = 'a'\n[[turn]]\nfault = 'flood'", "unknown fault 'flood'"),
        ("task = 'a'\n[[turn]]\nfault = {kind = 'drop', after = 2}", "`after` must be a number from 0 to 1"),
        ("task = 'a'\n[[turn]]\n[[turn.tool]]\nname = 'no spaces'", "turn 0, tool 0: `name`"),
        ("task = 'a'\n[[turn]]\n[[turn.tool]]\nname = 'x'\ninput = {at = 2026-11-22}", "cannot be JSON"),
        ("task = 'a'\n[[turn]]\n[[turn.when]]\ntext = 'x'", "needs `last_result_contains`"),
        ("task = 'a'\n[[turn]]\nblock = [{x = 1}]", "a block needs a `type`"),
        ("task = 'a'\nturn = 3", "`turn` must be tables"),
        ("task = ", "Invalid value"),
    ],
)
def test_a_script_that_is_wrong_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RehearsalScriptError) as caught:
        load_scripts(write(tmp_path, a=text))
    assert any("a.toml" in problem and words in problem for problem in caught.value.problems)


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path, a=GOOD, b=GOOD, c="[[turn]]\ntxt = 1\ntext = 2")
    with pytest.raises(RehearsalScriptError) as caught:
        load_scripts(folder)
    assert len(caught.value.problems) == 4
    assert any("a second script for the task 'unit-tests'" in problem for problem in caught.value.problems)


def test_a_folder_without_scripts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RehearsalScriptError, match="holds no script"):
        load_scripts(tmp_path)


def test_the_page_names_every_key_and_every_fault_and_its_example_plays(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    keys = scripts_module.SCRIPT_KEYS | scripts_module.TURN_KEYS | scripts_module.WHEN_KEYS
    for name in keys | scripts_module.TOOL_KEYS | scripts_module.FAULT_KEYS | set(FaultKind):
        assert f"`{name}`" in page, name
    example = page.split("```toml\n", 1)[1].split("```", 1)[0]
    assert load_scripts(write(tmp_path, example=example))


def test_the_dice_fall_the_same_for_the_same_seed_and_as_often_as_they_should() -> None:
    dice = Dice({FaultKind.DROP: 0.2, FaultKind.OVERLOADED: 0.1}, seed=7)
    throws = [dice.throw(f"task-{n}", turn, 0) for n in range(100) for turn in range(20)]
    assert throws == [dice.throw(f"task-{n}", turn, 0) for n in range(100) for turn in range(20)]
    kinds = [fault.kind for fault in throws if fault is not None]
    assert 320 < kinds.count(FaultKind.DROP) < 480
    assert 140 < kinds.count(FaultKind.OVERLOADED) < 260
    other = Dice(dice.probabilities, seed=8)
    assert throws != [other.throw(f"task-{n}", turn, 0) for n in range(100) for turn in range(20)]
    tries = {dice.throw("task-1", 1, attempt) for attempt in range(50)}
    assert len(tries) == 3
