"""Turns of agents that run as functions, where something is slow, refused, at the same moment, or too late."""

import json
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.domain.registry import register_local
from tests.agents import TURNER
from tests.client import function, session, sleeper
from tests.faults.platform import Call, Emulator, World
from tests.faults.scenarios import begin, create
from tests.faults.services import refused

#: The most DynamoDB calls of a turn.
MOST_CALLS = 8


class Talk:
    """A session of a sleeper ``a``, which speaks, and a function ``f``."""

    def __init__(self, emulator: Emulator) -> None:
        self.world, self.witness = begin(emulator)
        self.witness.reasons, self.witness.functions = {"agents_exited"}, {"f"}
        self.world.outside(lambda: register_local(self.world.services, TURNER))
        self.world.run()
        self.world.ecs.lives_ms = {"a": 7_200_000}
        self.world.function.answer = lambda _: {}

    def begin(self) -> "Talk":
        """Create the session, and a thread of both."""
        self.path = create(self.world, self.witness, session(sleeper("a"), function("f")))
        self.world.run_for(2_000)
        made = self.world.tool("a", "coral_create_thread", threadName="t", participantNames=["f"])
        self.thread: str = made["thread"]["id"]
        self.world.run_for(2_000)
        return self

    def say(self, text: str, *, mentions: bool = True) -> None:
        """Say something as ``a``."""
        names = ["f"] if mentions else []
        self.world.tool("a", "coral_send_message", threadId=self.thread, content=text, mentions=names)

    @property
    def told(self) -> list[tuple[int, str, str | None]]:
        """What the function was called with: number, reason, text."""
        turns = self.world.function.turns
        return [(turn["turn"], turn["reason"], turn.get("message", {}).get("text")) for turn in turns]

    def broken(self) -> list[str]:
        """End the function, and return the broken invariants."""
        self.world.ask("DELETE", self.path.replace("/local/session/", "/puppet/") + "/f")
        return self.witness.broken()

    def reason(self) -> str:
        """Return why the function's agent has stopped."""
        found = self.world.ask("GET", f"{self.path}/agent")[1]
        return str(next(agent["status"].get("reason") for agent in found if agent["name"] == "f"))


@pytest.fixture
def talk(emulator: Emulator) -> Talk:
    return Talk(emulator)


def calls_of(world: World, function: str) -> list[str]:
    """Return the calls of a function's last invocation that made more than three."""
    by_invocation: dict[int, list[str]] = {}
    for call in world.calls:
        if call.function == function:
            by_invocation.setdefault(call.invocation, []).append(call.operation)
    return [calls for calls in by_invocation.values() if len(calls) > 3][-1]


def throttled(operation: str) -> Exception | None:
    """Have Lambda call no function."""
    return refused(operation, "TooManyRequestsException") if operation == "Invoke" else None


def test_a_turn_is_eight_calls_of_dynamodb(talk: Talk) -> None:
    talk.begin().say("one")
    talk.world.run_for(5_000)
    talk.say("two")
    talk.world.run_for(5_000)
    assert talk.told[-1] == (3, "message", "two")
    calls = calls_of(talk.world, "run_turn")
    assert len([call for call in calls if call != "Invoke"]) <= MOST_CALLS, calls


def test_a_session_without_functions_costs_no_call_more(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"agents_exited"}
    world.ecs.lives_ms = {"a": 60_000, "b": 60_000}
    create(world, witness, session(sleeper("a"), sleeper("b")))
    world.run_for(5_000)
    before = len(world.calls)
    world.tool("a", "coral_create_thread", threadName="t", participantNames=["b"])
    world.run_for(1_000)
    assert [call.operation for call in world.calls[before:] if call.function == "on_entry"] in (
        ["Query"],
        ["Query"] * 2,
    )
    assert world.count_of("SendMessageBatch") == 0
    assert not witness.broken()


