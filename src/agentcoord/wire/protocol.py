"""The words of the control socket: what may be asked and told, the codes, and the bounds.

Separate from `messages`, the shapes of what is asked and told, because the commands that must answer at
once need these words alone: a TypedDict takes longer to make than the daemon takes to answer.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import Final

PROTOCOL_VERSION: Final = 1
FRAME_BYTES: Final = 1024 * 1024
"""The longest line that either side accepts, the newline included."""
PIECE_CHARS: Final = 200_000
"""How much of a long text (a diff, a transcript) one answer carries."""


class Method(StrEnum):
    """What a client may ask. Parameters and results stand beside each."""

    HELLO = "hello"
    """{protocol: [int], client: str} -> Hello"""
    STATUS = "status"
    """{} -> StatusView"""
    TASKS = "tasks"
    """{offset: 0 unless given} -> {tasks: [TaskView], next_offset: int | null}: a page at a time;
    with {dead: true} -> [DeadTaskView]: the tasks that failed by themselves, the newest first"""
    TASK = "task"
    """{id} -> TaskDetail"""
    WORKERS = "workers"
    """{} -> {workers: [WorkerView]}"""
    COSTS = "costs"
    """{} -> CostsView"""
    STATS = "stats"
    """{} -> StatsView"""
    LOCKS = "locks"
    """{} -> {locks: [LockView]}"""
    LOAD = "load"
    """{text, format: "toml" | "markdown", source} -> LoadView"""
    DRAFT = "draft"
    """{goal} -> DraftView: a model proposes a plan, which is returned and not loaded; takes minutes"""
    SUBSCRIBE = "subscribe"
    """{topics: [Topic], since: {epoch, seq} | null} -> SubscribeView; then notifications"""
    SPAWN = "spawn"
    """{role, n} -> {workers: [name]}"""
    KILL = "kill"
    """{worker: name} or {all: true} -> {killed: [name]}: stops workers, hands their tasks back"""
    PAUSE = "pause"
    """{} -> {paused: true}: nothing new is claimed; running tasks go on"""
    RESUME = "resume"
    """{} -> {paused: false}"""
    DRAIN = "drain"
    """{} -> {draining: true}: claims nothing new; stops the daemon when the running tasks ended"""
    CLEANUP = "cleanup"
    """{all: bool} -> CleanupView"""
    RETRY = "retry"
    """{id} -> {id, state}"""
    CANCEL = "cancel"
    """{id, why} -> {id, state}"""
    ANSWER = "answer"
    """{id, text} -> {id}"""
    DIFF = "diff"
    """{id, offset} -> Piece"""
    BLAME = "blame"
    """{path, offset: 0 unless given} -> BlameView: a page of lines at a time"""
    TRANSCRIPT = "transcript"
    """{id, attempt: the newest unless given, offset: 0 unless given} -> TranscriptView: a piece at a time"""
    LAND = "land"
    """{id} -> {id, state}: lets a change that was held for its flags land as it is"""
    UNDO = "undo"
    """{id, yes: bool} -> UndoView; {all: true} -> {tasks: [UndoView]}: newest first, accepted ones stay"""
    PROVE_WITHOUT = "prove_without"
    """{id, hunks: [key]} -> SubsetView: what the checks say of a task without these hunks, in a private copy.
    The first asking begins them; ask again until `state` is not `running`"""
    TAKE_OUT = "take_out"
    """{id, hunks: [key], anyway: bool} -> SubsetView: takes them out of the tree as they were proven.
    Refused when they were not, or the tree has moved since; when red, unless `anyway`"""
    REJECT = "reject"
    """{id, reason, despite: [ids]} -> RejectView: undone, and the same task is queued again with the reason
    in its next prompt. Refused while tasks that need it have landed, unless `despite` names each of them"""
    ACCEPT = "accept"
    """{id} -> {id, review}; {all: true} -> {tasks: [id]}"""
    STOP = "stop"
    """{now: bool} -> {stopping: true}"""


class Notification(StrEnum):
    """What the daemon says unasked, after `subscribe`."""

    EVENT = "event"
    """{epoch, event: domain Event as JSON}"""
    WORKERS = "workers"
    """{workers: [WorkerView]}: at most four times a second, when something changed"""
    TASKS = "tasks"
    """{tasks: [TaskView]}: only the rows that changed"""
    STATUS = "status"
    """StatusView: at most once a second, when something changed"""
    LAGGED = "lagged"
    """{snapshot: Snapshot}: the subscriber was too slow; what it missed is in the snapshot"""


class Topic(StrEnum):
    """What to subscribe to."""

    EVENTS = "events"
    WORKERS = "workers"
    TASKS = "tasks"
    STATUS = "status"


class RpcCode(IntEnum):
    """JSON-RPC error codes; below -32000 the standard's, from 1 ours."""

    PARSE = -32700
    INVALID_REQUEST = -32600
    UNKNOWN_METHOD = -32601
    INVALID_PARAMS = -32602
    INTERNAL = -32603
    BAD_PLAN = 1
    """`data.problems`: one string each, with line numbers."""
    NOT_FOUND = 2
    REFUSED = 3
    """A conflict, or not possible in this state."""
    UNAVAILABLE = 4
    """Redis is away, the daemon is stopping, or there is no room for one more client."""


class ExitCode(IntEnum):
    """What our commands exit with."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_FOUND = 4
    REFUSED = 5
    TIMEOUT = 6
    TASK_FAILED = 7
