"""Starting and stopping the daemon from a command: what it is told, and what it was told last time.

The flags of a start are kept beside the state, because a daemon that was killed must be able to go
on as what it was: a rehearsal that resumed on a paid model would be a bad surprise. The daemon's own
code is imported only here, when a start really happens: it is most of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agentcoord.cli.boundary import CommandError
from agentcoord.cli.invocation import Invocation
from agentcoord.cli.lock_look import holds_lock, wait_until
from agentcoord.config.paths import ProjectPaths
from agentcoord.errors import DaemonNotRunningError, NoAnswerError
from agentcoord.tui.styled import Span, Tone
from agentcoord.wire.call import call_once
from agentcoord.wire.protocol import ExitCode, Method

if TYPE_CHECKING:
    from agentcoord.config.sections import ModelsSection
    from agentcoord.daemon.background_start import Started
    from agentcoord.daemon.start_args import StartArgs

STOP_TIMEOUT_S: Final = 150.0
"""A running tool call may take its two minutes; after this, `stop` says so and leaves."""
ANSWER_S: Final = 10.0
"""How long the daemon may take to answer that it will."""
SUPERVISOR_ENDS_S: Final = 10.0
"""How long a supervisor may take to see that its daemon has ended in order; a moment as a rule."""
GRACE_S: Final = 5.0
"""How long its process may take to end by itself after SIGTERM, and to be gone after SIGKILL."""


def is_running(paths: ProjectPaths) -> bool:
    """Whether a daemon answers. Raises WireError when something listens and does not answer."""
    try:
        call_once(paths.socket, Method.HELLO, {"protocol": [1], "client": "agentcoord"})
    except DaemonNotRunningError:
        return False
    except NoAnswerError as error:
        from agentcoord.cli.forced_stop import pid_in_words

        raise error.named(pid_in_words(paths)) from None
    return True


def start_args(
    *,
    allow_root: bool,
    unsafe_no_sandbox: bool = False,
    external_sandbox: bool = False,
    rehearse: Path | None = None,
    rehearsal_latency: float = 1.0,
    supervised: bool = False,
    base_url: str = "",
    run_usd: float | None = None,
) -> StartArgs:
    """Turn a command's options into what the daemon is told."""
    from agentcoord.daemon.start_args import StartArgs

    flags: dict[str, object] = {}
    if base_url:
        flags["models.base_url"] = base_url
    if run_usd is not None:
        flags["budget.run_usd"] = run_usd
    scripts = None if rehearse is None else rehearse.resolve()
    return StartArgs(
        allow_root=allow_root,
        unsafe_no_sandbox=unsafe_no_sandbox,
        external_sandbox=external_sandbox,
        rehearse=scripts,
        rehearsal_latency=rehearsal_latency,
        supervised=supervised,
        flags=flags,
    )


def start(invocation: Invocation, args: StartArgs) -> Started:
    """Start the daemon in the background and return when it is ready.

    Raises DaemonAlreadyRunningError, or DaemonError with the last log lines.
    """
    from agentcoord.daemon.background_start import start_background

    paths = invocation.paths()
    if moved := invocation.moved_words():
        invocation.terminal.say(moved)
    started = start_background(paths.root, args=args, env=invocation.env)
    _start_file(paths).write_text(args.to_json(), encoding="utf-8")
    return started


def start_in_words(invocation: Invocation, given: StartArgs, args: StartArgs, *, as_json: bool) -> None:
    """Start as `args` say, and tell what came of it; `given` is what the person said this time."""
    terminal = invocation.terminal
    started = start(invocation, args)
    if args != given:
        words = [
            "a rehearsal (scripted model)" if args.rehearse else "",
            "without a sandbox" if args.unsafe_no_sandbox else "",
            "in a sandbox that you vouch for" if args.external_sandbox else "",
            "supervised" if args.supervised else "",
            *(f"{key} {value}" for key, value in args.flags.items()),
        ]
        terminal.say(f"goes on as it was started before: {', '.join(filter(None, words)) or 'no options'}")
    if args.unsafe_no_sandbox:
        terminal.say(Span("unsafe: ", Tone.WARN), "the workers' commands run unconfined if no sandbox works")
    tell_started(invocation, started.pid, as_json=as_json)


def tell_started(invocation: Invocation, pid: int | None, *, as_json: bool) -> None:
    """Print where a daemon is that has been started."""
    paths = invocation.paths()
    if as_json:
        document = {"pid": pid, "socket": str(paths.socket), "log": str(paths.log_file)}
        invocation.terminal.document("agentcoordd.start", document)
        return
    invocation.terminal.text(f"pid     {pid}\nsocket  {paths.socket}\nlog     {paths.log_file}")


def args_to_resume(paths: ProjectPaths, args: StartArgs, *, always: bool = False) -> StartArgs:
    """Return what the last start was told, when the daemon ended without saying goodbye (or `always`).

    `args` wins when it names a model or a cap itself, and says alone whether root is allowed; its other flags
    are added.
    """
    crashed = paths.identity_file.exists()
    if not (crashed or always) or args.rehearse is not None or args.flags:
        return args
    last = last_args(paths)
    if last is None:
        return args
    return replace(
        last,
        allow_root=args.allow_root,
        unsafe_no_sandbox=args.unsafe_no_sandbox or last.unsafe_no_sandbox,
        external_sandbox=args.external_sandbox or last.external_sandbox,
        supervised=args.supervised or last.supervised,
    )