def test_what_an_agent_of_atolls_own_would_say_after_its_end_is_not_said(emulator: Emulator) -> None:
    world, witness = begin(emulator)
    witness.reasons, witness.functions = {"agents_exited"}, {"e"}
    world.ecs.lives_ms = {"a": 60_000}
    path = create(world, witness, session(sleeper("a"), function("e", "echo")))
    world.run_for(5_000)
    thread = world.tool("a", "coral_create_thread", threadName="t", participantNames=["e"])["thread"]
    claims: list[Call] = []
    ended: list[int] = []

    def end_it(call: Call) -> None:
        if call.function == "run_turn" and claims and not ended:
            ended.append(0)
            ended[0] = world.outside(lambda: world.ask("DELETE", path.replace("/local/session/", "/puppet/") + "/e")[0])
        if call.function == "run_turn" and call.operation == "UpdateItem" and "busyUntilMs" in str(call.parameters):
            claims.append(call)

    world.before_call.append(end_it)
    world.tool("a", "coral_send_message", threadId=thread["id"], content="Hello", mentions=["e"])
    world.run_for(10_000)
    assert ended == [200]
    log = world.services.log.read(path.rpartition("/")[2])
    senders = [entry.event["message"]["senderName"] for entry in log if entry.event["type"] == "thread_message_sent"]
    assert senders == ["a"]
    assert not witness.broken()


def test_an_agent_that_fails_three_times_is_stopped_with_its_last_error(talk: Talk) -> None:
    def fail(turn: dict[str, Any]) -> None:
        raise RuntimeError(f"no {len(talk.told)}")

    talk.begin()
    talk.world.function.answer = fail
    talk.say("one")
    talk.world.run_for(60_000)
    assert talk.told[1:] == [(2, "message", "one")] * 3
    assert talk.reason() == "coral-agent-turner failed: RuntimeError: no 4"
    assert len([line for line in talk.world.services.agent_lines.written if "RuntimeError" in line]) == 3  # type: ignore[attr-defined]
    assert not talk.broken()


def test_a_failure_is_forgotten_with_the_next_success(talk: Talk) -> None:
    talk.begin()
    fails = iter([True, True, False, True, True, False])

    def sometimes(turn: dict[str, Any]) -> dict[str, Any]:
        return {"states": 1} if next(fails) else {}

    talk.world.function.answer = sometimes
    for text in ("one", "two"):
        talk.say(text)
        talk.world.run_for(60_000)
    assert [number for number, _, _ in talk.told] == [1, 2, 2, 2, 3, 3, 3]
    assert not talk.broken()


def test_a_function_that_is_throttled_is_put_off_and_not_stopped(talk: Talk) -> None:
    talk.begin()
    talk.world.outage = lambda operation: (
        refused(operation, "TooManyRequestsException") if operation == "Invoke" else None
    )
    talk.say("one")
    talk.world.run_for(600_000)
    tries = talk.world.count_of("Invoke") - 1
    assert 8 < tries < 20, "in growing pauses"
    talk.world.outage = None
    talk.world.run_for(120_000)
    assert talk.told[-1] == (2, "message", "one")
    assert not talk.broken()


def test_a_function_that_is_throttled_for_ever_is_stopped(talk: Talk) -> None:
    talk.begin()
    talk.world.outage = lambda operation: (
        refused(operation, "TooManyRequestsException") if operation == "Invoke" else None
    )
    talk.say("one")
    talk.world.run_for(3_600_000)
    assert "TooManyRequestsException" in talk.reason()
    assert talk.world.count_of("Invoke") < 50
    assert not talk.broken()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused("Invoke", "ResourceNotFoundException"), "cannot be called: ResourceNotFoundException"),
        (ReadTimeoutError(endpoint_url="https://lambda"), "has not answered within 120 s"),
    ],
    ids=["no such function", "too slow"],
)
def test_a_function_that_cannot_be_called(talk: Talk, error: Exception, said: str) -> None:
    talk.world.outage = lambda operation: error if operation == "Invoke" else None
    talk.begin()
    talk.world.run_for(60_000)
    assert said in talk.reason()
    assert not talk.broken()


