"""How `--help` reads: usage, what it is for, examples, and then the options.

Separate from `options`, because it is about Typer's classes alone, of which nothing else should know.
They are touched by their documented methods only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup


class ExamplesFirst(TyperCommand):
    """A command whose examples stand before its options: they are what most people look for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _in_our_order(self, ctx, formatter)


class ExamplesFirstGroup(TyperGroup):
    """The same for what has commands below it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _in_our_order(self, ctx, formatter)


class Program(typer.Typer):
    """A set of commands whose help has the examples first."""

    def command(  # type: ignore[override]  # Whatever else Typer's takes is handed on as it is.
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **options: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a command, as Typer does."""
        return super().command(name, cls=cls or ExamplesFirst, **options)


def example(*commands: str) -> str:
    """The example section of a command's help."""
    head = "Example:" if len(commands) == 1 else "Examples:"
    return f"\b\n{head}\n" + "\n".join(f"  {command}" for command in commands)


def group(help_text: str, *examples: str) -> Program:
    """A set of commands in our manner: plain help that reads the same in a pipe."""
    return Program(
        cls=ExamplesFirstGroup,
        help=help_text,
        epilog=example(*examples) if examples else None,
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def add_help(program: Program, *examples: str) -> None:
    """Give a program the command `help`, which prints what `--help` does."""

    @program.command("help", epilog=example(*examples))
    def help_of(
        context: typer.Context,
        words: Annotated[
            list[str] | None, typer.Argument(metavar="COMMAND", help="None: the whole program.")
        ] = None,
    ) -> None:
        """Show the help of a command."""
        found: Any = context.find_root()
        for word in words or ():
            child = getattr(found.command, "commands", {}).get(word)
            if child is None:
                known = ", ".join(sorted(getattr(found.command, "commands", {}))) or "no others"
                raise typer.BadParameter(f"{found.command_path} has no command {word!r}; it has {known}")
            found = child.make_context(word, [], parent=found, resilient_parsing=True)
        typer.echo(found.get_help())


def _in_our_order(command: Any, ctx: Any, formatter: Any) -> None:
    command.format_usage(ctx, formatter)
    command.format_help_text(ctx, formatter)
    command.format_epilog(ctx, formatter)
    command.format_options(ctx, formatter)
