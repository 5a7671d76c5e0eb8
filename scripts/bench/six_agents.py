"""Six conversations in one daemon, and the same six in six processes of a command-line agent.

Both talk to a rehearsal server of their own that plays the same scripts: the same commands, the same words,
the same thinking times; only the last turn is each agent's own way to say that it is finished. Both
run the commands for real. Memory is the highest sum of proportional set sizes (shared pages shared out) of
all processes of an agent, without the commands that they run; processor time is that of everything.
Tokens and dollars are the server's books.

The peer is mini-swe-agent, in an environment of its own from the pinned list in `peers/`, with its own
default prompts, without its cost limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent_kit import prose, without_proxies
from store_peers import Peer, prepare

BIN = Path(sys.executable).parent
AGENTS = 6
TURNS = 12
THINKING_MS = 1_000
SAID_TOKENS = 150
PRINTED_TOKENS = 1_000
MODEL = "claude-haiku-5-5"
MINI = Peer("mini_swe_agent", AGENTS)
SAMPLE_S = 0.25
DEADLINE_S = 300.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What six conversations cost one way."""

    who: str
    finished: int
    wall_s: float
    memory_mib: float
    cpu_s: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    usd: float

    @property
    def line(self) -> str:
        cached = 100 * self.cached_tokens / max(self.prompt_tokens, 1)
        return (
            f"{self.who:<26} {self.finished:>4} {self.wall_s:>6.1f} s {self.memory_mib:>6.0f} MiB"
            f" {self.cpu_s:>6.1f} s {self.prompt_tokens:>9,} {cached:>6.1f}% {self.output_tokens:>7,}"
            f"  ${self.usd:.4f}"
        )


def compare(base: Path) -> list[str]:
    """Play both and return a table. `base` is an empty folder."""
    without_proxies()
    what = f"{AGENTS} conversations of {TURNS} turns, {THINKING_MS / 1000:g} s of thinking a turn"
    head = "                           done   wall     memory     CPU    prompt  cached  output  dollars"
    costs = [played(base / "ours", ours), played(base / "mini", mini)]
    return [f"{what}, {PRINTED_TOKENS:,} tokens a result", head, *(cost.line for cost in costs)]


def script(task: str, last: str) -> str:
    """One conversation: commands that change a file and print, then `last`."""
    words = prose(SAID_TOKENS // 2)
    turns = []
    for n in range(TURNS - 1):
        command = f"echo 'N = {n}' > {task}.py; python3 -c \"print('{n} ' + 'x' * {PRINTED_TOKENS * 4})\""
        step = json.dumps({"command": command})[1:-1].replace('"command": ', "command = ")
        turns.append(
            f'[[turn]]\nthinking_ms = {THINKING_MS}\ntext = "{words}"\n'
            f'[[turn.tool]]\nname = "bash"\ninput = {{ {step} }}\n'
        )
    turns.append(f"[[turn]]\nthinking_ms = {THINKING_MS}\n[[turn.tool]]\n{last}\n")
    return f'task = "{task}"\n' + "".join(turns)


def played(base: Path, play: Callable[[Path, str, dict[str, str]], tuple[int, float, float, float]]) -> Cost:
    """Run one way against a server of its own, and read that server's books."""
    scripts = base / "scripts"
    scripts.mkdir(parents=True)
    last = {
        "ours": 'name = "finish_task"\ninput = { summary = "Did it.", decisions = [] }',
        "mini": 'name = "bash"\ninput = { command = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT" }',
    }[play.__name__]
    for n in range(AGENTS):
        (scripts / f"t{n}.toml").write_text(script(f"t{n}", last))
    with rehearsal(scripts) as url:
        env = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(base),
            "XDG_STATE_HOME": str(base / "s"),
            "XDG_RUNTIME_DIR": str(base / "r"),
            "AGENTCOORD_ALLOW_ROOT": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "ANTHROPIC_API_KEY": "bench",
            "ANTHROPIC_BASE_URL": url,
        }
        finished, wall_s, memory_mib, cpu_s = play(base, url, env)
        with urllib.request.urlopen(f"{url}/books") as answer:
            books = json.load(answer)
    records = [record for record in books["records"] if record["output_tokens"]]

    def total(*kinds: str) -> int:
        return sum(record[f"{kind}_tokens"] for record in records for kind in kinds)

    cached = total("cache_read")
    prompt = cached + total("input", "cache_write_5m", "cache_write_1h")
    who = {"ours": "one daemon of ours", "mini": "six mini-swe-agent"}[play.__name__]
    return Cost(who, finished, wall_s, memory_mib, cpu_s, prompt, cached, total("output"), books["total_usd"])


