"""The rehearsal server as a process: how it says that it is ready, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = 'task = "t1"\n[[turn]]\ntext = "Hello."\n'
HEADERS = {"x-api-key": "k", "anthropic-version": "x", "content-type": "application/json"}


@contextmanager
def running(*arguments: str, pass_fds: tuple[int, ...] = ()) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the server; yield the process and its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agentcoord.llm.rehearsal", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
    )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield process, json.loads(line)["base_url"]
        finally:
            process.kill()


def say_hello(base_url: str) -> str:
    message = {"role": "user", "content": "Task id: t1"}
    body = json.dumps({"model": "claude-haiku-5-5", "max_tokens": 100, "messages": [message]}).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(f"{base_url}/v1/messages", data=body, headers=HEADERS)
    with opener.open(asked, timeout=20) as response:
        return str(json.loads(response.read())["content"][0]["text"])


def test_it_says_where_it_listens_answers_logs_and_ends_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "t1.toml").write_text(SCRIPT)
    log = tmp_path / "requests.jsonl"
    read_fd, write_fd = os.pipe()
    with running(
        "--scripts", str(tmp_path), "--log", str(log), "--ready-fd", str(write_fd), pass_fds=(write_fd,)
    ) as (process, base_url):
        os.close(write_fd)
        with os.fdopen(read_fd) as ready:
            assert json.loads(ready.read())["base_url"] == base_url
        assert say_hello(base_url) == "Hello."
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert json.loads(log.read_text())["task"] == "t1"


def test_it_ends_when_its_parent_closes_the_pipe(tmp_path: Path) -> None:
    script = tmp_path / "t1.toml"
    script.write_text(SCRIPT)
    with running("--scripts", str(script), "--exit-with-parent") as (process, base_url):
        assert say_hello(base_url) == "Hello."
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_scripts_that_are_wrong_end_it_with_every_problem(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[[turn]]\ntxt = 1\n")
    ended = subprocess.run(
        [sys.executable, "-m", "agentcoord.llm.rehearsal", "--scripts", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "a.toml: the file: needs `task`" in ended.stderr
    assert "unknown key 'txt'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_fault_that_is_unknown_is_a_wrong_argument(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "agentcoord.llm.rehearsal", "--scripts", str(tmp_path), "--fault", "flood=1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "'flood=1' is not KIND=PROBABILITY" in ended.stderr
