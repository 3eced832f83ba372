"""What a call of a model costs: the operator's prices first, then a library's; never too little."""

import datetime
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.models import prices
from chalicelib.models.prices import NotPriced, Price, Prices, TokenUsage
from chalicelib.wire.budgets import MAX_MICRO_USD
from infra import prices as table

OPENAI = "https://api.openai.com"
ANTHROPIC = "https://api.anthropic.com/"
DAY = "2026-11-26"
NOON = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)
COUNTS = st.integers(0, prices.MAX_TOKENS)


def test_the_table_is_what_the_pinned_library_says() -> None:
    assert table.TABLE.read_text() == table.text(), "`make prices` writes it"


#: Addresses of providers whose pattern is not that of one address.
ADDRESSES = {
    "aws": "https://bedrock-runtime.us-east-1.amazonaws.com",
    "azure": "https://me.openai.azure.com",
    "cohere": "https://api.cohere.com",
    "google": "https://aiplatform.googleapis.com",
    "minimax": "https://api.minimax.io",
    "openrouter": "https://openrouter.ai",
}


def sampled() -> Iterator[tuple[str, Any, str]]:
    """Yield an address of each provider, with its models that can be named; of very many, some."""
    for provider in providers:
        url = ADDRESSES.get(provider.id, provider.api_pattern.replace("\\", ""))
        if next((each for each in providers if re.match(each.api_pattern, url)), None) is not provider:
            continue  # the address is another's, or more than one
        for model in provider.models[:: 1 + len(provider.models) // 200]:
            name = _named(model.match)
            if name and provider.find_model(name, all_providers=providers) is model and not _by_hour(model.prices):
                yield url, model, name


def _by_hour(conditions: Any) -> bool:
    return isinstance(conditions, list) and any(hasattr(each.constraint, "start_time") for each in conditions)


def _named(clause: Any) -> str:
    if hasattr(clause, "or_"):
        return _named(clause.or_[0])
    return str(getattr(clause, "equals", "") or getattr(clause, "starts_with", ""))


def test_the_table_costs_what_the_library_calculates() -> None:
    usage = TokenUsage(input=180_001, output=1_234, cache_read=30_003, cache_write=7, cache_write_1h=3)
    theirs = genai_prices.Usage(
        input_tokens=usage.all_input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_1h_tokens=usage.cache_write_1h,
    )
    compared = 0
    for url, model, name in sampled():
        try:
            found = Prices().of(url, name, DAY)
        except NotPriced:
            assert table._model(model) == [table._match(model.match)]  # it has prices that are not of tokens
            continue
        for context in [
            {},
            *(variant.when for variant in model.price_variants or [] if "processing" not in variant.when),
        ]:
            total = model.get_prices(NOON, context).calc_price(theirs)["total_price"] * 1_000_000
            extra = found.asked(context).micro_usd(usage) - total
            # Rates of more than six decimals are rounded up in the table.
            assert 0 <= extra < 2, (url, name, context)
            compared += 1
    assert compared > 1_000


@pytest.mark.parametrize(
    ("url", "model", "input_usd", "output_usd"),
    [
        (OPENAI, "gpt-4.1", 2_000_000, 8_000_000),
        (f"{OPENAI}/v1", "GPT-4.1-2025-04-14", 2_000_000, 8_000_000),
        (ANTHROPIC, "claude-sonnet-4-6", 3_000_000, 15_000_000),
        ("https://mine.openai.azure.com/openai", "gpt-4.1", 2_000_000, 8_000_000),  # resold
    ],
)
def test_a_model_is_found_by_its_provider_s_address(url: str, model: str, input_usd: int, output_usd: int) -> None:
    price = Prices().of(url, model, DAY)

    assert (price.micro_usd(TokenUsage(1_000_000, 0)), price.micro_usd(TokenUsage(0, 1_000_000))) == (
        input_usd,
        output_usd,
    )


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("https://gateway.example", "gpt-4.1"),  # what another asks for the model is not known
        (OPENAI, "my-own-model"),
        (OPENAI, "whisper-1"),  # is paid by the hour
        (OPENAI, "g" * 10_000),
    ],
)
def test_a_model_without_a_price_is_refused_unless_the_operator_names_one_for_such(url: str, model: str) -> None:
    with pytest.raises(NotPriced, match=r"no price is known of the model .*unknownModelPrice"):
        Prices().of(url, model, DAY)

    assert Prices(unknown=prices.own("1", "2")).of(url, model, DAY).micro_usd(TokenUsage(1, 1)) == 3


