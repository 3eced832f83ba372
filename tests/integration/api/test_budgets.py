"""Budgets over HTTP, and what follows from them: asked for, shown, changed, reached, told of, kept."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.domain import actors, agent_secrets, budgets
from chalicelib.domain.budgets import Reservation
from chalicelib.domain.errors import BudgetReached
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.budgets import MODEL
from tests.client import Client, eventually, session, sleeper
from tests.integration.webhooks.receivers import Receiver, receiving

pytestmark = pytest.mark.xdist_group("api")

#: Events on the bus.
EVENTS: list[dict[str, Any]] = []
HOLD = {"mode": "hold_after_exit", "duration": 600_000}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[SLEEPER], on_event=EVENTS.append) as running:
        yield running


@pytest.fixture(scope="module")
def pending(stack: LocalStack) -> str:
    """A session without budgets."""
    return Client(stack.url, stack.key).create(asked("pending", defer=True))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def asked(namespace: str, whole: Any = None, defer: bool = False, url: str = "", **own: Any) -> dict[str, Any]:
    """Ask for a session with a limit, whose agents a and b have limits of their own or none."""
    agents = [{**sleeper(name), **({"budget": own[name]} if name in own else {})} for name in ("a", "b")]
    more = {} if defer else {"webhooks": {"budgetReached": {"url": url}}} if url else {}
    request = session(*agents, namespace=namespace, defer=defer, **more)
    if whole is not None:
        request["agentGraphRequest"]["budget"] = whole
    return request


def balance(limit: int, spent: int = 0, held: int = 0) -> dict[str, int]:
    return {"limit": limit, "spent": spent, "held": held, "available": limit - spent - held}


class Caller:
    """An agent that calls models."""

    def __init__(self, stack: LocalStack, path: str, name: str) -> None:
        self._stack, self._calls = stack, 0
        *_, namespace, self._session_id = path.split("/")
        key = stack.services.secrets.get("agent-key")
        self.secret = agent_secrets.mint(key, namespace, self._session_id, name)
        agents = stack.services.agents
        eventually(lambda: (found := agents.find(self._session_id, name)) and found.secret_hash, 20, "it may call")

    def reserve(self, usd: float) -> Reservation:
        """Begin a call that costs as much at most."""
        self._calls += 1
        found = actors.with_budget(self._stack.services, self.secret)
        assert found is not None
        return budgets.reserve(
            self._stack.services,
            *found,
            hold_id=f"{found[0].name}-{self._calls}",
            upper_micro_usd=round(usd * 1_000_000),
            model=MODEL,
        )

    def call(self, usd: float) -> None:
        """Make a call that costs so much."""
        spent = round(usd * 1_000_000)
        made = self.reserve(usd)
        assert budgets.settle(self._stack.services, made, spent_micro_usd=spent, input_tokens=10, output_tokens=5)

    def refused(self, usd: float) -> None:
        """Make a call that its budget does not pay."""
        with pytest.raises(BudgetReached):
            self.reserve(usd)


def told(session_path: str) -> list[dict[str, Any]]:
    """What the bus has told of a session's budgets."""
    session_id = session_path.rpartition("/")[2]
    kinds = {"budget_low", "budget_reached"}
    details = [event["detail"] for event in EVENTS if event["detail-type"] in kinds]
    return [detail for detail in details if detail["sessionId"] == session_id]


def test_budgets_are_shown_as_they_were_asked_for(client: Client, namespace: str) -> None:
    path = client.create(asked(namespace, {"usd": "1"}, defer=True, a={"usd": 0.25, "onReached": "stop_agent"}))
    answer = client.call("GET", f"{path}/budget")
    assert (answer.status, answer.body) == (
        200,
        {"session": balance(1_000_000), "agents": {"a": balance(250_000)}, "models": {}},
    )


def test_a_session_without_budgets_has_none_and_may_be_given_some(client: Client, namespace: str) -> None:
    path = client.create(asked(namespace, defer=True))
    assert client.call("GET", f"{path}/budget").body == {"session": None, "agents": {}, "models": {}}
    changed = client.call("POST", f"{path}/budget", {"agents": {"b": {"usd": "0.20"}}})
    assert (changed.status, changed.body) == (200, {"session": None, "agents": {"b": balance(200_000)}, "models": {}})
    assert client.call("GET", f"{path}/budget").body == changed.body


