"""What the rest of the program knows of a sandbox: one Protocol, and the backend that refuses.

Separate from the backends so that the daemon depends on the shape alone. There is no falling back
here: a sandbox that cannot run a command raises, and nothing runs unconfined instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol

from agentcoord.errors import SandboxError
from agentcoord.sandbox.policy import Limits, Policy, ProbeReport, Result

OnOutput = Callable[[bytes], None]
"""Called on the event loop with each piece of output as it comes; must be quick and never raise."""


class Sandbox(Protocol):
    """Runs one command at a time a workspace, with the view and the bounds that it is given."""

    @property
    def name(self) -> str:
        """`bubblewrap`, `seatbelt`, `external` or `none`."""
        ...

    @property
    def confined(self) -> bool:
        """Whether something keeps the command from the rest of the machine."""
        ...

    async def probe(self) -> ProbeReport:
        """Find out by trying whether this backend works here."""
        ...

    async def run(
        self, command: str, policy: Policy, limits: Limits, *, on_output: OnOutput | None = None
    ) -> Result:
        """Run `command` with bash and return what it did; every process it started is dead by then.

        Raises SandboxError when the confinement cannot be set up; the command then did not run.
        """
        ...


class RefusingSandbox:
    """Stands in where no backend works: every command is refused with the reason and the mend."""

    name = "none"
    confined = True

    def __init__(self, report: ProbeReport) -> None:
        self.report = report

    async def probe(self) -> ProbeReport:
        """Return the report of the backend that did not work."""
        return self.report

    async def run(
        self,
        command: str,
        policy: Policy,
        limits: Limits,
        *,
        on_output: OnOutput | None = None,
    ) -> NoReturn:
        """Raise SandboxError; nothing runs."""
        reasons = "; ".join(self.report.reasons) or "no sandbox works here"
        raise SandboxError(f"The command was not run: {reasons}.", mend=self.report.mend)
