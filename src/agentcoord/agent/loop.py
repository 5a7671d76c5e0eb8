"""The agent loop: ask the model, run what it calls, answer, until it claims to be finished or gives up.

Theory of operation. The transcript is the state. `run` looks at it: with a turn pending it answers
that turn, else it asks for the next one. Every step is on disk before the next begins, so that a
loop over a reopened transcript goes on as if nothing had happened; only a call that a crash broke off
is answered with just that: nobody knows what it did. Each way a turn can go wrong has its own answer and
its own counter (`answering`, `patience`), and every counter has a bound that ends the attempt.

A claim to be finished leaves its turn pending: `reject` answers it with what the checks said, and
`run` goes on; without `reject`, running again makes the same claim again, free of charge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from agentcoord.agent import replies
from agentcoord.agent.answering import Answering
from agentcoord.agent.calls import CallRunner
from agentcoord.agent.compaction import SUMMARY_MAX_TOKENS, Compaction
from agentcoord.agent.live_text import LiveText
from agentcoord.agent.outcomes import (
    ClaimsFinished,
    GaveUp,
    GiveUpKind,
    Interrupted,
    LoopLimits,
    LoopOutcome,
    OutOfMoney,
)
from agentcoord.agent.patience import Patience
from agentcoord.agent.ports import Files, Gateway, Questions, Reporter, Shell
from agentcoord.agent.prompts import Briefing, build_first_message, build_system, prompt_hash
from agentcoord.agent.tools.registry import Toolbox, tool_definitions
from agentcoord.agent.transcript import Transcript
from agentcoord.agent.transcript_records import sendable_content
from agentcoord.clock import Clock
from agentcoord.domain.events import EventKind
from agentcoord.errors import AgentError, LlmContextWindowError
from agentcoord.llm.api import Message, PaidTurn, Progress, SpendRefused, StopReason, TurnRequest

__all__ = [
    "AgentLoop",
    "ClaimsFinished",
    "GaveUp",
    "GiveUpKind",
    "Interrupted",
    "LoopLimits",
    "LoopOutcome",
    "OutOfMoney",
]


class AgentLoop:
    """One attempt at one task. Not to be used again after an exception: reopen the transcript."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        shell: Shell,
        files: Files,
        reporter: Reporter,
        questions: Questions,
        transcript: Transcript,
        briefing: Briefing,
        model: str,
        effort: str,
        clock: Clock,
        limits: LoopLimits,
        stopping: asyncio.Event,
        custom_tools: bool = False,
    ) -> None:
        """`custom_tools`: the server does not know Anthropic's own tool types."""
        self._gateway = gateway
        self._clock = clock
        self._turn_ms = 0
        """How long the newest turn took, its waits included."""
        self._reporter = reporter
        self._transcript = transcript
        self._briefing = briefing
        self._model = model
        self._effort = effort
        self._limits = limits
        self._stopping = stopping
        self._tools = tool_definitions(custom_tools)
        self._patience = Patience(limits, transcript.patience)
        toolbox = Toolbox(
            shell=shell,
            files=files,
            questions=questions,
            command_timeout_s=limits.tool_timeout_s,
            # A command ends itself in time; the call's deadline only catches what does not.
            call_deadline_s=max(limits.call_deadline_s, limits.tool_timeout_s + 60),
            result_chars=limits.result_chars,
            keep_output=transcript.add_output,
        )
        self._answering = Answering(
            transcript=transcript,
            runner=CallRunner(toolbox, reporter, clock, self._patience, limits),
            files=files,
            questions=questions,
            patience=self._patience,
            limits=limits,
            stopping=stopping,
        )
        self._compaction = Compaction(
            transcript=transcript, files=files, patience=self._patience, limits=limits
        )
        self._inherited = transcript.pending_turn is not None

    async def run(self) -> LoopOutcome:
        """Go on until there is an outcome.

        Raises what the gateway raises, SandboxError, and StoreError (a lost lease, for one).
        """
        transcript = self._transcript
        if not transcript.messages:
            opening = build_first_message(self._briefing)
            await transcript.add_opening(build_system(self._briefing), opening, prompt_hash())
        if self._inherited:
            self._inherited = False
            await self._answering.answer_inherited()
        while True:
            outcome: LoopOutcome | None
            if self._stopping.is_set():
                return Interrupted()
            pending = transcript.pending_turn
            if pending is not None and pending.stop_reason is StopReason.CONTEXT_WINDOW:
                outcome = await self._make_room()
            elif transcript.pending_turn is not None:
                outcome = await self._answering.answer(transcript.pending_turn)
            elif transcript.turns >= self._limits.max_turns:
                outcome = GaveUp(f"all {self._limits.max_turns} turns were used", GiveUpKind.TURNS)
            elif self._compaction.is_due():
                outcome = await self._summarise()
            else:
                outcome = await self._ask()
            if outcome is not None:
                return outcome

    async def reject(self, feedback: str, *, fresh_copy: bool = False) -> None:
        """Answer the claim to be finished with why it does not hold; then call `run` again.

        `fresh_copy`: the feedback says that the private copy is a new one. It must be: end this loop, and
        go on with the transcript in one. Raises AgentError when there is no conversation yet.
        """
        transcript = self._transcript
        if not transcript.messages:
            raise AgentError("there is no claim to reject: the conversation has not begun")
        text = feedback.strip()[: self._limits.result_chars] or "The work was not accepted."
        self._patience.note_verdict()
        self._inherited = False
        open_calls = transcript.unanswered()
        if open_calls:
            blocks = [replies.tool_result(str(b["id"]), text, is_error=True) for b in open_calls]
            await transcript.add_results(blocks, self._patience.to_dict(), fresh_copy=fresh_copy)
        else:
            await transcript.add_user(text, self._patience.to_dict(), fresh_copy=fresh_copy)

    async def _ask(self) -> LoopOutcome | None:
        """Take one turn from the model and store it."""
        transcript = self._transcript
        self._reporter.doing("thinking")
        try:
            paid = await self._take_turn(transcript.messages, self._patience.max_tokens)
        except LlmContextWindowError:
            return await self._make_room()
        if isinstance(paid, SpendRefused):
            return OutOfMoney(paid)
        outcome = None
        if paid.turn.stop_reason is StopReason.REFUSAL or not sendable_content(paid.turn):
            outcome = await self._store_void(paid)
        else:
            await transcript.add_turn(paid.turn, paid.cost_usd_micros, usage=paid.usage)
        self._report_turn(paid)
        return outcome

    async def _summarise(self) -> OutOfMoney | None:
        """Have the model say what it needs to go on, and begin a new conversation with it."""
        self._reporter.doing("summarising the conversation")
        most = min(SUMMARY_MAX_TOKENS, self._limits.max_tokens)
        try:
            paid = await self._take_turn(self._compaction.asking(), most)
        except LlmContextWindowError:
            await self._compaction.begin_anew(None)
            return None
        if isinstance(paid, SpendRefused):
            return OutOfMoney(paid)
        await self._compaction.begin_anew(paid)
        self._report_turn(paid)
        return None

    async def _make_room(self) -> GaveUp | None:
        """The window is full: begin anew without asking the model, which has no room to answer."""
        why = "the conversation filled the model's context window"
        gave_up = self._patience.spend(GiveUpKind.CONTEXT_WINDOW, self._limits.context_limit, why)
        if gave_up is not None or not self._compaction.is_possible():
            return gave_up or GaveUp(why, GiveUpKind.CONTEXT_WINDOW)
        await self._compaction.begin_anew(None)
        return None

    async def _take_turn(self, messages: Sequence[Message], max_tokens: int) -> PaidTurn | SpendRefused:
        request = TurnRequest(
            model=self._model,
            system=tuple(self._transcript.system),
            messages=tuple(messages),
            tools=self._tools,
            max_tokens=max_tokens,
            effort=self._effort,
        )
        live = LiveText(self._reporter.text)
        began = self._clock.monotonic()
        try:
            return await self._gateway.take_turn(request, Progress(on_text=live.note))
        finally:
            self._turn_ms = round((self._clock.monotonic() - began) * 1000)

    def _report_turn(self, paid: PaidTurn) -> None:
        self._reporter.event(
            EventKind.TASK_TURN,
            turn=self._transcript.turns,
            model=paid.turn.model,
            stop_reason=str(paid.turn.stop_reason),
            usage=paid.usage.to_dict(),
            cost_usd_micros=paid.cost_usd_micros,
            ms=self._turn_ms,
        )

    async def _store_void(self, paid: PaidTurn) -> GaveUp | None:
        """Store a turn that cannot be part of the conversation, with what is said in its place."""
        limits = self._limits
        match paid.turn.stop_reason:
            case StopReason.REFUSAL:
                reply, why = replies.REFUSED, "the model refused to go on"
                gave_up = self._patience.spend(GiveUpKind.REFUSED, limits.refusal_limit, why)
            case StopReason.MAX_TOKENS:
                # Cut in the middle of a thought: the same is asked again, with more room.
                reply = ""
                gave_up = self._patience.count_cut()
            case StopReason.CONTEXT_WINDOW:
                # Room is made as soon as this is stored.
                reply, gave_up = "", None
            case _:
                reply, why = replies.EMPTY_TURN, "the model's turns are empty"
                gave_up = self._patience.spend(GiveUpKind.EMPTY_TURN, limits.empty_limit, why)
        await self._transcript.add_turn(
            paid.turn,
            paid.cost_usd_micros,
            usage=paid.usage,
            void=True,
            reply=reply,
            patience=self._patience.to_dict(),
        )
        if paid.turn.stop_reason is StopReason.CONTEXT_WINDOW:
            return await self._make_room()
        return gave_up
