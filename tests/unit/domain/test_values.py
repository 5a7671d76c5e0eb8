"""Ids, usage, tasks and events survive the trip through JSON, and add up."""

from __future__ import annotations

from msgspec.structs import replace

from agentcoord.domain.events import Event, EventKind
from agentcoord.domain.ids import TaskId, project_id_of
from agentcoord.domain.task import OnNeedFailed, TaskSpec
from agentcoord.domain.usage import Usage, UsdMicros, usd, usd_micros
from agentcoord.domain.worker import MISSION_WORKERS, Role, worker_of


def test_project_ids_tell_folders_apart_and_stay_readable() -> None:
    here, there = project_id_of("/home/a/My Shop ü"), project_id_of("/home/b/My Shop ü")
    assert here != there
    assert here.startswith("my-shop-")
    assert project_id_of("/").startswith("project-")


def test_a_task_spec_survives_json() -> None:
    spec = TaskSpec(TaskId("a"), "T", "d", 4, ("x", "y"), (TaskId("b"),), ("src/*.py",), "true", UsdMicros(5))
    assert TaskSpec.from_dict(spec.to_dict()) == spec
    assert spec.route == "x,y"
    skipping = replace(spec, on_need_failed=OnNeedFailed.SKIP)
    assert TaskSpec.from_dict(skipping.to_dict()) == skipping
    assert "on_need_failed" not in spec.to_dict()


def test_an_event_survives_json() -> None:
    event = Event(EventKind.TASK_DONE, 7, "t", "w", {"files": ["a"]}, 3)
    assert Event.from_dict(event.to_dict()) == event


def test_usage_adds_kind_by_kind() -> None:
    total = Usage(1, 2, 3, 4, 5) + Usage(10, 20, 30, 40, 50)
    assert total == Usage(11, 22, 33, 44, 55)
    assert total.prompt_tokens == 110
    assert Usage.from_dict(total.to_dict()) == total


def test_money_is_exact_in_millionths() -> None:
    assert sum([usd_micros(0.1)] * 3) == usd_micros(0.3)
    assert usd(1_500_000) == 1.5


def test_a_worker_takes_a_task_when_it_has_all_of_its_tags() -> None:
    architect = worker_of("Architect", Role.ARCHITECT)
    assert architect.covers(["docs"])
    assert architect.covers([])
    assert not architect.covers(["docs", "testing"])
    assert len({worker.name for worker in MISSION_WORKERS}) == 6
