"""The man pages of both programs, as roff, made from the commands' own help.

Separate from `make_reference` because roff has rules of its own; it writes what this makes. One page a
program: what is true of all commands first, then each command with its options and examples. See man(7).
Deliberately absent: anything that `--help` does not say.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from doc_sources import commands_of_both, first_sentence, param_words

from agentcoord import __version__
from agentcoord.wire.messages import ExitCode

DATE: Final = "2026-11-26"
"""Of the version; a page that named the day of its making would never be current."""
_CODE: Final = re.compile(r"\\\(ga(.+?)\\\(ga")
"""What stands between two backticks, once they are escaped."""
_SYNOPSES: Final = {
    "agentcoord": "A night shift for a repository: load plans, run them, look on, review.",
    "agentcoordd": "The daemon of AgentCoord: hosts the workers of one project.",
}
_NAMES: Final = {
    "agentcoord": "night shift for a repository",
    "agentcoordd": "daemon that hosts the workers of one project",
}
_ENVIRONMENT: Final = {
    "ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN": "The key or token of the model's server.",
    "ANTHROPIC_BASE_URL": "The model's server, unless models.base_url names one.",
    "AGENTCOORD_SECTION_KEY": "Overrides that setting of agentcoord.toml; lists are separated by commas.",
    "AGENTCOORD_ALLOW_ROOT": "1: as --allow-root.",
    "AGENTCOORD_COMPLETION_MS": "How long Tab waits for a daemon's names; 100.",
    "XDG_STATE_HOME, XDG_RUNTIME_DIR": "Where state and sockets lie.",
    "NO_COLOR": "No colours.",
}
_FILES: Final = {
    "agentcoord.toml": "The settings, at the root of the repository. agentcoord init writes one.",
    "$XDG_STATE_HOME/agentcoord/": "State, journal, logs and transcripts, a folder a project; else below "
    "~/.local/state.",
    "$XDG_RUNTIME_DIR/agentcoord/": "The control sockets; else below /tmp.",
}


def man_pages(exit_codes: Mapping[ExitCode, str]) -> dict[str, str]:
    """Return the text of each page by its file's name."""
    commands = commands_of_both()
    return {
        f"{program}.1": _page(
            program,
            {name: each for name, each in commands.items() if name.split()[0] == program},
            exit_codes,
        )
        for program in _NAMES
    }


def _page(program: str, commands: Mapping[str, Any], exit_codes: Mapping[ExitCode, str]) -> str:
    other = next(name for name in _NAMES if name != program)
    lines = [
        '.\\" Made by scripts/make_reference.py from the commands; change them, then run it.',
        f'.TH {program.upper()} 1 "{DATE}" "AgentCoord {__version__}" "User Commands"',
        ".SH NAME",
        f"{program} \\- {_text(_NAMES[program])}",
        ".SH SYNOPSIS",
        f".B {program}",
        r"[\fB\-C\fR \fIDIR\fR] \fICOMMAND\fR [\fIOPTIONS\fR]",
        ".SH DESCRIPTION",
        *_paragraph(_SYNOPSES[program]),
        ".PP",
        *_paragraph(
            "Data goes to standard output, all else to standard error. With --json a command prints one "
            "JSON document with a schema of its own."
        ),
        ".SH OPTIONS",
        ".TP",
        r"\fB\-C\fR, \fB\-\-project\fR \fIDIR\fR",
        *_paragraph("The repository, instead of the working directory. Before any command or after it."),
        ".TP",
        r"\fB\-h\fR, \fB\-\-help\fR",
        *_paragraph("Explain the program, or a command."),
        ".TP",
        r"\fB\-\-version\fR",
        *_paragraph("Print the version."),
        ".SH COMMANDS",
    ]
    for name, command in commands.items():
        lines += _command(name, command)
    lines += [".SH EXIT STATUS"]
    for code in ExitCode:
        lines += [".TP", f".B {int(code)}", *_paragraph(exit_codes[code])]
    for title, entries in (("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        lines.append(f".SH {title}")
        for key, words in entries.items():
            lines += [".TP", f"\\fB{_text(key)}\\fR", *_paragraph(words)]
    lines += [".SH SEE ALSO", f".BR {other} (1)"]
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    yield f'.SS "{_text(name)}"'
    yield from _paragraph(first_sentence(command))
    for part in (command.help or "").split("\n\n")[1:]:
        yield ".PP"
        yield from _paragraph(part)
    for param in command.params:
        if not getattr(param, "hidden", False):
            words, meaning = param_words(param)
            yield ".TP"
            yield f"\\fB{_text(words)}\\fR"
            yield from _paragraph(meaning or "See above.")
    examples = [line.strip() for line in (command.epilog or "").splitlines()[2:] if line.strip()]
    if examples:
        yield ".PP"
        yield "Example:" if len(examples) == 1 else "Examples:"
        yield ".PP"
        yield ".nf"
        yield ".RS 4"
        yield from (_text(line) for line in examples)
        yield ".RE"
        yield ".fi"


def _paragraph(words: str) -> list[str]:
    """A paragraph, each sentence on lines of its own: at their ends roff may add space."""
    flat = " ".join(words.split())
    sentences = flat.replace(". ", ".\n").split("\n")
    lines = []
    for sentence in filter(None, sentences):
        shown = _CODE.sub(r"\\fB\1\\fR", _text(sentence))
        lines += textwrap.wrap(shown, 78, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in lines]


def _text(words: str) -> str:
    """Words that roff shows as they are: no escapes, no requests, and hyphens that can be copied."""
    shown = words.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    shown = shown.replace("^", "\\(ha").replace("~", "\\(ti").replace('"', "\\(dq")
    return f"\\&{shown}" if shown.startswith(".") else shown
