"""Every setting, as frozen sections: the shape that the rest of the program is handed.

One field a key; the string beneath a field is its documentation, from which the settings
reference is made. Defaults stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType

from agentcoord.domain.globs import EVERYTHING
from agentcoord.domain.ladder import Rung
from agentcoord.domain.worker import MISSION_WORKERS, WorkerSpec
from agentcoord.values import dataclass


@dataclass(frozen=True, slots=True)
class ProjectSection:
    """`[project]`"""

    scope: tuple[str, ...] = ("src/**", "tests/**", "docs/**")
    """What workers may add or modify; gitignore-like globs."""
    protect: tuple[str, ...] = ()
    """Never, even inside the scope."""
    sight: tuple[str, ...] = EVERYTHING
    """What workers' tools view, search and list, and so may change at all; commands see the whole copy."""
    share: tuple[str, ...] = (".venv", "node_modules")
    """Ignored folders that checks need, shown read-only."""


@dataclass(frozen=True, slots=True)
class ChecksSection:
    """`[checks]`: any name = a command; all must exit 0 before a landing."""

    commands: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    timeout_s: float = 900.0
    """One check's time; after that it counts as red."""
    parallel: int = 0
    """How many check runs may go on at once; 0: one for each two cores, at least two."""
    on_tamper: str = "hold"
    """hold: a change that deletes, skips or weakens tests waits for a person; flag: it lands, flagged."""
    pre_existing: str = "allow"
    """allow: tests that failed before a task do not stop it; refuse: every check must exit 0."""
    junit_files: tuple[str, ...] = ()
    """Globs of JUnit XML that checks write, for verdicts a test; plain pytest commands need none."""
    unread_files: tuple[str, ...] = ()
    """Globs of files that no check reads: when only these change under a task, its proof stands."""


@dataclass(frozen=True, slots=True)
class ModelsSection:
    """`[models]`"""

    ladder: tuple[str, ...] = ("claude-haiku-5-5", "claude-sonnet-5-5")
    """The first attempt's model, then the next one's; the last is kept. A rung may have an effort of its own,
    after a space: `claude-haiku-5-5 low`."""
    effort: str = "medium"
    """low, medium, high, xhigh, max, for rungs without their own; empty: not sent."""
    provider: str = "anthropic"
    """anthropic (or any server that speaks its API), aws, bedrock, bedrock-mantle, foundry, vertex; clouds
    sign in as their own tools do."""
    region: str = ""
    """Of AWS or Vertex; empty: as their tools find it."""
    project: str = ""
    """Vertex's project or Foundry's resource; empty: as their tools find it."""
    base_url: str = ""
    """Else ANTHROPIC_BASE_URL, else Anthropic; for clouds: else the cloud's own."""
    price_file: str = ""
    """A TOML file with prices of further models, or newer ones; relative to the repository."""
    custom_tools: bool = False
    """For servers that do not know Anthropic's own tool types."""
    plain_requests: bool = False
    """For servers that know neither caching nor effort: leaves both out."""
    context_tokens: int = 0
    """The models' context window; conversations, answers and tool results keep within it. 0: as the price
    list says, else 200,000."""
    compact_at_tokens: int = 0
    """How long a conversation grows before it is summarised and begun anew. 0: 45 % of the window, at most
    90,000."""
    first_byte_s: float = 90.0
    """How long an answer may take to begin; local servers that read long prompts slowly need more."""
    silence_s: float = 120.0
    """How long a stream may be silent before the call is broken off; at least `first_byte_s`."""
    max_turns: int = 60
    """Turns of one attempt."""
    attempts: int = 3
    """Attempts of one task."""
    check_rounds: int = 3
    """How often red checks go back to the worker within an attempt."""

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The ladder, read."""
        return tuple(Rung.of(entry, self.effort) for entry in self.ladder)


@dataclass(frozen=True, slots=True)
class RetriesSection:
    """`[retries]`: how often one cause may send a task back, and after which wait; 0: no limit of its own."""

    first_wait_s: float = 2.0
    """The longest wait after a first setback that may pass by waiting; doubles with each of the same kind."""
    most_wait_s: float = 600.0
    """The longest wait of all. A random part of these is waited, but no less than a server asks for."""
    unproven: int = 0
    """Attempts whose checks stayed red, until the task fails; `models.attempts` holds for all kinds."""
    gave_up: int = 0
    """Attempts that came to a bound of the conversation, until the task fails."""
    refused: int = 0
    """Attempts that ended because the model's server refused a request, until the task fails."""
    broken: int = 0
    """Attempts without a working private copy or transcript, until the task fails."""
    crashed: int = 0
    """Attempts that a fault of ours ended, until the task fails."""
    lease_expired: int = 0
    """Attempts whose worker let its lease run out, until the task fails."""
    overloaded: int = 20
    """Rate limits and overloads that were not waited out, until the task is parked. Cost no attempt."""
    unreachable: int = 20
    """Times that the model's server could not be reached, until the task is parked. Cost no attempt."""
    store_away: int = 20
    """Times that Redis went away under the task, until it is parked. Cost no attempt."""
    absent: int = 20
    """Leases that nobody could renew (the machine slept), until the task is parked. Cost no attempt."""
    machine: int = 10
    """Times that a full disk or the like stopped the task, until it is parked. Cost no attempt."""
    restarted: int = 10
    """Deaths of the daemon while it worked on the task, until it is parked. Cost no attempt."""