def test_the_operator_s_price_goes_before_the_table() -> None:
    mine = Prices(own={"gpt-4.1": prices.own("0.5", 1.5)}, unknown=prices.own(9, 9))

    assert mine.of(OPENAI, "gpt-4.1", DAY).micro_usd(TokenUsage(2, 2)) == 4
    assert mine.of(OPENAI, "gpt-4o", DAY).micro_usd(TokenUsage(1_000_000, 0)) == 2_500_000


def test_a_price_that_changes_on_a_day_changes_on_that_day() -> None:
    usage = TokenUsage(210_000, 0)

    before = Prices().of(ANTHROPIC, "claude-opus-4-6", "2026-03-12").micro_usd(usage)
    after = Prices().of(ANTHROPIC, "claude-opus-4-6", "2026-03-13").micro_usd(usage)

    assert (before, after) == (2_100_000, 1_050_000)  # a long input was paid twice before


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "", "1,5", "1000001", "0.0000001", True, "1e-9"])
def test_a_price_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="a price"):
        prices.rate_of(text)


@given(COUNTS, COUNTS, st.decimals(0, 1_000, places=6))
def test_a_cost_is_exact_and_rounded_up_once(tokens_in: int, tokens_out: int, usd: Decimal) -> None:
    cost = prices.own(str(usd), str(usd)).micro_usd(TokenUsage(tokens_in, tokens_out))

    assert 0 <= cost - min(usd * (tokens_in + tokens_out), Decimal(MAX_MICRO_USD)) < 1


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 15, "completion_tokens": 5}, TokenUsage(15, 5)),
        (
            {"prompt_tokens": 15, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 10}},
            TokenUsage(5, 5, 10),
        ),
        ({"input_tokens": 15, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 10}}, TokenUsage(5, 5, 10)),
        ({"input_tokens": 15, "input_tokens_details": {"cached_tokens": 99}}, TokenUsage(0, 0, 15)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}, TokenUsage(5, 0, 4)),
        (
            {
                "input_tokens": 15,
                "output_tokens": 5,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 50,
                "cache_creation": {"ephemeral_1h_input_tokens": 20},
            },
            TokenUsage(15, 5, 100, 30, 20),
        ),
        ({"output_tokens": 7}, TokenUsage(0, 7)),
        ({"inputTokens": 1, "outputTokens": 2}, TokenUsage(1, 2)),
        ({"prompt_tokens": -1, "completion_tokens": 10**10}, None),
        ({"prompt_tokens": True, "completion_tokens": "5"}, None),
        ({"prompt_tokens": 1.5}, None),
        ({}, None),
        ("usage", None),
        (None, None),
    ],
)
def test_a_usage_is_read_in_either_format(usage: object, expected: TokenUsage | None) -> None:
    assert TokenUsage.of(usage) == expected


def test_tokens_of_a_cache_cost_what_the_provider_says_or_what_any_input_costs() -> None:
    read = TokenUsage(0, 0, cache_read=1_000_000)

    assert Prices().of(ANTHROPIC, "claude-sonnet-4-6", DAY).micro_usd(read) == 300_000
    assert prices.own("2", "8").micro_usd(read) == 2_000_000


@given(st.lists(st.integers(0, 10**6), min_size=5, max_size=5), st.sampled_from(["gpt-4.1", "gpt-6-sol", "o3"]))
def test_no_usage_costs_more_than_its_bound(counts: list[int], model: str) -> None:
    price: Price = Prices().of(OPENAI, model, DAY)
    usage = TokenUsage(*counts)

    assert price.micro_usd(usage) <= price.bound_micro_usd(usage.all_input, usage.output, hour=True)
