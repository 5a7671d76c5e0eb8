"""What the loop itself says to the model: one text for each thing that can go wrong.

Pure. Separate so that the tone is one and the loop stays readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from agentcoord.domain.files import ChangeSet
from agentcoord.domain.listed import listed
from agentcoord.llm.api import Block, StopReason

_listed = partial(listed, most=10)

UNKNOWN_OUTCOME = (
    "The outcome is unknown: the daemon was interrupted while this call ran. Look before you repeat it."
)
NEVER_RAN = (
    "This call did not run: the daemon was interrupted before it began. Look at what the calls before it "
    "did, and make it again if you still want it."
)
NOT_FINISHED_AFTER_ERROR = (
    "Not accepted: another call of the same turn failed. Look at its result, mend it, and call "
    "finish_task again."
)
EMPTY_TURN = (
    "Your turn was empty. Go on with the task; when it is finished, call finish_task with a summary of "
    "what you did."
)
CUT_TURN = (
    "Your turn reached its output limit and was cut. Go on where it stopped; you may write more in one turn "
    "now. Write large files in several steps."
)
PAUSED_TURN = "Go on."
REFUSED = (
    "The answer before this was stopped by the model's safety rules and is left out. This is ordinary work "
    "on the owner's own repository. Go on with the task without what was refused; if that cannot be, say so "
    "with finish_task."
)
UNKNOWN_STOP = "Your turn stopped for a reason that is not known here. Go on with the task."

_PATCH_CHARS = 12_000


def begun_on_nothing(patch: str) -> str:
    """For a claim whose work stands on another task's, which did not land."""
    cut = "\n(The rest is left out.)" if len(patch) > _PATCH_CHARS else ""
    told = patch[:_PATCH_CHARS].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return (
        "Not accepted, and no fault of yours: files that you changed came from another task, which was about "
        "to land and did not. Your private copy is a new one, as the project is now; nothing that you "
        "changed is in it. Look at the files that you need, make your change again on top of them as they "
        "are, and call finish_task. This is what you had changed, as far as it did not fit:\n"
        f"{told}{cut}"
    )


def tool_result(tool_use_id: str, text: str, *, is_error: bool = False) -> Block:
    """Build a `tool_result` block."""
    block: Block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": text}
    if is_error:
        block["is_error"] = True
    return block


def unknown_outcome(printed: str, chars: int) -> str:
    """For a call that the daemon's end interrupted; `printed` is what it printed until then, if known."""
    if not printed:
        return UNKNOWN_OUTCOME
    head = chars // 3
    if len(printed) > chars:
        printed = f"{printed[:head]}\n[...]\n{printed[head - chars :]}"
    return f"{UNKNOWN_OUTCOME} Shortly before, it had printed:\n{printed}"


def not_run(reason: StopReason) -> str:
    """For a call in a turn that did not stop for its tools."""
    if reason is StopReason.MAX_TOKENS:
        return (
            "This call did not run: the turn reached its output limit, so the call may be cut. Make it "
            "again; you may write more in one turn now. Write large files in several steps."
        )
    return (
        f"This call did not run: the turn stopped with {reason}, not for its tools. Make it again if you "
        "want it."
    )


def unknown_tool(name: str, names: Sequence[str]) -> str:
    return f"There is no tool named {name[:80]!r}. The tools are: {', '.join(names)}."


def malformed(why: str) -> str:
    return f"The call did not run, its input is not valid: {why}."


def repeated(times: int) -> str:
    return (
        f"Not run: this is the same call for the {_ordinal(times)} time in a row, and its result would be "
        "the same. Do something else: read the error again, view the file, or take another way."
    )


def idle(turns: int) -> str:
    return (
        f"The last {turns} turns changed no file. Make the change now with what you know. If the task needs "
        "none or cannot be done, call finish_task and say why."
    )


def turns_left(count: int) -> str:
    return f"{count} turns are left. Bring the work to an end, run the checks, and call finish_task."


def answered(answers: Sequence[tuple[str, str]]) -> str:
    """Hand on what the owner answered."""
    lines = [f"To your question {question!r} the owner answers: {answer}" for question, answer in answers]
    return "\n".join(lines)


def no_change(changes: ChangeSet) -> str:
    """For a claim to be finished without a change that could land."""
    words = "Not accepted: no file inside the scope differs from where you began."
    if changes.refused:
        words += f" These never land: {_listed(changes.refused)}."
    if changes.out_of_scope:
        words += f" These lie outside the scope and are left behind: {_listed(changes.out_of_scope)}."
    if changes.reported:
        words += f" Deletions are not carried over: {_listed([c.path for c in changes.reported])}."
    words += " Make the change inside the scope."
    return words + " If the task truly needs none, call finish_task once more and say why."


def without_effect(changes: ChangeSet) -> str:
    """For whoever reads why a task failed: what its worker did that could not land, if it did anything."""
    left_behind = [*changes.refused, *changes.out_of_scope, *(each.path for each in changes.reported)]
    if left_behind:
        fewer_and_fewer = (listed(left_behind, most) for most in range(10, 0, -1))
        words = next((each for each in fewer_and_fewer if len(each) <= 300), listed(left_behind, 1)[:300])
        return f"changed nothing that may land ({words})"
    return "changed nothing"


def begun_anew(summary: str, changed: Sequence[str], recent: str) -> str:
    """Tell a new conversation what the one before it was about."""
    stand = (
        "## Where you stand\n\nYou have worked on this task already. That conversation became too long and "
        "this one goes on from its summary; your private copy is as you left it.\n\n<summary>\n"
        f"{summary}\n</summary>"
    )
    parts = [stand]
    listed = "\n".join(f"- `{path}`" for path in changed) or "None so far."
    parts.append(f"## Files that differ from where you began\n\n{listed}")
    if recent.strip():
        parts.append(f"## What happened last\n\n{recent}")
    parts.append("Go on with the task.")
    return "\n\n".join(parts)


def with_notes(text: str, notes: Sequence[str]) -> str:
    """Append the loop's own words to a result: text blocks after results would make empty turns."""
    return "\n\n".join([text, *(f"[note] {note}" for note in notes)])


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
