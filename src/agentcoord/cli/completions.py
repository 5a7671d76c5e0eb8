"""Completion scripts for bash, zsh and fish, made from the commands themselves.

Commands, options and fixed values are plain word lists: they start no program, so Tab answers at once. Ids of
tasks and names of workers are asked of the daemon (`names`), for a tenth of a second at most; where none
runs, or it is slow, there are none. Where a file is wanted, the shell offers its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, StrEnum
from typing import Any, Final

from agentcoord.domain.worker import Role
from agentcoord.values import dataclass

NAMES_MS: Final = 100
"""How long Tab may wait for a daemon's names; a shell variable, AGENTCOORD_COMPLETION_MS, says otherwise."""
SCHEMA_NAME: Final = "[NAME]"
"""How the argument of `schema` is called in its help."""
_LIVE: Final = "@"
"""What stands before a kind of names that the daemon is asked for."""
_BY_METAVAR: Final = {
    "ID": "@tasks",
    "[ID]...": "@tasks",
    "WORKER": "@workers",
    "NAME": "@workers",
    "ROLE": " ".join(Role),
}


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
    values: Mapping[str, str]
    """What each option that takes a value is offered: words, a kind of names (`@tasks`), or nothing."""
    arguments: tuple[str, ...]
    """The same for each argument, in order."""
    repeats: bool
    """The last argument may be given again and again."""


def spots_of(command: Any, words: tuple[str, ...] = ()) -> Iterator[Spot]:
    """Walk a (Click) command and everything below it."""
    children: Mapping[str, Any] = getattr(command, "commands", {})
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    options = [each for each in shown if each.param_type_name == "option"]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    yield Spot(
        words,
        _briefly(children),
        {name: (each.help or "") for each in options for name in each.opts if name.startswith("--")},
        {name: _offered_to(each) for each in options if not each.is_flag for name in each.opts},
        tuple(_offered_to(each) for each in arguments),
        repeats=any(each.nargs == -1 for each in arguments),
    )
    for name, child in children.items():
        if name == "help" and not words:
            yield from _below_help(command, (name,))
        else:
            yield from spots_of(child, (*words, name))


def _below_help(command: Any, words: tuple[str, ...]) -> Iterator[Spot]:
    """`help` is followed by what it explains: the commands themselves."""
    children: Mapping[str, Any] = getattr(command, "commands", {})
    yield Spot(words, _briefly(children), {}, {}, (), repeats=False)
    for name, child in children.items():
        if getattr(child, "commands", {}):
            yield from _below_help(child, (*words, name))


def _briefly(commands: Mapping[str, Any]) -> dict[str, str]:
    return {name: each.get_short_help_str(60) for name, each in commands.items()}


def _offered_to(parameter: Any) -> str:
    if parameter.opts == ["--id"]:
        return ""  # Of a task that is to be made.
    if fixed := _fixed_values(parameter):
        return " ".join(str(each.value if isinstance(each, Enum) else each) for each in fixed)
    if parameter.metavar == SCHEMA_NAME:
        from agentcoord.cli.file_schemas import all_schemas

        return " ".join(all_schemas())
    return _BY_METAVAR.get(parameter.metavar or "", "")


def _fixed_values(parameter: Any) -> Iterable[Any]:
    """What alone may stand there. Older versions of Typer say so of a value's type, as Click does."""
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    return getattr(getattr(parameter, "type", None), "choices", None) or ()


def script(shell: Shell, programs: Mapping[str, Any]) -> str:
    """The script for a shell; `programs` maps each program's name to its Click command."""
    spots = {name: list(spots_of(command)) for name, command in programs.items()}
    if shell is Shell.FISH:
        from agentcoord.cli.fish_completions import fish

        return "\n".join(line for name, found in spots.items() for line in fish(name, found)) + "\n"
    text = "\n".join(_bash(name, found) for name, found in spots.items())
    # zsh reads bash's functions, once it is told to.
    return (
        f"autoload -U +X compinit bashcompinit && compinit -i && bashcompinit\n{text}"
        if shell is Shell.ZSH
        else text
    )


