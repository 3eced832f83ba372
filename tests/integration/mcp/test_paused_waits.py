"""Waits that nobody holds: the stream ends, the client comes back with ``Last-Event-ID``, and nothing is lost."""

import base64
import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.domain.waits.wait import LONGEST_REST_MS
from chalicelib.mcp.endpoint import Request, Response, handle
from tests.mcp_world import SESSION, TestClock, World

BOTH = "application/json, text/event-stream"
HOLD_MS = 1_000


@pytest.fixture
def clock(here: World) -> TestClock:
    return TestClock()


@pytest.fixture
def there(here: World, clock: TestClock) -> Iterator[World]:
    """A session of three, behind an endpoint that holds a wait for a second and closes after 25 s."""
    with here.on(clock, mcp_wait_hold_ms=HOLD_MS, mcp_wait_limit_ms=25_000):
        yield here


@dataclasses.dataclass
class Stream:
    """What a stream had: the answer, or the id and the rest before the client is to come back."""

    answer: Any = None
    event_id: str = ""
    rest_ms: int = 0

    @classmethod
    def of(cls, response: Response) -> "Stream":
        assert response.status == 200, response
        assert response.headers["Content-Type"] == "text/event-stream"
        fields = dict(line.split(":", 1) for line in response.body.decode().strip().split("\n"))
        if fields["data"].strip():
            return cls(answer=json.loads(fields["data"]))
        return cls(event_id=fields["id"].strip(), rest_ms=int(fields["retry"]))


def begin(
    there: World,
    name: str,
    kind: str = "message",
    *,
    version: str = "2025-11-25",
    accept: str = BOTH,
    user_agent: str = "node",
    **more: Any,
) -> Response:
    arguments = {"currentUnixTime": there.services.clock.now_ms(), "maxWaitMs": 60_000, **more}
    params = {"name": f"coral_wait_for_{kind}", "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": "a-request", "method": "tools/call", "params": params}
    headers = {"accept": accept, "mcp-protocol-version": version, "user-agent": user_agent}
    return there.post(name, body, headers)


def come_back(there: World, name: str, event_id: str) -> Response:
    headers = {"accept": "text/event-stream", "mcp-protocol-version": "2025-11-25", "last-event-id": event_id}
    return handle(there.services, Request("GET", there.secret(name), headers))


def to_the_end(there: World, clock: TestClock, name: str, response: Response) -> tuple[Any, int]:
    """Come back as long as one is told to; return the tool's structured answer and how often that was."""
    times = 0
    while not (stream := Stream.of(response)).answer:
        clock.pass_ms(stream.rest_ms)
        response = come_back(there, name, stream.event_id)
        times += 1
    assert stream.answer["id"] == "a-request"
    return stream.answer["result"]["structuredContent"], times


