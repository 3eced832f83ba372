"""Sustained slowness and clocks that are wrong: what agents say and hear is recorded, and held against what must be.

Every acknowledged message exactly once to every waiter that should have it, and one order for all.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.client import session, sleeper
from tests.faults.invariants import Witness
from tests.faults.nemeses import slow_writes, stepped_clock
from tests.faults.platform import Emulator, World
from tests.faults.scenarios import HOLD, WEBHOOKS, begin, create, two_agents
from tests.faults.test_duplicates import letters

MINUTE_MS = 60_000
Nemesis = Callable[[World, int], contextlib.AbstractContextManager[Any]]


@dataclasses.dataclass
class History:
    """What was acknowledged to senders, and what each waiter was given, in its order."""

    acknowledged: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    given: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=lambda: {"b": [], "c": []})

    def wrong(self, listed: list[dict[str, Any]]) -> list[str]:
        """Hold it against the messages of the thread as they are listed."""
        order = [message["id"] for message in listed]
        found = [
            f"{each['text']} was acknowledged and is not there" for each in self.acknowledged if each not in listed
        ]
        if len(set(order)) < len(order):
            found.append("a message is listed twice")
        for name, given in self.given.items():
            ids = [message["id"] for message in given]
            texts = [message["text"] for message in given]
            found += [f"{name} was not given {each['text']}" for each in listed if each["id"] not in ids]
            if len(set(ids)) < len(ids):
                found.append(f"{name} was given a message twice: {texts}")
            elif ids != [each for each in order if each in ids]:
                found.append(f"{name} was given {texts} and the order is {[each['text'] for each in listed]}")
        return found


class Conversation:
    """Two agents send by turns, one of them under a nemesis; two others wait, each from the last stamp on."""

    def __init__(self, world: World, witness: Witness, nemesis: Nemesis, *, messages: int) -> None:
        self.world = world
        self.nemesis = nemesis
        self.messages = messages
        self.history = History()
        witness.reasons = {"closed_by_user"}
        self.path = create(world, witness, session(*(sleeper(name) for name in "abcd"), webhooks=WEBHOOKS))
        world.run_for(5_000)
        for name in "abcd":  # connected before anything is slow
            world.tool(name, "coral_wait_for_message", currentUnixTime=0, maxWaitMs=0)
        answer = world.tool("a", "coral_create_thread", threadName="t", participantNames=["b", "c", "d"])
        self.thread = answer["thread"]["id"]
        self.next_ms = dict.fromkeys("bc", 1)

    def send(self, number: int) -> None:
        sender = "ad"[number % 2]
        arguments = {"threadId": self.thread, "content": str(number), "mentions": []}
        with self.nemesis(self.world, number):
            answer = self.world.tool(sender, "coral_send_message", **arguments)
        if "message" in answer:
            self.history.acknowledged.append(answer["message"])

    def wait(self, name: str, wait_ms: int) -> bool:
        """Wait once; `False` when nothing came."""
        time = {"currentUnixTime": self.next_ms[name], "maxWaitMs": wait_ms}
        message = self.world.tool(name, "coral_wait_for_message", **time).get("message")
        if message is None:
            return False
        self.history.given[name].append(message)
        stamp_ms = int(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000)
        self.next_ms[name] = max(self.next_ms[name], stamp_ms + 1)
        return True

    def run(self) -> list[str]:
        """Let it all happen; return what is wrong with it."""
        for number in range(self.messages):
            self.world.after(400 * number, lambda number=number: self.send(number))
        for number in range(2 * self.messages):
            self.world.after(237 * number + 50, lambda: self.wait("c", 0))
        for _ in range(3 * self.messages):
            self.wait("b", 3_000)
        for name in "bc":
            while self.wait(name, 3_000):
                pass
        listed = self.world.ask("GET", f"{self.path}/thread/{self.thread}/message")[1]
        [shown] = self.world.ask("GET", f"{self.path}/extended")[1]["threads"]
        wrong = self.history.wrong(listed)
        if shown["messages"] != listed:
            wrong.append("the state shows another order than the listing")
        return wrong


def slow(duration_ms: int) -> Nemesis:
    return lambda world, _: slow_writes(world, "session-items", duration_ms)


def stepped(step_ms: int) -> Nemesis:
    """The clock of every other sender is wrong."""
    return lambda world, number: stepped_clock(world, step_ms) if number % 2 else contextlib.nullcontext()


def stepped_back(step_ms: int) -> Nemesis:
    """The clock of all senders is stepped, once, in the middle."""
    return lambda world, number: stepped_clock(world, step_ms) if number >= 3 else contextlib.nullcontext()


NEMESES: dict[str, Nemesis] = {
    "none": lambda world, number: contextlib.nullcontext(),
    "writes of 1.1 s": slow(1_100),
    "writes of 5 s": slow(5_000),
    **{f"a clock off by {step} ms": stepped(step) for step in (-3_600_000, -3_000, -1_000, 1_000, 3_000, 3_600_000)},
    **{f"a step of {step} ms": stepped_back(step) for step in (-3_600_000, -3_000, -1_000, 1_000, 3_600_000)},
}


@pytest.mark.parametrize("nemesis", NEMESES.values(), ids=NEMESES)
def test_every_acknowledged_message_is_given_once_and_in_one_order(emulator: Emulator, nemesis: Nemesis) -> None:
    world, witness = begin(emulator)
    talk = Conversation(world, witness, nemesis, messages=8)
    assert not talk.run()
    assert talk.history.acknowledged
    assert {status for _, _, status, _ in world.answers} <= {200, 503}
    world.ask("DELETE", talk.path)
    assert not witness.broken()


@pytest.mark.parametrize("duration_ms", [1_100, 5_000])
@pytest.mark.parametrize("table", ["session-items", "sessions"])
def test_a_session_runs_and_ends_while_every_write_is_slow(emulator: Emulator, table: str, duration_ms: int) -> None:
    world, witness = begin(emulator)
    witness.undisturbed, witness.reasons = True, {"agents_exited"}
    witness.outlives_ms = 10 * MINUTE_MS
    with slow_writes(world, table, duration_ms):
        path = create(world, witness, two_agents(world, lives_ms=(100_000, 120_000), persistenceMode=HOLD))
        world.run_for(90_000)
        states = [each["status"] for each in world.ask("GET", f"{path}/extended")[1]["agents"]]
        assert [state["type"] for state in states] == ["running", "running"], states
        world.run_for(10 * MINUTE_MS)
        assert not world.items("sessions"), "the session has not ended"
    assert not letters(world)
    assert not world.dead_letters
    assert not any(stream.failed for stream in world.streams.values())
    assert not witness.broken()


@pytest.mark.parametrize("duration_ms", [1_100, 5_000])
def test_a_closed_session_ends_before_its_slow_log_says_so(emulator: Emulator, duration_ms: int) -> None:
    world, witness = begin(emulator)
    witness.reasons = {"closed_by_user"}
    path = create(world, witness, two_agents(world))
    world.run_for(5_000)
    with slow_writes(world, "session-items", duration_ms):
        assert world.ask("DELETE", path)[0] == 200
        told_ms: list[int] = []
        world.before_call.append(
            lambda call: told_ms.append(world.now_ms) if call.operation == "SendTaskSuccess" else None
        )
        closed_ms = world.now_ms
        world.run_for(5 * MINUTE_MS)
    assert told_ms[0] - closed_ms < 1_000
    assert not letters(world)
    assert not witness.broken()
