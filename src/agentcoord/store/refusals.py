"""What a failed call to the server means: in our words, with what mends it.

Separate from `scripts`, which bounds the calls. All of it is the environment's fault and costs no task an
attempt: whoever waits for the store goes on when a person has mended it. Only what can be nothing but our
own mistake is a plain StoreError. Deliberately absent: how often anybody tries again.
"""

from __future__ import annotations

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from agentcoord.errors import StoreError, StoreLoadingError, StoreUnavailableError
from agentcoord.values import dataclass

_GONE = (
    RedisConnectionError,
    RedisTimeoutError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    RedisClusterException,
    OSError,
)
"""Nobody answers, or who answers cannot yet: another moment may change it."""
_PASSING = ("NOREPLICAS ", "UNKILLABLE ", "UNBLOCKED ")
"""What answers begin with that another moment may change too: nothing was carried out."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """One reason of a server that answers and does not do what it was asked."""

    kinds: tuple[type[Exception], ...]
    texts: tuple[str, ...]
    """Parts of the server's words, where redis-py has no kind of its own."""
    words: str
    mend: str

    def covers(self, error: Exception) -> bool:
        return isinstance(error, self.kinds) or any(text in str(error) for text in self.texts)


_REFUSALS = (
    _Refusal(
        (),
        (
            "WRONGPASS",
            "NOAUTH",
            "invalid username-password",
            "already authenticated",
            "Authentication required",
        ),
        "the server does not accept the user and password of redis.url, or wants some",
        "write them as redis://user:password@host:port/0 (environment: AGENTCOORD_REDIS_URL), or change them "
        "in the server: ACL SETUSER",
    ),
    _Refusal(
        (NoPermissionError,),
        ("ACL failure in script", "can't run this command or subcommand", "can't access one of the keys"),
        "the user of redis.url lacks a right that AgentCoord needs",
        "ACL SETUSER with the rights listed in docs/how-to.md, under: Redis of your own",
    ),
    _Refusal(
        (ReadOnlyError,),
        (),
        "the server of redis.url is a replica, which takes no changes",
        "name the master in redis.url, or let Sentinel find it: redis+sentinel://host:port,host:port/service/0",
    ),
    _Refusal(
        (OutOfMemoryError,),
        (),
        "the server has used up its maxmemory",
        "raise maxmemory of the server, or free memory there",
    ),
    _Refusal(
        (),
        ("MISCONF ",),
        "the server cannot write its data to the disk, and takes no changes until it can",
        "free space where the server keeps its data; its log says what failed",
    ),
    _Refusal(
        (),
        ("BUSY ",),
        "somebody's script keeps the server busy",
        "wait for it, or end it: redis-cli SCRIPT KILL",
    ),
)
_AWAY_MEND = "agentcoordd restart (embedded server), or see that the server of redis.url runs"


def error_for(doing: str, error: Exception) -> StoreError:
    """Return the error to raise for one that the client raised; `doing` completes "to ..."."""
    if isinstance(error, BusyLoadingError):
        return StoreLoadingError(
            f"Redis cannot yet {doing}: the server is still reading its data",
            mend="wait: it answers when it has read its file",
        )
    for refusal in _REFUSALS:
        if refusal.covers(error):
            return StoreUnavailableError(
                f"Redis refuses to {doing}: {refusal.words} ({error})", mend=refusal.mend
            )
    if isinstance(error, _GONE) or str(error).startswith(_PASSING):
        return unreachable(doing, str(error))
    return StoreError(f"Redis failed to {doing}: {error}")


def unreachable(doing: str, cause: str) -> StoreUnavailableError:
    """Return the error for a server that gave no answer: the call may or may not have been carried out."""
    return StoreUnavailableError(f"Redis cannot be reached to {doing}: {cause}", mend=_AWAY_MEND)