def ours(base: Path, _url: str, env: dict[str, str]) -> tuple[int, float, float, float]:
    """One daemon with six workers; its processor time is that of its commands and of Valkey too."""
    root = repository(base / "repo", env)
    workers = "".join(
        f'[[worker]]\nname = "W{n}"\nrole = "backend-engineer"\ntags = ["any"]\n' for n in range(AGENTS)
    )
    (root / "agentcoord.toml").write_text(f'[project]\nscope = ["*.py"]\n[checks]\ntests = "true"\n{workers}')
    plan = "".join(f'[[task]]\nid = "t{n}"\ntitle = "Task {n}"\ntags = ["any"]\n' for n in range(AGENTS))
    (base / "plan.toml").write_text(plan)

    def run(*words: str) -> str:
        command = [str(BIN / words[0]), *words[1:]]
        return subprocess.run(
            command, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        ).stdout

    pid = json.loads(run("agentcoordd", "start", "--json"))["pid"]
    before = cpu_with_children_s(pid)
    begun = time.monotonic()
    try:
        run("agentcoord", "load", str(base / "plan.toml"))
        wait = [str(BIN / "agentcoord"), "wait", "--timeout", str(DEADLINE_S)]
        with subprocess.Popen(
            wait, cwd=root, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as waiting:
            most = most_mib(lambda: [pid, *servers_of(pid)], lambda: waiting.poll() is not None)
        wall_s = time.monotonic() - begun
        tasks = json.loads(run("agentcoord", "tasks", "--json"))["tasks"]
        cpu_s = cpu_with_children_s(pid) - before
        cpu_s += sum(map(cpu_with_children_s, servers_of(pid)))
    finally:
        run("agentcoordd", "stop", "--now")
    return sum(task["state"] == "done" for task in tasks), wall_s, most, cpu_s


def mini(base: Path, url: str, env: dict[str, str]) -> tuple[int, float, float, float]:
    """Six processes of the peer, each in a repository of its own."""
    program = prepare(MINI).parent / "mini"
    env |= {
        "MSWEA_CONFIGURED": "true",
        "MSWEA_SILENT_STARTUP": "1",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_GLOBAL_CONFIG_DIR": str(base / "mini-config"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "ANTHROPIC_API_BASE": url,
    }
    env["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    roots = [repository(base / f"repo{n}", env) for n in range(AGENTS)]
    before = os.times()
    begun = time.monotonic()
    running = [
        subprocess.Popen(
            [
                *(str(program), "-m", f"anthropic/{MODEL}", "-t", f"Do as you think best.\nTask id: t{n}\n"),
                *("-y", "--exit-immediately", "-l", "0", "-o", str(base / f"t{n}.json")),
            ],
            cwd=root,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for n, root in enumerate(roots)
    ]
    most = most_mib(
        lambda: [each.pid for each in running if each.poll() is None],
        lambda: all(each.poll() is not None for each in running),
    )
    for each in running:
        if each.poll() is None:
            each.kill()
        each.wait()
    wall_s = time.monotonic() - begun
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    finished = sum((root / f"t{n}.py").exists() for n, root in enumerate(roots))
    return finished, wall_s, most, cpu_s


def repository(root: Path, env: dict[str, str]) -> Path:
    root.mkdir(parents=True)
    (root / "app.py").write_text("A = 1\n")
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *words], cwd=root, env=env, check=True)
    return root


@contextlib.contextmanager
def rehearsal(scripts: Path) -> Iterator[str]:
    """Run the server; it refuses nothing."""
    command = [sys.executable, "-m", "agentcoord.llm.rehearsal", "--scripts", str(scripts)]
    command += [
        "--exit-with-parent",
        "--requests-per-minute",
        "1000000",
        "--tokens-per-minute",
        "10000000000",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["base_url"]
        finally:
            process.kill()


def most_mib(pids: Callable[[], list[int]], over: Callable[[], bool]) -> float:
    """Watch processes until it is over or the deadline; return their highest sum."""
    most, give_up_at = 0.0, time.monotonic() + DEADLINE_S
    while not over() and time.monotonic() < give_up_at:
        most = max(most, sum(map(memory_mib, pids())))
        time.sleep(SAMPLE_S)
    return most


def memory_mib(pid: int) -> float:
    """Proportional set size: shared pages are shared out among those that have them."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(row.split()[1]) / 1024 for row in rows if row.startswith("Pss:")), 0.0)


def cpu_with_children_s(pid: int) -> float:
    """Processor time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def servers_of(pid: int) -> list[int]:
    """The store's server: what the daemon started and keeps."""
    found = []
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if (
                "valkey" in Path(f"/proc/{each}/comm").read_text()
                or "redis" in Path(f"/proc/{each}/comm").read_text()
            ):
                found.append(int(each))
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ac-6-") as folder:
        for line in compare(Path(folder)):
            print(line, flush=True)
