"""A plan that is written reads back as what it was."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from agentcoord.domain.ids import TaskId
from agentcoord.domain.plan import parse_plan
from agentcoord.domain.plan_text import render_plan
from agentcoord.domain.task import TaskSpec
from agentcoord.domain.usage import UsdMicros

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=15).filter(
    lambda text: text.strip()
)


@st.composite
def specs(draw: st.DrawFn, number: int) -> TaskSpec:
    names = st.lists(st.text("abc.*/'\"\\", min_size=1, max_size=8).map(lambda text: f"a{text}a"), max_size=3)
    return TaskSpec(
        id=TaskId(f"t{number}"),
        title=draw(words).strip(),
        description=draw(words | st.text('\\"\n a#', max_size=12)).strip(),
        priority=draw(st.integers(1, 5)),
        tags=tuple(sorted(set(draw(names)))),
        writes=tuple(draw(names.map(lambda found: [path.replace("..", ".") for path in found]))),
        check=draw(words).strip(),
        budget_usd_micros=UsdMicros(draw(st.integers(1, 500)) * 10_000),
        budget_tokens=draw(st.none() | st.integers(1, 10**9)),
    )


@example(name="n", head="", spec=TaskSpec(id=TaskId("t1"), title="T", description='0\n"""', check="true"))
@example(
    name="n", head="", spec=TaskSpec(id=TaskId("t1"), title="T", description='0\n\\"""\\"', check="true")
)
@given(name=words, head=words, spec=specs(1))
def test_whatever_a_plan_holds_reads_back_the_same(name: str, head: str, spec: TaskSpec) -> None:
    other = TaskSpec(id=TaskId("t2"), title="Second", needs=(spec.id,))
    text = render_plan(name, [spec, other], head=[head], notes={spec.id: head})
    plan = parse_plan(text, format="toml", source="p")
    assert (plan.name, plan.tasks) == (name, (spec, other))


def test_it_looks_as_a_person_would_write_it() -> None:
    spec = TaskSpec(
        id=TaskId("a"),
        title="A",
        description='Say "hello".\nThen stop.',
        tags=("testing",),
        budget_usd_micros=UsdMicros(600_000),
        budget_tokens=2_000_000,
    )
    assert render_plan("night", [spec], head=["A draft"], notes={"a": "estimated $0.30"}) == (
        '# A draft\n\n[plan]\nname = "night"\n\n[[task]]\n# estimated $0.30\nid = "a"\ntitle = "A"\n'
        'priority = 3\ntags = ["testing"]\nbudget_usd = 0.60\nbudget_tokens = 2_000_000\n'
        'description = """\nSay "hello".\nThen stop."""\n'
    )
