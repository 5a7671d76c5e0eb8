"""What helps, by distribution and by message."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentcoord.sandbox.mends import install_command, means_no_namespaces, mend_for


@pytest.mark.parametrize(
    ("os_release", "tool"),
    [
        ("ID=debian\n", "apt-get"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt-get"),
        ("ID=fedora\n", "dnf"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf"),
        ("ID=arch\n", "pacman"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "zypper"),
        ("ID=alpine\n", "apk"),
        ("ID=plan9\n", "package manager"),
        ("", "package manager"),
        ("ID='unclosed\n", "package manager"),
    ],
)
def test_the_install_command_fits_the_distribution(os_release: str, tool: str) -> None:
    assert tool in install_command(os_release)


@pytest.mark.parametrize(
    "message",
    [
        "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted",
        "bwrap: setting up uid map: Permission denied",
        "bwrap: No permissions to create a new namespace, likely because the kernel does not allow",
        "bwrap: Creating new namespace failed: Operation not permitted",
        "bwrap: Can't mount proc on /newroot/proc: Operation not permitted",
    ],
)
def test_these_messages_mean_that_namespaces_are_closed(message: str) -> None:
    assert means_no_namespaces(message)


def test_the_mend_for_closed_namespaces_depends_on_what_closed_them(tmp_path: Path) -> None:
    message = "bwrap: setting up uid map: Permission denied"
    assert "container" in mend_for(message, tmp_path)
    (tmp_path / "sys/user").mkdir(parents=True)
    (tmp_path / "sys/kernel").mkdir()
    (tmp_path / "sys/user/max_user_namespaces").write_text("0\n")
    assert "user.max_user_namespaces" in mend_for(message, tmp_path)
    (tmp_path / "sys/kernel/unprivileged_userns_clone").write_text("0\n")
    assert "unprivileged_userns_clone=1" in mend_for(message, tmp_path)
    (tmp_path / "sys/kernel/apparmor_restrict_unprivileged_userns").write_text("1\n")
    assert "bwrap-userns-restrict" in mend_for(message, tmp_path)


def test_another_message_leads_to_a_new_installation(tmp_path: Path) -> None:
    assert "bwrap --ro-bind" in mend_for("bwrap: Unknown option --x", tmp_path)