def test_a_message_sent_while_nobody_holds_the_wait_is_given(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    clock.plan(11_000, lambda: there.send("ann", thread, "now"))
    answer, times = to_the_end(there, clock, "bob", begin(there, "bob"))
    assert answer["message"]["text"] == "now"
    assert clock.now_ms() - clock.start_ms <= 11_000 + LONGEST_REST_MS
    assert times < 11


def test_what_comes_while_it_is_held_is_answered_in_json(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    clock.plan(HOLD_MS // 2, lambda: there.send("ann", thread, "soon"))
    answer = begin(there, "bob")
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.body)["result"]["structuredContent"]["message"]["text"] == "soon"


def test_a_wait_ends_at_its_time_and_not_with_the_door(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    answer, _ = to_the_end(there, clock, "bob", begin(there, "bob", maxWaitMs=40_000))
    assert answer == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 40_000


@pytest.mark.parametrize("wait_ms", [60_000, 10**12])
def test_a_wait_for_longer_than_any_ends_before_its_clients_give_up(
    there: World, clock: TestClock, wait_ms: int
) -> None:
    """They do after 60 s, from the beginning of the wait on, however often they came back for it."""
    there.thread("ann", "bob")
    answer, _ = to_the_end(there, clock, "bob", begin(there, "bob", maxWaitMs=wait_ms))
    assert answer == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 58_000


def test_the_time_that_blocking_agents_wait_for_one_another_is_part_of_a_wait(there: World, clock: TestClock) -> None:
    there.clear()
    there.session("ann", "bob", blocking=True)
    answer, _ = to_the_end(there, clock, "bob", begin(there, "bob"))
    assert answer == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 58_000


@pytest.mark.parametrize(
    ("version", "accept"), [("2025-06-18", BOTH), ("2025-11-25", "application/json")], ids=["older", "no streams"]
)
def test_a_client_that_does_not_come_back_is_answered_in_one(
    there: World, clock: TestClock, version: str, accept: str
) -> None:
    there.thread("ann", "bob")
    answer = begin(there, "bob", version=version, accept=accept)
    assert json.loads(answer.body)["result"]["structuredContent"] == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 25_000


@pytest.mark.parametrize(
    "user_agent", ["", "ai-sdk/2.0.99 runtime/node.js/20", "Bun/1.3.1", "my-agent/1.0 python-httpx/0.28.1"]
)
def test_a_client_that_is_not_known_to_come_back_is_answered_in_one(
    there: World, clock: TestClock, user_agent: str
) -> None:
    there.thread("ann", "bob")
    answer = begin(there, "bob", user_agent=user_agent)
    assert json.loads(answer.body)["result"]["structuredContent"] == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 25_000


def test_who_says_that_it_comes_back_and_does_not_loses_nothing(there: World, clock: TestClock) -> None:
    """Its next wait is held to its end, and gives what came since the one that it left."""
    thread = there.thread("ann", "bob")
    began_ms = there.services.clock.now_ms()
    left = Stream.of(begin(there, "bob"))
    assert left.event_id
    there.send("ann", thread, "for the one that was left")
    for _ in range(there.services.settings.agent_waits + 1):
        answer = begin(there, "bob", currentUnixTime=began_ms)
        assert json.loads(answer.body)["result"]["structuredContent"]["message"]["text"] == "for the one that was left"
    clock.pass_ms(1)
    now_ms = there.services.clock.now_ms()
    answer = begin(there, "bob", currentUnixTime=now_ms)
    assert json.loads(answer.body)["result"]["structuredContent"] == {"status": "Timeout reached"}
    assert there.services.clock.now_ms() - now_ms == 25_000


def test_a_wait_that_nobody_comes_back_for_is_over_at_its_time(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    assert Stream.of(begin(there, "bob")).event_id
    assert there.communication("bob") == "waiting_message"
    clock.pass_ms(61_000)
    assert there.communication("bob") == "thinking"
    assert Stream.of(begin(there, "bob")).event_id


def test_a_wait_that_was_ended_does_not_hold_the_next_one(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    for text in ("one", "two"):
        stream = Stream.of(begin(there, "bob"))
        there.send("ann", thread, text)
        answer, _ = to_the_end(there, clock, "bob", come_back(there, "bob", stream.event_id))
        assert answer["message"]["text"] == text
        clock.pass_ms(1)


def test_a_message_at_the_moment_of_the_pause_is_given_once(there: World, clock: TestClock) -> None:
    """It comes before each of the calls that the wait's first request makes, those around the pause among them."""
    thread = there.thread("ann", "bob")
    with there.counting() as calls:
        assert Stream.of(begin(there, "bob", maxWaitMs=3_000)).event_id
    made = len(calls)
    for number in range(made - 5, made + 1):
        clock.pass_ms(61_000)
        text = f"before call {number}"
        left = number

        def before(name: str, params: dict[str, Any], text: str = text) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                there.before_call = lambda name, params: None
                there.send("ann", thread, text)

        there.before_call = before
        response = begin(there, "bob")
        there.before_call = lambda name, params: None
        if left > 0:  # after the last of them, before the client is back
            there.send("ann", thread, text)
        if response.headers["Content-Type"] == "application/json":
            answer = json.loads(response.body)["result"]["structuredContent"]
        else:
            answer, _ = to_the_end(there, clock, "bob", response)
        assert answer["message"]["text"] == text


def test_nobody_is_told_to_come_back_unless_the_deployment_says_so(here: World, clock: TestClock) -> None:
    with here.on(clock):
        answer = begin(here, "bob", maxWaitMs=5_000)
    assert answer.headers["Content-Type"] == "application/json"


def test_it_is_one_wait_to_whoever_looks(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    stream = Stream.of(begin(there, "bob"))
    clock.pass_ms(stream.rest_ms)
    stream = Stream.of(come_back(there, "bob", stream.event_id))
    assert there.communication("bob") == "waiting_message"
    clock.pass_ms(stream.rest_ms)
    there.send("ann", thread, "now")
    assert Stream.of(come_back(there, "bob", stream.event_id)).answer
    assert there.communication("bob") == "thinking"
    events = [entry.event["type"] for entry in there.services.log.read(SESSION)]
    assert (events.count("agent_wait_start"), events.count("agent_wait_stop")) == (1, 1)


def test_who_is_added_while_nobody_holds_the_wait_gets_the_first_message_of_the_past(
    there: World, clock: TestClock
) -> None:
    thread = there.thread("ann", "cem")
    there.send("ann", thread, "before bob")
    there.send("cem", thread, "before bob, too")
    clock.pass_ms(60_000)
    stream = Stream.of(begin(there, "bob", "agent", agentName="cem"))
    for pause_ms in (stream.rest_ms, 4_000):  # the last poll may be longer ago than any overlap
        clock.pass_ms(pause_ms)
        there.tool("ann", "coral_add_participant", threadId=thread, participantName="bob")
        clock.pass_ms(pause_ms)
        found = Stream.of(come_back(there, "bob", stream.event_id))
        assert found.answer["result"]["structuredContent"]["message"]["text"] == "before bob, too"
        there.tool("ann", "coral_remove_participant", threadId=thread, participantName="bob")
        stream = Stream.of(begin(there, "bob", "agent", agentName="cem"))


def test_a_wait_that_is_cancelled_while_nobody_holds_it_ends(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    stream = Stream.of(begin(there, "bob"))
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a-request"}}
    assert there.post("bob", body, {"mcp-protocol-version": "2025-11-25"}).status == 202
    assert there.communication("bob") == "thinking"
    answer = Stream.of(come_back(there, "bob", stream.event_id)).answer
    assert "cancelled" in answer["result"]["structuredContent"]["error"]


def test_a_wait_tells_the_time_to_ask_from_next_however_often_it_was_paused(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    response = begin(there, "bob", currentUnixTime=10**15, maxWaitMs=9_000)
    clock.plan(3_000, lambda: there.send("ann", thread, "a mention", "bob"))
    told: list[int] = []
    given: list[str | None] = []
    for _ in range(2):
        while not (stream := Stream.of(response)).answer:
            clock.pass_ms(stream.rest_ms)
            response = come_back(there, "bob", stream.event_id)
        result = stream.answer["result"]
        given.append(result["structuredContent"].get("message", {}).get("text"))
        told += map(int, re.findall(r"currentUnixTime (\d+)", result["content"][1]["text"]))
        response = begin(there, "bob", "agent", currentUnixTime=told[-1], maxWaitMs=9_000, agentName="cem")
    assert given == ["a mention", None]
    assert told == [clock.start_ms + 3_001] * 2


def test_who_comes_back_to_a_closed_session_is_told(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    stream = Stream.of(begin(there, "bob"))
    assert there.services.sessions.close("ns", SESSION, now_ms=clock.now_ms(), reason="closed_by_user")
    answer = Stream.of(come_back(there, "bob", stream.event_id)).answer
    assert answer["id"] == "a-request"
    assert answer["result"]["isError"]
    assert "session is closing" in answer["result"]["structuredContent"]["error"]


def test_coming_back_costs_two_reads_and_no_write(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    stream = Stream.of(begin(there, "bob"))
    clock.pass_ms(stream.rest_ms)
    with there.counting() as calls:
        Stream.of(come_back(there, "bob", stream.event_id))
    assert calls == ["BatchGetItem", "Query"]


def test_an_answer_that_was_lost_is_given_again(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    stream = Stream.of(begin(there, "bob"))
    there.send("ann", thread, "now")
    first, again = (Stream.of(come_back(there, "bob", stream.event_id)).answer for _ in range(2))
    assert first == again


def forged(event_id: str, **changes: Any) -> str:
    event = json.loads(base64.urlsafe_b64decode(event_id + "=="))
    event["wait"] |= changes
    return base64.urlsafe_b64encode(json.dumps(event).encode()).decode()


def test_an_id_that_was_not_given_is_refused(there: World, clock: TestClock) -> None:
    stream = Stream.of(begin(there, "bob"))
    wrong = [
        "",
        "nonsense",
        "é",
        stream.event_id[:-9],
        forged(stream.event_id, id="w1, #status = :x"),
        forged(stream.event_id, filters=[{"type": "everything"}]),
        forged(stream.event_id, position=0),
        forged(stream.event_id, position="HEAD"),
        forged(stream.event_id, position=10**12),
        "x" * 100_000,
    ]
    for each in wrong:
        assert come_back(there, "bob", each).status == 400, each
        assert handle(there.services, Request("GET", "wrong", {"last-event-id": each})).status == 401
    assert handle(there.services, Request("GET", there.secret("bob"))).status == 405


def test_an_id_of_an_earlier_version_is_taken(there: World, clock: TestClock) -> None:
    """It did not have the time to ask from next: a deployment may be renewed while clients wait."""
    there.thread("ann", "bob")
    event = json.loads(base64.urlsafe_b64decode(Stream.of(begin(there, "bob", maxWaitMs=2_000)).event_id + "=="))
    del event["wait"]["nextMs"]
    clock.pass_ms(2_000)
    earlier = base64.urlsafe_b64encode(json.dumps(event).encode()).decode()
    result = Stream.of(come_back(there, "bob", earlier)).answer["result"]
    assert str(clock.start_ms) in result["content"][1]["text"]


def test_an_id_reaches_nothing_that_its_bearer_does_not(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    there.send("ann", thread, "for bob")
    clock.pass_ms(100)
    stream = Stream.of(begin(there, "bob"))
    far = forged(stream.event_id, deadlineMs=clock.now_ms() + 10**9)
    everything = forged(far, position=1)
    stream = Stream.of(come_back(there, "cem", everything))
    assert not stream.answer
    clock.pass_ms(60_000)
    assert Stream.of(come_back(there, "bob", everything)).answer["result"]["structuredContent"]["message"]
