"""How the history of a prototype is kept short."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.agents.prototype.history import (
    BYTES_OF_TOKEN,
    LEFT_OUT,
    MAX_BYTES,
    bytes_of,
    clean,
    limit_for,
    shortened,
)


def iteration(number: int, *results: str) -> list[dict[str, Any]]:
    """One iteration: what the user says, the calls, and their results."""
    calls = [{"id": f"{number}.{place}", "name": "t", "arguments": {}} for place in range(len(results))]
    said: list[dict[str, Any]] = [
        {"role": "user", "text": "followup" if number else "initial"},
        {"role": "assistant", "calls": calls},
    ]
    return said + [
        {"role": "tool", "id": call["id"], "name": "t", "text": text, "failed": False}
        for call, text in zip(calls, results, strict=True)
    ]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return [each["text"] for each in messages if each["role"] == "tool"]


def test_what_is_short_enough_stays() -> None:
    messages = iteration(0, "a") + iteration(1, "b")
    assert shortened(messages, bytes_of(messages)) == messages


def test_results_are_left_out_first_the_oldest_first() -> None:
    messages = iteration(0, "a" * 1_000) + iteration(1, "b" * 1_000) + iteration(2, "c" * 1_000)
    assert texts(shortened(messages, bytes_of(messages) - 1)) == [LEFT_OUT, "b" * 1_000, "c" * 1_000]
    assert texts(shortened(messages, bytes_of(messages) - 1_500)) == [LEFT_OUT, LEFT_OUT, "c" * 1_000]


def test_then_whole_iterations_but_for_the_first_message() -> None:
    messages = [each for number in range(20) for each in iteration(number, "x")]
    kept = shortened(messages, 800)
    assert bytes_of(kept) <= 800
    assert kept[0] == {"role": "user", "text": "initial"}
    assert kept[1:] == messages[len(messages) - len(kept) + 1 :]


def test_of_the_latest_iteration_results_are_cut_the_longest_first() -> None:
    messages = iteration(0, "a" * 300, "b" * 30_000)
    kept = shortened(messages, 10_000)
    assert bytes_of(kept) <= 10_000
    one, two = texts(kept)
    assert one == "a" * 300
    assert two.endswith("(cut: the conversation became too long)")


@given(st.lists(st.lists(st.integers(0, 3_000), max_size=4), min_size=1, max_size=8), st.integers(3_000, 20_000))
def test_calls_and_results_stay_together(sizes: list[list[int]], limit: int) -> None:
    messages = [
        each for number, results in enumerate(sizes) for each in iteration(number, *("é" * size for size in results))
    ]
    kept = shortened(messages, limit)
    assert bytes_of(kept) <= limit
    called = [call["id"] for each in kept if each["role"] == "assistant" for call in each["calls"]]
    assert called == [each["id"] for each in kept if each["role"] == "tool"]
    assert kept[0] == messages[0]


@pytest.mark.parametrize(("tokens", "limit"), [(None, MAX_BYTES), (8_000, 8_000 * BYTES_OF_TOKEN), (10**6, MAX_BYTES)])
def test_a_model_with_little_room_gets_less(tokens: int | None, limit: int) -> None:
    assert limit_for(tokens) == limit


def test_half_a_character_is_replaced() -> None:
    assert clean("a\ud83db\U0001f621") == "a\ufffdb\U0001f621"
