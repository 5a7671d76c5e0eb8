"""The quickstart, followed to the letter: each command of its second to fifth chapter, in one shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from night_kit import Night, night

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quickstart.md"
TROUBLE = 'trap \'printf "%s: %s\\n" "$?" "$BASH_COMMAND" >>"$TROUBLES"\' ERR\n'
"""What a person would see as a failure is written down, and the page goes on."""
AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@b"))
}


def chapters(text: str) -> dict[str, list[str]]:
    """The shell blocks of each chapter, by its number."""
    parts = re.split(r"(?m)^## (\d)\. .*$", text)
    blocks = re.compile(r"(?ms)^```sh\n(.*?)^```$")
    return {number: blocks.findall(body) for number, body in zip(parts[1::2], parts[2::2], strict=True)}


def followed(a: Night, script: str) -> tuple[str, list[str]]:
    """What the shell said, and the commands that failed, with their exit codes."""
    troubles = a.base / "troubles"
    troubles.touch()
    env = {**a.env, **AUTHOR, "TROUBLES": str(troubles)}
    words = ["bash", "--norc", "-c", TROUBLE + script]
    done = subprocess.run(
        words, cwd=a.base, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90
    )
    return done.stdout + done.stderr, troubles.read_text().splitlines()


def test_each_command_of_the_quickstart_does_what_the_page_says() -> None:
    found = chapters(PAGE.read_text(encoding="utf-8"))
    with night(name="tally") as a:
        said, troubles = followed(a, "".join(block for number in "2345" for block in found[number]))
        assert troubles == ["1: agentcoord doctor"], said  # No key, as the page says.
        assert "2 of 2 tasks done" in said
        assert a.git("log", "--format=%s").splitlines() == ["An empty list has no mean", "Tally"]
        assert 'ValueError("no numbers")' in a.git("show", "HEAD:tally.py")
        assert "median" not in a.git("show", "HEAD:tally.py")
