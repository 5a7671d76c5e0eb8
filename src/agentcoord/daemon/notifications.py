"""Sends notices to a person: a command of theirs, a URL (ntfy, Slack, any webhook), Apprise, the desktop.

Where to send comes from the person's environment alone: a committed file must not make a stranger's
machine run a command or tell a server of its work. One notice at a time, each with a deadline; one
that cannot be sent is logged and dropped. Deliberately absent: what is worth telling (`notices`), and how it
looks on the web (`notice_shapes`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from agentcoord.clock import Clock
from agentcoord.config.secret_variables import SECRET_VARIABLES
from agentcoord.config.sections import NotifySection
from agentcoord.daemon.event_hub import EventHub, Subscription
from agentcoord.daemon.notice_shapes import as_json, is_web_address, request_for
from agentcoord.daemon.notices import QUIET_MS, Notice, NoticeDesk, died_before
from agentcoord.daemon.own_thread import in_own_thread
from agentcoord.errors import DaemonError, StoreError
from agentcoord.telemetry.posting import kind_of, post

if TYPE_CHECKING:
    from agentcoord.wire.messages import StatusView

SEND_TIMEOUT_S = 20.0
LAST_WORDS_S = 5.0
"""How long notices may hold up a stop, all together."""
BUSY_TIMEOUT_S = 5.0
"""How long a notice waits for the one before to get through by the same way."""

Send = Callable[[Notice], Awaitable[None]]
log = structlog.get_logger("notify")


def by_command(command: str, env: Mapping[str, str]) -> Send:
    """Run `command` in a shell: the notice in `NOTICE_KIND`, `NOTICE_TITLE` and `NOTICE_TEXT`, and as
    JSON on its standard input. It does not see the API key.
    """
    clean = {name: value for name, value in env.items() if name not in SECRET_VARIABLES}

    async def send(notice: Notice) -> None:
        facts = {"NOTICE_KIND": str(notice.kind), "NOTICE_TITLE": notice.title, "NOTICE_TEXT": notice.text}
        await _run(["/bin/sh", "-c", command], {**clean, **facts}, as_json(notice))

    return send


def by_url(url: str, send_timeout_s: float = SEND_TIMEOUT_S, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Send:
    """Post to a URL, in the shape that its host expects.

    One at a time: nothing ends a thread to which a server answers a byte a minute, so it gets no second.
    Raises DaemonError for one that nothing can be posted to: told at the start, as for Apprise.
    """
    if not is_web_address(url):
        raise DaemonError(
            "notify.url is no http(s) address", mend="set AGENTCOORD_NOTIFY_URL to one, https:// included"
        )

    posting: asyncio.Future[None] | None = None

    async def send(notice: Notice) -> None:
        nonlocal posting
        request = request_for(url, notice)
        if posting is not None:
            _, late = await asyncio.wait({posting}, timeout=busy_timeout_s)
            if late:
                raise TimeoutError
        posting = in_own_thread(lambda: post(request, send_timeout_s), "notice")
        async with asyncio.timeout(send_timeout_s):
            await asyncio.shield(posting)

    return send


def by_apprise(urls: Sequence[str], env: Mapping[str, str]) -> Send:
    """Send through Apprise, to every service that these URLs name.

    In a process of its own for each notice: a hundred plugins are no tenants for a daemon of weeks. The
    URLs hold secrets, so they travel in its environment, where nobody else can read them. Raises
    DaemonError when the extra is not installed, or an entry is no URL: told at the start, because nobody
    looks when a notice does not come.
    """
    import importlib.util

    if importlib.util.find_spec("apprise") is None:
        raise DaemonError(
            "notify.apprise is set, and Apprise is not installed", mend="pip install 'agentcoord[apprise]'"
        )
    wrong = [str(number) for number, url in enumerate(urls, start=1) if "://" not in url]
    if wrong:
        raise DaemonError(
            f"notify.apprise: entry {', '.join(wrong)} is no URL",
            mend="separate URLs by commas, and write a comma within one as %2C",
        )
    clean = {name: value for name, value in env.items() if name not in SECRET_VARIABLES}
    program = "import sys; from apprise.cli import main; sys.exit(main())"

    async def send(notice: Notice) -> None:
        kind = "warning" if notice.urgent else "info"
        words = [sys.executable, "-c", program, "--title", notice.title, "--notification-type", kind]
        await _run(words, {**clean, "APPRISE_URLS": " ".join(urls)}, notice.text.encode("utf-8", "replace"))

    return send


def by_desktop(env: Mapping[str, str]) -> Send | None:
    """Show it on this machine's desktop; None where there is no way to."""
    tool = "osascript" if sys.platform == "darwin" else "notify-send"
    path = shutil.which(tool, path=env.get("PATH"))
    if path is None:
        return None

    async def send(notice: Notice) -> None:
        await _run([path, *_desktop_words(tool, notice)], env, b"")

    return send