def test_a_message_at_the_end_of_a_wait_is_told_instead_of_it(talk: Talk) -> None:
    talk.world.function.answer = lambda turn: {"wait": {"maxWaitMs": 20_000}} if turn["turn"] == 1 else {}
    path = create(talk.world, talk.witness, session(sleeper("a"), function("f")))
    talk.world.run_for(5_000)
    made = talk.world.tool("a", "coral_create_thread", threadName="t", participantNames=["f"])
    talk.path, talk.thread = path, made["thread"]["id"]
    turn = talk.world.services.turns.find(path.rpartition("/")[2], "f")
    assert turn is not None
    talk.world.streams["atoll-local-session-items"].delay_ms = 10_000  # the deadline's nudge comes first
    talk.world.run((turn.deadline_ms or 0) - 5)
    talk.say("just in time")
    talk.world.run_for(60_000)
    assert talk.told == [(1, "started", None), (2, "message", "just in time")]
    assert not talk.broken()


def test_a_wait_is_longer_than_a_queue_delays(talk: Talk) -> None:
    talk.world.function.answer = lambda turn: (
        {"exit": True} if turn["turn"] == 2 else {"wait": {"maxWaitMs": 3_000_000}}
    )
    talk.begin()
    talk.world.run_for(2_990_000)
    assert len(talk.told) == 1
    talk.world.run_for(20_000)
    assert talk.told[1:] == [(2, "timeout", None)]
    assert talk.world.count_of("SendMessage") == 4
    assert not talk.broken()


def test_what_the_last_wait_was_not_for_is_passed_over_and_what_came_in_a_turn_is_not(talk: Talk) -> None:
    talk.begin()
    talk.say("to nobody", mentions=False)

    def speak(turn: dict[str, Any]) -> dict[str, Any]:
        if turn["turn"] == 2:
            talk.say("meanwhile", mentions=False)
            talk.world.run_for(1_000)  # what reacts to that finds an agent that thinks
        return {"wait": {"for": "message"}}

    talk.world.function.answer = speak
    talk.say("one")
    talk.world.run_for(5_000)
    assert talk.told[1:] == [(2, "message", "one"), (3, "message", "meanwhile")]
    assert not talk.broken()


def test_of_two_invocations_at_once_one_calls_the_function(talk: Talk) -> None:
    talk.begin()
    nudge = {"namespace": "tests", "sessionId": talk.path.rpartition("/")[2], "agent": "f"}
    record = {"messageId": "m", "receiptHandle": "r", "eventSourceARN": "q", "body": json.dumps(nudge)}
    answered: list[Any] = []

    def again(turn: dict[str, Any]) -> dict[str, Any]:
        answered.append(talk.world.invoke("atoll-local-run_turn", {"Records": [record]}))
        return {}

    talk.world.function.answer = again
    talk.say("one")
    talk.world.run_for(5_000)
    assert talk.told[1:] == [(2, "message", "one")]
    assert answered == [{"batchItemFailures": [{"itemIdentifier": "m"}]}], "it comes again"
    assert not talk.broken()


@pytest.mark.parametrize("size", [5, 5_000])
def test_a_slow_process_that_was_taken_over_from_stores_nothing(talk: Talk, size: int) -> None:
    talk.begin()

    def slow(turn: dict[str, Any]) -> dict[str, Any]:
        if len(talk.told) == 2:
            record = {"messageId": "m", "receiptHandle": "r", "eventSourceARN": "q"}
            nudge = {"namespace": "tests", "sessionId": talk.path.rpartition("/")[2], "agent": "f"}
            talk.world.now_ms += 400_000
            talk.world.invoke("atoll-local-run_turn", {"Records": [{**record, "body": json.dumps(nudge)}]})
            return {"state": "s" * size}
        return {"state": "t" * size}

    talk.world.function.answer = slow
    talk.say("one")
    talk.world.run_for(5_000)
    assert talk.told[1:] == [(2, "message", "one")] * 2
    turn = talk.world.services.turns.find(talk.path.rpartition("/")[2], "f")
    assert turn is not None
    assert turn.turn == 2
    assert json.loads(talk.world.services.turns.state_of(turn) or "") == "t" * size
    assert not talk.broken()


def test_a_session_keeps_the_version_that_it_began_with(talk: Talk) -> None:
    talk.begin()
    name = {"name": {"S": "turner"}, "version": {"S": "1.0.0"}}
    talk.world.services.dynamodb.delete_item(TableName="atoll-local-registry", Key=name)
    talk.say("one")
    talk.world.run_for(5_000)
    assert talk.told[-1] == (2, "message", "one")
    assert not talk.broken()
