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
SPAWN_MOST: Final = 16
"""How many workers one `spawn` may ask for."""
PIECE_CHARS: Final = 200_000
"""How much of a long text (a diff, a transcript) one answer carries."""
NO_MODEL: Final = "none: "
"""What `model_source` begins with where there is none; what to set follows."""


class Method(StrEnum):
    """What a client may ask. Parameters, results and errors of each: `methods`."""

    HELLO = "hello"
    """Agree on the version of the protocol, and learn who answers. Comes first."""
    STATUS = "status"
    """How it stands, in numbers: what `agentcoord status` prints."""
    TASKS = "tasks"
    """The tasks, a page at a time."""
    TASK = "task"
    """All that is known of one task."""
    WORKERS = "workers"
    """The workers, and what each does."""
    COSTS = "costs"
    """What the run cost, by task, worker and model, and what it will have cost at its end."""
    STATS = "stats"
    """The run in numbers: how fast, how well, and what held it up."""
    LOCKS = "locks"
    """The locks of files: who holds them, who waits."""
    LOAD = "load"
    """Add the tasks of a plan, all or none. Tasks that are there already are left alone, or get their new
    words while nobody works on them."""
    DRAFT = "draft"
    """Have a model propose a plan, which is returned and not loaded. Takes minutes, and costs what `cost_usd`
    says."""
    SUBSCRIBE = "subscribe"
    """Hear what is new from now on: notifications follow the answer."""
    SPAWN = "spawn"
    """Add workers."""
    KILL = "kill"
    """Stop workers at once; their tasks go back to the queue."""
    PAUSE = "pause"
    """Claim no new tasks; running ones go on."""
    RESUME = "resume"
    """Claim tasks again."""
    DRAIN = "drain"
    """Claim no new tasks, and stop the daemon when the running ones have ended."""
    CLEANUP = "cleanup"
    """Release what nobody holds any more: locks, leases, reservations, private copies."""
    RETRY = "retry"
    """Bring a task back that ended or waits for a person."""
    CANCEL = "cancel"
    """End a task that has not landed."""
    ANSWER = "answer"
    """Answer the question that a task asked."""
    DIFF = "diff"
    """What a task has landed, a piece at a time."""
    BLAME = "blame"
    """Which task wrote which line of a file, a page at a time."""
    TRANSCRIPT = "transcript"
    """The conversation of an attempt, a piece at a time, also while it goes on."""
    LAND = "land"
    """Let a change that was held for its flags be checked again, and land as it is."""
    UNDO = "undo"
    """Take back what a task landed. With `conflicts` nothing happened."""
    PROVE_WITHOUT = "prove_without"
    """What the checks say of exactly the tree without these hunks, in a private copy. The first asking begins
    them; ask again until `state` is not `running`."""
    TAKE_OUT = "take_out"
    """Take hunks out of the tree, as they were proven (`prove_without`)."""
    REJECT = "reject"
    """Take back what a task landed, and queue it again with the reason in its next prompt. With `conflicts`
    nothing happened."""
    ACCEPT = "accept"
    """Note that a person has reviewed what a task landed."""
    STOP = "stop"
    """Stop the daemon."""


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