def _desktop_words(tool: str, notice: Notice) -> Sequence[str]:
    if tool == "osascript":
        script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
        return ["-e", script, notice.title, notice.text]
    urgency = "critical" if notice.urgent else "normal"
    return ["--app-name=agentcoord", f"--urgency={urgency}", "--", notice.title, notice.text]


async def _run(words: Sequence[str], env: Mapping[str, str], fed: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(env),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await process.communicate(fed)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # It leads a group: what it began goes too.
            await process.wait()
    if process.returncode:
        raise OSError(f"it ended with exit code {process.returncode}")


def ways_to_notify(notify: NotifySection, env: Mapping[str, str]) -> list[Send]:
    """Every way that is set up; none is not an error. Raises DaemonError for one that cannot be."""
    ways: list[Send] = []
    if notify.command:
        ways.append(by_command(notify.command, env))
    if notify.url:
        ways.append(by_url(notify.url))
    if notify.apprise:
        ways.append(by_apprise(notify.apprise, env))
    if notify.desktop:
        desktop = by_desktop(env)
        if desktop is None:
            log.warning("desktop_notices_impossible", why="notify-send (osascript on macOS) is not on PATH")
        else:
            ways.append(desktop)
    return ways


async def send_to_all(ways: Iterable[Send], notice: Notice) -> None:
    """Send by each way, one after the other; one that fails is logged and passed over."""
    log.info("notice", kind=str(notice.kind), title=notice.title)
    for send in ways:
        try:
            await send(notice)
        except asyncio.CancelledError:
            log.warning("notice_not_sent", kind=str(notice.kind), error="cut off while it was sent")
            raise
        except (OSError, TimeoutError, ValueError) as error:
            # Neither the address nor what it answers: a webhook's URL is a secret.
            log.warning("notice_not_sent", kind=str(notice.kind), error=kind_of(error))


class Notifier:
    """Follows the events and sends. `run()` belongs in the daemon's task group."""

    def __init__(
        self,
        hub: EventHub,
        desk: NoticeDesk,
        status: Callable[[], Awaitable[StatusView]],
        ways: Sequence[Send],
        clean: Callable[[str], str],
        clock: Clock,
    ) -> None:
        """`clean` takes secrets out of a text: what a worker asks leaves the machine."""
        self._hub = hub
        self._clock = clock
        self._sleeping = False
        self._desk = desk
        self._status = status
        self._ways = tuple(ways)
        self._clean = clean

    async def run(self) -> None:
        """Tell, until cancelled; what is left is told then."""
        with self._hub.subscribed() as subscription:
            try:
                await self._follow(subscription)
            finally:
                try:
                    async with asyncio.timeout(LAST_WORDS_S):
                        await self._last_words(subscription)
                except TimeoutError:
                    log.warning("last_notices_lost")

    async def _follow(self, subscription: Subscription) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await subscription.ready.wait()
                subscription.lagged = False
                for event in subscription.take_all():
                    notice = self._desk.notice_of(event)
                    if notice is not None:
                        await self._tell(notice)
                    if self._desk.asks_whether_over(event):
                        await self._tell_of(self._desk.finished)
                for held in self._desk.due(self._clock.now_ms()):
                    await self._tell(held)
                wait_ms = self._desk.due_in_ms(self._clock.now_ms())
                if wait_ms is not None and not self._sleeping:
                    self._sleeping = True
                    group.create_task(self._wake_in(wait_ms / 1000, subscription), name="held notices")

    async def _last_words(self, subscription: Subscription) -> None:
        """Tell what came up last, without keeping quiet: there is no later."""
        may_be_over = False
        for event in subscription.take_all():
            if (notice := self._desk.notice_of(event)) is not None:
                await self._tell(notice)
            may_be_over = self._desk.asks_whether_over(event) or may_be_over
        for held in self._desk.due(self._clock.now_ms() + QUIET_MS):
            await self._tell(held)
        if may_be_over:
            await self._tell_of(self._desk.finished)
        if self._desk.is_cut_short:
            await self._tell_of(self._desk.cut_short)

    async def _wake_in(self, seconds: float, subscription: Subscription) -> None:
        await self._clock.sleep(seconds)
        self._sleeping = False
        subscription.ready.set()

    async def _tell_of(self, end: Callable[[StatusView], Notice | None]) -> None:
        try:
            notice = end(await self._status())
        except StoreError as error:
            log.warning("end_not_told", error=str(error))
            return
        if notice is not None:
            await self._tell(notice)

    async def _tell(self, notice: Notice) -> None:
        clean = replace(notice, title=self._clean(notice.title), text=self._clean(notice.text))
        await send_to_all(self._ways, clean)


def desk_for(project: str, wanted: Sequence[str], hub: EventHub) -> NoticeDesk:
    """The desk of a daemon that is about to say that it started."""
    return NoticeDesk(project, wanted, died=died_before(hub.recent))
