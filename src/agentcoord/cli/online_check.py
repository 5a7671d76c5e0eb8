"""Whether the key and the model are accepted: one request of a few tokens, for `doctor --online`.

It costs a small part of a cent and is booked nowhere, which is why it is made only when asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from agentcoord.config.sections import Settings
from agentcoord.daemon.model_source import open_named_model
from agentcoord.domain.usage import usd
from agentcoord.errors import LlmAuthError, LlmError, LlmRetryableError
from agentcoord.llm.api import Progress, TurnRequest
from agentcoord.llm.pricing import PriceList

DEADLINE_S: Final = 60.0
_MAX_TOKENS: Final = 16
_TRY_AGAIN: Final = (
    "try again in a while; or look whether it is the right server, and can be reached from here"
)
_LOOK_AT_THE_LADDER: Final = "see that it is the right server, and that models.ladder names what it has"


def ask_for_a_word(settings: Settings, env: Mapping[str, str]) -> str:
    """Return in words that the first model of the ladder answered, how fast, and what it cost.

    Raises LlmError in words, with a mend, when it did not.
    """
    try:
        return asyncio.run(_ask(settings, env))
    except LlmError as error:
        if not error.mend:
            passing = isinstance(error, LlmRetryableError)
            error.mend = _TRY_AGAIN if passing else _LOOK_AT_THE_LADDER
        raise


async def _ask(settings: Settings, env: Mapping[str, str]) -> str:
    model = settings.models.rungs[0].model
    request = TurnRequest(
        model=model,
        system=[],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Task id: (doctor)\n\nSay: yes"}]}],
        tools=[],
        max_tokens=_MAX_TOKENS,
    )
    async with open_named_model(settings, env) as source:
        if source.model is None:
            raise LlmAuthError("there is no model to ask", mend="see the line `model`")
        if source.warm_up is not None:
            await source.warm_up()
        began = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE_S):
                turn = await source.model.take_turn(request, Progress())
        except TimeoutError as error:
            raise LlmAuthError(
                f"{source.words} did not answer within {DEADLINE_S:.0f} s", mend="try again later"
            ) from error
    cost = PriceList.load(None).cost_usd_micros(turn.usage, model) if not settings.models.price_file else 0
    paid = f", ${usd(cost):.6f}" if cost else ""
    return f"{source.words} answered as {turn.model} in {time.monotonic() - began:.1f} s{paid}"
