"""Asking a server who it is, without writing anything: for `doctor`, before a store is opened on it."""

from __future__ import annotations

from typing import Final

from redis.exceptions import NoPermissionError

from agentcoord.errors import StoreError
from agentcoord.store.client import connected
from agentcoord.store.scripts import calling

OLDEST: Final = (7, 0)
UNTOLD: Final = "a server that tells this user no version"


async def version_of_server(url: str) -> str:
    """Return what serves `url`: `Redis 7.2.4`, `Valkey 8.1.0`; `UNTOLD` without the right to ask.

    Raises StoreUnavailableError when it does not answer, StoreError when it is too old or the URL is wrong.
    """
    async with connected(url) as client, calling("say its version"):
        try:
            answer = await client.info("server")
        except NoPermissionError:  # The work needs no such right; of one that serves it, no more is asked.
            await client.ping()
            return UNTOLD
    # A cluster answers for each of its nodes.
    facts = next(iter(answer.values())) if "redis_version" not in answer else answer
    valkey = facts.get("valkey_version")
    version = str(valkey or facts["redis_version"])
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if number < OLDEST:
        raise StoreError(
            f"the server is version {version}; 7.0 or newer is needed",
            mend="update it, or leave redis.url empty to use the server that comes along",
        )
    return f"{'Valkey' if valkey else 'Redis'} {version}"
