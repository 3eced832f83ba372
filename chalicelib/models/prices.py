"""What a call of a language model costs, in integer micro-USD.

The operator's own prices come first, then the table that ``make prices`` makes of a maintained library
(`infra.prices`), by the provider's address. A model that neither knows has no price, unless the operator names one for
such models.

Rates are integers in millionths of a micro-USD a token, which is USD per million tokens with six decimals. A cost is
added up exactly and rounded up once, to the next micro-USD: a call is never booked for less than it costs. Nothing
costs more than the largest budget holds.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from chalicelib.domain.errors import AtollError
from chalicelib.wire.budgets import MAX_MICRO_USD

#: Rates are in this part of a micro-USD a token.
SCALE = 1_000_000
#: More tokens are in no usage: a provider that says so is not believed.
MAX_TOKENS = 1_000_000_000
#: The highest rate that an operator may name, in USD per million tokens.
MAX_USD_PER_MTOK = 1_000_000
#: The longest name of a model that is looked up.
MAX_MODEL_CHARS = 256

_TABLE = Path(__file__).parent / "prices.json"
#: How the table compares a model's name; `infra.prices` writes these signs.
_COMPARED: dict[str, Callable[[str, str], bool]] = {
    "=": str.__eq__,
    "^": str.startswith,
    "$": str.endswith,
    "*": str.__contains__,
    "~": lambda name, pattern: re.search(pattern, name) is not None,
}
#: A date without dashes at the end of a name or a part of it, as gateways write it.
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=[-:]|$)")


class NotPriced(AtollError):
    """What a call costs cannot be said, so an agent with a budget may not make it."""


class TokenUsage(NamedTuple):
    """Tokens of one call, each counted once."""

    #: Not of a cache.
    input: int
    output: int
    cache_read: int = 0
    #: Written for the shortest time (with Anthropic: 5 minutes), and for an hour.
    cache_write: int = 0
    cache_write_1h: int = 0

    @property
    def all_input(self) -> int:
        """All tokens of the input."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    @classmethod
    def of(cls, usage: object) -> "TokenUsage | None":
        """Read the ``usage`` of an answer, OpenAI's or Anthropic's; ``None`` when neither input nor output is told.

        OpenAI counts tokens of a cache among its input, Anthropic beside it.
        """
        if not isinstance(usage, Mapping):
            return None
        tokens_in = _count(usage, "prompt_tokens", "input_tokens", "inputTokens")
        tokens_out = _count(usage, "completion_tokens", "output_tokens", "outputTokens")
        if tokens_in is None and tokens_out is None:
            return None
        read = _count(usage, "cache_read_input_tokens")
        written = _count(usage, "cache_creation_input_tokens")
        if read is not None or written is not None:
            hour = min(_count(usage.get("cache_creation"), "ephemeral_1h_input_tokens") or 0, written or 0)
            return cls(tokens_in or 0, tokens_out or 0, read or 0, (written or 0) - hour, hour)
        details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
        left = tokens_in or 0
        read = min(_count(details, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens") or 0, left)
        written = min(_count(details, "cache_write_tokens", "cache_creation_tokens") or 0, left - read)
        return cls(left - read - written, tokens_out or 0, read, written)


def _count(usage: object, *names: str) -> int | None:
    """Return the first of some numbers that is a number of tokens."""
    if not isinstance(usage, Mapping):
        return None
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS:
            return value
    return None


#: Steps of a rate: above so many tokens of input, this rate. The first is above none.
Rate = tuple[tuple[int, int], ...]


class Rates(NamedTuple):
    """What a model's tokens cost; ``None`` where it says nothing of its own."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    #: For the request itself, in millionths of a micro-USD times 1,000 (USD per 1,000 requests).
    request: Rate | None = None

    @classmethod
    def of_row(cls, row: Iterable[Any]) -> "Rates":
        """Read the rates of a line of the table."""
        return cls(*(rate if rate is None else _steps(rate) for rate in row))

    def over(self, others: "Rates") -> "Rates":
        """Return these rates, and others where these say nothing."""
        return Rates(*(own or other for own, other in zip(self, others, strict=True)))


def _steps(rate: int | list[list[int]]) -> Rate:
    return ((0, rate),) if isinstance(rate, int) else tuple((above, step) for above, step in rate)


@dataclasses.dataclass(frozen=True)
class Price:
    """What a model costs at one provider on one day."""

    rates: Rates
    #: The largest input that it takes; ``None`` when that is not known.
    context_tokens: int | None = None
    #: The longest output, where an operator said it.
    output_tokens: int | None = None
    #: Other rates by what a request asks for: key and value in its body, rates.
    chosen: tuple[tuple[str, str, Rates], ...] = ()

    def asked(self, body: Mapping[str, Any]) -> "Price":
        """Return what this costs as a request asks for it (``service_tier``, ``speed``)."""
        for key, value, rates in self.chosen:
            if body.get(key) == value:
                return dataclasses.replace(self, rates=rates.over(self.rates), chosen=())
        return self

    def micro_usd(self, usage: TokenUsage) -> int:
        """Return what a usage costs, rounded up to the next micro-USD."""
        total = usage.all_input
        rates = self.rates
        write = rates.cache_write or rates.input
        exact = (
            usage.input * _at(rates.input, total)
            + usage.output * _at(rates.output, total)
            + usage.cache_read * _at(rates.cache_read or rates.input, total)
            + usage.cache_write * _at(write, total)
            + usage.cache_write_1h * _at(rates.cache_write_1h or write, total)
        )
        return _booked(exact + self._for_request())

    def bound_micro_usd(self, input_tokens: int, output_tokens: int, *, hour: bool) -> int:
        """Return the most that so many tokens cost, whatever of the input is read from a cache or written to one.

        Caches of an hour are counted with ``hour`` alone.
        """
        rates = self.rates
        kinds = [rates.input, rates.cache_read, rates.cache_write, rates.cache_write_1h if hour else None]
        most = max(_highest(rate, input_tokens) for rate in kinds)
        exact = input_tokens * most + output_tokens * _highest(rates.output, input_tokens)
        return _booked(exact + self._for_request())

    def _for_request(self) -> int:
        return _at(self.rates.request, 0) * 1_000


def _at(rate: Rate | None, input_tokens: int) -> int:
    """Return the rate at a size of the input: the whole input is paid by the last step that it reaches."""
    found = 0
    for above, step in rate or ():
        if above == 0 or input_tokens > above:
            found = step
    return found


def _highest(rate: Rate | None, input_tokens: int) -> int:
    """Return the highest rate of all inputs up to a size."""
    return max((step for above, step in rate or () if above == 0 or input_tokens > above), default=0)


def _booked(exact: int) -> int:
    """Return a cost in whole micro-USD: rounded up, and at most what the largest budget holds."""
    return min(-(-exact // SCALE), MAX_MICRO_USD)


def rate_of(usd_per_mtok: str | float | Decimal) -> int:
    """Return a rate of an operator's: text or a number, in USD per million tokens.

    Raises ``ValueError`` for what is no number from 0 to 1,000,000 with at most six decimals.
    """
    try:
        exact = Decimal(str(usd_per_mtok)) * SCALE
    except InvalidOperation:
        exact = Decimal("NaN")
    if isinstance(usd_per_mtok, bool) or not (exact.is_finite() and 0 <= exact <= MAX_USD_PER_MTOK * SCALE):
        raise ValueError(f"a price is from 0 to {MAX_USD_PER_MTOK} USD per million tokens, not {usd_per_mtok!r:.40}")
    if exact != int(exact):
        raise ValueError(f"a price has at most six decimals, not {usd_per_mtok!r:.40}")
    return int(exact)


def own(input_usd: str | float | Decimal, output_usd: str | float | Decimal, output_tokens: int | None = None) -> Price:
    """Return a price of the operator's, in USD per million tokens; tokens of a cache cost what any input costs.

    Raises ``ValueError`` as `rate_of` does.
    """
    rates = Rates(_steps(rate_of(input_usd)), _steps(rate_of(output_usd)))
    return Price(rates, output_tokens=output_tokens)


@dataclasses.dataclass(frozen=True)
class Prices:
    """The prices of one deployment.

    Parameters
    ----------
    own
        The operator's, by the model's name.
    unknown
        What a model costs that has no price otherwise; without it such a model is refused to agents with a budget.
    """

    own: Mapping[str, Price] = dataclasses.field(default_factory=dict)
    unknown: Price | None = None

    def of(self, base_url: str, model: str, day: str) -> Price:
        """Return what a model costs at the provider of an address on a day (UTC, ``2026-11-26``).

        Raises `NotPriced`. The table is loaded when the operator names no price for the model.
        """
        found = self.own.get(model) or _in_table(base_url, model, day) or self.unknown
        if found is None:
            raise NotPriced(
                f"no price is known of the model {model[:MAX_MODEL_CHARS]!r} at this provider: an agent with a budget "
                "cannot use it until the operator names one ([[llm-proxy.prices]] or unknownModelPrice)"
            )
        return found


@cache
def _providers() -> list[dict[str, Any]]:
    providers: list[dict[str, Any]] = json.loads(_TABLE.read_bytes())["providers"]
    return providers


@lru_cache(maxsize=256)
def _in_table(base_url: str, model: str, day: str) -> Price | None:
    """Return a price of the table: by the provider whose address it is, or one whose models that provider resells."""
    providers = _providers()
    provider = next((each for each in providers if re.match(each["urls"], base_url.lower())), None)
    if provider is None or len(model) > MAX_MODEL_CHARS:
        return None
    names = dict.fromkeys([model.lower(), _COMPACT_DATE.sub(r"-\1-\2-\3", model.lower())])
    resold = [each for wanted in provider["others"] for each in providers if each["id"] == wanted]
    for name in names:
        for seller in (provider, *resold):
            for row in seller["models"]:
                if _is_meant(row[0], name):
                    return _price_of(row, day, its_own=seller is provider)
    return None


def _is_meant(match: Any, name: str) -> bool:
    if isinstance(match, str):
        return _COMPARED[match[0]](name, match[1:])
    if isinstance(match, list):
        return any(_is_meant(each, name) for each in match)
    return all(_is_meant(each, name) for each in match["all"])


def _price_of(row: list[Any], day: str, *, its_own: bool) -> Price | None:
    """Read a line of the table; ``None`` of a model that has prices besides those of its tokens."""
    if len(row) == 1:
        return None
    _, context_tokens, periods, *chosen = row
    rates = [rates for first_day, rates in periods if first_day <= day] or [periods[0][1]]
    choices = [] if not its_own or not chosen else [each for each in chosen[0] if each[2] <= day]
    return Price(
        Rates.of_row(rates[-1]),
        context_tokens=context_tokens,
        chosen=tuple((key, value, Rates.of_row(rates)) for key, value, _, rates in choices),
    )