def test_limits_are_raised_and_lowered_but_not_below_what_is_spent_and_held(
    stack: LocalStack, client: Client, namespace: str
) -> None:
    path = client.create(asked(namespace, {"usd": "1"}, a={"usd": "0.5"}))
    caller = Caller(stack, path, "a")
    caller.call(0.2)
    caller.reserve(0.1)
    refused = client.call("POST", f"{path}/budget", {"session": {"usd": "5"}, "agents": {"a": {"usd": "0.299999"}}})
    assert refused.status == 400
    assert refused.body["message"] == (
        "the budget of the agent 'a' cannot be 0.299999: 0.2 US dollars are spent and 0.1 held"
    )
    assert client.call("GET", f"{path}/budget").body["session"] == balance(1_000_000, 200_000, 100_000), "none is set"
    new = {"session": {"usd": "2"}, "agents": {"a": {"usd": "0.3"}, "b": {"usd": "0.4"}}}
    changed = client.call("POST", f"{path}/budget", new)
    assert changed.status == 200
    assert changed.body == {
        "session": balance(2_000_000, 200_000, 100_000),
        "agents": {"a": balance(300_000, 200_000, 100_000), "b": balance(400_000)},
        "models": {MODEL: {"calls": 1, "inputTokens": 10, "outputTokens": 5, "spent": 200_000}},
    }
    assert client.call("DELETE", path).status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "there is no limit in it"),
        ({"agents": {}}, "there is no limit in it"),
        ({"agents": {"c": {"usd": "1"}}}, "agents names what is not in the session: 'c'"),
        ({"session": {"usd": "-1"}}, "session.usd: '-1': a budget is 0 to 1000000 US dollars"),
        ({"session": {"usd": 10**12}}, "0 to 1000000 US dollars"),
        ({"session": {"usd": "NaN"}}, "0 to 1000000 US dollars"),
        ({"session": {}}, "usd"),
        ({"session": {"usd": "1", "onReached": "explode"}}, "onReached"),
    ],
)
def test_what_is_no_limit_is_refused(client: Client, pending: str, body: dict[str, Any], said: str) -> None:
    answer = client.call("POST", f"{pending}/budget", body)
    assert answer.status == 400
    assert said in answer.body["message"]
    assert client.call("GET", f"{pending}/budget").body == {"session": None, "agents": {}, "models": {}}


def test_a_session_with_an_impossible_budget_is_not_created(client: Client, namespace: str) -> None:
    for usd in ("-0.5", "NaN", 10**12, "0.0000001"):
        answer = client.call("POST", "/api/v1/local/session", asked(namespace, {"usd": usd}))
        assert answer.status == 400
        assert "0 to 1000000 US dollars with at most 6 decimal places" in answer.body["message"]
    assert client.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404


def test_an_unknown_session_has_no_budget(client: Client, namespace: str) -> None:
    for method, body in (("GET", None), ("POST", {"session": {"usd": "1"}})):
        assert client.call(method, f"/api/v1/local/session/{namespace}/none/budget", body).status == 404


def test_a_budget_that_refuses_has_no_other_consequence_and_is_told_of(
    stack: LocalStack, client: Client, namespace: str, receiver: Receiver
) -> None:
    path = client.create(asked(namespace, {"usd": "1"}, url=receiver.url))
    caller = Caller(stack, path, "a")
    caller.call(0.81)
    caller.refused(0.2)
    caller.refused(0.2)
    eventually(lambda: len(receiver.received) == 2)
    low, reached = sorted((json.loads(each.body) for each in receiver.received), key=lambda each: each["type"])
    about = {"namespace": namespace, "sessionId": path.rpartition("/")[2], "level": "session", "agentName": "a"}
    amounts = {"onReached": "refuse", "limit": 1_000_000, "spent": 810_000, "held": 0, "available": 190_000}
    assert {**low, "timestamp": ""} == {"type": "budget_low", "timestamp": "", **about, **amounts}
    assert {**reached, "timestamp": ""} == {"type": "budget_reached", "timestamp": "", **about, **amounts}
    assert sorted(told(path), key=lambda each: str(each["type"])) == [low, reached]
    assert all("webhook-signature" in each.headers for each in receiver.received)
    listed = client.call("GET", f"/api/v1/local/namespace/{namespace}/deliveries").body
    assert {each["deliveryId"] for each in listed} == {each.headers["webhook-id"] for each in receiver.received}
    assert client.status(path) == "executed"
    assert {event["type"] for event in client.call("GET", f"{path}/events").body}.isdisjoint({"budget_reached"})
    assert client.call("DELETE", path).status == 200


