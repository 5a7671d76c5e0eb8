"""What is kept for a lost memory, where the disk or the store refuses: told in words, and made up for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from daemon_kit import Daemonlet, OwnValkey, daemonlet, keeper_of, own_valkey
from redis import Redis
from structlog.testing import capture_logs

from agentcoord.daemon.event_hub import QUEUE_EVENTS
from agentcoord.daemon.kept_file import KeptFile
from agentcoord.daemon.memory_keeper import restore_at_start
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId
from agentcoord.errors import DaemonError, StoreUnavailableError

PROJECT = ProjectId("p")


@pytest.fixture
def valkey() -> Iterator[OwnValkey]:
    with own_valkey() as server:
        yield server


async def load(d: Daemonlet, task: str) -> None:
    await d.requests.answer("load", {"text": f'[[task]]\nid = "{task}"\ntitle = "A"\ntags = ["backend"]\n'})


def kept(d: Daemonlet) -> set[str]:
    return {key for key in KeptFile(d.paths.kept_file).read() if key.startswith("t:")}


async def test_a_kept_file_that_makes_no_sense_keeps_the_daemon_from_starting_in_words(
    valkey: OwnValkey,
) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        d.paths.kept_file.write_text('["mark", "m"]\n["t:a", [1]]\n')
        with pytest.raises(DaemonError, match="cannot be read") as told:
            await restore_at_start(d.store, d.shop.lander, d.paths.kept_file)
        assert "move it away" in told.value.mend


async def test_a_disk_that_refuses_is_told_once_and_what_was_missed_is_kept_later(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        keeper, path = keeper_of(d), d.paths.kept_file
        await load(d, "a")
        await keeper._one_round({"a"})
        aside = path.rename(path.with_name("aside"))
        path.mkdir()
        await load(d, "b")
        missed = {"b"}
        with capture_logs() as logs:
            for _ in range(2):
                await keeper._one_round(missed)
        (words,) = [each["words"] for each in logs if each["event"] == "memory_not_kept"]
        assert str(path) in words
        assert missed == {"b"}
        path.rmdir()
        aside.rename(path)
        await keeper._one_round(missed)
        assert kept(d) == {"t:a", "t:b"}
        assert missed == set()


async def test_events_that_were_missed_cost_no_copy(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        keeper = keeper_of(d)
        with d.hub.subscribed() as facts:
            await load(d, "a")
            for _ in range(QUEUE_EVENTS + 1):
                d.hub.emit(EventKind.TASK_TOOL, task="other")
            async with asyncio.TaskGroup() as group:
                hub = group.create_task(d.hub.run())
                await d.hub.flushed()
                hub.cancel()
            assert facts.lagged
            named = await keeper._named_in(facts)
        assert "a" in named
        assert not facts.lagged


async def test_a_memory_that_is_lost_before_anything_was_copied_stops_the_daemon_in_words(
    valkey: OwnValkey,
) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        await load(d, "a")
        with Redis(unix_socket_path=str(valkey.socket)) as client:
            client.flushall()
        with pytest.raises(StoreUnavailableError):
            await d.store.memory.check()
        with pytest.raises(DaemonError, match="before anything was copied") as told:
            await keeper_of(d).run()
        assert "load the plan again" in told.value.mend
