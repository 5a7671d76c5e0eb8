"""What each method of the control socket takes, answers, and refuses: the types that its page is made of.

Separate from `protocol`, the words, and from `messages`, the shapes that everybody speaks: nothing that must
be quick reads this. A parameter without a default is required; one that is UNSET may be left out, and what
that means stands beneath it. Deliberately absent: the checking of what a client sends (`daemon/params`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Final, Literal, TypedDict

from msgspec import UNSET, Struct, UnsetType
from msgspec import field as by_default

from agentcoord.values import dataclass
from agentcoord.wire import answers, messages, task_views
from agentcoord.wire import small_answers as small
from agentcoord.wire.protocol import Method, RpcCode, Topic


class Since(TypedDict):
    epoch: str
    """As it was told last."""
    seq: int
    """Of the event that was seen last."""


class NoParams(Struct):
    pass


class HelloParams(Struct):
    protocol: list[int]
    """The versions that you speak."""
    client: str | UnsetType = UNSET
    """What you call yourself. Nothing depends on it."""


class TasksParams(Struct):
    offset: int = 0
    """Where the page begins."""
    dead: bool = False
    """Only the tasks that failed by themselves, each with its history."""


class TaskParams(Struct):
    id: str
    """The task."""


class LoadParams(Struct):
    text: str
    """The plan itself."""
    format: Literal["toml", "markdown"] = "toml"
    """What it is written in."""
    source: str = "plan"
    """What errors call it: a file's name."""


class DraftParams(Struct):
    goal: str
    """What is to be reached, in words."""


class SubscribeParams(Struct):
    topics: list[Topic] = by_default(default_factory=lambda: list(Topic))
    """What to hear of."""
    since: Since | None = None
    """The event that you saw last; null: begin with a snapshot."""
    last_words: bool = False
    """Whether you will ask once more when the daemon stops: it then waits for you, three seconds at most."""


class SpawnParams(Struct):
    role: str
    """A role of the settings' `[[worker]]`."""
    n: int = 1
    """How many, from 1 to 16."""


class KillParams(Struct):
    worker: str | UnsetType = UNSET
    """Its name; required without `all`."""
    all: bool = False
    """Every worker."""


class CleanupParams(Struct):
    all: bool = False
    """Forget every task and all else of the project in the store, too."""


class CancelParams(Struct):
    id: str
    """The task."""
    why: str = ""
    """What people are told of it."""


class AnswerParams(Struct):
    id: str
    """The task."""
    text: str
    """The answer, which the model reads."""


class DiffParams(Struct):
    id: str
    """The task."""
    offset: int = 0
    """Where the piece begins, in characters."""
    whole: bool = False
    """Whether `git apply` shall make the same bytes of it: with binary files, and nothing cut. For up to
    8 MiB; above that, and else, it is for people to read. Bytes that are no UTF-8 are U+DC80 to U+DCFF in it.
    """


class BlameParams(Struct):
    path: str
    """A file in the project, from its root."""
    offset: int = 0
    """The first line of the page, counted from 0."""


class TranscriptParams(Struct):
    id: str
    """The task."""
    attempt: int | UnsetType = UNSET
    """Which, counted from 1; the newest when it is left out."""
    offset: int = 0
    """Where the piece begins: 0, or a `next_offset` that you were told."""


class UndoParams(Struct):
    id: str | UnsetType = UNSET
    """The task; required without `all`."""
    yes: bool = False
    """Even when tasks that need it have landed on top of it."""
    all: bool = False
    """All that landed and was not accepted."""


class ProveWithoutParams(Struct):
    id: str
    """The task."""
    hunks: list[str]
    """The keys of those to leave out; one at least."""


class TakeOutParams(ProveWithoutParams):
    anyway: bool = False
    """Even when the checks are red without them."""


class RejectParams(Struct):
    id: str
    """The task."""
    reason: str
    """What the next attempt should do otherwise; at most 4,000 characters."""
    despite: list[str] = by_default(default_factory=list)
    """Ids of tasks that landed on top of it and may stay."""


class AcceptParams(Struct):
    id: str | UnsetType = UNSET
    """The task; required without `all`."""
    all: bool = False
    """Every done task that nobody reviewed."""


