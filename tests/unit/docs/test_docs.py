"""The documentation is held against the code by `scripts/check_docs.py`; here it must pass, and bite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[3] / "scripts" / "check_docs.py"

MAN = CHECK.parents[1] / "man" / "man1"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECK), *arguments], capture_output=True, text=True, timeout=50
    )


def test_the_documentation_agrees_with_the_code() -> None:
    done = check()
    assert done.returncode == 0, done.stderr


def test_what_does_not_exist_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "# A page\n"
        "[gone](gone.md) [here](#a-page) [nowhere](#no-such-heading) `budget.run_us` `budget.run_usd`\n"
        "```sh\n"
        "agentcoord status --json | head\n"
        "cd x && agentcoord frobnicate\n"
        "agentcoord -C x run plan.toml --no-such-option\n"
        "cat > plan.toml <<'EOF'\n"
        "agentcoord these words are a file's\n"
        "EOF\n"
        "make no-such-target\n"
        "```\n",
        encoding="utf-8",
    )
    done = check(str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "page.md:2: the link gone.md leads nowhere",
        "page.md:2: the link #no-such-heading: there is no heading #no-such-heading",
        "page.md:2: there is no setting budget.run_us",
        "page.md:5: there is no command `agentcoord frobnicate`",
        "page.md:6: `agentcoord run` has no option --no-such-option",
        "page.md:10: there is no make target no-such-target",
    ]


@pytest.mark.parametrize("name", ["agentcoord.1", "agentcoordd.1"])
def test_man_pages_are_sound_and_show_what_help_says(name: str) -> None:
    """`check_docs` holds them against the commands; here whatever reads roff must be content with them."""
    text = (MAN / name).read_text(encoding="utf-8")
    assert text.isascii()
    for section in ("NAME", "SYNOPSIS", "COMMANDS", "EXIT STATUS", "FILES", "SEE ALSO"):
        assert f"\n.SH {section}\n" in text
    requests = {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))}
    assert requests <= {'.\\"', ".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".BR", ".nf", ".fi", ".RS", ".RE"}
    for words in (["mandoc", "-T", "lint"], ["groff", "-man", "-Tutf8", "-ww", "-z"]):
        if shutil.which(words[0]):
            done = subprocess.run([*words, str(MAN / name)], capture_output=True, text=True, timeout=30)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    if shutil.which("man"):
        done = subprocess.run(
            ["man", "--warnings", "-l", str(MAN / name)],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "MANWIDTH": "100", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "--json Print one JSON document instead of a page." in done.stdout
