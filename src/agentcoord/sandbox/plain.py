"""Commands with nothing of ours around them: in declared surroundings, or because somebody insists.

Two ways lead here, and each is one person's own decision for one start. `external_sandbox`: the whole
daemon runs in a container or a virtual machine, which is the sandbox then; network, secrets and other
folders are what those give, and it cannot be checked. `unconfined_sandbox`: `--unsafe-no-sandbox` was
given, and the real sandbox does not work.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from agentcoord.clock import Clock
from agentcoord.sandbox.backend import OnOutput
from agentcoord.sandbox.direct import direct_command_line, run_direct
from agentcoord.sandbox.environment import unfit_command
from agentcoord.sandbox.held import Told, adopt_held, can_hold, held_command_line
from agentcoord.sandbox.policy import Limits, Policy, ProbeReport, Result


class PlainSandbox:
    """Keeps the scrubbed environment and the bounds, and confines nothing."""

    def __init__(self, bash: Path, report: ProbeReport, *, clock: Clock, confined: bool) -> None:
        """`report` is what every probe answers, because there is nothing to be found out by trying."""
        self.name = report.backend
        self.confined = confined
        self._bash = bash
        self._report = report
        self._clock = clock
        self._can_hold: bool | None = None
        """Whether what a command starts can be held on to; None until it was tried."""

    async def probe(self) -> ProbeReport:
        """Repeat whose decision it is."""
        return self._report

    async def run(
        self, command: str, policy: Policy, limits: Limits, *, on_output: OnOutput | None = None
    ) -> Result:
        """Run `command` with bash in the workspace itself."""
        refusal = unfit_command(command)
        if refusal:
            return Result(exit_code=126, output=refusal)
        argv = direct_command_line(self._bash, command, limits)
        if self._can_hold is None:
            self._can_hold = await can_hold(self._bash, clock=self._clock)
        run = partial(run_direct, policy, limits, clock=self._clock, on_output=on_output)
        # The daemon's Python may be gone by now: it was installed anew.
        if not self._can_hold or not await asyncio.to_thread(os.access, sys.executable, os.X_OK):
            return await run(lambda _: argv)
        with Told() as told:
            line = held_command_line(argv, told)
            result = await run(lambda _: line, adopt=adopt_held, pass_fds=(told.write_end,))
            told.check(result.killed_by, result.output)
        return result


def external_sandbox(bash: Path, *, clock: Clock) -> PlainSandbox:
    """Run commands as they are, inside the surroundings that the user vouches for."""
    report = ProbeReport(ok=True, backend="external", features=("declared by the user, not checked",))
    return PlainSandbox(bash, report, clock=clock, confined=True)


def unconfined_sandbox(bash: Path, *, clock: Clock, why: ProbeReport | None = None) -> PlainSandbox:
    """Run commands as the user. `why`: what the real sandbox said when it was tried."""
    report = ProbeReport(
        ok=True,
        backend="none",
        reasons=(
            "commands run unconfined, as --unsafe-no-sandbox asks",
            *(why.reasons if why else ()),
        ),
        mend=why.mend if why else "",
    )
    return PlainSandbox(bash, report, clock=clock, confined=False)
