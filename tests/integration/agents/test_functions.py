"""Agents that run as functions, on one machine: their turns, their processes, and what happens when they fail."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.wire.turns import MAX_STATE_BYTES
from infra.local.functions import children
from infra.local.stack import LocalStack
from tests.agents import TURNER
from tests.client import Client, eventually, function, session

pytestmark = pytest.mark.xdist_group("functions")

HOLD = {"mode": "hold_after_exit", "duration": 60_000}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(agents=[TURNER], settings={"turn_limit_ms": 1_000}) as made:
        yield made


@pytest.fixture(scope="module")
def client(stack: LocalStack) -> Client:
    return Client(stack.url, stack.key)


class Talk:
    """A session of a puppet and other agents, in which the puppet speaks."""

    def __init__(self, client: Client, *agents: dict[str, Any], **settings: Any) -> None:
        self.client = client
        names = [agent["name"] for agent in agents]
        self.path = client.create(session(function("p", "puppet"), *agents, persistenceMode=HOLD, **settings))
        self._puppet = self.path.replace("/local/session/", "/puppet/") + "/p"
        eventually(lambda: all(self.waits(name) or self.status(name)["type"] == "stopped" for name in names))
        answer = client.call("POST", f"{self._puppet}/thread", {"threadName": "t", "participantNames": names})
        self.thread = answer.body["thread"]["id"]

    def say(self, text: Any, *mentions: str) -> None:
        """Say something in the puppet's name."""
        content = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        body = {"threadId": self.thread, "content": content, "mentions": list(mentions)}
        assert self.client.call("POST", f"{self._puppet}/thread/message", body).status == 200

    def kill(self, name: str) -> None:
        """End an agent."""
        path = self.path.replace("/local/session/", "/puppet/") + f"/{name}"
        assert self.client.call("DELETE", path).status == 200

    def status(self, name: str) -> dict[str, Any]:
        """Return an agent's status as Atoll's own listing shows it."""
        found = self.client.call("GET", f"{self.path}/agent").body
        return next(agent["status"] for agent in found if agent["name"] == name)

    def waits(self, name: str) -> bool:
        """Return whether an agent waits for a message."""
        status = self.status(name)
        connection = status.get("connectionStatus", {})
        return bool(connection.get("communicationStatus", {}).get("type") == "waiting_message")

    def messages(self, sender: str) -> list[str]:
        """Return what an agent has said."""
        events = self.client.call("GET", f"{self.path}/events").body
        sent = [event["message"] for event in events if event["type"] == "thread_message_sent"]
        return [message["text"] for message in sent if message["senderName"] == sender]

    def events(self, name: str) -> list[str]:
        """Return the types of an agent's events."""
        return [
            each["type"] for each in self.client.call("GET", f"{self.path}/events").body if each.get("name") == name
        ]

    def lines(self, name: str) -> list[str]:
        """Return an agent's log."""
        return [line["text"] for line in self.client.call("GET", f"{self.path}/logs?agent={name}").body]

    def state(self, stack: LocalStack, name: str) -> Any:
        """Return what an agent's turns have left."""
        turn = stack.services.turns.find(self.path.rpartition("/")[2], name)
        state = stack.services.turns.state_of(turn) if turn else None
        return None if state is None else json.loads(state)

    def turn(self, stack: LocalStack, name: str) -> int:
        """Return how many turns of an agent were stored."""
        turn = stack.services.turns.find(self.path.rpartition("/")[2], name)
        return turn.turn if turn else -1


def test_a_function_is_connected_and_waits_between_its_turns_and_thinks_in_one(
    stack: LocalStack, client: Client
) -> None:
    talk = Talk(client, function("f"))
    assert talk.status("f")["connectionStatus"]["communicationStatus"] == {"type": "waiting_message"}
    [shown] = [each for each in client.call("GET", f"{talk.path}/extended").body["agents"] if each["name"] == "f"]
    assert shown["status"] == talk.status("f")
    talk.say({"sleep": 0.5})
    eventually(lambda: not talk.waits("f"))
    assert talk.status("f")["connectionStatus"]["communicationStatus"] == {"type": "thinking"}
    eventually(lambda: talk.waits("f"))
    assert talk.state(stack, "f") == {"turns": 2}
    assert talk.events("f") == [
        "runtime_started",
        "agent_connected",
        "agent_wait_start",
        "agent_wait_stop",
        "agent_wait_start",
    ]


