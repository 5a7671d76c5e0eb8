"""Folding: replay, resync, lag, duplicates, holes, and what counts as changed."""

from __future__ import annotations

import pytest
from tui_fakes import EPOCH, NOW_MS, event, need, snapshot, status, task, worker

from agentcoord.errors import WireError
from agentcoord.tui.model import EVENTS_KEPT, DashboardModel, MissedEventsError, Part, Position
from agentcoord.wire.codec import Notice
from agentcoord.wire.messages import Notification, Snapshot, SubscribeView


def resync(taken: Snapshot) -> SubscribeView:
    return {"epoch": taken["epoch"], "seq": taken["seq"], "mode": "resync", "snapshot": taken}


def replay(epoch: str = EPOCH, seq: int = 9) -> SubscribeView:
    return {"epoch": epoch, "seq": seq, "mode": "replay", "snapshot": None}


def started(taken: Snapshot | None = None) -> DashboardModel:
    model = DashboardModel(now_ms=NOW_MS)
    model.begin(resync(taken if taken is not None else snapshot()))
    model.take_dirty()
    return model


def tell_event(model: DashboardModel, seq: int, epoch: str = EPOCH) -> None:
    model.fold(Notification.EVENT, {"epoch": epoch, "event": event(seq)})


def seqs(model: DashboardModel) -> list[int]:
    return [e["seq"] for e in model.events]


def test_a_snapshot_fills_everything_and_sets_the_position() -> None:
    model = DashboardModel(now_ms=NOW_MS)
    assert model.begin(resync(snapshot(last_seq=2))) is True
    assert list(model.tasks) == ["a", "b"]
    assert model.workers[0]["name"] == "Backend-Engineer-1"
    assert model.position == Position(EPOCH, 2)
    assert seqs(model) == [1, 2]


def test_events_follow_one_another_and_a_duplicate_is_dropped() -> None:
    model = started()
    tell_event(model, 3)
    tell_event(model, 3)
    tell_event(model, 2)
    tell_event(model, 4)
    assert seqs(model) == [1, 2, 3, 4]
    assert [e["seq"] for e in model.take_news()] == [3, 4]
    assert model.take_news() == ()


def test_a_hole_in_the_events_is_refused_and_names_its_end() -> None:
    model = started()
    with pytest.raises(MissedEventsError) as caught:
        tell_event(model, 6)
    assert caught.value.last_missing == Position(EPOCH, 5)
    assert model.position == Position(EPOCH, 2)


def test_events_that_come_together_are_taken_up_to_the_hole_between_rows_or_not() -> None:
    model = started()
    told = [
        *(Notice(Notification.EVENT, {"epoch": EPOCH, "event": event(seq)}) for seq in (2, 3, 4)),
        Notice(Notification.TASKS, {"tasks": [task("c")]}),
        *(Notice(Notification.EVENT, {"epoch": EPOCH, "event": event(seq)}) for seq in (5, 6, 8, 9)),
    ]
    with pytest.raises(MissedEventsError) as missed:
        model.fold_all(told)
    assert missed.value.last_missing == Position(EPOCH, 7)
    assert seqs(model) == [1, 2, 3, 4, 5, 6]
    assert model.position == Position(EPOCH, 6)
    assert model.events_added == 6
    assert "c" in model.tasks
    assert model.take_dirty() == Part.EVENTS | Part.TASKS
    assert [news["seq"] for news in model.take_news()] == [3, 4, 5, 6]


def test_a_skipped_hole_leaves_a_mark_with_the_count() -> None:
    model = started()
    model.skip_to(Position(EPOCH, 5))
    tell_event(model, 6)
    assert [e["kind"] for e in model.events][-2] == "missed"
    assert model.events[-2]["data"] == {"count": 3}
    assert model.position == Position(EPOCH, 6)


