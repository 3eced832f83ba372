"""How many AWS calls each operation makes, and what DynamoDB charges for them. Tests hold the limits."""

import uuid
from dataclasses import dataclass
from typing import Any

from bench.meter import Counted
from bench.scene import Scene, scene
from chalicelib.domain import actors, budgets

SESSION = "/api/v1/local/session/{namespace}/{sessionId}"
NAMESPACE = "/api/v1/local/namespace/{namespace}"


#: The most calls that an operation may make.
LIMITS = {
    "create a session of 3 agents": 4,
    "state": 1,
    "list a page of sessions": 1,
    "close": 2,
    "MCP call without a thread": 1,
    "send a message": 3,
    "a wait that is answered at once": 6,
    "an idle wait of 25 s": 70,
    "reserve for a call of a model": 1,
    "settle a call of a model": 1,
}


#: The most write units that an operation may take.
WRITE_LIMITS = {
    "reserve for a call of a model": 1,
    "settle a call of a model": 1,
}


@dataclass(frozen=True)
class Operation:
    """One operation and what it did."""

    name: str
    counted: Counted

    @property
    def limit(self) -> int | None:
        """The most calls that it may make; `None` when that is not set."""
        return LIMITS.get(self.name)


def measure() -> list[Operation]:
    """Count every operation once; the key has been looked up before."""
    with scene() as here:
        return [*_rest(here), *_door(here), *_money(here)]


def _rest(here: Scene) -> list[Operation]:
    found: list[Operation] = []

    def count(name: str, call: Any) -> Any:
        with here.meter.counting() as counted:
            result = call()
        found.append(Operation(name, counted))
        return result

    count("first request of a process: the key is read", lambda: here.rest("GET", "/api/v1/local/namespace"))
    count("create a session of 3 agents, and its namespace", lambda: here.create("first"))
    here.create()
    session_id = count("create a session of 3 agents", here.create)
    where = {"namespace": "bench", "sessionId": session_id}
    count("state", lambda: here.rest("GET", SESSION, **where))
    count("extended state", lambda: here.rest("GET", SESSION + "/extended", **where))
    count("list a page of sessions", lambda: here.rest("GET", NAMESPACE, namespace="bench"))
    count("close", lambda: here.rest("DELETE", SESSION, **where))
    return found


def _door(here: Scene) -> list[Operation]:
    found: list[Operation] = []
    secrets = here.admit(here.create())
    one, two, three = secrets.values()

    def count(name: str, call: Any) -> Any:
        with here.meter.counting() as counted:
            result = call()
        found.append(Operation(name, counted))
        return result

    def wait(secret: str, from_ms: int, max_ms: int) -> Any:
        return here.tool(secret, "coral_wait_for_mention", currentUnixTime=from_ms, maxWaitMs=max_ms)

    count("MCP: first request of an agent", lambda: here.mcp(one, "tools/list"))
    here.mcp(two, "tools/list")
    here.mcp(three, "tools/list")
    count("MCP call without a thread", lambda: here.mcp(one, "tools/list"))
    names = list(secrets)
    thread = count(
        "create a thread",
        lambda: here.tool(one, "coral_create_thread", threadName="bench", participantNames=names[1:]),
    )["thread"]["id"]
    count(
        "send a message",
        lambda: here.tool(one, "coral_send_message", threadId=thread, content="x" * 300, mentions=[names[1]]),
    )
    answered = count("a wait that is answered at once", lambda: wait(two, here.clock.now_ms() - 5_000, 25_000))
    if answered["message"]["text"] != "x" * 300:
        raise RuntimeError(f"the wait was not answered: {answered}")
    idle = count("an idle wait of 25 s", lambda: wait(three, here.clock.now_ms(), 25_000))
    if "message" in idle:
        raise RuntimeError(f"the wait was answered: {idle}")
    return found


def _money(here: Scene) -> list[Operation]:
    """Call a model as an agent with a limit, in a session that has one too, for the second time."""
    found: list[Operation] = []
    session_id = here.create()
    limits = {"session": {"usd": "1"}, "agents": {f"agent-{number}": {"usd": "0.5"} for number in range(3)}}
    here.rest("POST", SESSION + "/budget", limits, namespace="bench", sessionId=session_id)
    secret = here.admit(session_id)["agent-0"]

    def count(name: str, call: Any) -> Any:
        with here.meter.counting() as counted:
            result = call()
        found.append(Operation(name, counted))
        return result

    def reserve() -> budgets.Reservation:
        who = actors.with_budget(here.services, secret)
        if who is None:
            raise RuntimeError("there is no agent")
        about: dict[str, Any] = {"hold_id": uuid.uuid4().hex, "upper_micro_usd": 10_000, "model": "openai/gpt-4.1-mini"}
        made: budgets.Reservation = count(
            "reserve for a call of a model", lambda: budgets.reserve(here.services, *who, **about)
        )
        return made

    def settle(made: budgets.Reservation) -> None:
        usage = {"spent_micro_usd": 5_000, "input_tokens": 1_000, "output_tokens": 500}
        count("settle a call of a model", lambda: budgets.settle(here.services, made, **usage))

    settle(reserve())
    found.clear()
    settle(reserve())
    return found


if __name__ == "__main__":
    for operation in measure():
        print(operation.name, operation.limit, operation.counted.row())
