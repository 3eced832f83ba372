"""Write `chalicelib/models/prices.json`, the compact table of models' prices, out of the library `genai-prices`.

``make prices`` runs it. The library itself is not carried by the Lambda: it takes long to import, and brings an HTTP
client (docs/adr/0016-prices-are-a-table.md). What is left of it is what a call of a language model costs: text and
images in, text out.
"""

import json
from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "chalicelib" / "models" / "prices.json"

#: What is kept, in the order in which the table has it; all are USD per million tokens.
RATES = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok")
#: Paid for each request, in USD per thousand.
REQUESTS = "requests_kcount"
#: Paid for what the proxy refuses to an agent with a budget (`chalicelib.models.bounds`): speech, and tools that the
#: provider runs.
REFUSED = frozenset(
    {
        "input_audio_mtok",
        "output_audio_mtok",
        "cache_audio_read_mtok",
        "web_searches_kcount",
        "storage_searches_kcount",
    }
)
#: What a request may choose that changes its price; ``processing: batch`` is refused under a budget.
CHOICES = ("service_tier", "speed")


def table() -> dict[str, Any]:
    """Return the table as it is written."""
    from genai_prices.data import providers

    return {
        "source": f"genai-prices {version('genai-prices')}, MIT licence, Pydantic Services Inc.",
        "providers": [_provider(provider) for provider in providers],
    }


def _provider(provider: Any) -> dict[str, Any]:
    models = [row for model in provider.models if (row := _model(model)) is not None]
    return {
        "id": provider.id,
        "urls": provider.api_pattern,
        "others": provider.fallback_model_providers or [],
        "models": models,
    }


def _model(model: Any) -> list[Any] | None:
    """Return a row: which models it is for, the context window, prices by first day, prices by what was asked for.

    A model that has other prices besides is ``[who is meant]``: it is known, and its price is not.
    """
    match = _match(model.match)
    periods = [[day, _prices(prices)] for day, prices in _periods(model.prices)]
    chosen = [
        [name, value, _first_day(variant.constraint), _prices(variant.prices)]
        for variant in model.price_variants or []
        for name, value in variant.when.items()
        if name in CHOICES
    ]
    otherwise = any(set(variant.when) - {*CHOICES, "processing"} for variant in model.price_variants or [])
    if otherwise or not all(prices for _, prices in periods) or any(prices is None for *_, prices in chosen):
        return [match]
    return [match, model.context_window, periods, *([chosen] if chosen else [])]


def _periods(prices: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield each first day with the prices from then on: of prices by the hour, all that a day has."""
    conditions = prices if isinstance(prices, list) else None
    if conditions is None:
        yield "", [prices]
        return
    days = sorted({_first_day(each.constraint) for each in conditions})
    for day in days:
        valid: list[Any] = []
        for each in conditions:
            if _by_hour(each.constraint):
                valid.append(each.prices)
            elif _first_day(each.constraint) <= day:
                valid = [each.prices]
        yield day, valid


def _by_hour(constraint: Any) -> bool:
    return hasattr(constraint, "start_time")


def _first_day(constraint: Any) -> str:
    return constraint.start_date.isoformat() if hasattr(constraint, "start_date") else ""


def _prices(alternatives: Any) -> list[Any] | None:
    """Return rates in millionths of a micro-USD a token, of alternatives the highest; ``None`` with unknown prices."""
    given = [each.__dict__ for each in (alternatives if isinstance(alternatives, list) else [alternatives])]
    kinds = {kind for each in given for kind, price in each.items() if price is not None}
    if kinds - {*RATES, REQUESTS} - REFUSED:
        return None
    rates = [_highest([each.get(kind) for each in given]) for kind in (*RATES, REQUESTS)]
    while rates and rates[-1] is None:
        rates.pop()
    return rates


def _highest(prices: list[Any]) -> int | list[list[int]] | None:
    known = [price for price in prices if price is not None]
    if not known:
        return None
    steps = [
        [[0, _scaled(price.base)], *([tier.start, _scaled(tier.price)] for tier in price.tiers)]
        if hasattr(price, "tiers")
        else [[0, _scaled(price)]]
        for price in known
    ]
    best = max(steps, key=lambda each: [rate for _, rate in each])
    return best if len(best) > 1 else best[0][1]


def _scaled(price: Decimal) -> int:
    return int((price * 1_000_000).to_integral_value(ROUND_CEILING))


def _match(clause: Any) -> Any:
    """Return which models a row is for: a text with a sign for how it is matched, or a list of such texts."""
    for sign, name in (("=", "equals"), ("^", "starts_with"), ("$", "ends_with"), ("*", "contains"), ("~", "regex")):
        if hasattr(clause, name):
            text = getattr(clause, name)
            return sign + (text if sign == "~" else text.lower())
    if hasattr(clause, "or_"):
        return [_match(each) for each in clause.or_]
    return {"all": [_match(each) for each in clause.and_]}


def text() -> str:
    """Return the file: a line a model, so that a difference of prices can be read."""
    whole = table()
    parts = []
    for provider in whole["providers"]:
        models = ",\n".join(json.dumps(row, separators=(",", ":")) for row in provider.pop("models"))
        head = json.dumps(provider, separators=(",", ":"))[:-1]
        parts.append(f'{head},"models":[\n{models}\n]}}')
    return f'{{"source":{json.dumps(whole["source"])},"providers":[\n' + ",\n".join(parts) + "\n]}\n"


if __name__ == "__main__":
    TABLE.write_text(text())
    print(f"{TABLE}: {TABLE.stat().st_size} bytes")
