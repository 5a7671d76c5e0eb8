"""Answering a turn of the model: by its stop reason, with what its calls gave or why they did not run.

Separate from the loop, which asks for turns and knows how an attempt begins and ends. Every method
leaves the pending turn either answered on disk or pending for a reason: a claim to be finished, a
spent patience, or a daemon that stops.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import assert_never

from agentcoord.agent import replies
from agentcoord.agent.calls import CallRunner, arguments_of
from agentcoord.agent.outcomes import (
    ClaimsFinished,
    GaveUp,
    GiveUpKind,
    LoopLimits,
    LoopOutcome,
)
from agentcoord.agent.patience import Patience
from agentcoord.agent.ports import Files, Questions
from agentcoord.agent.tools import finish
from agentcoord.agent.tools.contract import ToolInputError
from agentcoord.agent.transcript import Transcript
from agentcoord.domain.files import ChangeSet
from agentcoord.llm.api import Block, StopReason, Turn

_WARN_TURNS_LEFT = 5
_SUMMARY_CHARS = 4_000
_MENDED_BY_TOOL_CALLS = (
    GiveUpKind.CONTEXT_WINDOW,
    GiveUpKind.EMPTY_TURN,
    GiveUpKind.PAUSED_TURN,
    GiveUpKind.REFUSED,
    GiveUpKind.UNKNOWN_STOP,
)


class Answering:
    """Answers the pending turns of one conversation."""

    def __init__(
        self,
        *,
        transcript: Transcript,
        runner: CallRunner,
        files: Files,
        questions: Questions,
        patience: Patience,
        limits: LoopLimits,
        stopping: asyncio.Event,
    ) -> None:
        self._transcript = transcript
        self._runner = runner
        self._files = files
        self._questions = questions
        self._patience = patience
        self._limits = limits
        self._stopping = stopping
        self._untold = 0
        """Answers of the owner in notes that are not on disk yet."""

    async def answer(self, turn: Turn) -> LoopOutcome | None:
        """React to the pending turn by its stop reason."""
        limits, reason = self._limits, turn.stop_reason
        if reason is not StopReason.MAX_TOKENS:
            self._patience.forget(GiveUpKind.CUT_TURN)
        match reason:
            case StopReason.TOOL_USE:
                return await self._run_tools(turn)
            case StopReason.END_TURN | StopReason.STOP_SEQUENCE:
                return await self._hear_end_of_turn(turn)
            case StopReason.MAX_TOKENS:
                return await self._go_on(turn, replies.CUT_TURN, self._patience.count_cut())
            case StopReason.PAUSE_TURN:
                why = "the model paused again and again"
                gave_up = self._patience.spend(GiveUpKind.PAUSED_TURN, limits.pause_limit, why)
                return await self._go_on(turn, replies.PAUSED_TURN, gave_up)
            case StopReason.CONTEXT_WINDOW:
                raise AssertionError("a full window is answered by beginning anew")
            case StopReason.UNKNOWN:
                why = "the model's server ends turns for reasons that are not known"
                gave_up = self._patience.spend(GiveUpKind.UNKNOWN_STOP, limits.empty_limit, why)
                return await self._go_on(turn, replies.UNKNOWN_STOP, gave_up)
            case StopReason.REFUSAL:
                raise AssertionError("a refused turn is void")
            case _:
                assert_never(reason)

    async def _go_on(self, turn: Turn, words: str, gave_up: GaveUp | None) -> GaveUp | None:
        """Unless patience is spent, answer a turn that did not stop for its tools: none of them runs."""
        if gave_up is not None:
            return gave_up
        open_calls = self._transcript.unanswered()
        if open_calls:
            await self._refuse_calls(open_calls, replies.not_run(turn.stop_reason))
        else:
            text = replies.with_notes(words, await self._notes())
            await self._transcript.add_user(text, self._patience.to_dict())
            await self._note_told()
        return None

    async def _hear_end_of_turn(self, turn: Turn) -> LoopOutcome | None:
        """The model stopped without `finish_task`: that is a claim too, if there is a change."""
        if self._transcript.unanswered():
            why = "the model's server does not stop for tool calls"
            gave_up = self._patience.spend(GiveUpKind.UNKNOWN_STOP, self._limits.empty_limit, why)
            return await self._go_on(turn, "", gave_up)
        said = "\n".join(str(b["text"]).strip() for b in turn.content if b.get("type") == "text").strip()
        return await self._judge_claim(finish.Claim(said[:_SUMMARY_CHARS], ()), [])

    async def _run_tools(self, turn: Turn) -> LoopOutcome | None:
        """Run the calls of a turn, then hear its claim to be finished, if it makes one."""
        open_calls = self._transcript.unanswered()
        if not open_calls:
            why = "the model announces tool calls and makes none"
            gave_up = self._patience.spend(GiveUpKind.EMPTY_TURN, self._limits.empty_limit, why)
            return await self._go_on(turn, replies.EMPTY_TURN, gave_up)
        self._patience.forget(*_MENDED_BY_TOOL_CALLS)
        claims = [block for block in open_calls if block.get("name") == finish.NAME]
        others = [block for block in open_calls if block.get("name") != finish.NAME]
        await self._run_calls(others, ends_turn=not claims)
        if self._stopping.is_set() and self._transcript.pending_turn is not None:
            return None  # `run` sees the same event and returns.
        if claims:
            return await self._hear_claims(claims)
        return self._spent_on_calls()

    async def _run_calls(self, blocks: list[Block], *, ends_turn: bool) -> None:
        """Run calls, side by side when all only read, and store each result as it comes.

        `ends_turn`: the last of these results ends the turn's answer, so notes go into it. Returns
        early, calls unanswered, when the daemon is stopping.
        """
        # Calls that may change something run one at a time, the others as one group.
        is_one_group = all(self._runner.only_reads(block) for block in blocks)
        groups = [blocks] if is_one_group else [[block] for block in blocks]
        for position, blocks_of_group in enumerate(groups):
            if self._stopping.is_set() or not blocks_of_group:
                return
            # Only now: a call is counted in the same record as its result, or a crash would count it twice.
            group = [self._runner.prepare(block) for block in blocks_of_group]
            changing = [call.tool_use_id for call in group if not call.may_run_beside_others]
            if changing:
                await self._transcript.add_began(changing)
            results = await self._runner.run_side_by_side(group)
            if any(result.wrote for result in results):
                self._patience.note_change()
            texts = [result.text for result in results]
            if position == len(groups) - 1:
                notes = await self._note_progress()
                if ends_turn:
                    texts[-1] = replies.with_notes(texts[-1], notes + await self._notes())
            blocks_back = [
                replies.tool_result(call.tool_use_id, text, is_error=result.is_error)
                for call, text, result in zip(group, texts, results, strict=True)
            ]
            await self._transcript.add_results(blocks_back, self._patience.to_dict())
            await self._note_told()

    async def _hear_claims(self, claims: list[Block]) -> LoopOutcome | None:
        """Judge `finish_task`; several in one turn count as the first."""
        try:
            claim = finish.claim_of(arguments_of(claims[0].get("input")))
        except ToolInputError as error:
            self._patience.count(GiveUpKind.MALFORMED_CALL)
            await self._refuse_calls(claims, replies.malformed(error.message))
            return self._spent_on_calls()
        self._patience.forget(GiveUpKind.MALFORMED_CALL)
        results = self._transcript.messages[-1]
        if results["role"] == "user" and any(block.get("is_error") for block in results["content"]):
            await self._refuse_calls(claims, replies.NOT_FINISHED_AFTER_ERROR)
            return self._spent_on_calls()
        return await self._judge_claim(claim, claims)

    async def _judge_claim(self, claim: finish.Claim, calls: list[Block]) -> LoopOutcome | None:
        """Hand the claim on if some change could land; `calls` are what it was made with, if any."""
        changes = await self._files.changes()
        if changes.landable:
            return ClaimsFinished(claim.summary, claim.decisions)
        without_effect = replies.without_effect(changes)
        why = f"it says that it is finished and {without_effect}: {claim.summary[:300]}"
        gave_up = self._patience.spend(GiveUpKind.NO_CHANGE, self._limits.no_change_limit, why)
        if gave_up is not None:
            return gave_up
        words = replies.no_change(changes)
        if calls:
            await self._refuse_calls(calls, words)
        else:
            text = replies.with_notes(words, await self._notes())
            await self._transcript.add_user(text, self._patience.to_dict())
            await self._note_told()
        return None

    async def answer_inherited(self) -> None:
        """Answer the calls of a turn that an interrupted process left in the middle of a call.

        Where none was under way, the open calls simply run: nothing of them has happened.
        """
        if not self._transcript.outcome_unknown():
            return
        open_calls = self._transcript.unanswered()
        unknown = replies.unknown_outcome(self._transcript.printed, self._limits.result_chars)
        texts = [
            unknown if self._transcript.has_begun(str(call["id"])) else replies.NEVER_RAN
            for call in open_calls
        ]
        await self._answer_with_errors(open_calls, texts)

    async def _refuse_calls(self, calls: list[Block], words: str) -> None:
        """Answer all of `calls` with the same error."""
        await self._answer_with_errors(calls, [words] * len(calls))

    async def _answer_with_errors(self, calls: list[Block], texts: list[str]) -> None:
        """Answer `calls`, which end the turn, with an error each, notes in the last."""
        texts = [*texts[:-1], replies.with_notes(texts[-1], await self._notes())]
        blocks = [
            replies.tool_result(str(call["id"]), text, is_error=True)
            for call, text in zip(calls, texts, strict=True)
        ]
        await self._transcript.add_results(blocks, self._patience.to_dict())
        await self._note_told()

    async def _note_progress(self) -> list[str]:
        """Count idle turns; return what the model should be told about it."""
        if self._patience.end_turn_with_change():
            return []
        if not self._patience.note_idle_turn():
            return []
        # Commands may have changed files too: only now is it worth walking the copy to know.
        if not self._patience.note_changes(_fingerprint(await self._files.changes())):
            return []
        self._patience.count(GiveUpKind.IDLE)
        return [replies.idle(self._limits.idle_turn_limit)]

    async def _notes(self) -> list[str]:
        """Return what the model should hear at this point: answers of the owner, few turns left."""
        notes = []
        answers = await self._questions.answers()
        if answers:
            notes.append(replies.answered(answers))
        self._untold = len(answers)
        left = self._limits.max_turns - self._transcript.turns
        if left == _WARN_TURNS_LEFT:
            notes.append(replies.turns_left(left))
        return notes

    async def _note_told(self) -> None:
        """The notes are on disk: the answers in them need not be told again."""
        if self._untold:
            count, self._untold = self._untold, 0
            await self._questions.told(count)

    def _spent_on_calls(self) -> GaveUp | None:
        """Return how the attempt ends if some kind of call went wrong too often in a row."""
        limits = self._limits
        for kind, limit, why in (
            (GiveUpKind.UNKNOWN_TOOL, limits.malformed_limit, "the model calls tools that do not exist"),
            (GiveUpKind.MALFORMED_CALL, limits.malformed_limit, "the model's tool calls are malformed"),
            (
                GiveUpKind.SAME_CALL,
                limits.same_call_limit + 1,
                "the model makes the same call again and again",
            ),
            (GiveUpKind.IDLE, 2, f"{2 * limits.idle_turn_limit} turns went by without a change to a file"),
        ):
            if self._patience.is_spent(kind, limit):
                return GaveUp(why, kind)
        return None


def _fingerprint(changes: ChangeSet) -> str:
    """Name a state of the private copy by what could land of it."""
    if not changes.landable:
        return ""
    lines = [f"{change.path}\0{change.new.sha256 if change.new else ''}" for change in changes.landable]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()
