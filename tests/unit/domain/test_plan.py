"""Plans: everything wrong is told at once, at its line, and good text becomes tasks."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcoord.domain.plan import parse_plan, read_plan
from agentcoord.domain.task import OnNeedFailed
from agentcoord.domain.worker import MISSION_WORKERS
from agentcoord.errors import PlanError

GOOD = """
[plan]
name = "overnight"

[[task]]
id = "unit-tests"
title = "Add missing unit tests"
priority = 5
tags = ["testing"]
writes = ["tests/test_tasks.py"]
check = "python -m pytest -q tests/test_tasks.py"
budget_usd = 0.60
description = \"\"\"
[[task]]
id = "not a task"
\"\"\"

[[task]]
id = "docs"
title = "Write docs"
needs = ["unit-tests"]
"""

BAD = """[plan]
name = "x"
nme = 1

[[task]]
id = "a"
title = "A"
needs = [
  "b", "zz",
]

[[task]]
id = "b"
title = "B"
needs = ["a"]

[[task]]
id = "b"
title = "again"
tags = ["nobody"]
priorty = 3
priority = 9
budget_usd = -1
budget_tokens = 1.5
"""


def _problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PlanError) as caught:
        read_plan(text, format="toml", source="p.toml", known=(), workers=MISSION_WORKERS)
    return caught.value.problems


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_good_plan_becomes_tasks(mark: str) -> None:
    plan = read_plan(mark + GOOD, format="toml", source="p.toml", known=(), workers=MISSION_WORKERS)
    first, second = plan.tasks
    assert (plan.name, first.id, first.priority, first.tags) == ("overnight", "unit-tests", 5, ("testing",))
    assert first.budget_usd_micros == 600_000
    assert (second.needs, second.priority) == (("unit-tests",), 3)
    assert (plan.line_of(first.id, "tags"), plan.line_of(second.id)) == (9, 18)


def test_everything_wrong_is_told_in_one_go_with_line_numbers() -> None:
    assert _problems(BAD) == (
        "p.toml:3: unknown key 'nme' in [plan] (did you mean 'name'?)",
        "p.toml:8: task 'a' needs 'zz', which no task is called",
        "p.toml:8: these tasks need each other in a circle: a -> b -> a",
        "p.toml:18: id 'b' is used twice; first in line 13",
        (
            "p.toml:20: task 'b' has the tags nobody, which no single worker has"
            " (there are: architecture, backend, docs, platform, testing)"
        ),
        "p.toml:21: unknown key 'priorty' (did you mean 'priority'?)",
        "p.toml:22: priority is a number from 1 (idle) to 5 (critical), not 9",
        "p.toml:23: budget_usd is a number of dollars above 0, not -1",
        "p.toml:24: budget_tokens is a whole number of tokens above 0, not 1.5",
    )


def test_the_rule_for_needs_is_the_plans_unless_a_task_says_otherwise() -> None:
    text = """
[plan]
on_need_failed = "skip"
[[task]]
id = "a"
title = "A"
[[task]]
id = "b"
title = "B"
on_need_failed = "run"
"""
    plan = parse_plan(text, format="toml", source="plan.toml")
    assert [task.on_need_failed for task in plan.tasks] == [OnNeedFailed.SKIP, OnNeedFailed.RUN]
    usual = parse_plan(GOOD, format="toml", source="plan.toml")
    assert {task.on_need_failed for task in usual.tasks} == {OnNeedFailed.FAIL}


def test_a_rule_for_needs_that_does_not_exist_is_told_with_its_line() -> None:
    text = '[plan]\non_need_failed = "explode"\n[[task]]\nid = "a"\ntitle = "A"\non_need_failed = []\n'
    with pytest.raises(PlanError) as error:
        parse_plan(text, format="toml", source="p")
    words = 'on_need_failed is "fail" or "skip" or "run", not'
    assert list(error.value.problems) == [f"p:2: {words} 'explode'", f"p:6: {words} []"]


def test_a_need_that_was_loaded_before_is_known() -> None:
    text = '[[task]]\nid = "b"\ntitle = "B"\nneeds = ["a"]\n'
    assert _problems(text) == ("p.toml:4: task 'b' needs 'a', which no task is called",)
    plan = parse_plan(text, format="toml", source="p.toml")
    read = read_plan(
        text, format="toml", source="p.toml", known=[plan.tasks[0].needs[0]], workers=MISSION_WORKERS
    )
    assert read.tasks == plan.tasks


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no [[task]]: nothing to do"),
        ("[[task]\n", "not valid TOML"),
        (f"[[task]]\npriority = {'9' * 5_000}\n", "not valid TOML"),
        (f"task = {'[' * 5_000}", "not valid TOML"),
        ("task = 3\n", "tasks are written as [[task]]"),
        ('[[task]]\nid = "../x"\ntitle = "t"\n', "is not 1 to 64 letters"),
        ('[[task]]\nid = "x"\n', "has no title"),
        ('[[task]]\ntitle = "x"\n', "a task has no id"),
        ('[[task]]\nid = "x"\ntitle = "t"\nwrites = ["../y"]\n', "no leading / and no .."),
        ('[[task]]\nid = "x"\ntitle = "t"\ntags = ["a,b"]\n', "a tag holds no comma"),
        ('[[task]]\nid = "x"\ntitle = "t"\nneeds = "y"\n', "needs is a list of texts"),
    ],
)
def test_each_kind_of_bad_text_is_told_in_words(text: str, words: str) -> None:
    assert any(words in problem for problem in _problems(text))


@given(st.text(max_size=300))
def test_no_text_makes_anything_but_a_plan_or_a_plan_error(text: str) -> None:
    for kind in ("toml", "markdown"):
        with contextlib.suppress(PlanError):
            assert parse_plan(text, format=kind, source="s").tasks
