from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agentcoord.domain.files import FileVersion, LandedFile
from agentcoord.domain.ids import TaskId
from agentcoord.domain.states import ReviewState, TaskState
from agentcoord.domain.task import OnNeedFailed, Task, TaskSpec
from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.store.task_bodies import decode_body, encode_body
from agentcoord.store.task_records import decode_pairs, decode_task, landed_fields, usage_args

SPEC = TaskSpec(
    id=TaskId("t"),
    title="Ü",
    description="Two\nlines",
    priority=5,
    tags=("a", "b"),
    needs=(TaskId("n"), TaskId("m")),
    writes=("x/**",),
    check="true",
    budget_usd_micros=UsdMicros(600_000),
)
FILLED = {
    "state": "done",
    "needs": "n,m",
    "open": "1",
    "attempt": "2",
    "worker": "W",
    "token": "9",
    "why": "because",
    "review": "accepted",
    "cost": "70",
    "turns": "3",
    "files": '["a"]',
    "lines_added": "4",
    "lines_removed": "5",
    "queued_at": "6",
    "started_at": "7",
    "ended_at": "8",
    "setback": "crashed",
    "cause": "n",
    "due": "10",
    "back": "4",
    "n:crashed": "1",
    "o:overloaded": "3",
    **dict.fromkeys(Usage().to_dict(), "11"),
}


def test_every_field_of_a_task_is_read_back() -> None:
    task = decode_task(encode_body(SPEC), FILLED)
    assert task.spec == SPEC
    assert (task.state, task.review, task.usage) == (
        TaskState.DONE,
        ReviewState.ACCEPTED,
        Usage(11, 11, 11, 11, 11),
    )
    unread = [
        name
        for name in Task.__struct_fields__
        if name != "spec" and getattr(task, name) in (0, "", None, (), {})
    ]
    assert unread == []
    assert task.all_setbacks == {"overloaded": 3, "crashed": 1}


def test_a_fresh_task_has_the_defaults() -> None:
    spec = replace(SPEC, needs=())
    assert decode_task(encode_body(spec), {"state": "queued"}) == Task(spec, TaskState.QUEUED)


def test_a_body_holds_no_needs_and_equal_specs_have_equal_bodies() -> None:
    assert decode_body(encode_body(SPEC)).needs == ()
    assert decode_body(encode_body(SPEC), SPEC.needs) == SPEC
    assert encode_body(SPEC) == encode_body(replace(SPEC, needs=()))
    assert encode_body(SPEC) != encode_body(replace(SPEC, title="U"))


def test_a_body_without_a_cap_on_tokens_is_the_one_of_before_there_were_any() -> None:
    short = replace(SPEC, description="")
    assert json.loads(encode_body(short)) == ["t", "Ü", "", 5, ["a", "b"], ["x/**"], "true", 600_000]
    capped = replace(short, budget_tokens=5, needs=())
    assert json.loads(encode_body(capped))[8:] == [5]
    assert decode_body(encode_body(capped)) == capped
    assert TaskSpec.from_dict(capped.to_dict()) == capped


def test_the_rule_for_needs_is_in_the_hash_and_not_in_the_body() -> None:
    skipping = replace(SPEC, on_need_failed=OnNeedFailed.SKIP)
    assert encode_body(skipping) == encode_body(SPEC)
    assert decode_task(encode_body(skipping), {**FILLED, "onfail": "skip"}).spec == skipping


@given(st.text(), st.text(), st.integers(1, 5))
def test_any_words_survive(title: str, description: str, priority: int) -> None:
    spec = replace(SPEC, title=title, description=description, priority=priority)
    assert decode_task(encode_body(spec), FILLED).spec == spec


def test_a_landing_is_summed_up() -> None:
    version = FileVersion("0" * 64, 1, 0o644)
    flat = landed_fields([LandedFile("a", None, version, 1, 2), LandedFile("b", version, version, 3, 4)])
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == {
        "files": json.dumps(["a", "b"]),
        "lines_added": 4,
        "lines_removed": 6,
    }
    assert landed_fields([]) == []


def test_flat_lists_become_mappings_and_back() -> None:
    assert decode_pairs([b"a", b"1", b"b", b"\xff"]) == {"a": "1", "b": "\udcff"}
    assert usage_args(Usage(input_tokens=1))[:2] == ["input_tokens", 1]


def test_a_long_body_of_words_is_packed_to_about_half() -> None:
    words = replace(SPEC, description=" ".join(f"word{i} of the description" for i in range(60)))
    assert len(encode_body(words)) < len(words.description) / 2
    assert decode_task(encode_body(words), FILLED).spec == words


@given(st.text(min_size=200, max_size=3000))
def test_a_packed_body_survives_the_clients_encoding(description: str) -> None:
    spec = replace(SPEC, description=description)
    read_as_text = encode_body(spec).decode(errors="surrogateescape")
    assert decode_body(read_as_text.encode(errors="surrogateescape"), spec.needs) == spec


@given(st.text(st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)))
def test_names_that_are_not_text_survive(title: str) -> None:
    spec = replace(SPEC, title=title)
    assert decode_body(encode_body(spec), spec.needs) == spec


@pytest.mark.parametrize("stored", [b"", b"\0", b"\0nonsense", b"{}", b"[]", b"[1,2]", b"\xff"])
def test_what_is_no_body_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_body(stored)
