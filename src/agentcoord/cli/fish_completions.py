"""The completion script for fish: a line for each thing that may be offered, and where.

Separate from `completions`, because fish has conditions where bash has a case. Where the cursor stands is
computed once for both kinds of line: the commands so far, and how many arguments are behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agentcoord.cli.completions import NAMES_MS, Spot, groups_of, valued_of


def fish(program: str, spots: list[Spot]) -> Iterator[str]:
    """The lines for one program."""
    yield _PLACE.format(
        program=program,
        valued=" ".join(valued_of(spots)),
        groups=" ".join(f"'{words}'" for words in groups_of(spots)),
        names_ms=NAMES_MS,
    )
    for spot in spots:
        path = " ".join(spot.words)
        here = f'complete -c {program} -n \'__{program}_at "{path}"'
        for name, words in spot.commands.items():
            yield f"{here} 0' -f -a {name} -d {_text(words)}"
        for number, offered in enumerate(spot.arguments):
            more = "any" if spot.repeats and number == len(spot.arguments) - 1 else str(number)
            if offered:
                yield f"{here} {more}' -f -a {_values(program, offered)}"
        for name, words in spot.options.items():
            line = f"{here} any' -l {name[2:]} -d {_text(words)}"
            values = spot.values.get(name)
            if values is None:
                yield line
            else:
                yield f"{line} -x -a {_values(program, values)}" if values else f"{line} -r"


def _values(program: str, offered: str) -> str:
    return f"'(__{program}_names {offered[1:]})'" if offered.startswith("@") else f"'{offered}'"


def _text(words: str) -> str:
    first = words.partition("\n")[0]
    return "'" + first.replace("\\", "\\\\").replace("'", "\\'") + "'"


_PLACE: Final = """\
function __{program}_at
    set -l path
    set -l at 0
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if contains -- $word {valued}
            set skip 1
        else if string match -q -- '-*' $word
            continue
        else if test -z "$path"
            set path $word
        else if contains -- $path {groups}
            set path "$path $word"
        else
            set at (math $at + 1)
        end
    end
    test "$path" = "$argv[1]"; and begin
        test $argv[2] = any; or test $argv[2] = $at
    end
end
function __{program}_names
    set -l folder .
    set -l words (commandline -opc)
    for number in (seq 2 (count $words))
        if contains -- $words[$number] -C --project
            set folder $words[(math $number + 1)]
        end
    end
    set -q AGENTCOORD_COMPLETION_MS; or set -l AGENTCOORD_COMPLETION_MS {names_ms}
    command {program} -C $folder completions --names $argv[1] $AGENTCOORD_COMPLETION_MS 2>/dev/null
end"""
