"""`agentcoord report`: the morning's account of the night, in four forms."""

from __future__ import annotations

import asyncio
import os
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.options import Json, invocation_of, terminal_of
from agentcoord.cli.report_facts import collect
from agentcoord.cli.report_page import report_page
from agentcoord.clock import SystemClock
from agentcoord.review.report.document import document_of
from agentcoord.review.report.facts import Night
from agentcoord.review.report.html import page_of
from agentcoord.review.report.markdown import markdown_of
from agentcoord.review.report.night import night_of
from agentcoord.tui.text import harmless
from agentcoord.wire.protocol import ExitCode

commands = group("")

REPORT_NAME = "report.html"


@commands.command(
    epilog=example("agentcoord report", "agentcoord report --open", "agentcoord report --md > night.md")
)
def report(
    context: typer.Context,
    html: Annotated[
        bool, typer.Option("--html", help="One self-contained page; on a terminal it goes into a file.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--md", help="Markdown.")] = False,
    as_json: Json = False,
    open_it: Annotated[
        bool, typer.Option("--open", help="Write the page, and show it in a browser.")
    ] = False,
) -> None:
    """Sum up the night: what landed, what failed and why, what needs you, what to review first."""
    if html + markdown + as_json > 1 or (open_it and (markdown or as_json)):
        raise CommandError(
            "choose one form of the report",
            exit_code=ExitCode.USAGE,
            mend="agentcoord report, with --html, --md, --json or --open alone",
        )
    invocation, terminal = invocation_of(context), terminal_of(context)
    night = read_night(invocation)
    if as_json:
        terminal.document("agentcoord.report", document_of(night))
    elif markdown:
        terminal.text(_harmless_lines(markdown_of(night)))
    elif open_it or (html and terminal.width):
        path = _write(invocation, page_of(night))
        terminal.text(str(path))
        if open_it and not webbrowser.open(path.as_uri()):
            raise CommandError("no browser could be started here", mend=f"open {path} yourself")
    elif html:
        terminal.text(page_of(night))
    else:
        terminal.lines(report_page(night, terminal.width))


def read_night(invocation: Invocation) -> Night:
    """Ask the project's daemon for everything, and put it together."""
    answers = asyncio.run(collect(invocation.paths().socket))
    return night_of(answers, now_ms=SystemClock().now_ms())


def _harmless_lines(text: str) -> str:
    """Markdown goes to a terminal as often as into a file; its lines and tabs stay."""
    return "\n".join("\t".join(map(harmless, line.split("\t"))) for line in text.split("\n"))


def _write(invocation: Invocation, page: str) -> Path:
    """Keep the page beside the project's state, for its owner alone."""
    path = invocation.paths().state_dir / REPORT_NAME
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(page)
    return path