def test_what_a_function_prints_is_in_its_log_without_secrets_and_its_process_stays(
    stack: LocalStack, client: Client
) -> None:
    talk = Talk(client, function("f", TOKEN=("string", "hunter22")))
    for text in ("one", "hunter22"):
        talk.say({"print": text})
        eventually(lambda text=text: talk.state(stack, "f") == {"turns": 2 if text == "one" else 3})  # type: ignore[misc]
    printed = [line for line in talk.lines("f") if line.split(" ")[0] in ("one", "***", "and")]
    assert sorted(line.split(" ")[0] for line in printed) == ["***", "and", "and", "one"]
    assert len({line.split(" ")[1] for line in printed if line != "and an error"}) == 1, "the same process"
    assert "hunter22" not in str(talk.lines("f"))


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"raise": "oh no"}, "RuntimeError: oh no"),
        ({"exit": 7}, "has ended in its turn, with code 7"),
        ({"sleep": 5}, "has not answered within 1 s, which a turn may take"),
        ({"answer": {"wait": {"for": "godot"}}}, "the function's answer is wrong: wait.for"),
        ({"answer": {"wait": {"for": "agent"}}}, 'agentName goes with "for": "agent"'),
        ({"answer": {"states": 1}}, "states: Extra inputs are not permitted"),
        ({"answer": [1]}, "the function's answer is no JSON object: it is a list"),
        ({"answer": {"state": "x" * (257 * 1024)}}, f"at most {MAX_STATE_BYTES} are kept"),
    ],
    ids=["raises", "ends", "takes too long", "unknown wait", "no agent", "unknown key", "list", "257 KB"],
)
def test_a_turn_that_fails_says_why_and_is_tried_again(
    stack: LocalStack, client: Client, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr("chalicelib.reactions.turns.MOST_ATTEMPTS", 1)  # the crash harness tries it three times
    talk = Talk(client, function("f", FIRST=("string", json.dumps(wanted))))
    assert said in talk.status("f")["reason"]
    assert any(
        line.startswith("turn 1 (started) failed for the last time: ") and said in line for line in talk.lines("f")
    )
    eventually(lambda: talk.events("f")[-1] == "runtime_stopped")
    assert talk.state(stack, "f") is None


def test_a_large_state_comes_back_whole(stack: LocalStack, client: Client) -> None:
    talk = Talk(client, function("f"))
    for state in ("ä" * 100_000, "x" * (MAX_STATE_BYTES - 2), "small", None):
        talk.say({"answer": {"state": state, "wait": {"for": "message"}}})
        eventually(lambda state=state: talk.state(stack, "f") == state)  # type: ignore[misc]


def test_a_wait_comes_to_its_end(stack: LocalStack, client: Client) -> None:
    talk = Talk(client, function("f", FIRST=("string", '{"answer": {"wait": {"maxWaitMs": 300}}}')))
    eventually(lambda: talk.turn(stack, "f") == 2)  # the next one waits for a message


def test_a_function_that_was_ended_is_forgotten_and_its_session_with_the_last(
    stack: LocalStack, client: Client
) -> None:
    talk = Talk(client, function("f"))
    talk.kill("f")
    talk.say("{}")
    assert talk.turn(stack, "f") == -1
    assert talk.status("f")["reason"] == "ended by a user"
    talk.kill("p")
    client.wait_for_status(talk.path, "closing")


def test_a_session_that_is_closed_ends_its_functions(stack: LocalStack, client: Client) -> None:
    talk = Talk(client, function("f"), ttl=60_000)
    client.call("DELETE", talk.path)
    eventually(lambda: talk.turn(stack, "f") == -1)
    assert talk.status("f")["reason"] == "the session is closed"


def test_a_blocking_function_waits_for_the_others(stack: LocalStack, client: Client) -> None:
    request = session(function("f"), function("g"))
    for agent in request["agentGraphRequest"]["agents"]:
        agent["blocking"] = True
    path = client.create(request)
    eventually(
        lambda: (
            [
                agent["status"].get("connectionStatus", {}).get("communicationStatus", {}).get("type")
                for agent in client.call("GET", f"{path}/extended").body["agents"]
            ]
            == ["waiting_message"] * 2
        )
    )


def test_many_functions_of_one_session_hear_one_message(stack: LocalStack, client: Client) -> None:
    names = [f"e{number}" for number in range(24)]
    echoes = [function(name, "echo", MENTIONS=("bool", True)) for name in names]
    talk = Talk(client, *echoes)
    talk.say("all of you", *names)
    eventually(lambda: all(talk.messages(name) == ["nice message!"] for name in names), within_s=20)


def test_more_handlers_than_processes_share_them(
    stack: LocalStack, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "MOST_CHILDREN", 1)
    talk = Talk(client, *(function(name) for name in ("f", "g", "h")))
    talk.say({"sleep": 0.05})
    eventually(lambda: [talk.turn(stack, name) for name in ("f", "g", "h")] == [2, 2, 2])
