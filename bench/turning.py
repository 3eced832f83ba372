"""Agents that run as functions on one machine: from a message to its answer, and turns a second."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from infra.local.stack import LocalStack
from tests.client import Client, eventually, function, session

TALLY = Path(__file__).parents[1] / "agents/tally"

#: Messages one after the other; and agents that are told of messages at once.
MESSAGES, AGENTS, TOLD = 40, 16, 10


@dataclass(frozen=True)
class Answered:
    """From the stamp of a message to that of its answer, in ms."""

    what: str
    median_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Turns:
    """How many turns of Atoll's own echo were taken in a second."""

    turns: int
    seconds: float


def measure() -> tuple[list[Answered], Turns]:
    """Measure Atoll's own function, one in a process of its own, and a crowd."""
    with LocalStack(agents=[TALLY]) as stack:
        client = Client(stack.url, stack.key)
        own = function("t", "echo", MENTIONS=("bool", True), ITERATION_COUNT=("u32", 1_000))
        process = function("t", "tally", GOAL=("u32", 1_000_000))
        answered = [_answered(client, "one of Atoll's own", own), _answered(client, "a handler's process", process)]
        return answered, _crowd(client)


class Talk:
    """A puppet and agents in one thread."""

    def __init__(self, client: Client, *agents: dict[str, Any]) -> None:
        self._client = client
        self.names = [agent["name"] for agent in agents]
        self.path = client.create(session(function("p", "puppet"), *agents, ttl=600_000))
        self._puppet = self.path.replace("/local/session/", "/puppet/") + "/p/thread"
        asked = {"threadName": "t", "participantNames": self.names}
        self._thread = client.call("POST", self._puppet, asked).body["thread"]["id"]

    def say(self) -> None:
        """Mention all agents."""
        about = {"threadId": self._thread, "content": "word", "mentions": self.names}
        self._client.call("POST", f"{self._puppet}/message", about)

    def messages(self) -> list[dict[str, Any]]:
        """Return what was said in the thread."""
        [thread] = self._client.call("GET", f"{self.path}/extended").body["threads"]
        found: list[dict[str, Any]] = thread["messages"]
        return found

    def waits(self, messages: int) -> bool:
        """Return whether so much was said, and every agent has ended its turn."""
        state = self._client.call("GET", f"{self.path}/extended").body
        doing = [
            agent["status"].get("connectionStatus", {}).get("communicationStatus") for agent in state["agents"][1:]
        ]
        said = sum(len(thread["messages"]) for thread in state["threads"])
        return said == messages and all(each == {"type": "waiting_message"} for each in doing)

    def close(self) -> None:
        """End the session."""
        self._client.call("DELETE", self.path)


def _answered(client: Client, what: str, agent: dict[str, Any]) -> Answered:
    from chalicelib.wire.base import ms_from_iso

    talk = Talk(client, agent)
    for number in range(MESSAGES + 1):  # the first starts the process
        talk.say()
        eventually(lambda number=number: len(talk.messages()) == 2 * (number + 1))  # type: ignore[misc]
    stamps = [ms_from_iso(message["timestamp"]) for message in talk.messages()][2:]
    talk.close()
    late = [float(answer - sent) for sent, answer in zip(stamps[::2], stamps[1::2], strict=True)]
    return Answered(what, median(late), quantiles(late, n=100)[98])


def _crowd(client: Client) -> Turns:
    talk = Talk(client, *(function(f"e{n}", "echo", MENTIONS=("bool", True)) for n in range(AGENTS)))
    talk.say()
    eventually(lambda: len(talk.messages()) == AGENTS + 1, within_s=60)
    began_s = time.monotonic()
    for _ in range(TOLD):
        talk.say()
    eventually(lambda: len(talk.messages()) == (AGENTS + 1) * (TOLD + 1), within_s=120)
    seconds = time.monotonic() - began_s
    talk.close()
    return Turns(AGENTS * TOLD, seconds)


if __name__ == "__main__":
    print(*measure(), sep="\n")
