"""Why a claim was refused, looked up at the moment of the refusal.

Separate because only a refusal costs this look: whoever uses a claim that holds pays nothing for it.
Deliberately absent: the rule, and the words, which are `domain.lost_claims`'.
"""

from __future__ import annotations

from redis.asyncio import Redis

from agentcoord.clock import Clock
from agentcoord.domain.ids import FencingToken
from agentcoord.domain.lost_claims import ClaimEnd, ClaimFacts, end_of_claim, refusal_words
from agentcoord.domain.states import TaskState
from agentcoord.domain.task import Claim
from agentcoord.errors import LeaseLostError
from agentcoord.store.keys import Keys
from agentcoord.store.scripts import calling
from agentcoord.store.setback_records import decode_attempt_end


async def facts_of(client: Redis, keys: Keys, clock: Clock, claim: Claim) -> ClaimFacts:
    """Read what says how `claim` ended. Raises StoreUnavailableError."""
    task = claim.task.id
    async with calling("look how a claim ended"), client.pipeline(transaction=False) as pipe:
        pipe.hmget(keys.task(task), "state", "token")
        pipe.zscore(keys.of("lease"), f"{claim.token}:{task}")
        pipe.lindex(keys.history(task), -1)
        (state, token), deadline, newest = await pipe.execute()
    return ClaimFacts(
        state=None if state is None else TaskState(state),
        newest_token=None if token is None else FencingToken(int(token)),
        lease_deadline_ms=None if deadline is None else int(float(deadline)),
        last_setback="" if newest is None else decode_attempt_end(newest).setback,
        now_ms=clock.now_ms(),
    )


async def refusal_of(client: Redis, keys: Keys, clock: Clock, claim: Claim) -> LeaseLostError:
    """Return the error that says how `claim` ended."""
    facts = await facts_of(client, keys, clock, claim)
    end = end_of_claim(claim.token, facts)
    return LeaseLostError(refusal_words(claim.task.id, claim.token, end, facts), how=end)


async def end_of(client: Redis, keys: Keys, clock: Clock, claim: Claim) -> ClaimEnd:
    """Return how `claim` ended."""
    return end_of_claim(claim.token, await facts_of(client, keys, clock, claim))
