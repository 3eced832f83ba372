"""The verdict of the demo's third scene: a talk that cost what it should, or the check that failed by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.local.demo import spending, talking
from infra.local.demo.observed import ANSWER, Observed
from infra.local.demo.spending import CALL_MICRO_USD
from infra.local.demo.talking import CALLS, TEXTS, Costs, Talk
from tests.offline_models import Asked

Json = dict[str, Any]
SPENT = CALLS * CALL_MICRO_USD


def waits(name: str, count: int) -> list[Json]:
    """Waits of an agent of a second each, ended by a message that came meanwhile."""
    events: list[Json] = []
    for second in range(count):
        began, ended = f"2026-01-01T00:00:0{second}.000Z", f"2026-01-01T00:00:0{second}.900Z"
        events.append({"type": "agent_wait_start", "name": name, "timestamp": began})
        events.append({"type": "agent_wait_stop", "name": name, "timestamp": ended, "message": {"timestamp": ended}})
    return events


def costs() -> Costs:
    balance = {"limit": 10_000_000, "spent": SPENT, "held": 0, "available": 10_000_000 - SPENT}
    used = {"calls": CALLS, "inputTokens": CALLS * 1_000, "outputTokens": CALLS * 100, "spent": SPENT}
    asked: list[Json] = [{"type": "llm_proxy_call", "agentName": "asker"}] * CALLS
    return Costs(
        budgets={"agents": {"asker": balance}, "models": {f"{spending.PROVIDER}/{spending.MODEL}": used}},
        summary={
            "messages": 6,
            "estimate": {"awsCalls": 175, "readUnits": 91, "writeUnits": 107, "microUsd": 255},
        },
        events=[*asked, *waits("asker", 3), *waits("echo", 3)],
    )


def good() -> Talk:
    """A talk as it should be."""
    said = [each for text in TEXTS for each in (("asker", text), ("echo", ANSWER))]
    messages = [
        {"id": str(number), "senderName": sender, "text": text, "mentionNames": []}
        for number, (sender, text) in enumerate(said)
    ]
    agents = [{"name": name, "status": {"type": "stopped"}} for name in ("asker", "echo")]
    observed = Observed("demo", "s1", 0.05, "")
    state = {
        "base": {"status": {"type": "closing"}},
        "agents": agents,
        "threads": [{"name": "t", "messages": messages}],
    }
    list(observed.take(state, 1.0))
    return Talk(observed, costs())


def known(talk: Talk) -> Costs:
    assert talk.costs is not None
    return talk.costs


def test_a_talk_as_it_should_be_passes_every_check() -> None:
    talk = good()
    assert talk.over
    assert [check.name for check in talk.checks() if not check.passed] == []


@pytest.mark.parametrize(
    ("spoil", "failed"),
    [
        (lambda talk: talk.observed.messages.popitem(), "asker and echo answered each other, in order"),
        (lambda talk: talk.observed.agents["echo"].append("running"), "both came to their end by themselves"),
        (lambda talk: setattr(talk, "costs", None), "what they cost can be read"),
        (lambda talk: known(talk).events.pop(), "each message ended a wait"),
        (lambda talk: known(talk).budgets["models"].clear(), "its model's calls are booked to its budget"),
        (
            lambda talk: known(talk).budgets["agents"]["asker"].update(held=1),
            "its model's calls are booked to its budget",
        ),
        (lambda talk: known(talk).summary.update(messages=5), "the summary says what AWS costs"),
        (lambda talk: known(talk).summary["estimate"].update(microUsd=0), "the summary says what AWS costs"),
    ],
)
def test_what_did_not_happen_fails_the_check_of_its_name(spoil: Callable[[Talk], object], failed: str) -> None:
    talk = good()
    spoil(talk)
    assert [check.name for check in talk.checks() if not check.passed] == [failed]


def test_turns_are_counted_from_the_events() -> None:
    assert costs().turns == {"asker": CALLS + 3, "echo": 4}
    there_already = costs()
    first_stop = next(e for e in there_already.events if e["type"] == "agent_wait_stop" and e["name"] == "asker")
    first_stop["message"] = {"timestamp": "2025-12-31T23:59:59.000Z"}
    assert there_already.turns == {"asker": CALLS + 2, "echo": 4}, "a wait that had its message at once ends no turn"


def test_what_it_cost_is_said_in_three_lines() -> None:
    assert list(costs().lines()) == [
        "turns   asker 7 turns, echo 4 turns; between them nothing ran",
        "model   4 calls, 4,000 tokens in, 400 out: $0.060000 of the budget of $10.000000",
        "AWS     $0.000255 by estimate: 175 calls, 91 read and 107 write units of DynamoDB",
    ]


def test_the_model_waits_for_what_comes_after_the_last_answer() -> None:
    thread = json.dumps({"thread": {"id": "t1"}})
    results = [thread, "{}", "{}\nTo miss nothing, wait next with currentUnixTime 1795716047299."]
    body = {"messages": [{"role": "tool", "content": each} for each in results]}
    answer = json.loads(talking.think(Asked("POST", "/v1/chat/completions", [], json.dumps(body).encode())).body)
    send, wait = (each["function"] for each in answer["choices"][0]["message"]["tool_calls"])
    assert json.loads(send["arguments"]) == {"threadId": "t1", "content": TEXTS[1], "mentions": ["echo"]}
    assert json.loads(wait["arguments"])["currentUnixTime"] == 1795716047299
