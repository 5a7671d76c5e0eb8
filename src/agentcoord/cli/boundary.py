"""The outermost edge of every command: errors become words and an exit code, never a traceback.

Two or three lines on standard error: `error:` what happened and why, its problems one a line, and
`fix:` the command that mends it. Cheap to import: the fast path ends here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from agentcoord.cli.terminal import Terminal
from agentcoord.errors import (
    AgentCoordError,
    ConfigError,
    DaemonAlreadyRunningError,
    DaemonNotRunningError,
    NoAnswerError,
    NoSuchNightError,
    PlanError,
    RpcError,
)
from agentcoord.tui.styled import Span, Tone
from agentcoord.tui.text import harmless
from agentcoord.wire.protocol import ExitCode

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from typing import TextIO

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


class CommandError(AgentCoordError):
    """A command cannot do what it was asked to; says with which code it exits."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: ExitCode = ExitCode.ERROR,
        problems: Sequence[str] = (),
        mend: str = "",
    ) -> None:
        super().__init__(message, mend=mend)
        self.exit_code = exit_code
        self.problems = tuple(problems)


def guarded(terminal: Terminal, body: Callable[[], int]) -> int:
    """Run a command and return its exit code, whatever it raises and wherever its words go."""
    code = _in_words(terminal, body)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except KeyboardInterrupt:
            code = INTERRUPTED  # Its reader does not read.
            _let_go_of(stream)
        except OSError as error:
            _let_go_of(stream)
            if stream is sys.stdout and code == ExitCode.OK and not isinstance(error, BrokenPipeError):
                code = ExitCode.ERROR
                _try_to_tell(terminal, _refused_by_system(error))
    return code


def _let_go_of(stream: TextIO) -> None:
    """What nobody takes (`| head`, a full disk) and is still buffered must not raise at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _in_words(terminal: Terminal, body: Callable[[], int]) -> int:
    try:
        return body()
    except KeyboardInterrupt:
        return INTERRUPTED
    except AgentCoordError as error:
        _try_to_tell(terminal, error)
        return exit_code_of(error)
    except BrokenPipeError:
        return ExitCode.ERROR  # Whoever read us has enough.
    except OSError as error:
        _try_to_tell(terminal, _refused_by_system(error))
        return ExitCode.ERROR
    except Exception as error:  # noqa: BLE001 - the outermost edge: a person gets words, not a traceback
        _try_to_tell(terminal, _defect(error))
        return ExitCode.ERROR


def _try_to_tell(terminal: Terminal, error: AgentCoordError) -> None:
    try:
        tell(terminal, error)
    except OSError:
        return  # The exit code says it all the same.


def tell(terminal: Terminal, error: AgentCoordError) -> None:
    """Write what happened and how to mend it on standard error."""
    # The last 20 lines of a log may be in the message: they stay lines, but steer no terminal.
    first, *rest = str(error).splitlines() or [type(error).__name__]
    terminal.say(Span("error: ", Tone.BAD), harmless(first))
    for line in (*rest, *problems_of(error)):
        terminal.say(f"  {harmless(line)}")
    if error.mend:
        terminal.say(Span("fix: ", Tone.GOOD), harmless(error.mend))


def problems_of(error: AgentCoordError) -> tuple[str, ...]:
    """The single problems behind an error, if it has a list of them."""
    return error.problems if isinstance(error, CommandError | PlanError | RpcError) else ()


def exit_code_of(error: AgentCoordError) -> int:
    """What to exit with after `error`."""
    match error:
        case CommandError() | RpcError():
            return int(error.exit_code)
        case ConfigError() | PlanError():
            return ExitCode.USAGE
        case DaemonNotRunningError():
            return ExitCode.NOT_RUNNING
        case NoSuchNightError():
            return ExitCode.NOT_FOUND
        case NoAnswerError():
            return ExitCode.TIMEOUT
        case DaemonAlreadyRunningError():
            return ExitCode.REFUSED
        case _:
            return ExitCode.ERROR


def _refused_by_system(error: OSError) -> AgentCoordError:
    where = f" ({error.filename})" if error.filename else ""
    return AgentCoordError(f"the system refused: {error.strerror or error}{where}")


def _defect(error: Exception) -> AgentCoordError:
    import traceback
    from pathlib import Path

    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return AgentCoordError(
        f"AgentCoord itself failed: {type(error).__name__}: {error}{where}",
        mend="agentcoord doctor; if that finds nothing, report this line with what you did",
    )
