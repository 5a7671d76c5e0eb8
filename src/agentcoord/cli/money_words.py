"""Money and tokens in words, for pages and summaries of the command line. Pure, and cheap to import."""

from __future__ import annotations

from agentcoord.tui.text import money

TYPE_CHECKING = False  # As in `typing`, which a fast command does not import.
if TYPE_CHECKING:
    from agentcoord.wire.messages import SpendView, TokensView


def spend_words(spend: SpendView, *, scripted: bool) -> str:
    """`$0.42 of $6.00, $0.10 reserved`, and that nobody pays when the model is scripted."""
    words = of_cap(spend["spent_usd"], spend["cap_usd"])
    if spend["reserved_usd"]:
        words += f", {money(spend['reserved_usd'])} reserved"
    return f"{words} (as it would have been: the model is scripted)" if scripted else words


def tokens_words(tokens: TokensView) -> str:
    """All four kinds of tokens in one phrase."""
    return (
        f"{tokens['input']:,} in, {tokens['cache_read']:,} read from cache, "
        f"{tokens['cache_write']:,} written to cache, {tokens['output']:,} out"
    )


def forecast_words(p50_usd: float | None, p90_usd: float | None) -> str:
    """Both ends of the forecast in one phrase; empty while nothing can be said."""
    if p50_usd is None or p90_usd is None:
        return ""
    return f"about {money(p50_usd)} at the end, below {money(p90_usd)} nine times in ten"


def tokens_of_cap(tokens: TokensView, spent: int, cap: int | None) -> str:
    """`tokens_words`, and where tokens have a cap, how much of it is spent."""
    words = tokens_words(tokens)
    return words if cap is None else f"{spent:,} of {cap:,}: {words}"


def of_cap(usd: float, cap_usd: float | None) -> str:
    """`$0.42`, or `$0.42 of $6.00`."""
    return money(usd) if cap_usd is None else f"{money(usd)} of {money(cap_usd)}"
