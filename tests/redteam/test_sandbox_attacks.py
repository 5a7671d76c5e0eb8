"""Every attack of one command fails; `make redteam` tries them as root and as an ordinary user."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_attacks import ATTACKS, Attack, attempt, printed
from sandbox_scene import SECRET, Listeners, Scene

from agentcoord.clock import SystemClock
from agentcoord.sandbox import choose_sandbox
from agentcoord.sandbox.plain import unconfined_sandbox

pytestmark = pytest.mark.redteam

CONTROLS = (
    "reads what is outside by its absolute path",
    "writes what is outside through a link",
    "climbs out with dots",
    "goes through the root of the first process",
    "looks at homes and run-time folders",
    "commits, stashes and pushes",
    "plants hooks and configuration",
    "finds a remote with a token",
    "opens exotic sockets",
    "is chosen last when memory runs out",
    "looks for secrets in environments and command lines",
    "connects to the network",
    "calls the kernel where it is thin",
    "breeds processes",
    "allocates shared memory",
    "keeps or gains capabilities",
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
    """Else the attack proves nothing. The others would harm the machine that tests them, or have the
    same bound without a sandbox; `TestFilter` and its neighbours switch single guards off."""
    monkeypatch.setenv("AGENTCOORD_CANARY_KEY", SECRET)
    attack = next(attack for attack in ATTACKS if attack.name == name)
    unguarded = unconfined_sandbox(Path("/bin/bash"), clock=SystemClock())
    assert await attempt(attack, Scene(tmp_path), listeners, unguarded) != []


async def test_an_attack_that_never_ran_is_not_counted_as_fended_off(
    tmp_path: Path, listeners: Listeners
) -> None:
    sandbox = await choose_sandbox(unsafe=False, clock=SystemClock())
    broken = Attack("broken", "no-such-program-at-all", printed("done"))
    assert await attempt(broken, Scene(tmp_path), listeners, sandbox) != []
