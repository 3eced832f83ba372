"""The second scene of the demo: an agent with a model and a budget, and what happens at its end.

The model is a script that answers like OpenAI's API; the prices are an operator's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from infra.local.demo.observed import Check, Event, agent_status
from infra.local.demo.receiver import Delivery

Json = dict[str, Any]

AGENT, MODEL, PROVIDER = "thinker", "offline-1", "offline"
#: What the model says of each answer: its tokens, and what a token costs in millionths of a US dollar.
INPUT_TOKENS, OUTPUT_TOKENS = 1_000, 100
INPUT_USD_PER_MTOK, OUTPUT_USD_PER_MTOK = 10, 50
CALL_MICRO_USD = INPUT_TOKENS * INPUT_USD_PER_MTOK + OUTPUT_TOKENS * OUTPUT_USD_PER_MTOK
#: Six calls are within it; a seventh may cost more than is left then.
BUDGET_USD = "0.1"
CALLS = 6
#: How long the session is held after its agent was stopped, so that a client sees how it ended.
HOLD_MS = 2_000
NOTICES = ["budget_low", "budget_reached"]


def llm_proxy(url: str) -> dict[str, Any]:
    """Return the operator's configuration: one provider, and what its model costs."""
    return {
        "providers": [
            {"name": PROVIDER, "format": {"type": "OpenAI"}, "apiKey": "none", "models": [MODEL], "baseUrl": url}
        ],
        "prices": [{"model": MODEL, "input": INPUT_USD_PER_MTOK, "output": OUTPUT_USD_PER_MTOK}],
    }


def session_request(namespace: str, webhook_url: str) -> dict[str, Any]:
    """One agent that may spend so much, and is stopped when that is reached; its budget's news go to a webhook."""
    agent = {
        "id": {"name": AGENT, "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "name": AGENT,
        "provider": {"type": "local", "runtime": "executable"},
        "budget": {"usd": BUDGET_USD, "onReached": "stop_agent"},
    }
    return {
        "agentGraphRequest": {"agents": [agent]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": namespace}},
        "execution": {
            "mode": "immediate",
            "runtimeSettings": {
                "ttl": 30_000,
                "persistenceMode": {"mode": "hold_after_exit", "duration": HOLD_MS},
                "webhooks": {"budgetReached": {"url": webhook_url}},
            },
        },
    }


@dataclass
class Spending:
    """One budget as its client saw it, poll by poll."""

    secret: str
    budget: dict[str, Any] = field(default_factory=dict)
    #: Calls that were booked.
    calls: int = 0
    #: What was spent of the budget, in micro-USD, each time that a client saw something else.
    steps: list[int] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    #: Why the agent was stopped.
    reason: str | None = None
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.reason is not None and len(self.deliveries) >= len(NOTICES)

    def take(self, found: tuple[Json, Json] | None, deliveries: list[Delivery], at_s: float) -> Iterator[Event]:
        """Take in budgets and agent as a client sees them (None: gone), and what the webhook got; yield what is new."""
        if found is not None:
            yield from self._take_budget(found[0], at_s)
            yield from self._take_agent(found[1], at_s)
        for delivery in deliveries[len(self.deliveries) :]:
            signed = "its signatures hold" if self._holds(delivery) else "NOT signed as it should be"
            yield Event(at_s, "webhook", f"{delivery.report['type']}; {signed}")
        self.deliveries = list(deliveries)

    def _take_budget(self, budgets: Json, at_s: float) -> Iterator[Event]:
        self.budget = budgets["agents"][AGENT]
        self.calls = budgets["models"].get(f"{PROVIDER}/{MODEL}", {}).get("calls", 0)
        spent = self.budget["spent"]
        if self.steps[-1:] != [spent]:
            self.steps.append(spent)
            left = f"{usd(self.budget['available'])} of {usd(self.budget['limit'])} left"
            yield Event(at_s, "budget", f"{usd(spent)} spent by {self.calls} calls; {left}")

    def _take_agent(self, agent: Json, at_s: float) -> Iterator[Event]:
        status = agent_status(agent["status"])
        if self.statuses[-1:] != [status]:
            self.statuses.append(status)
            self.reason = agent["status"].get("reason")
            yield Event(at_s, AGENT, status + (f": {self.reason}" if self.reason else ""))

    def _holds(self, delivery: Delivery) -> bool:
        return delivery.coral_signature_holds(self.secret) and delivery.standard_signature_holds(self.secret)

    def checks(self) -> Iterator[Check]:
        """Compare what was seen with what was asked for."""
        yield Check(f"{CALLS} calls of the model were within the budget", self.calls == CALLS, f"{self.calls} calls")
        spent, due = self.budget.get("spent", 0), CALLS * CALL_MICRO_USD
        whole = sum(self.budget.get(part, 0) for part in ("spent", "held", "available"))
        exact = spent == due and self.budget.get("held") == 0 and whole == self.budget.get("limit")
        yield Check("booked as they were used, to the micro-dollar", exact, f"{usd(spent)} spent")
        yield Check("the agent was stopped at its budget's end", self.reason is not None, self.reason or "not stopped")
        told = [delivery.report["type"] for delivery in self.deliveries if self._holds(delivery)]
        yield Check("the webhook was told, signed", sorted(told) == NOTICES, ", ".join(told) or "nothing")


def usd(micro_usd: int) -> str:
    """Write an amount."""
    return f"${micro_usd / 1_000_000:.6f}"
