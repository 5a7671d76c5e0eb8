"""The Lua scripts: loading them, running them, and what their failures mean in our words.

Separate so that one place knows how a script is called: every one gets the project's prefix as its
only key, is sent by its hash, and is sent whole again when the server has forgotten it.
Deliberately absent: what the arguments mean; each script's header says it, and the room's modules
are its typed wrappers.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from importlib import resources
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisClusterException, RedisError

from agentcoord.errors import StoreUnavailableError
from agentcoord.store.keys import Keys
from agentcoord.store.refusals import error_for, unreachable

_T = TypeVar("_T")
BATCH = 1000
"""The most items that one script call is given, so that none blocks the server for long."""
CALL_TIMEOUT_S = 5.0
"""How long one call may take, the wait for a free connection included."""


class ScriptName(StrEnum):
    """One `.lua` file each."""

    LOAD = "load"
    DISPATCH = "dispatch"
    HAND_OVER = "hand_over"
    HEARTBEAT = "heartbeat"
    BOOK = "book"
    SET_BACK = "set_back"
    SPREAD = "spread"
    RETRY = "retry"
    REJECT = "reject"
    REAP = "reap"
    SET_REVIEW = "set_review"
    SET_LANDED = "set_landed"
    LOCK = "lock"
    UNLOCK_ALL = "unlock_all"
    UNLOCK_DEAD = "unlock_dead"
    RESERVE = "reserve"
    SETTLE = "settle"
    MARK_STARTED = "mark_started"
    RELEASE = "release"
    ASK = "ask"
    ANSWER = "answer"
    TAKE_ANSWERS = "take_answers"
    RESTORE = "restore"
    READ_TASKS = "read_tasks"


_GIVING_BACK = {ScriptName.UNLOCK_ALL, ScriptName.UNLOCK_DEAD, ScriptName.SETTLE, ScriptName.RELEASE}
"""They take nothing worth mentioning, and run although the server is out of memory."""

_MAKING_READY = {
    ScriptName.SET_BACK,
    ScriptName.SPREAD,
    ScriptName.RETRY,
    ScriptName.REJECT,
    ScriptName.REAP,
}
"""After them, tasks may be ready that somebody waits for."""


_OF_NEEDS = ("line", "held", "waves", "setbacks", "spreading")
_PARTS: dict[ScriptName, tuple[str, ...]] = {
    **dict.fromkeys((ScriptName.DISPATCH, ScriptName.LOAD, ScriptName.REAP, ScriptName.RESTORE), ("line",)),
    ScriptName.LOCK: ("line", "held"),
    **dict.fromkeys((ScriptName.SET_BACK, ScriptName.RETRY), _OF_NEEDS),
    **dict.fromkeys((ScriptName.REJECT, ScriptName.SPREAD), _OF_NEEDS),
    **dict.fromkeys((ScriptName.RESERVE, ScriptName.SETTLE), ("money",)),
    **dict.fromkeys((ScriptName.MARK_STARTED, ScriptName.RELEASE), ("money",)),
}
"""The files between the prelude and a script's own text. No more than it needs: each run defines all of
their functions anew."""
_BARE = {ScriptName.HAND_OVER, ScriptName.READ_TASKS}
"""Without even the prelude: who waits for them waits for that, too."""
_PART_HERE = re.compile(r"^ *-- part: (\w+)$", re.MULTILINE)
"""Where a script wants a file only on the way that needs it."""


def pieces(items: Sequence[_T], most: int = BATCH) -> Iterator[Sequence[_T]]:
    """Cut a list into such as one call may take."""
    return (items[start : start + most] for start in range(0, len(items), most))


async def load_sources() -> dict[ScriptName, str]:
    """Read every script, the prelude and its parts in front of each."""
    return await asyncio.to_thread(_read_sources)


def sha_of(source: str) -> str:
    """Return the name by which a server knows a script that it was told."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _read_sources() -> dict[ScriptName, str]:
    folder = resources.files("agentcoord.store") / "lua"
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".lua")]
    text = {entry.name.removesuffix(".lua"): entry.read_text(encoding="utf-8") for entry in files}

    def source_of(name: ScriptName) -> str:
        own = _PART_HERE.sub(lambda part: text[part[1]], text[name])
        parts = () if name in _BARE else ("prelude", *_PARTS.get(name, ()))
        return "\n".join([_shebang(name), *(text[part] for part in parts), own])

    return {name: source_of(name) for name in ScriptName}