def last_args(paths: ProjectPaths) -> StartArgs | None:
    """What the last start was told; None when that is unknown."""
    from agentcoord.daemon.start_args import StartArgs

    try:
        return StartArgs.from_json(_start_file(paths).read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def judge_settings(paths: ProjectPaths, env: Mapping[str, str], flags: Mapping[str, object]) -> None:
    """Raise the error that a start with the settings as they stand now would end with.

    Asked before a daemon is stopped for a new start: one that cannot come up again is better left at work.
    """
    import asyncio

    from agentcoord.config.load import load_settings
    from agentcoord.daemon.equipping import check_prices, price_list_of
    from agentcoord.daemon.notifications import ways_to_notify
    from agentcoord.store.looking import version_of_server

    settings = load_settings(paths.root, env, flags)
    check_prices(settings, price_list_of(settings, paths.root))
    ways_to_notify(settings.notify, env)
    if settings.redis.url:
        asyncio.run(version_of_server(settings.redis.url))
    port = settings.metrics.port
    if port and not _may_be_its_own(paths, port):
        from agentcoord.daemon.metrics_server import refuse_taken_port

        refuse_taken_port(port)


def _may_be_its_own(paths: ProjectPaths, port: int) -> bool:
    """Whether the daemon that runs may be who listens there: one of a version that did not say may."""
    from agentcoord.daemon.project_lock import read_identity

    return holds_lock(paths.lock_file) and read_identity(paths).get("metrics_port", port) == port


def stop(
    paths: ProjectPaths,
    say: Callable[[str], None],
    *,
    now: bool,
    restarting: bool = False,
    by_force: bool = False,
    timeout_s: float = STOP_TIMEOUT_S,
    answer_s: float = ANSWER_S,
    grace_s: float = GRACE_S,
) -> None:
    """Ask the daemon to stop and wait until it is gone; `restarting`: the caller starts one again.

    With `by_force`, one that does not answer within `answer_s`, or has not stopped within `timeout_s`, is
    ended by signals (`grace_s` after each), and `say` told so. Where there is only a supervisor that waits to
    start the next one, that is ended. Raises DaemonNotRunningError when there is neither, and without
    `by_force` CommandError (exit 6) that names such a one.
    """
    try:
        call_once(paths.socket, Method.STOP, {"now": now, "restarting": restarting}, answer_s)
    except DaemonNotRunningError:
        if not holds_lock(paths.lock_file):
            from agentcoord.cli.forced_stop import end_supervisor

            if not end_supervisor(paths, say, timeout_s):
                raise
            return
        _end_or_name(paths, say, "nobody listens on its socket", by_force=by_force, grace_s=grace_s)
        return
    except NoAnswerError as error:
        _end_or_name(paths, say, error.message, by_force=by_force, grace_s=grace_s)
        return
    if not wait_until(lambda: not holds_lock(paths.lock_file), timeout_s):
        why = f"it has not stopped within {timeout_s:.0f} s; it finishes the running tool calls first"
        _end_or_name(paths, say, why, by_force=by_force, grace_s=grace_s)
    elif not restarting:
        from agentcoord.daemon.supervisor_note import supervisor_of

        wait_until(lambda: supervisor_of(paths) is None, SUPERVISOR_ENDS_S)


def _end_or_name(
    paths: ProjectPaths, say: Callable[[str], None], why: str, *, by_force: bool, grace_s: float
) -> None:
    from agentcoord.cli.forced_stop import end_process, pid_in_words

    if by_force:
        end_process(paths, say, grace_s=grace_s)
        return
    raise CommandError(
        f"the daemon{pid_in_words(paths)} goes on: {why}",
        exit_code=ExitCode.TIMEOUT,
        mend="agentcoordd stop --now (ends its process, if need be)",
    )


def require_model(models: ModelsSection, env: Mapping[str, str]) -> None:
    """Raise CommandError with the three ways on, when there is neither a key nor a base URL nor a cloud."""
    from agentcoord.llm.api import Provider

    if models.provider != Provider.ANTHROPIC or models.base_url or env.get("ANTHROPIC_BASE_URL"):
        return
    if env.get("ANTHROPIC_API_KEY") or env.get("ANTHROPIC_AUTH_TOKEN"):
        return
    raise CommandError(
        "there is no model to work with: neither an API key nor a base URL is set",
        problems=(
            "1. a key:       export ANTHROPIC_API_KEY=sk-ant-...",
            "2. a server:    export ANTHROPIC_BASE_URL=http://... (any that speaks the Messages API),",
            "                or models.base_url in agentcoord.toml",
            "3. without one: agentcoord demo (a scripted night on a small project, costs nothing)",
        ),
        mend="take one of the three ways, then run the command again",
    )


def _start_file(paths: ProjectPaths) -> Path:
    return paths.state_dir / "start.json"
