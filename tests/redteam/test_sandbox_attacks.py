"""Every attack of one command fails, for whoever runs the tests and for an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_attacks import ATTACKS, Attack, attempt, printed
from sandbox_scene import SECRET, Listeners, Scene

from agentcoord.clock import SystemClock
from agentcoord.sandbox import choose_sandbox
from agentcoord.sandbox.unconfined import UnconfinedSandbox

pytestmark = pytest.mark.redteam

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src"
NOBODY = 65534
CONTROLS = (
    "reads what is outside by its absolute path",
    "writes what is outside through a link",
    "looks for secrets in environments and command lines",
    "connects to the network",
    "calls the kernel where it is thin",
    "breeds processes",
)


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    # Not tmp_path: its long names overrun what a socket's path may have.
    folder = Path(tempfile.mkdtemp(prefix="ac-redteam-"))
    servers = Listeners(folder)
    yield servers
    servers.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_the_attack_fails(
    attack: Attack, tmp_path: Path, listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTCOORD_CANARY_KEY", SECRET)
    sandbox = await choose_sandbox(unsafe=False, clock=SystemClock())
    assert sandbox.confined
    assert await attempt(attack, Scene(tmp_path), listeners, sandbox) == []


@pytest.mark.parametrize("name", CONTROLS)
async def test_without_the_sandbox_the_same_attack_gets_through(
    name: str, tmp_path: Path, listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the attack proves nothing."""
    monkeypatch.setenv("AGENTCOORD_CANARY_KEY", SECRET)
    attack = next(attack for attack in ATTACKS if attack.name == name)
    unguarded = UnconfinedSandbox(Path("/bin/bash"), clock=SystemClock())
    assert await attempt(attack, Scene(tmp_path), listeners, unguarded) != []


async def test_an_attack_that_never_ran_is_not_counted_as_fended_off(
    tmp_path: Path, listeners: Listeners
) -> None:
    sandbox = await choose_sandbox(unsafe=False, clock=SystemClock())
    broken = Attack("broken", "no-such-program-at-all", printed("done"))
    assert await attempt(broken, Scene(tmp_path), listeners, sandbox) != []


def test_an_ordinary_user_is_as_safe_as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("these tests run as an ordinary user already")
    with tempfile.TemporaryDirectory(prefix="ac-nobody-") as name:
        folder = Path(name)
        python = _python_for_nobody()
        # A copy: the checkout may lie in a home that is closed to others.
        for room in ("sandbox", "errors.py", "clock.py", "__init__.py"):
            source, target = SOURCES / "agentcoord" / room, folder / "src" / "agentcoord" / room
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        for script in ("sandbox_attacks.py", "sandbox_scene.py"):
            shutil.copy(HERE / script, folder / script)
        (folder / "scenes").mkdir()
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        told = subprocess.run(
            [python, str(folder / "sandbox_attacks.py"), str(folder / "scenes")],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            cwd=folder,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": str(folder / "src"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": str(folder),
            },
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert told.returncode == 0, told.stderr
        answer = json.loads(told.stdout)
        assert answer["uid"] == NOBODY
        assert answer["problems"] == {attack.name: [] for attack in ATTACKS}


def _python_for_nobody() -> str:
    """Return an interpreter that the user nobody may run; root's own is often in a closed home."""
    question = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3", "/usr/bin/python3.11"):
        try:
            answer = subprocess.run(
                [candidate, "-I", "-c", question], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/"
            )
        except OSError:
            continue
        if answer.returncode == 0:
            return candidate
    pytest.skip("no Python 3.11 that the user nobody may run")