def _shebang(name: ScriptName) -> str:
    """The first line, because of which a server that may not write refuses the whole script before it begins.

    Without it, such a server refuses in the middle, at the first command that adds something, and what
    the script took away before is gone.
    """
    if name is ScriptName.READ_TASKS:
        return "#!lua flags=no-writes"
    return "#!lua flags=allow-oom" if name in _GIVING_BACK else "#!lua"


@asynccontextmanager
async def calling(doing: str) -> AsyncIterator[None]:
    """Bound a call to the server, and say its failure in our words; `doing` completes "to ...".

    The bound is ours, not the client's: its own socket time-out sends through `asyncio.wait_for`, which
    on Python 3.11 swallows a cancellation that arrives while the send completes.
    Raises StoreUnavailableError when trying again later may help, if need be after a person has mended it
    (the call may or may not have been carried out), else StoreError.
    """
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise unreachable(doing, f"no answer within {CALL_TIMEOUT_S:.0f} s") from error
    except (RedisError, RedisClusterException, OSError) as error:
        raise error_for(doing, error) from error


async def read_hash(client: Redis, key: str) -> dict[str, str]:
    """Return a whole hash; empty when there is none. The client must decode its answers."""
    async with calling(f"read {key}"):
        return cast("dict[str, str]", await client.hgetall(key))


async def read_text(client: Redis, key: str) -> str | None:
    """Return a string; None when there is none. The client must decode its answers."""
    async with calling(f"read {key}"):
        return cast("str | None", await client.get(key))


class _Script:
    """One script on one client: sent by its hash, and whole when the server does not know it.

    Not redis-py's own, which loads it and then runs it by its hash: the server may forget it in between.
    """

    def __init__(self, client: Redis, source: str) -> None:
        self._client = client
        self._source = source
        self._hash = sha_of(source)

    async def __call__(self, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        try:
            return await self._client.evalsha(self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await self._client.eval(self._source, len(keys), *keys, *args)


class Scripts:
    """All scripts of one project on one client. Closes nothing: the client belongs to the caller."""

    def __init__(self, client: Redis, keys: Keys, sources: Mapping[ScriptName, str]) -> None:
        self._prefix = keys.prefix
        self._client = client
        self._registered = {name: _Script(client, source) for name, source in sources.items()}
        self.on_doubt: Callable[[], None] = lambda: None
        """Called, without awaiting, when tasks may have become ready and no answer says so."""

    async def run(self, name: ScriptName, *args: str | int | bytes) -> Any:
        """Run a script; the shape of its answer stands in its header.

        Raises StoreUnavailableError (it may or may not have run) or StoreError.
        """
        try:
            async with calling(f"run {name}"):
                return await self._registered[name](keys=[self._prefix], args=args)
        except StoreUnavailableError as error:
            self._doubt(name)
            if isinstance(error.__cause__, ReadOnlyError):
                await self._let_go_of_a_demoted_master()
            raise
        except asyncio.CancelledError:
            self._doubt(name)
            raise

    def _doubt(self, name: ScriptName) -> None:
        if name in _MAKING_READY:
            self.on_doubt()

    async def _let_go_of_a_demoted_master(self) -> None:
        """Connect anew: the name in the URL may mean another server by now, old connections do not follow."""
        pool = getattr(self._client, "connection_pool", None)  # A cluster's client follows by itself.
        if pool is not None:
            await pool.disconnect(inuse_connections=False)