class StopParams(Struct):
    now: bool = False
    """Hand running turns back instead of letting them end."""
    restarting: bool = False
    """The daemon is started again at once: who follows the run waits for that."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One method's."""

    params: type[Struct]
    results: tuple[type, ...]
    """TypedDicts; where there are two, the second answers who sets `second_with`."""
    errors: Mapping[RpcCode, str] = field(default_factory=lambda: MappingProxyType({}))
    """Those of its own, beside what any method may meet, and when."""
    second_with: str = "all"


_NO_TASK: Final = {RpcCode.NOT_FOUND: "no such task"}


def _refuses(when: str) -> Mapping[RpcCode, str]:
    return {**_NO_TASK, RpcCode.REFUSED: when}


SIGNATURES: Final[Mapping[Method, Signature]] = {
    Method.HELLO: Signature(
        HelloParams, (messages.Hello,), {RpcCode.INVALID_PARAMS: "no version that both speak; it hangs up"}
    ),
    Method.STATUS: Signature(NoParams, (messages.StatusView,)),
    Method.TASKS: Signature(TasksParams, (small.TasksPage, small.DeadTasksPage), second_with="dead"),
    Method.TASK: Signature(TaskParams, (task_views.TaskDetail,), _NO_TASK),
    Method.WORKERS: Signature(NoParams, (small.Workers,)),
    Method.COSTS: Signature(NoParams, (answers.CostsView,)),
    Method.STATS: Signature(NoParams, (answers.StatsView,)),
    Method.LOCKS: Signature(NoParams, (small.Locks,)),
    Method.LOAD: Signature(
        LoadParams, (answers.LoadView,), {RpcCode.BAD_PLAN: "the plan is wrong; `problems` says where"}
    ),
    Method.DRAFT: Signature(
        DraftParams,
        (answers.DraftView,),
        {RpcCode.REFUSED: "another draft is under way, or no model answers"},
    ),
    Method.SUBSCRIBE: Signature(
        SubscribeParams,
        (messages.SubscribeView,),
        {RpcCode.UNAVAILABLE: "as many clients follow already as may"},
    ),
    Method.SPAWN: Signature(SpawnParams, (small.Spawned,), {RpcCode.REFUSED: "the fleet is full"}),
    Method.KILL: Signature(KillParams, (small.Killed,), {RpcCode.NOT_FOUND: "no such worker"}),
    Method.PAUSE: Signature(NoParams, (small.Paused,)),
    Method.RESUME: Signature(NoParams, (small.Paused,)),
    Method.DRAIN: Signature(NoParams, (small.Draining,)),
    Method.CLEANUP: Signature(
        CleanupParams, (answers.CleanupView,), {RpcCode.REFUSED: "`all`, while tasks are running"}
    ),
    Method.RETRY: Signature(
        TaskParams, (small.TaskState,), _refuses("it is not failed, cancelled or parked")
    ),
    Method.CANCEL: Signature(
        CancelParams, (small.TaskState,), _refuses("it has ended, or its files have landed")
    ),
    Method.ANSWER: Signature(
        AnswerParams, (small.Answered,), {RpcCode.NOT_FOUND: "no such task, or no question"}
    ),
    Method.DIFF: Signature(DiffParams, (answers.Piece,), _refuses("it has landed nothing")),
    Method.BLAME: Signature(BlameParams, (answers.BlameView,), {RpcCode.NOT_FOUND: "no such file"}),
    Method.TRANSCRIPT: Signature(TranscriptParams, (task_views.TranscriptView,), _NO_TASK),
    Method.LAND: Signature(TaskParams, (small.TaskState,), _refuses("nothing of it is held for its flags")),
    Method.UNDO: Signature(
        UndoParams,
        (answers.UndoView, small.AllUndone),
        _refuses("nothing of it stands; or tasks that need it do, which `problems` names"),
    ),
    Method.PROVE_WITHOUT: Signature(
        ProveWithoutParams, (answers.SubsetView,), {RpcCode.REFUSED: "no such task that is done"}
    ),
    Method.TAKE_OUT: Signature(
        TakeOutParams,
        (answers.SubsetView,),
        {RpcCode.REFUSED: "not proven, the tree has moved since, or red without `anyway`"},
    ),
    Method.REJECT: Signature(
        RejectParams,
        (answers.RejectView,),
        _refuses("it is not done; or tasks that need it have landed, and `despite` does not name them"),
    ),
    Method.ACCEPT: Signature(AcceptParams, (small.Accepted, small.AllAccepted), _refuses("it is not done")),
    Method.STOP: Signature(StopParams, (small.Stopping,)),
}
