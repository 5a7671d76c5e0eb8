"""What is left of bubblewrap when a daemon is killed before a command has begun; real processes."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from agentcoord.daemon import companions
from agentcoord.sandbox.abandoned import end_abandoned

PATIENCE_S = 20.0
OURS = f"agentcoord-{os.getpid()}"
"""Not as real ones are called: the daemons of other tests end those."""
CONFINED = ("--unshare-user", "--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/")


@contextmanager
def bubblewrap(
    memory_file: str, *, somebody_reads: bool
) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A bwrap with such a file, that waits before it begins; with it the ends to read and to let it go on."""
    program = shutil.which("bwrap")
    assert program is not None
    with ExitStack() as stack:
        data, (status, report), (wait, hold) = os.memfd_create(memory_file), os.pipe(), os.pipe()
        for descriptor in (data, wait, hold, *([status] if somebody_reads else [])):
            stack.callback(os.close, descriptor)
        if not somebody_reads:
            os.close(status)
        words = (*CONFINED, "--ro-bind-data", str(data), "/etc/hostname")
        control = ("--json-status-fd", str(report), "--block-fd", str(wait))
        process = subprocess.Popen(
            [program, *words, *control, "--", "/bin/true"],
            pass_fds=(data, report, wait),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        os.close(report)
        yield process, status, hold


def first_of_namespace(session: int) -> int:
    """The process of this session that is the first of a namespace."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and _is_first(folder, session):
                return int(folder.name)
    raise AssertionError


def _is_first(folder: Path, session: int) -> bool:
    try:
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return False
    facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return facts.get("NSsid", "").split()[0] == str(session) and facts["NSpid"].split()[1:] == ["1"]


@contextmanager
def abandoned(memory_file: str) -> Iterator[int]:
    """A descriptor of a first process whose bwrap ended because nobody reads its report."""
    with bubblewrap(memory_file, somebody_reads=False) as (process, _, _):
        assert process.wait(PATIENCE_S) == -signal.SIGPIPE
        descriptor = os.pidfd_open(first_of_namespace(process.pid))
        try:
            yield descriptor
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)


def ends_within(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_one_whose_bwrap_is_gone_is_ended() -> None:
    with abandoned(OURS) as descriptor:
        assert not ends_within(descriptor, 0.2), "it would wait for ever"
        assert end_abandoned(OURS) == 1
        assert ends_within(descriptor, PATIENCE_S)


async def test_the_next_daemon_tells_its_log_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companions, "end_abandoned", partial(end_abandoned, OURS))
    with abandoned(OURS) as descriptor:
        await companions.end_abandoned_sandboxes()
        assert ends_within(descriptor, PATIENCE_S)
    assert "abandoned_sandboxes_ended" in capsys.readouterr().out


def test_one_of_another_program_is_left_alone() -> None:
    with abandoned(f"{OURS}-not") as descriptor:
        end_abandoned(OURS)
        assert not ends_within(descriptor, 0.2)


def test_one_that_is_about_to_begin_is_left_alone() -> None:
    with bubblewrap(OURS, somebody_reads=True) as (process, status, hold):
        assert b"child-pid" in os.read(status, 4096)
        end_abandoned(OURS)
        os.write(hold, b"x")
        assert process.wait(PATIENCE_S) == 0


def test_where_numbers_are_not_ours_or_nobody_can_be_held_nobody_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the `/proc` of another pid namespace is shown."""
    with abandoned(OURS) as descriptor:
        assert end_abandoned(OURS, proc=tmp_path) == 0
        seen = tmp_path / "proc"
        seen.mkdir()
        for each in Path("/proc").iterdir():
            if each.name.isdigit():
                (seen / each.name).symlink_to(each)
        (seen / "self").symlink_to("1")
        assert end_abandoned(OURS, proc=seen) == 0
        with monkeypatch.context() as older:
            older.delattr(os, "pidfd_open")
            assert end_abandoned(OURS) == 0
        assert not ends_within(descriptor, 0.0)
        (seen / "self").unlink()
        (seen / "self").symlink_to(str(os.getpid()))
        assert end_abandoned(OURS, proc=seen) == 1