def groups_of(spots: list[Spot]) -> list[str]:
    """The commands that others stand below; `help ctl` is one, too."""
    return sorted(" ".join(spot.words) for spot in spots if spot.words and spot.commands)


def valued_of(spots: list[Spot]) -> list[str]:
    """The options that a value follows, of all commands: none is without one elsewhere."""
    return sorted({name for spot in spots for name in spot.values})


def _bash(program: str, spots: list[Spot]) -> str:
    return _BASH.format(
        program=program,
        words="\n".join(f'        "{" ".join(spot.words)}") echo "{_words(spot)}" ;;' for spot in spots),
        plain="\n".join(
            f'        "{" ".join(spot.words)}") echo "{" ".join([*spot.options, "--help"])}" ;;'
            for spot in spots
        ),
        wanted="\n".join(_wanted(spots)),
        groups="|".join(groups_of(spots)),
        valued=" ".join(valued_of(spots)),
        names_ms=NAMES_MS,
    )


def _words(spot: Spot) -> str:
    """What is offered where neither an option nor an argument has begun."""
    if spot.arguments:
        return ""
    return " ".join([*spot.commands, *spot.options, "--help"])


def _wanted(spots: list[Spot]) -> Iterator[str]:
    """The cases of what an option's value or an argument is offered, by its command and name or number."""
    for spot in spots:
        path = " ".join(spot.words)
        for name, offered in spot.values.items():
            if offered:
                yield f'        "{path} {name}") echo "{offered}" ;;'
        for number, offered in enumerate(spot.arguments):
            more = "*" if spot.repeats and number == len(spot.arguments) - 1 else str(number)
            if offered:
                yield f'        "{path} "{more}) echo "{offered}" ;;'


# Not `path`: zsh ties that to PATH.
_BASH: Final = r"""_{program}_words() {{
    case "$1" in
{words}
    esac
}}
_{program}_options() {{
    case "$1" in
{plain}
    esac
}}
_{program}_wanted() {{
    case "$1" in
{wanted}
        *) ;;
    esac
}}
_{program}_complete() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" place="" folder="" asked="" at=0 word number offered
    [ "$current" = "=" ] && current=""
    for ((number = 1; number < COMP_CWORD; number++)); do
        word="${{COMP_WORDS[number]}}"
        case "$word" in
            -*) case " {valued} " in
                    *" $word "*)
                        number=$((number + 1))
                        if [ "$number" -lt "$COMP_CWORD" ] && [ "${{COMP_WORDS[number]}}" = "=" ]; then
                            number=$((number + 1))
                        fi
                        if [ "$number" -ge "$COMP_CWORD" ]; then
                            asked="$word"
                        else
                            case "$word" in
                                -C | --project) folder="${{COMP_WORDS[number]/#\~/$HOME}}" ;;
                            esac
                        fi ;;
                esac ;;
            *) if [ -z "$place" ]; then
                   place="$word"
               else
                   case "|{groups}|" in
                       *"|$place|"*) place="$place $word" ;;
                       *) at=$((at + 1)) ;;
                   esac
               fi ;;
        esac
    done
    if [ -n "$asked" ]; then
        offered="$(_{program}_wanted "$place $asked")"
    else
        case "$current" in
            -*) offered="$(_{program}_options "$place")" ;;
            *) offered="$(_{program}_words "$place")"
               [ -n "$offered" ] || offered="$(_{program}_wanted "$place $at")" ;;
        esac
    fi
    case "$offered" in
        @*) offered="$(command {program} -C "${{folder:-.}}" completions --names "${{offered#@}}" \
                "${{AGENTCOORD_COMPLETION_MS:-{names_ms}}}" 2>/dev/null)" ;;
    esac
    COMPREPLY=($(compgen -W "$offered" -- "$current"))
}}
complete -o default -F _{program}_complete {program}
"""
