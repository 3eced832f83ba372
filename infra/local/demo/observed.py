"""What a client saw of one session, and whether that is what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from infra.local.demo.receiver import Delivery

TTL_MS = 30_000
HOLD_MS = 3_000
MESSAGES = 3
ANSWER = "nice message!"
#: The timer that a status starts.
TIMERS = {
    "executed": f", with {TTL_MS / 1000:g} s to live",
    "closing": f", held for {HOLD_MS / 1000:g} s",
}
#: How late a hold may end.
HOLD_SLACK_S = 1.5


class Event(NamedTuple):
    """Something that a client noticed: when (seconds since the POST), about which agent or session, and what."""

    at_s: float
    subject: str
    text: str


class Check(NamedTuple):
    """One thing that had to happen."""

    name: str
    passed: bool
    seen: str


@dataclass
class Observed:
    """One session as its client saw it, poll by poll. Times are in seconds since the POST."""

    namespace: str
    session_id: str
    created_s: float
    secret: str
    state: dict[str, Any] = field(default_factory=dict)
    statuses: dict[str, float] = field(default_factory=dict)
    agents: dict[str, list[str]] = field(default_factory=dict)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    namespace_gone: bool = False

    @property
    def status(self) -> str:
        """The latest status; `gone` once the session is not found any more."""
        return next(reversed(self.statuses), "")

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.status == "gone" and self.namespace_gone and bool(self.deliveries)

    def take(self, state: dict[str, Any] | None, at_s: float) -> Iterator[Event]:
        """Take in an extended state (None: not found any more) and yield what is new in it."""
        if state is None:
            yield from self._take_status("gone", at_s)
            return
        self.state = state
        yield from self._take_status(state["base"]["status"]["type"], at_s)
        for agent in state["agents"]:
            text = agent_status(agent["status"])
            history = self.agents.setdefault(agent["name"], [])
            if history[-1:] != [text]:
                history.append(text)
                yield Event(at_s, agent["name"], text)
        for thread in state["threads"]:
            for message in thread["messages"]:
                if message["id"] not in self.messages:
                    self.messages[message["id"]] = message
                    yield Event(at_s, message["senderName"], f"says in {thread['name']}: {spoken(message)}")

    def take_deliveries(self, deliveries: list[Delivery], at_s: float) -> Iterator[Event]:
        """Take in what the webhook has received so far and yield what is new."""
        for delivery in deliveries[len(self.deliveries) :]:
            holds = delivery.coral_signature_holds(self.secret) and delivery.standard_signature_holds(self.secret)
            verdict = "its signatures hold" if holds else "NOT signed as it should be"
            yield Event(at_s, "webhook", f"end report of {len(delivery.body)} bytes; {verdict}")
        self.deliveries = list(deliveries)

    def _take_status(self, status: str, at_s: float) -> Iterator[Event]:
        if status not in self.statuses:
            self.statuses[status] = at_s
            yield Event(at_s, "session", status + TIMERS.get(status, ""))


def agent_status(status: dict[str, Any]) -> str:
    """An agent's nested status in one line: `running · connected · thinking`."""
    connection = status.get("connectionStatus", {})
    communication = connection.get("communicationStatus", {})
    parts = [level["type"].replace("_", " ") for level in (status, connection, communication) if level]
    return " · ".join(parts)


def spoken(message: dict[str, Any]) -> str:
    """A message's text with the agents that it mentions."""
    return " ".join([f"@{name}" for name in message["mentionNames"]] + [message["text"]])


def checks(observed: Observed) -> list[Check]:
    """Compare what was seen with what was asked for."""
    return [*_checks_of_the_session(observed), *_checks_of_the_report(observed)]


def _checks_of_the_session(observed: Observed) -> Iterator[Check]:
    executed_s = observed.statuses.get("executed")
    yield Check("executed within 1 s of the POST", executed_s is not None and executed_s <= 1, _at(executed_s))

    connected = [name for name, history in observed.agents.items() if any("· connected" in text for text in history)]
    yield Check("both agents connected over MCP", len(connected) == 2, ", ".join(connected) or "none")

    texts = [(message["senderName"], message["text"]) for message in observed.messages.values()]
    asked = [text for sender, text in texts if sender == "seed"]
    answered = [text for sender, text in texts if sender == "echo"]
    yield Check("seed sent its messages in order", asked == [f"message {n}" for n in range(MESSAGES)], "; ".join(asked))
    yield Check("echo answered each of them", answered == [ANSWER] * MESSAGES, f"{len(answered)} answers")

    stopped = [name for name, history in observed.agents.items() if history[-1] == "stopped"]
    yield Check("both agents exited", len(stopped) == 2, ", ".join(stopped) or "none")

    closing_s, gone_s = observed.statuses.get("closing"), observed.statuses.get("gone")
    by_itself = closing_s is not None and closing_s < TTL_MS / 1000
    yield Check("closed by the last agent's exit, before its TTL", by_itself, _at(closing_s))

    held_s = gone_s - closing_s if gone_s is not None and closing_s is not None else None
    as_told = held_s is not None and HOLD_MS / 1000 - 0.3 <= held_s <= HOLD_MS / 1000 + HOLD_SLACK_S
    yield Check(
        f"held for {HOLD_MS / 1000:g} s, then gone", as_told, "not seen" if held_s is None else f"{held_s:.1f} s"
    )
    yield Check(
        "its namespace gone with it", observed.namespace_gone, "404" if observed.namespace_gone else "still there"
    )


def _checks_of_the_report(observed: Observed) -> Iterator[Check]:
    count = len(observed.deliveries)
    yield Check("one end report reached the webhook", count == 1, f"{count} came")
    if not count:
        return
    delivery = observed.deliveries[0]
    coral = delivery.coral_signature_holds(observed.secret)
    yield Check("X-Coral-Signature holds", coral, f"{delivery.headers.get('x-coral-signature', 'missing')[:16]}…")
    standard = delivery.standard_signature_holds(observed.secret)
    yield Check(
        "Standard Webhooks signature holds", standard, f"{delivery.headers.get('webhook-signature', 'missing')[:16]}…"
    )

    session, stats = delivery.report["sessionState"], delivery.report["agentStats"]
    threads = session["state"].get("threads", [])
    count = sum(len(thread["messages"]) for thread in threads)
    extended = session["type"] == "extended" and count == 2 * MESSAGES
    yield Check("the report is extended, with every message", extended, f"{session['type']}, {count} messages")
    names = sorted(row["name"] for row in stats)
    yield Check("the report has a row a run of an agent", names == ["echo", "seed"], ", ".join(names) or "none")


def _at(at_s: float | None) -> str:
    return "not seen" if at_s is None else f"at {at_s:.1f} s"
