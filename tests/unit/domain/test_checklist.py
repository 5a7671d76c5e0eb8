"""Markdown checklists as plans: what is a task, what it needs, and ids that stay."""

from __future__ import annotations

import pytest

from agentcoord.domain.plan import parse_plan
from agentcoord.domain.task import TaskSpec
from agentcoord.errors import PlanError


def tasks(text: str) -> dict[str, TaskSpec]:
    return {task.id: task for task in parse_plan(text, format="markdown", source="todo.md").tasks}


def test_open_items_become_tasks_and_done_ones_do_not() -> None:
    text = (
        "# Tonight\n- [ ] Fix it\n  because\n\n  it is broken\n- [x] Done\n  with text\n1. [ ] Mend it\nEnd\n"
    )
    found = tasks(text)
    assert [(task.id, task.title, task.description) for task in found.values()] == [
        ("fix-it", "Fix it", "because\n\nit is broken"),
        ("mend-it", "Mend it", ""),
    ]


def test_ticking_one_off_renames_nobody() -> None:
    text = "- [ ] Fix it\n- [ ] Fix it\n- [ ] Other (id: fix-it-3)\n- [ ] Fix it\n"
    assert list(tasks(text)) == ["fix-it", "fix-it-2", "fix-it-3", "fix-it-4"]
    assert list(tasks(text.replace("[ ]", "[x]", 1))) == ["fix-it-2", "fix-it-3", "fix-it-4"]


def test_an_item_waits_for_those_below_it_that_are_open() -> None:
    text = """
- [ ] Ship
  - [ ] Parse
    how it is parsed
  - [x] Decide
    - [ ] Left over
  what ships
- [ ] After (needs: Ship, decide, elsewhere)
"""
    found = tasks(text)
    assert {task.id: task.needs for task in found.values()} == {
        "ship": ("parse",),
        "parse": (),
        "left-over": (),
        "after": ("ship", "elsewhere"),
    }
    assert found["ship"].description == "what ships"
    assert found["parse"].description == "how it is parsed"


def test_groups_at_the_end_of_a_title_are_what_keys_are_in_toml() -> None:
    line = (
        "- [ ] Call f(x) (see: RFC 3) (id: call) (tags: backend, testing) (priority: 5) (budget: $0.40)"
        " (tokens: 200,000)"
        " (writes: src/*.py, `a.py`) (check: `python -c 'print(1)'`) (on_need_failed: skip)"
    )
    assert tasks(line)["call"] == TaskSpec(
        id=tasks(line)["call"].id,
        title="Call f(x) (see: RFC 3)",
        tags=("backend", "testing"),
        priority=5,
        budget_usd_micros=tasks("- [ ] a (budget_usd: 0.4)")["a"].budget_usd_micros,
        budget_tokens=200_000,
        writes=("src/*.py", "a.py"),
        check="python -c 'print(1)'",
        on_need_failed=tasks("- [ ] a (on_need_failed: skip)")["a"].on_need_failed,
    )


def test_fenced_code_is_text_and_keeps_its_shape() -> None:
    text = "- [ ] Doc\n  ```\n  - [ ] no task\n      deep\n  ```\n\n```\n- [ ] none either\n```\n"
    assert [(task.id, task.description) for task in tasks(text).values()] == [
        ("doc", "```\n- [ ] no task\n    deep\n```")
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing", "t.md:1: no `- [ ] title` line: nothing to do"),
        ("- [x] all done", "t.md:1: no `- [ ] title` line: nothing to do"),
        ("\n- [ ] a (need: b)", "t.md:2: unknown key 'need' (did you mean 'needs'?)"),
        (
            "- [ ] a (priority: high)",
            "t.md:1: priority is a number from 1 (idle) to 5 (critical), not 'high'",
        ),
        ("- [ ] a (budget: much)", "t.md:1: budget_usd is a number of dollars above 0, not 'much'"),
        ("- [ ] a (tokens: 2k)", "t.md:1: budget_tokens is a whole number of tokens above 0, not '2k'"),
        ("- [ ] a (id: x)\n- [ ] b (id: x)", "t.md:2: id 'x' is used twice; first in line 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse_plan(text, format="markdown", source="t.md")
    assert caught.value.problems == (problem,)


def test_a_long_line_is_read_in_linear_time() -> None:
    found = tasks("- [ ] " + "a " * 200_000 + "(" * 200_000 + "x" + ")" * 200_000)
    assert len(found) == 1
