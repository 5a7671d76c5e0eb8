"""`agentcoordd install-service`, `uninstall-service` and `reload`: the daemon as the system's business."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.help_pages import example, group
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.kept_by_system import start_again, start_command_of
from agentcoord.cli.looks_machine import name_of_user, run_tool
from agentcoord.cli.options import AllowRoot, invocation_of
from agentcoord.cli.starting import args_to_resume, judge_settings, start, start_args, stop
from agentcoord.tui.styled import Span, Tone
from agentcoord.wire.protocol import ExitCode

if TYPE_CHECKING:
    from agentcoord.daemon.service_units import Unit

commands = group("")

Now = Annotated[bool, typer.Option("--now", help="Start it too, at once.")]
Print = Annotated[bool, typer.Option("--print", help="Print the file; write nothing.")]


@commands.command("install-service", epilog=example("agentcoordd install-service --now"))
def install_service(
    context: typer.Context, now: Now = False, only_print: Print = False, allow_root: AllowRoot = False
) -> None:
    """Have the system keep this project's daemon.

    A systemd user unit, or a launchd agent on macOS: started at login, restarted after a crash.
    """
    invocation = invocation_of(context)
    unit = unit_of(invocation, allow_root=allow_root)
    terminal = invocation.terminal
    if only_print:
        terminal.text(unit.text)
        return
    invocation.refuse_root(allow_root)
    _refuse_strangers(unit)
    unit.path.parent.mkdir(parents=True, exist_ok=True)
    unit.path.write_text(unit.text, encoding="utf-8")
    terminal.text(f"wrote {unit.path}")
    if sys.platform == "darwin":
        if now:
            _must(invocation, ["launchctl", "bootstrap", f"gui/{invocation.uid}", str(unit.path)], unit)
        return
    _tool(invocation, ["systemctl", "--user", "daemon-reload"])
    if now:
        _must(invocation, ["systemctl", "--user", "enable", "--now", unit.name], unit)
    else:
        _tool(invocation, ["systemctl", "--user", "enable", unit.name])
    from agentcoord.daemon.service_units import key_file

    terminal.say(f"the key, if you use one: ANTHROPIC_API_KEY=... in {key_file(invocation.env)} (chmod 600)")
    _tell_of_linger(invocation)


@commands.command("uninstall-service", epilog=example("agentcoordd uninstall-service"))
def uninstall_service(context: typer.Context) -> None:
    """Take the service away again, and stop what it runs."""
    invocation = invocation_of(context)
    unit = unit_of(invocation, allow_root=True)
    if not unit.path.exists():
        raise CommandError(
            f"no service is installed for this project ({unit.path})",
            exit_code=ExitCode.NOT_FOUND,
            mend="agentcoordd install-service",
        )
    _refuse_strangers(unit)
    if sys.platform == "darwin":
        _tool(invocation, ["launchctl", "bootout", f"gui/{invocation.uid}/{unit.name}"])
    elif not _tool(invocation, ["systemctl", "--user", "disable", "--now", unit.name]):
        # Where no manager runs that could stop it, the link by which one would start it goes all the same.
        run_tool(invocation, ["systemctl", "--user", "disable", unit.name])
    unit.path.unlink()
    if sys.platform != "darwin":
        _tool(invocation, ["systemctl", "--user", "daemon-reload"])
    invocation.terminal.text(f"removed {unit.path}")


@commands.command("reload", epilog=example("agentcoordd reload"))
def reload(context: typer.Context, allow_root: AllowRoot = False) -> None:
    """Take up a changed agentcoord.toml.

    A file with a mistake is refused, and the daemon goes on as it is. Else the daemon ends in order
    and starts anew as it was started; its tasks go on from their last complete turn.
    """
    invocation = invocation_of(context)
    invocation.refuse_root(allow_root)
    paths = invocation.paths()
    args = args_to_resume(paths, start_args(allow_root=invocation.may_be_root(allow_root)), always=True)
    judge_settings(paths, invocation.env, args.flags)
    by_system = start_command_of(invocation)
    stop(paths, invocation.terminal.say, now=False, restarting=True)
    if by_system:
        start_again(invocation, by_system, as_json=False)
        return
    started = start(invocation, args)
    invocation.terminal.text(f"pid     {started.pid}")


def unit_of(invocation: Invocation, *, allow_root: bool) -> Unit:
    """What the system would be told of this project's daemon, and where it stands when it was."""
    from agentcoord.daemon.service_units import launchd_agent, systemd_unit

    paths = invocation.paths()
    words = [sys.executable, "-m", "agentcoord.cli.agentcoordd", "-C", str(paths.root), "run"]
    if invocation.uid == 0 and invocation.may_be_root(allow_root):
        words.append("--allow-root")
    env = {**invocation.env, "HOME": invocation.env.get("HOME") or str(paths.state_dir.anchor)}
    return (launchd_agent if sys.platform == "darwin" else systemd_unit)(paths, words, env)


def _refuse_strangers(unit: Unit) -> None:
    """Leave a file alone that somebody else wrote."""
    from agentcoord.daemon.service_units import MADE_BY_US

    if unit.path.exists() and MADE_BY_US not in unit.path.read_text(encoding="utf-8", errors="replace"):
        raise CommandError(
            f"{unit.path} was not made by this command; it was left as it is",
            exit_code=ExitCode.REFUSED,
            mend=f"move {unit.path} away",
        )


def _tool(invocation: Invocation, words: Sequence[str]) -> bool:
    """Run the service manager's own tool; whether it did. A refusal is told with the command to repeat."""
    why = _failure_of(invocation, words)
    if why:
        invocation.terminal.say(Span("warning: ", Tone.WARN), why)
        invocation.terminal.say(Span("fix: ", Tone.GOOD), _by_hand(words))
    return not why


def _must(invocation: Invocation, words: Sequence[str], unit: Unit) -> None:
    """Run the tool that starts the service. Raises CommandError when it does not: that was asked for."""
    why = _failure_of(invocation, words)
    if why:
        raise CommandError(
            f"nothing was enabled or started: {why}; {unit.path} stays as it was written",
            mend=_by_hand(words),
        )


def _failure_of(invocation: Invocation, words: Sequence[str]) -> str:
    """Run the service manager's own tool; return why it did not work, or nothing."""
    done = run_tool(invocation, words)
    if done is None:
        return f"{words[0]}: it is not here, or does not end"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines() or ["it failed"]
    return f"{words[0]}: {said[-1]}"


def _by_hand(words: Sequence[str]) -> str:
    return f"in a login session, run: {' '.join(words)}"


def _tell_of_linger(invocation: Invocation) -> None:
    """Without lingering, the user's services end at logout."""
    user = name_of_user(invocation.uid)
    done = run_tool(invocation, ["loginctl", "show-user", user, "--property=Linger"])
    if done is None or done.stdout.strip() != "Linger=yes":
        invocation.terminal.say(Span("warning: ", Tone.WARN), "it ends when you log out")
        invocation.terminal.say(Span("fix: ", Tone.GOOD), f"loginctl enable-linger {user}")
