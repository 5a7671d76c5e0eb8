"""What the loop says to a worker in its own words: nothing that it needs to know is left out."""

from __future__ import annotations

from agentcoord.agent.replies import begun_anew, no_change, without_effect
from agentcoord.domain.files import Change, ChangeKind, ChangeSet


def test_a_claim_without_a_change_is_told_what_became_of_each_file_that_differs() -> None:
    words = no_change(
        ChangeSet(
            landable=(),
            reported=(Change("src/gone.py", ChangeKind.DELETED, None, None),),
            out_of_scope=tuple(f"notes/{n}.md" for n in range(12)),
            refused=("src/link: it is no regular file",),
        )
    )
    assert "These never land: src/link: it is no regular file." in words
    assert "notes/9.md and 2 more." in words
    assert "notes/10.md" not in words
    assert "Deletions are not carried over: src/gone.py." in words
    assert words.endswith("call finish_task once more and say why.")


def test_a_claim_without_any_difference_is_told_of_none() -> None:
    words = no_change(ChangeSet(landable=(), reported=(), out_of_scope=(), refused=()))
    assert words.startswith("Not accepted: no file inside the scope differs from where you began. Make")


def test_who_reads_why_a_task_failed_learns_what_was_changed_in_vain() -> None:
    gone = Change("src/gone.py", ChangeKind.DELETED, None, None)
    in_vain = ChangeSet(landable=(), reported=(gone,), out_of_scope=("shop.py",), refused=())
    assert without_effect(in_vain) == "changed nothing that may land (shop.py, src/gone.py)"
    assert (
        without_effect(ChangeSet(landable=(), reported=(), out_of_scope=(), refused=())) == "changed nothing"
    )
    long = tuple(f"{n}{'x' * 200}" for n in range(20))
    words = without_effect(ChangeSet(landable=(), reported=(), out_of_scope=long, refused=()))
    assert len(words) < 400
    assert words.endswith(f"({long[0]} and 19 more)")
    huge = ChangeSet(landable=(), reported=(), out_of_scope=("x" * 2_000,), refused=())
    assert len(without_effect(huge)) < 400


def test_a_conversation_begun_anew_is_told_where_it_stands() -> None:
    words = begun_anew("I did a.", ["src/a.py"], "ran the tests")
    assert "<summary>\nI did a.\n</summary>" in words
    assert "- `src/a.py`" in words
    assert "## What happened last\n\nran the tests" in words
    bare = begun_anew("I did nothing.", [], " ")
    assert "None so far." in bare
    assert "What happened last" not in bare
