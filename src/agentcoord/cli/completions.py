"""Completion scripts for bash, zsh and fish, made from the commands themselves.

They are plain word lists: pressing Tab starts no Python, so it answers at once. Deliberately absent:
task ids, which would need the daemon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from agentcoord.values import dataclass


class Shell(StrEnum):
    """Those that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@dataclass(frozen=True, slots=True)
class Spot:
    """What may follow these words."""

    words: tuple[str, ...]
    """The commands so far; empty at the start."""
    commands: Mapping[str, str]
    """With the first line of each one's help."""
    options: Mapping[str, str]
    """The long ones, with their help."""


def spots_of(command: Any, words: tuple[str, ...] = ()) -> Iterator[Spot]:
    """Walk a (Click) command and everything below it."""
    children: Mapping[str, Any] = getattr(command, "commands", {})
    options = {
        name: (getattr(each, "help", None) or "")
        for each in command.params
        if not getattr(each, "hidden", False)
        for name in getattr(each, "opts", ())
        if name.startswith("--")
    }
    yield Spot(words, {name: each.get_short_help_str(60) for name, each in children.items()}, options)
    for name, child in children.items():
        yield from spots_of(child, (*words, name))


def script(shell: Shell, programs: Mapping[str, Any]) -> str:
    """The script for a shell; `programs` maps each program's name to its Click command."""
    spots = {name: list(spots_of(command)) for name, command in programs.items()}
    if shell is Shell.FISH:
        return "\n".join(line for name, found in spots.items() for line in _fish(name, found)) + "\n"
    text = "\n".join(_bash(name, found) for name, found in spots.items())
    # zsh reads bash's functions, once it is told to.
    return (
        f"autoload -U +X compinit bashcompinit && compinit -i && bashcompinit\n{text}"
        if shell is Shell.ZSH
        else text
    )


def _bash(program: str, spots: list[Spot]) -> str:
    groups = " ".join(sorted(spot.words[0] for spot in spots if spot.words and spot.commands))
    lines = [
        f"_{program}_words() {{",
        '    case "$1" in',
        *(f'        "{" ".join(spot.words)}") echo "{_offers(spot)}" ;;' for spot in spots),
        "    esac",
        "}",
        f"_{program}_complete() {{",
        '    local current="${COMP_WORDS[COMP_CWORD]}" path="" word number',
        "    for ((number = 1; number < COMP_CWORD; number++)); do",
        '        word="${COMP_WORDS[number]}"',
        '        case "$word" in',
        "            -C | --project) number=$((number + 1)) ;;",
        "            -*) ;;",
        f'            *) case " {groups} " in',
        '                   *" $path "*) [ -n "$path" ] && path="$path $word" && break ;;',
        "               esac",
        '               [ -z "$path" ] && path="$word" ;;',
        "        esac",
        "    done",
        f'    COMPREPLY=($(compgen -W "$(_{program}_words "$path")" -- "$current"))',
        "}",
        f"complete -o default -F _{program}_complete {program}",
        "",
    ]
    return "\n".join(lines)


def _offers(spot: Spot) -> str:
    return " ".join([*spot.commands, *spot.options, "--help"])


def _fish(program: str, spots: list[Spot]) -> Iterator[str]:
    for spot in spots:
        if not spot.words:
            when = "__fish_use_subcommand"
        elif len(spot.words) == 1:
            when = f"__fish_seen_subcommand_from {spot.words[0]}"
        else:
            when = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in spot.words)
        for name, words in spot.commands.items():
            yield f"complete -c {program} -f -n '{when}' -a {name} -d {_fish_text(words)}"
        for name, words in spot.options.items():
            yield f"complete -c {program} -n '{when}' -l {name[2:]} -d {_fish_text(words)}"


def _fish_text(words: str) -> str:
    first = words.partition("\n")[0]
    return "'" + first.replace("\\", "\\\\").replace("'", "\\'") + "'"
