"""The errors that AgentCoord raises: one root, one branch a room.

A leaf exists only because some caller handles it differently. Facts are attributes.
Ordinary outcomes (an empty queue, a refused reservation) are return values, not errors.
"""

from __future__ import annotations

from collections.abc import Sequence


class AgentCoordError(Exception):
    """The root. `str()` is one sentence: what happened and why. `mend` is what to do about it."""

    def __init__(self, message: str, *, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        """What happened, and why, in words for the user."""
        self.mend = mend
        """A command or an action that helps; empty when there is none."""


class ConfigError(AgentCoordError):
    """`agentcoord.toml`, the environment or a flag is wrong."""


class PlanError(AgentCoordError):
    """A plan cannot be loaded; nothing of it was."""

    def __init__(self, message: str, problems: Sequence[str] = (), *, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.problems = tuple(problems)
        """Every problem found, each with its line number."""


class IllegalMoveError(AgentCoordError):
    """A task was asked to move between two states that no edge joins."""


class StoreError(AgentCoordError):
    """Redis refused, vanished or answered nonsense."""


class StoreUnavailableError(StoreError):
    """Redis cannot be reached now; trying again later may help."""


class StoreLoadingError(StoreUnavailableError):
    """Redis answers that it is still reading its data: it will be there by itself."""


class LeaseLostError(StoreError):
    """The claim's fencing token is stale: somebody else owns the task, or it ended."""

    def __init__(self, message: str, *, how: str = "", mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.how = how
        """How the claim ended (`domain.lost_claims.ClaimEnd`); empty when nobody looked."""


class WorkspaceError(AgentCoordError):
    """A private copy, the journal or a landing failed."""


class DiskShortError(WorkspaceError):
    """The disk has too little room for a private copy: every other task would meet the same."""


class LandingRefusedError(WorkspaceError):
    """The change set holds something that never lands, whatever the scope says."""

    def __init__(self, message: str, paths: Sequence[str] = (), *, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.paths = tuple(paths)
        """The offending paths, relative to the repository."""


class SandboxError(AgentCoordError):
    """The sandbox cannot run commands; nothing ran unconfined instead."""


class LlmError(AgentCoordError):
    """A call to the model failed."""


class LlmRetryableError(LlmError):
    """The environment's fault (rate limit, overload, network): costs no attempt.

    `retry_after_s` is how long the server asked to wait, or None.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.retry_after_s = retry_after_s


class LlmOverloadedError(LlmRetryableError):
    """The server asks for fewer calls (429, 529): every worker slows down, not only the one refused."""


class LlmSpendLimitError(LlmError):
    """The provider refuses to spend more of the user's money: stop the run."""


class LlmRequestError(LlmError):
    """The server says that the request is wrong (400, 404, 413): repeating it cannot help."""


class LlmContextWindowError(LlmRequestError):
    """The prompt does not fit the model's context window: the conversation must become shorter."""


class LlmAuthError(LlmError):
    """The key is missing or refused."""


class LlmPriceError(LlmError):
    """A model has no price, or the price file is wrong: nothing may be spent on it."""


class RehearsalScriptError(LlmError):
    """A rehearsal script cannot be played; `problems` are all that was found, each with its place."""

    def __init__(self, message: str, problems: Sequence[str] = (), *, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.problems = tuple(problems)


class AgentError(AgentCoordError):
    """The agent loop cannot go on."""


class ReviewError(AgentCoordError):
    """Checks, verdicts or a report failed for a reason of their own."""


class ChecksCannotRunError(ReviewError):
    """A check's program is missing on the untouched tree too: no change can be proven, by nobody's fault."""


class WireError(AgentCoordError):
    """The control socket spoke nonsense or broke."""


class AnotherListensError(WireError):
    """Another user listens on the project's control socket."""


class NoSuchNightError(WireError):
    """No recording, or more than one, is called so."""


class DaemonNotRunningError(WireError):
    """Nobody listens on the project's control socket."""


class NoAnswerError(WireError):
    """The daemon listens, but says nothing in time."""

    def named(self, who: str) -> NoAnswerError:
        """The same, with ` (pid N)` or nothing behind the daemon."""
        words = self.message.replace("the daemon", f"the daemon{who}", 1)
        return NoAnswerError(words, mend=self.mend)


class ConnectionLostError(WireError):
    """The daemon hung up in the middle; whoever follows a run connects again."""


class RpcError(WireError):
    """The daemon answered a request with an error. `code` is the JSON-RPC code, `exit_code` ours."""

    def __init__(
        self, message: str, *, code: int, exit_code: int = 1, problems: Sequence[str] = (), mend: str = ""
    ) -> None:
        super().__init__(message, mend=mend)
        self.code = code
        self.exit_code = exit_code
        self.problems = tuple(problems)


class BadPlanError(RpcError):
    """The daemon will not load this plan; `problems` are all that is wrong, each with its line."""


class NotFoundError(RpcError):
    """There is no such task, worker or question."""


class RefusedError(RpcError):
    """A conflict, or not possible in this state."""


class UnavailableError(RpcError):
    """Not now: Redis is away, or the daemon is stopping."""


class DaemonError(AgentCoordError):
    """The daemon cannot start or go on."""


class DaemonAlreadyRunningError(DaemonError):
    """Another daemon holds this project's lock."""
