"""A server whose memory is wiped: told, put back, and neither money nor tokens are given out twice."""

from __future__ import annotations

import asyncio
import resource
import signal
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree

import pytest
from daemon_kit import (
    PATIENCE_S,
    WORKER,
    Daemonlet,
    Held,
    OwnValkey,
    bash,
    create,
    daemonlet,
    finish,
    keeper_of,
    own_valkey,
    until,
)
from redis import Redis

from agentcoord.daemon.kept_file import OLD_LINES_MOST, KeptFile
from agentcoord.daemon.memory_keeper import MemoryKeeper, restore_at_start
from agentcoord.daemon.requests import Requests
from agentcoord.domain.events import EventKind
from agentcoord.domain.ids import ProjectId, TaskId
from agentcoord.domain.states import TaskState
from agentcoord.domain.usage import NO_USAGE, UsdMicros
from agentcoord.errors import DaemonError, RpcError, StoreUnavailableError
from agentcoord.store.budget_ledger import Caps, CapScope
from agentcoord.store.connection import Store
from agentcoord.store.memory import MARK

_S = TaskState
PROJECT = ProjectId("p")


@pytest.fixture
def valkey() -> Iterator[OwnValkey]:
    with own_valkey() as server:
        yield server


def wipe(valkey: OwnValkey) -> None:
    with Redis(unix_socket_path=str(valkey.socket)) as client:
        client.flushall()


@asynccontextmanager
async def keeping(d: Daemonlet) -> AsyncIterator[MemoryKeeper]:
    keeper = keeper_of(d)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(keeper.run())
        yield keeper
        task.cancel()


async def until_back(d: Daemonlet) -> None:
    """Wait until the memory is known to be there again."""
    async with asyncio.timeout(PATIENCE_S):
        while d.store.memory.lost.is_set():
            await d.store.ping()


async def load(d: Daemonlet, *tasks: str, needs: str = "") -> None:
    """Load as a person does, so that the memory has its mark."""
    rows = [f'[[task]]\nid = "{task}"\ntitle = "{task}"\ntags = ["backend"]\n' for task in tasks]
    text = "".join(f'{row}needs = ["{needs}"]\n' if needs else row for row in rows)
    await d.requests.answer("load", {"text": text})


def kept_state(d: Daemonlet, task: str) -> str:
    row = KeptFile(d.paths.kept_file).read().get(f"t:{task}")
    return row[3]["state"] if row else ""


async def reserve(d: Daemonlet, name: str, amount: int, cap: int = 1000) -> CapScope | None:
    refused = await d.store.ledger.reserve(
        name,
        run=d.runs.run,
        task=TaskId("a"),
        day=d.runs.day(),
        amount=UsdMicros(amount),
        caps=Caps(run=UsdMicros(cap)),
    )
    return refused.scope if refused else None


async def settle(d: Daemonlet, name: str, amount: int) -> None:
    await d.store.ledger.settle(name, actual=UsdMicros(amount), usage=NO_USAGE, model="m")


