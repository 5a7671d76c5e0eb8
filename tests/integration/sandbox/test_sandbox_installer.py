"""scripts/install_bubblewrap.sh, with stand-ins for the programs of a distribution."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "install_bubblewrap.sh"
NEEDED = ("cat", "grep", "rm")
"""What the stand-ins themselves use."""


class Distribution:
    """A folder that is the whole PATH, and a log of what was called."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.log = root / "log"
        self.bin.mkdir()
        self.log.touch()
        for name in NEEDED:
            (self.bin / name).symlink_to(f"/usr/bin/{name}")
        self.program("uname", "echo Linux")
        self.program("id", "echo 0")

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{body}\n')
        path.chmod(0o755)

    def installer(self, name: str) -> None:
        """A package manager that brings a working bwrap."""
        made = self.bin / "bwrap"
        self.program(name, f"printf '#!/bin/sh\\nexit 0\\n' > {made}; /bin/chmod 755 {made}")

    def install(self) -> subprocess.CompletedProcess[str]:
        # The system's own /usr/bin/bwrap is tried first; here there is none.
        text = SCRIPT.read_text().replace("/usr/bin/bwrap", str(self.bin / "no-system-bwrap"))
        return subprocess.run(
            ["/bin/sh", "-c", text],
            env={"PATH": str(self.bin)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
        )

    def calls(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if not line.startswith(("uname", "id "))]


@pytest.fixture
def distribution(tmp_path: Path) -> Distribution:
    return Distribution(tmp_path)


def test_it_is_quiet_where_bubblewrap_works() -> None:
    told = subprocess.run([str(SCRIPT)], capture_output=True, timeout=20)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


@pytest.mark.parametrize("manager", ["apt-get", "dnf", "pacman", "zypper", "apk"])
def test_root_installs_it_with_the_package_manager_that_is_there(
    distribution: Distribution, manager: str
) -> None:
    distribution.installer(manager)
    told = distribution.install()
    assert told.returncode == 0, told.stderr
    assert len(distribution.calls()) == 1
    assert "bubblewrap" in distribution.calls()[0]
    assert told.stdout == ""


def test_stale_lists_are_updated_only_when_the_first_try_fails(distribution: Distribution) -> None:
    made = distribution.bin / "bwrap"
    distribution.program(
        "apt-get",
        f'if [ "$1" = update ]; then : > {distribution.bin}/fresh; exit 0; fi\n'
        f"[ -e {distribution.bin}/fresh ] || exit 100\n"
        f"printf '#!/bin/sh\\nexit 0\\n' > {made}; /bin/chmod 755 {made}",
    )
    assert distribution.install().returncode == 0
    assert [line.split()[1] for line in distribution.calls()] == ["install", "update", "install"]


def test_a_user_with_passwordless_sudo_is_not_asked(distribution: Distribution) -> None:
    distribution.program("id", "echo 1000")
    distribution.program("sudo", '[ "$1" = -n ] || exit 9; shift; exec "$@"')
    (distribution.bin / "true").symlink_to("/usr/bin/true")
    distribution.installer("dnf")
    told = distribution.install()
    assert told.returncode == 0, told.stderr
    assert all(line.startswith(("sudo -n", "dnf")) for line in distribution.calls())


def test_a_user_without_it_is_told_the_command_and_nothing_is_installed(distribution: Distribution) -> None:
    distribution.program("id", "echo 1000")
    distribution.program("sudo", "exit 1")
    distribution.installer("zypper")
    told = distribution.install()
    assert told.returncode == 3
    assert "sudo zypper" in told.stderr
    assert not any(line.startswith("zypper") for line in distribution.calls())


def test_where_namespaces_are_closed_it_says_so_with_3(distribution: Distribution) -> None:
    distribution.program("bwrap", "exit 1")
    told = distribution.install()
    assert told.returncode == 3
    assert "may not make namespaces" in told.stderr


def test_an_unknown_distribution_gets_3_and_words(distribution: Distribution) -> None:
    told = distribution.install()
    assert told.returncode == 3
    assert "package manager" in told.stderr