@dataclass(frozen=True, slots=True)
class BudgetSection:
    """`[budget]`; 0 means no cap."""

    run_usd: float = 6.00
    """Dollars for one run: from a plan's loading until all of its tasks have ended."""
    task_usd: float = 0.60
    """Dollars for one task over all its attempts and runs; a plan's `budget_usd` goes before it."""
    day_usd: float = 20.00
    """Dollars for one day by the local date, over all runs of this project."""
    run_tokens: int = 0
    """Tokens for one run, of all kinds: input, read from the cache or not, and output."""
    task_tokens: int = 0
    """Tokens for one task over all its attempts and runs; a plan's `budget_tokens` goes before it."""
    day_tokens: int = 0
    """Tokens for one day by the local date."""
    deadline: str = ""
    """Local time, such as 07:00, after which nothing new is claimed; empty: none."""


@dataclass(frozen=True, slots=True)
class RedisSection:
    """`[redis]`"""

    url: str = ""
    """Empty: the embedded server."""
    lease_s: float = 60.0
    """How long a claim holds without a heartbeat; 5 at least."""


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """`[metrics]`"""

    port: int = 0
    """Of the Prometheus endpoint on 127.0.0.1; 0: off."""


@dataclass(frozen=True, slots=True)
class NotifySection:
    """`[notify]`: who is told in the night."""

    command: str = ""
    """A shell command that is handed each notice; from the environment alone."""
    url: str = ""
    """Of ntfy, Slack, Discord or any webhook; from the environment alone."""
    apprise: tuple[str, ...] = ()
    """URLs of any service that Apprise knows (the extra `apprise`); from the environment alone."""
    desktop: bool = False
    """Show notices on this machine's desktop."""
    events: tuple[str, ...] = ("finished", "needs_you", "budget", "failures", "restarted")
    """Which notices."""


@dataclass(frozen=True, slots=True)
class UndoSection:
    """`[undo]`"""

    keep_days: int = 90
    """How long accepted work can still be undone; then `cleanup` drops what that takes. 0: for good."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it, and where each value came from."""

    project: ProjectSection = field(default_factory=ProjectSection)
    checks: ChecksSection = field(default_factory=ChecksSection)
    models: ModelsSection = field(default_factory=ModelsSection)
    retries: RetriesSection = field(default_factory=RetriesSection)
    budget: BudgetSection = field(default_factory=BudgetSection)
    redis: RedisSection = field(default_factory=RedisSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    notify: NotifySection = field(default_factory=NotifySection)
    undo: UndoSection = field(default_factory=UndoSection)
    workers: tuple[WorkerSpec, ...] = MISSION_WORKERS
    """`[[worker]]`; none given: the six of the mission."""
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """`section.key` to `default`, `agentcoord.toml`, the variable's name or `flag`."""
