"""The documentation is held against the code by `scripts/check_docs.py`; here it must pass, and bite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECK = Path(__file__).resolve().parents[3] / "scripts" / "check_docs.py"


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