async def test_a_night_goes_on_where_it_was_after_a_flush(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d, keeping(d):
        held = Held(bash("cp src/new.py src/seen.py"), finish())
        d.model.turns["a"] = [[create("src/a.py", "A = 1\n"), finish()]]
        d.model.turns["b"] = [[create("src/new.py", "Y = 2\n")], held]
        d.model.turns["z"] = [[create("src/z.py", "Z = 3\n"), finish()]]
        await load(d, "a", "b", "gone")
        await load(d, "z", needs="b")
        await d.requests.answer("cancel", {"id": "gone"})
        async with d.working():
            await d.wait_until("a", _S.DONE)
            await held.begun.wait()
            await until(lambda: (kept_state(d, "a"), kept_state(d, "b")) == ("done", "running"))
            before = await d.store.ledger.totals(run=d.runs.run, day=d.runs.day())
            token = (await d.task("b")).token
            held.begun.clear()
            wipe(valkey)
            told = await d.wait_for(EventKind.ERROR)
            assert "4 tasks, 1 of them done" in told.data["error"]
            assert {task.id: task.state for task in await d.store.queue.all()}.items() >= {
                "a": _S.DONE,
                "gone": _S.CANCELLED,
                "z": _S.BLOCKED,
            }.items()
            await held.begun.wait()
            held.may_end.set()
            await d.wait_until("z", _S.DONE)
            await d.idle()
        again = await d.task("b")
        assert token is not None
        assert again.token is not None
        assert (again.state, again.attempt, again.token > token) == (_S.DONE, 1, True)
        assert (await d.task("a")).files == ("src/a.py",)
        assert d.model.asked.count("a") == 1, "what landed is not done again"
        assert d.model.asked.count("b") == 3, "the complete turn is not asked for again"
        assert (d.root / "src/seen.py").read_text() == "Y = 2\n"
        after = await d.store.ledger.totals(run=d.runs.run, day=d.runs.day())
        assert after.run_spent_usd_micros > before.run_spent_usd_micros > 0
        assert (after.run_reserved_usd_micros, after.day_reserved_usd_micros) == (0, 0)
        tokens = [record.token for record in await d.shop.lander.history()]
        assert len(set(tokens)) == len(tokens) == 3


async def test_a_cap_holds_to_the_cent_over_a_flush(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        await load(d, "a")
        async with keeping(d):
            await until(lambda: kept_state(d, "a") == "queued")
            # None of this is in the file yet.
            await d.store.queue.set_paused(True)
            assert await reserve(d, "settled", 600) is None
            await settle(d, "settled", 590)
            assert await reserve(d, "under way", 300) is None
            wipe(valkey)
            with pytest.raises(StoreUnavailableError, match="has lost"):
                await reserve(d, "too early", 1)
            await until_back(d)
            assert await reserve(d, "too much", 111) is CapScope.RUN
            await settle(d, "under way", 100)
            assert await reserve(d, "fits", 310) is None
            assert await reserve(d, "not any more", 1) is CapScope.RUN
        assert await d.store.get_setting("paused") == "1"
        assert d.store.queue.paused
        totals = await d.store.ledger.totals(run=d.runs.run, day=d.runs.day())
        assert (totals.run_spent_usd_micros, totals.day_spent_usd_micros) == (690, 690)
        by_task = await d.store.ledger.by_task(d.runs.run)
        assert (totals.run_reserved_usd_micros, by_task[TaskId("a")].usd_micros) == (310, 100)


async def test_a_late_word_that_the_memory_is_gone_puts_nothing_older_back(valkey: OwnValkey) -> None:
    """An answer that the server gave before the memory was put back may be heard when it is back."""
    async with daemonlet(valkey.url, PROJECT) as d:
        await load(d, "a", "b")
        async with keeping(d):
            await until(lambda: kept_state(d, "b") == "queued")
            await d.store.queue.cancel(TaskId("a"), why="not needed")
            assert "has lost" in d.store.memory.is_gone().message
            await until_back(d)
            assert (await d.task("a")).state is _S.CANCELLED
        assert not [event for event in d.hub.recent if event.kind is EventKind.ERROR]


async def test_a_mark_of_whose_being_left_nobody_learned_is_no_lost_memory(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d, keeping(d):
        with Redis(unix_socket_path=str(valkey.socket)) as client:
            client.set(d.store.keys.of(MARK), "left, and the answer was lost")
        with pytest.raises(StoreUnavailableError):
            await reserve(d, "of a draft", 1)
        await until_back(d)
        assert await reserve(d, "of a draft", 1) is None
        await load(d, "a")


async def test_who_waits_is_woken_when_nobody_learned_that_the_memory_is_put_back(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d, asyncio.TaskGroup() as group:
        await load(d, "a")
        async with keeping(d), asyncio.timeout(PATIENCE_S):
            await until(lambda: kept_state(d, "a") == "queued")
            with Redis(unix_socket_path=str(valkey.socket)) as client:

                def scripts_run() -> int:
                    return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])

                everything = {key: client.dump(key) for key in client.scan_iter()}
                client.flushall()
                before = scripts_run()
                waiting = group.create_task(d.store.queue.claim(WORKER))
                await until(lambda: scripts_run() > before)
                for key, dumped in everything.items():
                    client.restore(key, 0, dumped)
            d.store.memory.lost.set()
            assert (await waiting).task.id == "a"


async def test_while_the_memory_is_gone_nobody_hears_that_nothing_is_left_to_do(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        assert (await d.requests.answer("status", {}))["ended"] is False
        await load(d, "a")
        wipe(valkey)
        for method, params in (("status", {}), ("tasks", {}), ("load", {"text": PLAN_OF_ONE})):
            with pytest.raises(StoreUnavailableError, match="has lost") as told:
                await d.requests.answer(method, params)
            assert "state folder" in told.value.mend


PLAN_OF_ONE = '[[task]]\nid = "other"\ntitle = "Other"\ntags = ["backend"]\n'


async def test_what_was_lost_between_two_daemons_is_put_back_at_the_start(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        d.model.turns["a"] = [[create("src/a.py", "A = 1\n"), finish()]]
        async with keeping(d):
            await load(d, "a", "b")
            await d.requests.answer("pause", {})
            await load(d, "c", needs="b")
            await d.requests.answer("cancel", {"id": "b"})
            await d.requests.answer("resume", {})
            async with d.working():
                await d.wait_until("a", _S.DONE)
                await d.idle()
            assert await reserve(d, "of a call that was cut off", 40) is None
            await d.store.questions.ask(TaskId("c"), "Which?", "this", 1)
            await d.requests.answer("pause", {})
            d.hub.emit(EventKind.QUESTION_ASKED, task="c")
            kept = d.paths.kept_file
            await until(kept.exists)
            await until(
                lambda: "cut off" in kept.read_text() and "Which?" in kept.read_text()
                and (kept_state(d, "a"), kept_state(d, "c")) == ("done", "failed")
            )  # fmt: skip
        spent = (await d.store.ledger.totals(run=d.runs.run, day=d.runs.day())).run_spent_usd_micros
        token = (await d.task("a")).token
        wipe(valkey)
        async with daemonlet_again(d, valkey) as store:
            words = await restore_at_start(store, d.shop.lander, d.paths.kept_file)
            assert "3 tasks, 1 of them done" in words
            assert await restore_at_start(store, d.shop.lander, d.paths.kept_file) == ""
            assert store.queue.paused
            states = {task.id: task.state for task in await store.queue.all()}
            assert states == {"a": _S.DONE, "b": _S.CANCELLED, "c": _S.FAILED}
            assert [each.question for each in await store.questions.open()] == ["Which?"]
            assert await store.get_setting("run") == d.runs.run
            assert await store.ledger.reconcile(()) == ("of a call that was cut off",)
            totals = await store.ledger.totals(run=d.runs.run, day=d.runs.day())
            assert totals.run_spent_usd_micros == spent + 40
            assert token is not None
            assert await store.memory.fence() >= token
            assert await store.queue.retry(TaskId("b"))
            states = {task.id: task.state for task in await store.queue.all()}
            assert states == {"a": _S.DONE, "b": _S.QUEUED, "c": _S.BLOCKED}


@asynccontextmanager
async def daemonlet_again(d: Daemonlet, valkey: OwnValkey) -> AsyncIterator[Store]:
    """The store of the next daemon."""
    async with Store.open(valkey.url, PROJECT, clock=d.shop.clock, lease_ms=60_000) as store:
        yield store


async def test_what_a_person_removed_does_not_come_back(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d, keeping(d) as keeper:
        requests = Requests(
            shop=d.shop,
            fleet=d.fleet,
            views=d.views,
            runs=d.runs,
            pid=1,
            stop=lambda now, restarting: None,
            drain=d.fleet.drain,
            on_load=lambda: None,
            subsets=d.subsets,
            forgetting=keeper.forgetting,
        )
        await load(d, "a")
        await until(lambda: kept_state(d, "a") == "queued")
        await requests.answer("cleanup", {"all": True})
        assert not d.paths.kept_file.exists()
        assert (await requests.answer("tasks", {}))["tasks"] == []
        async with daemonlet_again(d, valkey) as store:
            assert await restore_at_start(store, d.shop.lander, d.paths.kept_file) == ""
        await load(d, "b")
        await until(lambda: kept_state(d, "b") == "queued")
        wipe(valkey)
        with pytest.raises((StoreUnavailableError, RpcError)):
            await requests.answer("status", {})
        await until_back(d)
        assert [task.id for task in await d.store.queue.all()] == ["b"]


async def test_a_copy_that_makes_no_sense_stops_the_daemon_in_words(valkey: OwnValkey) -> None:
    async with daemonlet(valkey.url, PROJECT) as d:
        await load(d, "a")
        keeper = keeper_of(d)
        await keeper._one_round({"a"})
        KeptFile.open(d.paths.kept_file).put({"t:a": ["1", "{", "", {"state": "queued"}]})
        wipe(valkey)
        with pytest.raises(StoreUnavailableError):
            await d.store.memory.check()
        with pytest.raises(DaemonError, match="cannot be put back") as told:
            await keeper_of(d).run()
        assert "load the plan again" in told.value.mend


def test_the_file_keeps_the_last_value_and_a_torn_line_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    kept = KeptFile.open(path)
    kept.put({"a": 1, "b": {"x": "\udcff", "y": ""}})
    kept.put({"a": 2, "b": {"y": "", "x": "\udcff"}})
    assert len(path.read_text().splitlines()) == 3
    with path.open("a") as out:
        out.write('["a", 3')
    again = KeptFile.open(path)
    assert again.read() == {"a": 2, "b": {"x": "\udcff", "y": ""}}
    again.put({"a": 4})
    assert KeptFile(path).read()["a"] == 4
    for n in range(OLD_LINES_MOST + 10):
        again.put({"a": -n})
    assert len(path.read_text().splitlines()) < OLD_LINES_MOST
    assert KeptFile(path).read() == {"a": -n, "b": {"x": "\udcff", "y": ""}}
    assert (len(again), again.holds("a", -n), again.holds("a", 0), again.holds("c", 0)) == (
        2,
        True,
        False,
        False,
    )
    again.clear()
    assert (KeptFile(path).read(), len(again)) == ({}, 0)


def test_what_a_full_disk_tore_is_written_again_and_takes_nothing_with_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    kept = KeptFile.open(path)
    kept.put({"a": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            kept.put({"b": "long enough"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes().endswith(b'["b",')
    assert not kept.holds("b", "long enough")
    kept.put({"b": "long enough", "c": 2})
    assert KeptFile(path).read() == {"a": 1, "b": "long enough", "c": 2}


def test_a_folder_that_cannot_be_made_at_once_is_made_later(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    kept = KeptFile(folder / "kept.jsonl")
    kept.begin_again()
    kept.put({"a": 1})
    rmtree(folder)
    folder.touch()
    with pytest.raises(OSError, match="File exists"):
        kept.begin_again()
    assert kept.holds("a", 1)
    folder.unlink()
    kept.begin_again()
    kept.put({"a": 1})
    assert KeptFile(folder / "kept.jsonl").read() == {"a": 1}


def test_of_a_large_value_only_a_digest_is_in_memory(tmp_path: Path) -> None:
    path, count = tmp_path / "kept.jsonl", 500
    tracemalloc.start()
    try:
        kept = KeptFile.open(path)
        for n in range(count):
            kept.put({f"t:task-{n}": {"body": f"{n}" + "x" * 5_000}})
        written = tracemalloc.get_traced_memory()[0]
        again = KeptFile.open(path)
        opened = tracemalloc.get_traced_memory()[0] - written
    finally:
        tracemalloc.stop()
    assert max(written, opened) < 500 * count
    assert len(kept) == len(again) == count


async def test_a_copy_that_is_removed_with_its_folder_is_written_anew_and_whole(
    valkey: OwnValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    async with daemonlet(valkey.url, PROJECT) as d, keeping(d):
        await load(d, "a", "b")
        await until(lambda: kept_state(d, "b") == _S.QUEUED)
        rmtree(d.paths.state_dir)
        d.paths.state_dir.mkdir(mode=0o755)  # As whoever wants to write there next would make it.
        await until(lambda: kept_state(d, "a") == kept_state(d, "b") == _S.QUEUED)
        assert d.paths.state_dir.stat().st_mode & 0o777 == 0o700
        rmtree(d.paths.state_dir)
        await until(lambda: kept_state(d, "a") == kept_state(d, "b") == _S.QUEUED)
    assert "memory_kept_anew" in capsys.readouterr().out
