"""The entry point of `agentcoord`: the fast path first, Typer for everything else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from agentcoord.cli.boundary import guarded
from agentcoord.cli.fast import answer_agentcoord
from agentcoord.cli.invocation import Invocation, hoist_project


def main(argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None) -> int:
    """Run one command and return its exit code. `argv` is without the program's name."""
    words = hoist_project(sys.argv[1:] if argv is None else argv)
    invocation = Invocation.of_process(env)

    def run() -> int:
        code = answer_agentcoord(words, invocation)
        return _run_typer(words, invocation) if code is None else code

    return guarded(invocation.terminal, run)


def _run_typer(words: list[str], invocation: Invocation) -> int:
    from agentcoord.cli.one_room import program_for
    from agentcoord.cli.typer_run import run_app

    return run_app(program_for(words), "agentcoord", words, invocation)


if __name__ == "__main__":
    sys.exit(main())
