"""The most that a request can cost: what an agent's budget reserves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.models import bounds, prices
from chalicelib.models.bounds import Bound
from chalicelib.models.prices import NotPriced, Price, Prices, TokenUsage
from chalicelib.wire.budgets import MAX_MICRO_USD

#: A micro-USD a token of input, a thousand a token of output: a cost shows what was counted.
TELLING = prices.own("1", "1000")
CHAT = "v1/chat/completions"
MESSAGES = "v1/messages"
RESPONSES = "v1/responses"


def bound(body: dict[str, Any], path: str = CHAT, price: Price = TELLING, model: str = "gpt-4.1") -> Bound:
    return bounds.of_request(price, model, path, body, json.dumps(body).encode())


def said(text: str = "Hello", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


@given(st.text(max_size=200))
def test_input_is_bounded_by_the_bytes_of_the_request(text: str) -> None:
    body = said(text, max_tokens=7)

    found = bound(body)

    assert found.input_tokens == len(json.dumps(body)) + bounds.HIDDEN_TOKENS
    assert found.input_tokens > len(text.encode("utf-8", "surrogatepass"))
    assert found.micro_usd == found.input_tokens + 7_000


@pytest.mark.parametrize(
    ("path", "limits", "expected"),
    [
        (CHAT, {"max_tokens": 5}, 5),
        (CHAT, {"max_completion_tokens": 6}, 6),
        (CHAT, {"max_completion_tokens": 6, "max_tokens": 9}, 9),
        (MESSAGES, {"max_tokens": 0}, 0),
        (RESPONSES, {"max_output_tokens": 8}, 8),
        (RESPONSES, {"max_tokens": 8}, 32_768),  # is not what limits such an answer
        (CHAT, {}, 32_768),
        (CHAT, {"max_tokens": None}, 32_768),
        (CHAT, {"max_tokens": -1}, 32_768),
        (CHAT, {"max_tokens": "5"}, 32_768),
        (CHAT, {"max_tokens": 10**30}, prices.MAX_TOKENS),
        (CHAT, {"max_tokens": 5, "n": 3}, 15),
        ("v1/completions", {"max_tokens": 5, "best_of": 4, "prompt": ["a", "b"]}, 40),
        ("v1/completions", {"max_tokens": 5, "prompt": "a"}, 5),
        ("openai/v1/embeddings", {"input": "text"}, 0),
    ],
)
def test_output_is_bounded_by_the_request_or_by_the_model(path: str, limits: dict[str, Any], expected: int) -> None:
    assert bound(limits, path).output_tokens == expected


@pytest.mark.parametrize(
    ("price", "model", "expected"),
    [
        (prices.own(1, 1, output_tokens=4_000), "gpt-4.1", 4_000),
        (TELLING, "openai/gpt-4o-mini", 16_384),
        (TELLING, "some-model", bounds.OUTPUT_TOKENS),
        (Price(TELLING.rates, context_tokens=8_192), "some-model", 8_192),
    ],
)
def test_a_model_s_longest_output_is_the_operator_s_word_or_what_is_known(
    price: Price, model: str, expected: int
) -> None:
    assert bound(said(), price=price, model=model).output_tokens == expected


def test_what_no_budget_could_hold_is_as_much_as_the_largest_holds() -> None:
    assert bound(said(max_tokens=10**9, n=128)).micro_usd == MAX_MICRO_USD


def test_a_prediction_may_be_paid_as_output() -> None:
    body = said(max_tokens=5, prediction={"type": "content", "content": "x" * 100})

    assert bound(body).output_tokens == 5 + len(json.dumps(body)) + bounds.HIDDEN_TOKENS


IMAGE = "data:image/png;base64," + "A" * 500_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]}),
        (RESPONSES, {"input": [{"type": "message", "content": [{"type": "input_image", "image_url": IMAGE}]}]}),
        (MESSAGES, {"messages": [{"content": [{"type": "image", "source": {"type": "base64", "data": IMAGE}}]}]}),
        (
            MESSAGES,
            {
                "messages": [
                    {
                        "content": [
                            {"type": "tool_result", "content": [{"type": "image", "source": {"data": IMAGE}}]},
                        ]
                    }
                ]
            },
        ),
    ],
)
def test_an_image_counts_as_the_largest_not_as_its_bytes(path: str, body: dict[str, Any]) -> None:
    assert bounds.IMAGE_TOKENS < bound(body, path, model="m").input_tokens < bounds.IMAGE_TOKENS + 2_000


def test_an_image_that_is_only_named_counts_as_much() -> None:
    body = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://host/i.png"}}]}]}

    assert bound(body, model="m").input_tokens > bounds.IMAGE_TOKENS
    for model, tokens in (("gpt-4o", 10_000), ("gpt-4o-mini-2024-07-18", 50_000), ("anthropic/claude-opus-5", 5_000)):
        assert tokens < bound(body, model=model).input_tokens < tokens + 2_000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}),
        (
            MESSAGES,
            {"messages": [{"content": [{"type": "document", "source": {"type": "url", "url": "https://h/d"}}]}]},
        ),
        (RESPONSES, {"previous_response_id": "resp_1", "input": "go on"}),
        (RESPONSES, {"conversation": {"id": "conv_1"}}),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        (CHAT, {"messages": [{"content": [{"type": ["what", "is", "this"]}]}]}),
    ],
)
def test_what_a_request_only_names_counts_as_all_that_the_model_takes(path: str, body: dict[str, Any]) -> None:
    assert bound(body, path, Price(TELLING.rates, context_tokens=200_000)).input_tokens == 200_000
    assert bound(body, path).input_tokens == bounds.CONTEXT_TOKENS


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("v1/images/generations", {}, "images/generations"),
        ("v1/batches", {}, "v1/batches"),
        ("v1/messages/batches", {}, "messages/batches"),
        ("", {}, "''"),
        (CHAT, {"modalities": ["text", "audio"]}, "only ask for text"),
        (CHAT, {"audio": {"voice": "x"}}, "audio: speech"),
        (CHAT, {"messages": [{"content": [{"type": "input_audio", "input_audio": {}}]}]}, "input_audio"),
        (CHAT, {"web_search_options": {}}, "web_search_options"),
        (RESPONSES, {"background": True}, "background"),
        (RESPONSES, {"tools": [{"type": "web_search"}]}, "'web_search' is run by the provider"),
        (MESSAGES, {"tools": [{"type": "web_search_20250305"}]}, "run by the provider"),
        (MESSAGES, {"tools": [{"type": 5}]}, "run by the provider"),
        (MESSAGES, {"tools": ["x"]}, "run by the provider"),
        (MESSAGES, {"mcp_servers": [{}]}, "mcp_servers"),
        (CHAT, {"n": 0}, "1 to 128 answers, not 0"),
        (CHAT, {"n": 10**9}, "1 to 128 answers"),
        (CHAT, {"n": "2"}, "1 to 128 answers"),
    ],
)
def test_what_is_not_paid_by_tokens_alone_is_refused(path: str, body: dict[str, Any], why: str) -> None:
    with pytest.raises(NotPriced, match=why):
        bound(body, path)


def test_tools_that_the_agent_runs_are_part_of_the_text() -> None:
    own = {"tools": [{"type": "function", "function": {"name": "f"}}, {"name": "g", "input_schema": {}}]}
    known = {"tools": [{"type": "bash_20250124", "name": "bash"}]}

    assert bound(own).input_tokens == len(json.dumps(own)) + bounds.HIDDEN_TOKENS
    assert bound(known).input_tokens == len(json.dumps(known)) + 2 * bounds.HIDDEN_TOKENS


def test_counting_tokens_costs_nothing() -> None:
    assert bound(said(), "v1/messages/count_tokens") == Bound(0, 0, 0)


def test_a_more_expensive_way_to_be_served_is_reserved_and_paid() -> None:
    price = Prices().of("https://api.openai.com", "o3", "2026-11-26")
    body = said(max_tokens=1_000_000)

    usual, first = bound(body, price=price), bound({**body, "service_tier": "priority"}, price=price)

    assert (usual.micro_usd // 10**6, first.micro_usd // 10**6) == (8, 14)
    assert price.asked({"service_tier": "priority"}).micro_usd(TokenUsage(0, 1_000_000)) == 14_000_000
    assert price.asked({"service_tier": ["x"]}) is price


def test_a_cache_of_an_hour_is_reserved_where_it_is_asked_for() -> None:
    price = Prices().of("https://api.anthropic.com", "claude-sonnet-4-6", "2026-11-26")
    asked = {**said(max_tokens=1), "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    hidden = json.dumps(asked).replace("1h", "1\\u0068").encode()

    short = bound(said(max_tokens=1), MESSAGES, price)
    long, escaped = (
        bounds.of_request(price, "m", MESSAGES, asked, raw) for raw in (json.dumps(asked).encode(), hidden)
    )

    assert short.micro_usd == -(-short.input_tokens * 375 // 100) + 15  # written to a cache of five minutes
    assert long.micro_usd == long.input_tokens * 6 + 15
    assert escaped.micro_usd == escaped.input_tokens * 6 + 15
