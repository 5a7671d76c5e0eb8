"""Since when a daemon is wanted: kept for who is started again by a service manager, and for nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from daemon_fakes import HandClock

from agentcoord.daemon.start_args import StartArgs
from agentcoord.daemon.wanted_since import RECENT_MS, SIGN_EVERY_S, WantedSince

SERVICE = {"NOTIFY_SOCKET": "/run/systemd/notify"}
NIGHT = "07:00"


def wanted(folder: Path, clock: HandClock, env: dict[str, str] | None = None) -> WantedSince:
    return WantedSince(folder / "wanted.json", SERVICE if env is None else env, clock)


def test_a_service_that_died_is_wanted_since_its_first_start(tmp_path: Path) -> None:
    clock = HandClock()
    first = wanted(tmp_path, clock).begin(StartArgs(), NIGHT)
    assert first == clock.now_ms()
    for _ in range(3):
        clock.now_s += RECENT_MS / 1000
        assert wanted(tmp_path, clock).begin(StartArgs(since_ms=clock.now_ms()), NIGHT) == first


@pytest.mark.parametrize(
    "env", [{}, {"XPC_SERVICE_NAME": "application.com.apple.Terminal"}], ids=["none", "terminal"]
)
def test_who_starts_one_by_hand_wants_it_from_now(tmp_path: Path, env: dict[str, str]) -> None:
    clock = HandClock()
    wanted(tmp_path, clock).begin(StartArgs(), NIGHT)
    clock.now_s += 1
    assert wanted(tmp_path, clock, env).begin(StartArgs(), NIGHT) == clock.now_ms()


def test_a_start_on_another_evening_and_one_after_an_end_in_order_are_new_wishes(tmp_path: Path) -> None:
    clock = HandClock()
    wanted(tmp_path, clock).begin(StartArgs(), NIGHT)
    clock.now_s += RECENT_MS / 1000 + 1
    second = wanted(tmp_path, clock)
    assert second.begin(StartArgs(), NIGHT) == clock.now_ms()
    second.forget()
    second.forget()
    clock.now_s += 1
    assert wanted(tmp_path, clock).begin(StartArgs(), NIGHT) == clock.now_ms()


async def test_a_service_that_lived_long_and_died_just_now_is_recent(tmp_path: Path) -> None:
    class Clock(HandClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if self.now_ms() > first + 20 * RECENT_MS:
                raise TimeoutError

    clock = Clock()
    one = wanted(tmp_path, clock)
    first = one.begin(StartArgs(), NIGHT)
    with pytest.raises(TimeoutError):
        await one.run()
    clock.now_s += RECENT_MS / 1000 - SIGN_EVERY_S
    assert wanted(tmp_path, clock).begin(StartArgs(), NIGHT) == first


def test_a_supervisor_knows_it_itself_but_not_of_a_deadline_set_since(tmp_path: Path) -> None:
    clock = HandClock()
    told = StartArgs(supervised=True, since_ms=clock.now_ms())
    assert wanted(tmp_path, clock, {}).begin(told, "") == told.since_ms
    clock.now_s += 3 * 86_400
    set_since = clock.now_ms()
    for _ in range(2):
        assert wanted(tmp_path, clock, {}).begin(told, NIGHT) == set_since
        clock.now_s += 60


@pytest.mark.parametrize(("env", "supervised"), [(SERVICE, False), ({}, True)], ids=["service", "supervised"])
def test_a_deadline_that_was_changed_while_a_daemon_lived_is_the_next_one(
    tmp_path: Path, env: dict[str, str], supervised: bool
) -> None:
    clock = HandClock()
    told = StartArgs(supervised=supervised, since_ms=clock.now_ms())
    wanted(tmp_path, clock, env).begin(told, NIGHT)
    clock.now_s += 60
    changed = clock.now_ms()
    assert wanted(tmp_path, clock, env).begin(told, "12:00") == changed
    clock.now_s += 60
    assert wanted(tmp_path, clock, env).begin(told, "12:00") == changed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        '{"since_ms": "x", "deadline": ""}',
        '{"since_ms": 1}',
        '{"since_ms": 1e999, "deadline": "07:00"}',
    ],
)
def test_a_file_that_makes_no_sense_counts_for_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "wanted.json").write_text(text)
    clock = HandClock()
    assert wanted(tmp_path, clock).begin(StartArgs(), NIGHT) == clock.now_ms()


def test_a_disk_that_refuses_ends_nothing(tmp_path: Path) -> None:
    clock = HandClock()
    one = wanted(tmp_path / "gone", clock)
    assert one.begin(StartArgs(), NIGHT) == clock.now_ms()
    one.forget()