def test_an_event_of_another_epoch_is_refused() -> None:
    model = started()
    with pytest.raises(MissedEventsError) as caught:
        tell_event(model, 3, epoch="second")
    assert caught.value.last_missing is None


def test_a_replay_keeps_what_is_shown_and_asks_for_the_rows() -> None:
    model = started()
    assert model.begin(replay()) is False
    tell_event(model, 3)
    assert seqs(model) == [1, 2, 3]


def test_a_replay_of_another_epoch_is_an_error() -> None:
    with pytest.raises(WireError, match="another epoch"):
        started().begin(replay("second"))


def test_an_answer_with_neither_replay_nor_snapshot_is_an_error() -> None:
    with pytest.raises(WireError, match="neither"):
        DashboardModel(now_ms=NOW_MS).begin({"epoch": "x", "seq": 1, "mode": "resync", "snapshot": None})


def test_a_new_epoch_replaces_everything() -> None:
    model = started()
    generation = model.events_generation
    model.begin(resync(snapshot([task("z")], epoch="second", last_seq=1)))
    assert list(model.tasks) == ["z"]
    assert seqs(model) == [1]
    assert model.position == Position("second", 1)
    assert model.events_generation == generation + 1


def test_lagging_joins_the_newer_events_and_marks_those_that_are_gone() -> None:
    model = started()
    model.fold(Notification.LAGGED, {"snapshot": snapshot(first_seq=6, last_seq=7)})
    assert seqs(model) == [1, 2, 2, 6, 7]
    assert model.events[2]["data"] == {"count": 3}
    tell_event(model, 8)
    assert model.position == Position(EPOCH, 8)


def test_lagging_within_the_snapshot_leaves_no_mark() -> None:
    model = started()
    model.fold(Notification.LAGGED, {"snapshot": snapshot(first_seq=1, last_seq=4)})
    assert seqs(model) == [1, 2, 3, 4]


def test_a_snapshot_without_events_marks_how_many_are_missing() -> None:
    model = started()
    model.fold(Notification.LAGGED, {"snapshot": snapshot(first_seq=10, last_seq=9)})
    assert model.events[-1]["data"] == {"count": 7}


def test_only_rows_that_differ_make_the_tasks_dirty() -> None:
    model = started()
    model.fold(Notification.TASKS, {"tasks": [task("b")]})
    assert model.take_dirty() is Part.NONE
    model.fold(Notification.TASKS, {"tasks": [task("b", "running"), task("c")]})
    assert model.take_dirty() is Part.TASKS
    assert model.tasks["b"]["state"] == "running"
    assert list(model.tasks) == ["a", "b", "c"]


def test_workers_and_status_are_dirty_only_when_they_change() -> None:
    model = started()
    model.fold(Notification.WORKERS, {"workers": [worker("Backend-Engineer-1")]})
    model.fold(Notification.STATUS, dict(status()))
    assert model.take_dirty() is Part.NONE
    model.fold(Notification.WORKERS, {"workers": [worker("Backend-Engineer-1", "working")]})
    assert model.take_dirty() is Part.WORKERS
    model.fold(Notification.STATUS, dict(status(state="paused")))
    assert model.take_dirty() is Part.STATUS


def test_a_new_need_changes_the_task_rows_too() -> None:
    model = started()
    model.fold(Notification.STATUS, dict(status(needs_you=[need("a")])))
    assert model.take_dirty() == Part.STATUS | Part.TASKS
    assert model.needs_you[0]["task"] == "a"


def test_an_unknown_notification_is_ignored() -> None:
    model = started()
    model.fold("weather", {"rain": True})
    assert model.take_dirty() is Part.NONE


def test_the_events_that_are_kept_are_bounded() -> None:
    model = started(snapshot(last_seq=0))
    for seq in range(1, EVENTS_KEPT + 11):
        tell_event(model, seq)
    assert len(model.events) == EVENTS_KEPT
    assert seqs(model)[0] == 11
    assert model.events_added == EVENTS_KEPT + 10
