"""What tokens cost: the dated price list, the cost of a call, and its worst case before it is made.

Separate from the gateway because it is pure arithmetic over a data file. All sums are exact
(a dollar per million tokens is a micro-dollar per token) and are rounded up once, at the end,
so that we never book less than the provider. Deliberately absent: batch prices; nothing here
uses batches.
"""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from agentcoord.domain.usage import Usage, UsdMicros
from agentcoord.errors import LlmPriceError
from agentcoord.values import dataclass

_DATED_NAME = re.compile(r"(?P<name>.+)-20\d{6}")
"""`claude-sonnet-5-5-20261001` is a snapshot of `claude-sonnet-5-5` and costs the same."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Micro-dollars per token, which is dollars per million tokens, by kind."""

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal

    def cost_usd_micros(self, usage: Usage) -> UsdMicros:
        """Price `usage`, rounded up to the next micro-dollar."""
        exact = (
            usage.input_tokens * self.input
            + usage.cache_write_5m_tokens * self.cache_write_5m
            + usage.cache_write_1h_tokens * self.cache_write_1h
            + usage.cache_read_tokens * self.cache_read
            + usage.output_tokens * self.output
        )
        return UsdMicros(math.ceil(exact))

    @property
    def dearest_input(self) -> Decimal:
        """What a prompt token costs at most, whichever way the cache goes."""
        return max(self.input, self.cache_write_5m, self.cache_write_1h, self.cache_read)


@dataclass(frozen=True, slots=True)
class Tier:
    """Other rates for the whole request when its prompt is longer."""

    over_prompt_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """The price of one model, and of when."""

    model: str
    as_of: datetime.date
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    """Longest prompts first."""
    context_tokens: int | None = None
    """The model's context window, where the list tells it."""

    def rates_for(self, prompt_tokens: int) -> Rates:
        """Return what a request with a prompt of this size is charged at."""
        for tier in self.tiers:
            if prompt_tokens > tier.over_prompt_tokens:
                return tier.rates
        return self.rates


@dataclass(frozen=True, slots=True)
class PriceList:
    """Every model that has a price. A model without one cannot be called through the gateway."""

    models: Mapping[str, ModelPrice]

    @classmethod
    def load(cls, override: Path | None = None) -> PriceList:
        """Read the bundled prices, then those of the `override` file on top, model by model.

        Raises LlmPriceError when the override cannot be read or understood.
        """
        bundled = resources.files("agentcoord.llm").joinpath("prices.toml").read_text("utf-8")
        models = _parse(bundled, "prices.toml")
        if override is not None:
            try:
                text = override.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise LlmPriceError(
                    f"the price file {override} cannot be read: {reason}",
                    mend="correct models.price_file; it is looked for from the repository's root",
                ) from error
            models |= _parse(text, str(override))
        return cls(models)

    def price(self, model: str) -> ModelPrice:
        """Return the price of `model`; a dated snapshot costs what its model costs.

        Raises LlmPriceError when it has none.
        """
        found = self.models.get(model)
        if found is None and (dated := _DATED_NAME.fullmatch(model)):
            found = self.models.get(dated["name"])
        if found is None:
            keys, known = ", ".join(_KINDS), ", ".join(self.models)
            raise LlmPriceError(
                f"no price is known for the model {model!r}, so no cap could hold",
                mend=(
                    f"name a file with its price in models.price_file ([[model]] with name, as_of, {keys} "
                    f"in USD per million tokens; 0 for a local model), or use one of {known}"
                ),
            )
        return found

    def cost_usd_micros(self, usage: Usage, model: str) -> UsdMicros:
        """Price a call's `usage`, rounded up. Raises LlmPriceError when `model` has no price."""
        return self.price(model).rates_for(usage.prompt_tokens).cost_usd_micros(usage)

    def worst_case_usd_micros(self, input_tokens_estimate: int, max_tokens: int, model: str) -> UsdMicros:
        """Price the dearest way the call can go: all input written to the dearest cache, all output used.

        Raises LlmPriceError when `model` has no price.
        """
        rates = self.price(model).rates_for(input_tokens_estimate)
        return UsdMicros(math.ceil(input_tokens_estimate * rates.dearest_input + max_tokens * rates.output))

    def affordable_max_tokens(
        self, input_tokens_estimate: int, left_usd_micros: int, model: str
    ) -> int | None:
        """Return the largest `max_tokens` whose worst case fits what is left; 0 when none does.

        None when output is free, so that nothing bounds it. Raises LlmPriceError when `model`
        has no price.
        """
        rates = self.price(model).rates_for(input_tokens_estimate)
        left = left_usd_micros - input_tokens_estimate * rates.dearest_input
        if left < 0:
            return 0
        return None if rates.output == 0 else int(left // rates.output)


_KINDS = tuple(f.name for f in fields(Rates))


def _parse(text: str, source: str) -> dict[str, ModelPrice]:
    """Read a price file; raises LlmPriceError with the place of the first fault."""
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise LlmPriceError(f"{source} is not TOML: {error}") from error
    prices = [_model_price(entry, source) for entry in raw.get("model", [])]
    if unknown := sorted(raw.keys() - {"model"}):
        raise LlmPriceError(f"{source}: unknown key {unknown[0]!r}; prices stand in [[model]] tables")
    return {price.model: price for price in prices}


def _model_price(entry: dict[str, Any], source: str) -> ModelPrice:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise LlmPriceError(f"{source}: a [[model]] has no name")
    where = f"{source}: {name}"
    as_of = entry.get("as_of")
    if not isinstance(as_of, datetime.date):
        raise LlmPriceError(f"{where}: as_of must be a date, such as 2026-10-24")
    if unknown := sorted(entry.keys() - {"name", "as_of", "tier", "context_tokens", *_KINDS}):
        raise LlmPriceError(f"{where}: unknown key {unknown[0]!r}")
    tiers = []
    for tier in entry.get("tier", []):
        over = tier.get("over_prompt_tokens")
        if not isinstance(over, int) or over < 0:
            raise LlmPriceError(f"{where}: a tier's over_prompt_tokens must be a number of tokens")
        tiers.append(Tier(over, _rates(tier, f"{where}, over {over} tokens")))
    tiers.sort(key=lambda tier: -tier.over_prompt_tokens)
    context = entry.get("context_tokens")
    if context is not None and (not isinstance(context, int) or isinstance(context, bool) or context < 1):
        raise LlmPriceError(f"{where}: context_tokens must be a number of tokens")
    return ModelPrice(name, as_of, _rates(entry, where), tuple(tiers), context)


def _rates(entry: Mapping[str, Any], where: str) -> Rates:
    values: dict[str, Decimal] = {}
    for kind in _KINDS:
        value = entry.get(kind)
        number = Decimal(value) if isinstance(value, int | Decimal) and value is not True else Decimal("nan")
        if not number.is_finite() or number < 0:
            raise LlmPriceError(f"{where}: {kind} must be dollars per million tokens, 0 or more")
        values[kind] = number
    return Rates(**values)
