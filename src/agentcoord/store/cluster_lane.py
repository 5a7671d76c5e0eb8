"""A lane of a cluster: whatever connection the cluster's client takes, one call at a time.

Separate from `own_lane` because a cluster's client sends on its own, to the node that has the project's slot,
and follows it when it moves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from agentcoord.store.lane import DOING, Argument, LaneCall, Listener
from agentcoord.store.refusals import error_for
from agentcoord.store.scripts import ScriptName, sha_of
from agentcoord.values import dataclass


@dataclass(slots=True)
class ClusterLane:
    """Whatever connection the cluster's client takes, one call at a time."""

    client: Redis
    sources: Mapping[ScriptName, str]
    prefix: str
    _listener: Listener = field(init=False)
    _waiting: deque[LaneCall] = field(default_factory=deque)
    _parent: asyncio.TaskGroup = field(init=False)
    _calling: asyncio.Task[None] | None = None
    _hung_up: bool = True
    _shas: dict[ScriptName, str] = field(init=False)

    def __post_init__(self) -> None:
        self._shas = {name: sha_of(source) for name, source in self.sources.items()}

    @property
    def depth(self) -> int:
        return 1

    @property
    def is_open(self) -> bool:
        return not self._hung_up

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def begin(self, parent: asyncio.TaskGroup) -> None:
        self._parent = parent

    async def connect(self) -> None:
        """Wait until nothing is heard of earlier calls; the cluster's client connects by itself."""
        if self._hung_up:
            await self.drop()
            self._hung_up = False

    def rouse(self, script: ScriptName) -> None:
        pass  # Nobody knows yet which connection it will be.

    def send(self, calls: Sequence[LaneCall]) -> None:
        self._waiting.extend(calls)
        if self._calling is None or self._calling.done():
            self._calling = self._parent.create_task(self._call_all(), name="store calls")

    async def _call_all(self) -> None:
        while self._waiting:
            answer = await self._call(*self._waiting.popleft())
            if self._hung_up:
                return
            self._listener.answered(answer)

    async def _call(self, script: ScriptName, args: Sequence[Argument]) -> Any:
        source, keys_and_args = self.sources[script], (1, self.prefix, *args)
        try:
            try:
                return await self._run("EVALSHA", self._shas[script], *keys_and_args)
            except NoScriptError:
                return await self._run("EVAL", source, *keys_and_args)
        except (RedisError, RedisClusterException, OSError) as error:
            return error_for(DOING, error)

    def tell_again(self) -> None:
        pass  # Each call that is refused takes the text along by itself.

    def hang_up(self) -> None:
        self._hung_up = True
        self._waiting.clear()
        if self._calling is not None:
            self._calling.cancel()

    async def drop(self) -> None:
        self.hang_up()
        calling, self._calling = self._calling, None
        if calling is not None:
            await asyncio.wait({calling})

    async def _run(self, *command: Argument) -> Any:
        # redis-py leaves this method untyped.
        return await self.client.execute_command(*command, NEVER_DECODE=True)  # type: ignore[no-untyped-call]
