"""The third scene of the demo: a prototype and a function talk, and what that cost.

The prototype's model is a script: it does what a model would that was given `asker/coral-agent.toml`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.local.demo.observed import ANSWER, HOLD_MS, TTL_MS, Check, Observed
from infra.local.demo.spending import CALL_MICRO_USD, INPUT_TOKENS, MODEL, OUTPUT_TOKENS, PROVIDER, usd
from tests.offline_models import Answers, Asked

Json = dict[str, Any]

PROTOTYPE, FUNCTION = "asker", "echo"
TEXTS = ("I am prompts and a model.", "You are a function.", "Nothing ran while we waited.")
#: One opens the thread, each of the others sends a text and waits for the answer.
CALLS = 1 + len(TEXTS)
#: A call of a model that is not known holds the price of a long answer until it is over.
BUDGET_USD = "10"
MAX_WAIT_MS = 20_000

_HEARD_UNTIL = re.compile(r"currentUnixTime (\d+)")


def session_request(namespace: str) -> Json:
    """A prototype with a budget and a function that know each other; the session ends when both have exited."""
    source = {"version": "1.0.0", "registrySourceId": {"type": "local"}}
    prototype = {
        "id": {"name": PROTOTYPE, **source},
        "name": PROTOTYPE,
        "provider": {"type": "local", "runtime": "prototype"},
        "budget": {"usd": BUDGET_USD},
    }
    function = {
        "id": {"name": FUNCTION, **source},
        "name": FUNCTION,
        "provider": {"type": "local", "runtime": "function"},
        "options": {
            "ITERATION_COUNT": {"type": "u32", "value": len(TEXTS)},
            "MENTIONS": {"type": "bool", "value": True},
        },
    }
    return {
        "agentGraphRequest": {"agents": [prototype, function], "groups": [[PROTOTYPE, FUNCTION]]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": namespace}},
        "execution": {
            "mode": "immediate",
            "runtimeSettings": {
                "ttl": TTL_MS,
                "persistenceMode": {"mode": "hold_after_exit", "duration": HOLD_MS},
            },
        },
    }


def think(asked: Asked) -> Answers:
    """Answer for the model of the prototype: the tools that it wants to call next."""
    results = [message["content"] for message in asked.json["messages"] if message["role"] == "tool"]
    called = [
        {"id": f"call-{len(results)}-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate((name, json.dumps(given)) for name, given in _wanted(results))
    ]
    message = {"role": "assistant", "content": None, "tool_calls": called}
    usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
    return Answers(body=json.dumps({"choices": [{"message": message}], "usage": usage}).encode())


def _wanted(results: list[str]) -> list[tuple[str, Json]]:
    """Return the next calls of tools, given the results of all before: of a thread, then of a text and its wait."""
    if not results:
        return [("coral_create_thread", {"threadName": "a talk", "participantNames": [FUNCTION]})]
    heard = _HEARD_UNTIL.search(results[-1])
    text = TEXTS[len(results) // 2 % len(TEXTS)]
    thread_id = json.loads(results[0])["thread"]["id"]
    return [
        ("coral_send_message", {"threadId": thread_id, "content": text, "mentions": [FUNCTION]}),
        ("coral_wait_for_mention", {"currentUnixTime": int(heard[1]) if heard else 0, "maxWaitMs": MAX_WAIT_MS}),
    ]


@dataclass(frozen=True)
class Costs:
    """What a client reads of a session's costs: its budgets, its summary and its events."""

    budgets: Json
    summary: Json
    events: list[Json]

    @property
    def model(self) -> Json:
        """What was used of the model."""
        used: Json = self.budgets["models"].get(f"{PROVIDER}/{MODEL}", {})
        return {"calls": 0, "inputTokens": 0, "outputTokens": 0, "spent": 0, **used}

    def waits_ended(self, name: str) -> int:
        """How many waits of an agent a message has ended."""
        return sum(event["type"] == "agent_wait_stop" and event["name"] == name for event in self.events)

    @property
    def turns(self) -> dict[str, int]:
        """How often each agent was run.

        The function's turns are its first, and one for each message. The prototype's are one for each call of its
        model, and one for each wait in which it was not running: a message that was there already ends no turn.
        """
        calls = sum(event["type"] == "llm_proxy_call" for event in self.events)
        return {PROTOTYPE: calls + self._wakes(PROTOTYPE), FUNCTION: 1 + self.waits_ended(FUNCTION)}

    def _wakes(self, name: str) -> int:
        since, wakes = "", 0
        for event in self.events:
            if event.get("name") == name and event["type"] == "agent_wait_start":
                since = event["timestamp"]
            elif event.get("name") == name and event["type"] == "agent_wait_stop":
                wakes += event["message"]["timestamp"] > since
        return wakes

    def lines(self) -> Iterator[str]:
        """Say what it cost."""
        turns = ", ".join(f"{name} {count} turns" for name, count in self.turns.items())
        yield f"turns   {turns}; between them nothing ran"
        used, limit = self.model, self.budgets["agents"][PROTOTYPE]["limit"]
        tokens = f"{used['inputTokens']:,} tokens in, {used['outputTokens']:,} out"
        yield f"model   {used['calls']} calls, {tokens}: {usd(used['spent'])} of the budget of {usd(limit)}"
        estimate = self.summary["estimate"]
        units = f"{estimate['readUnits']} read and {estimate['writeUnits']} write units"
        yield f"AWS     {usd(estimate['microUsd'])} by estimate: {estimate['awsCalls']} calls, {units} of DynamoDB"


@dataclass
class Talk:
    """The session as its client saw it, and what it cost, once that could be read."""

    observed: Observed
    costs: Costs | None = None

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.observed.status in {"closing", "gone"}

    def checks(self) -> Iterator[Check]:
        """Compare what was seen with what was asked for."""
        said = [(message["senderName"], message["text"]) for message in self.observed.messages.values()]
        due = [each for text in TEXTS for each in ((PROTOTYPE, text), (FUNCTION, ANSWER))]
        yield Check("asker and echo answered each other, in order", said == due, f"{len(said)} messages")
        stopped = [name for name, history in self.observed.agents.items() if history[-1] == "stopped"]
        ended = sorted(stopped) == sorted([PROTOTYPE, FUNCTION])
        yield Check("both came to their end by themselves", ended, ", ".join(stopped) or "none")
        if self.costs is None:
            yield Check("what they cost can be read", False, "not seen")
            return
        yield from _checks_of(self.costs)


def _checks_of(costs: Costs) -> Iterator[Check]:
    ended = {name: costs.waits_ended(name) for name in (PROTOTYPE, FUNCTION)}
    seen = ", ".join(f"{name} {count} times" for name, count in ended.items())
    yield Check("each message ended a wait", set(ended.values()) == {len(TEXTS)}, seen)
    used, balance = costs.model, costs.budgets["agents"][PROTOTYPE]
    due = {
        "calls": CALLS,
        "inputTokens": CALLS * INPUT_TOKENS,
        "outputTokens": CALLS * OUTPUT_TOKENS,
        "spent": CALLS * CALL_MICRO_USD,
    }
    exact = used == due and balance["spent"] == due["spent"] and balance["held"] == 0
    yield Check("its model's calls are booked to its budget", exact, f"{used['calls']} calls, {usd(used['spent'])}")
    summary = costs.summary
    counted = summary["messages"] == 2 * len(TEXTS) and summary["estimate"]["microUsd"] > 0
    seen = f"{summary['messages']} messages, {usd(summary['estimate']['microUsd'])}"
    yield Check("the summary says what AWS costs", counted, seen)
