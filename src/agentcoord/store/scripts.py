"""The Lua scripts: loading them, running them, and what their failures mean in our words.

Separate so that one place knows how a script is called: every one gets the project's prefix as its
only key, is sent by its hash, and is sent whole again when the server has forgotten it.
Deliberately absent: what the arguments mean; each script's header says it, and the room's modules
are its typed wrappers.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import StrEnum
from importlib import resources
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from agentcoord.errors import StoreError, StoreUnavailableError
from agentcoord.store.keys import Keys

BATCH = 1000
"""The most items that one script call is given, so that none blocks the server for long."""
CALL_TIMEOUT_S = 5.0
"""How long one call may take, the wait for a free connection included."""


_PASSING = ("BUSY ", "NOREPLICAS ", "UNKILLABLE ", "UNBLOCKED ")
"""What answers begin with that another moment will change: nothing was carried out."""


class ScriptName(StrEnum):
    """One `.lua` file each."""

    LOAD = "load"
    DISPATCH = "dispatch"
    HEARTBEAT = "heartbeat"
    BOOK = "book"
    SET_BACK = "set_back"
    SPREAD = "spread"
    RETRY = "retry"
    REAP = "reap"
    SET_REVIEW = "set_review"
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


async def load_sources() -> dict[ScriptName, str]:
    """Read every script, the prelude in front of each."""
    return await asyncio.to_thread(_read_sources)


def _read_sources() -> dict[ScriptName, str]:
    folder = resources.files("agentcoord.store") / "lua"
    prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
    return {
        name: prelude + "\n" + (folder / f"{name}.lua").read_text(encoding="utf-8") for name in ScriptName
    }


@asynccontextmanager
async def calling(doing: str) -> AsyncIterator[None]:
    """Bound a call to the server, and say its failure in our words; `doing` completes "to ...".

    The bound is ours, not the client's: its own socket time-out sends through `asyncio.wait_for`, which
    on Python 3.11 swallows a cancellation that arrives while the send completes.
    Raises StoreUnavailableError when trying again later may help (the call may or may not have been
    carried out), else StoreError.
    """
    with in_our_words(doing):
        async with asyncio.timeout(CALL_TIMEOUT_S):
            yield


@contextmanager
def in_our_words(doing: str) -> Iterator[None]:
    """Say the failure of a call in our words, as `calling` does; its caller bounds it."""
    try:
        yield
    except TimeoutError as error:
        raise _unavailable(doing, f"no answer within {CALL_TIMEOUT_S:.0f} s") from error
    except (
        RedisConnectionError,
        RedisTimeoutError,
        ReadOnlyError,
        ClusterDownError,
        MasterDownError,
        TryAgainError,
        RedisClusterException,
        OSError,
    ) as error:
        raise _unavailable(doing, str(error)) from error
    except OutOfMemoryError as error:
        raise StoreError(
            f"Redis is out of memory and refused to {doing}: {error}",
            mend="raise maxmemory of the server, or run: agentcoord cleanup",
        ) from error
    except RedisError as error:
        if str(error).startswith(_PASSING):
            raise _unavailable(doing, str(error)) from error
        raise StoreError(f"Redis failed to {doing}: {error}") from error


def _unavailable(doing: str, cause: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"Redis cannot be reached to {doing}: {cause}",
        mend="agentcoordd restart (embedded server), or see that the server of redis.url runs",
    )


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
        self._hash = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], args: Sequence[str | int | bytes]) -> Any:
        try:
            return await self._client.evalsha(self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await self._client.eval(self._source, len(keys), *keys, *args)


class Scripts:
    """All scripts of one project on one client. Closes nothing: the client belongs to the caller."""

    def __init__(self, client: Redis, keys: Keys, sources: Mapping[ScriptName, str]) -> None:
        self._prefix = keys.prefix
        self._registered = {name: _Script(client, source) for name, source in sources.items()}

    async def run(self, name: ScriptName, *args: str | int | bytes) -> Any:
        """Run a script; the shape of its answer stands in its header.

        Raises StoreUnavailableError (it may or may not have run) or StoreError.
        """
        async with calling(f"run {name}"):
            return await self._registered[name](keys=[self._prefix], args=args)