def test_a_budget_that_stops_agents_stops_the_one_that_was_refused(
    stack: LocalStack, client: Client, namespace: str
) -> None:
    path = client.create(asked(namespace, a={"usd": "0.5", "onReached": "stop_agent"}))
    Caller(stack, path, "a").refused(0.6)

    def statuses() -> dict[str, Any]:
        found = client.call("GET", f"{path}/agent").body
        return {each["name"]: (each["status"]["type"], each["status"].get("reason")) for each in found}

    eventually(lambda: statuses()["a"] == ("stopped", "its budget is reached"))
    assert statuses()["b"][0] != "stopped"
    assert client.status(path) == "executed"
    [event] = eventually(lambda: told(path))
    assert (event["type"], event["level"], event["agentName"]) == ("budget_reached", "agent", "a")
    assert client.call("DELETE", path).status == 200


def test_a_budget_that_closes_its_session_does_and_is_in_the_history(
    stack: LocalStack, client: Client, namespace: str
) -> None:
    path = client.create(asked(namespace, {"usd": "1", "onReached": "close_session"}))
    caller = Caller(stack, path, "b")
    caller.call(0.85)
    eventually(lambda: [each["type"] for each in told(path)] == ["budget_low"])
    assert client.status(path) == "executed", "one that is low has no consequence"
    forgotten = caller.reserve(0.1)
    budget = client.call("GET", f"{path}/summary").body["budget"]
    assert budget["session"] == balance(1_000_000, 850_000, 100_000)
    caller.refused(0.6)
    client.wait_for_status(path, None, within_s=20)
    [entry] = client.call("GET", f"/api/v1/local/namespace/{namespace}/history?reason=budget_reached").body
    assert entry["reason"] == "budget_reached"
    assert entry["summary"]["budget"] == {
        "session": balance(1_000_000, 950_000),
        "agents": {},
        "models": {MODEL: {"calls": 2, "inputTokens": 10, "outputTokens": 5, "spent": 950_000}},
    }, "what nobody settled is booked"
    assert not budgets.settle(stack.services, forgotten, spent_micro_usd=1, input_tokens=1, output_tokens=1), (
        "a late settle changes nothing"
    )
    eventually(lambda: {each["type"] for each in told(path)} == {"budget_reached", "budget_low"})


def test_a_session_that_is_closing_takes_no_other_limits(client: Client, namespace: str) -> None:
    request = asked(namespace, {"usd": "1"})
    request["execution"]["runtimeSettings"] = {"persistenceMode": HOLD}
    path = client.create(request)
    assert client.call("DELETE", path).status == 200
    client.wait_for_status(path, "closing")
    refused = client.call("POST", f"{path}/budget", {"session": {"usd": "2"}})
    assert (refused.status, "is closing" in refused.body["message"]) == (400, True)
    assert client.call("GET", f"{path}/budget").body["session"] == balance(1_000_000)


def test_an_agent_reads_what_it_may_still_spend(stack: LocalStack, client: Client, namespace: str) -> None:
    path = client.create(asked(namespace, {"usd": "2"}, a={"usd": "0.5"}))
    caller = Caller(stack, path, "a")
    caller.call(0.2)

    def state() -> str:
        message = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "coral://state"}}
        answer = client.call(
            "POST", f"/mcp/v1/{caller.secret}/mcp", message, {"Accept": "application/json, text/event-stream"}
        )
        return str(answer.body["result"]["contents"][0]["text"])

    assert (
        "# Budget\n\nYou may still spend 0.3 US dollars on calls of models: your own limit is 0.5, "
        "and the limit of all agents together is 2." in state()
    )
    assert client.call("DELETE", path).status == 200
