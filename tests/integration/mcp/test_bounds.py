"""What one agent and one session may take: counted in writes that are made anyway, and refused with the limit."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.mcp.endpoint import Request, handle
from chalicelib.store.log import SESSION_CLOSING, VOID
from tests.mcp_world import NEVER_S, SESSION, TestClock, World


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def there(here: World, clock: TestClock) -> Iterator[World]:
    """The session on a clock that stands still, with little room."""
    limits = {"session_threads": 3, "session_log_entries": 30, "session_log_bytes": 100_000, "mcp_calls_per_s": 0}
    with here.on(clock, **limits):
        here.services.log.append_once(SESSION, {"type": "runtime_started"}, entry_id="r-0", expires_at=NEVER_S)
        yield here


def refused_thread(there: World) -> str:
    return there.refusal("ann", "coral_create_thread", threadName="one more")


@pytest.mark.parametrize("pause_ms", [0, 1], ids=["the clock stands still", "the clock goes on"])
def test_a_session_has_so_many_threads(there: World, clock: TestClock, pause_ms: int) -> None:
    for _ in range(3):
        there.thread("ann", "bob")
        clock.pass_ms(pause_ms)
    with there.counting() as calls:
        assert refused_thread(there) == f"the session '{SESSION}' has 3 threads: at most 3 are taken"
    assert calls.count("UpdateItem") <= 2
    assert "PutItem" not in calls
    assert len(there.services.threads.of_session(SESSION)) == 3


def test_the_threads_of_another_session_do_not_count(there: World) -> None:
    other = "22222222-2222-4333-8444-555555555555"
    for _ in range(3):
        there.thread("ann", "bob")
    there.session("ann", "bob", session_id=other)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    params = {"name": "coral_create_thread", "arguments": {"threadName": "topic"}}
    assert b'"error"' not in there.post("ann", {**message, "params": params}, secret=there.secret("ann", other)).body


def test_what_a_thread_and_a_message_cost_stays_as_it_is(there: World, clock: TestClock) -> None:
    for _ in range(2):
        clock.pass_ms(1)
        with there.counting() as calls:
            thread = there.thread("ann", "bob")
    assert calls == ["BatchGetItem", "UpdateItem", "PutItem", "PutItem"]
    clock.pass_ms(1)
    with there.counting() as calls:
        there.send("ann", thread, "hello")
    assert calls == ["BatchGetItem", "UpdateItem", "PutItem"]


def test_a_log_has_so_many_bytes(there: World) -> None:
    thread = there.thread("ann", "bob")
    there.send("ann", thread, "é" * 45_000)
    there.send("ann", thread, "the last goes beyond the bytes" * 500)
    said = there.refusal("ann", "coral_send_message", threadId=thread, content="x")
    assert "bytes in its log: at most 100000 are taken" in said
    assert "at most 100000" in refused_thread(there)


def test_a_log_has_so_many_entries(there: World) -> None:
    thread = there.thread("ann", "bob")
    for number in range(27):
        there.send("ann", thread, str(number))
    said = there.refusal("ann", "coral_send_message", threadId=thread, content="x")
    assert said == f"the session '{SESSION}' has 30 entries in its log: at most 30 are taken"


def test_a_full_log_takes_changes_of_its_threads(there: World) -> None:
    thread = there.thread("ann", "bob")
    there.send("ann", thread, "x" * 100_000)
    there.tool("ann", "coral_add_participant", threadId=thread, participantName="cem")
    there.tool("ann", "coral_remove_participant", threadId=thread, participantName="bob")
    there.tool("ann", "coral_close_thread", threadId=thread, summary="x" * 5_000)
    there.tool("ann", "coral_add_participant", threadId=thread, participantName="bob")
    told = [entry.event["type"] for entry in there.services.log.read(SESSION, live=False)]
    assert told[-2:] == ["thread_closed", "thread_participant_added"]


def test_a_full_log_takes_what_atoll_says_and_is_read_and_waited_for(there: World) -> None:
    thread = there.thread("ann", "bob")
    there.send("ann", thread, "x" * 100_000, "bob")
    assert "at most" in there.refusal("bob", "coral_send_message", threadId=thread, content="x")
    heard = there.tool("bob", "coral_wait_for_mention", currentUnixTime=1, maxWaitMs=1_000)
    assert heard["message"]["text"] == "x" * 100_000
    assert there.tool("ann", "coral_wait_for_message", maxWaitMs=1_000) == {"status": "Timeout reached"}
    there.services.log.append_once(SESSION, {"type": "runtime_stopped"}, entry_id="s-1", expires_at=NEVER_S)
    there.services.log.append(
        SESSION, lambda _: {"type": SESSION_CLOSING}, expires_at=NEVER_S, entry_id=SESSION_CLOSING
    )
    told = [entry.event["type"] for entry in there.services.log.read(SESSION, live=False)]
    assert [kind for kind in told if kind != VOID][-2:] == ["runtime_stopped", SESSION_CLOSING]


def begin_waits(there: World, count: int, until_ms: int) -> None:
    agent = there.actor("ann").agent
    for number in range(count):
        now_ms = there.services.clock.now_ms()
        assert there.services.agents.start_wait(agent, f"w{number}", until_ms=until_ms, now_ms=now_ms, most=4)


def test_an_agent_waits_so_often_at_once(there: World, clock: TestClock) -> None:
    begin_waits(there, 4, clock.now_ms() + 60_000)
    said = there.refusal("ann", "coral_wait_for_message", maxWaitMs=1_000)
    assert said == "the agent 'ann' has 4 waits under way, as many as it may have at once"
    assert len(there.actor("ann").agent.waits) == 4
    assert there.tool("bob", "coral_wait_for_message", maxWaitMs=1_000) == {"status": "Timeout reached"}


def test_a_wait_that_has_ended_makes_room_for_another(there: World, clock: TestClock) -> None:
    begin_waits(there, 4, clock.now_ms() + 60_000)
    there.services.agents.end_wait(there.actor("ann").agent, "w2")
    assert there.tool("ann", "coral_wait_for_message", maxWaitMs=1_000) == {"status": "Timeout reached"}
    assert set(there.actor("ann").agent.waits) == {"w0", "w1", "w3"}


def test_waits_that_crashed_do_not_count(there: World, clock: TestClock) -> None:
    begin_waits(there, 4, clock.now_ms() + 10)
    clock.pass_ms(11)
    assert there.tool("ann", "coral_wait_for_message", maxWaitMs=1_000) == {"status": "Timeout reached"}
    assert there.actor("ann").agent.waits == {}


def test_a_wait_that_is_noted_twice_is_one(there: World, clock: TestClock) -> None:
    begin_waits(there, 4, clock.now_ms() + 60_000)
    begin_waits(there, 4, clock.now_ms() + 60_000)


def test_an_answer_that_is_there_is_given_to_an_agent_with_many_waits(there: World, clock: TestClock) -> None:
    thread = there.thread("bob", "ann")
    there.send("bob", thread, "hi", "ann")
    begin_waits(there, 4, clock.now_ms() + 60_000)
    assert there.tool("ann", "coral_wait_for_message", currentUnixTime=1)["message"]["text"] == "hi"


@pytest.fixture
def hurried(here: World, clock: TestClock) -> Iterator[World]:
    """The session where an agent may send 5 messages a second, after a burst of 10."""
    with here.on(clock, mcp_calls_per_s=5, mcp_wait_hold_ms=0):
        yield here


TOO_OFTEN = "at most 5 MCP messages a second are taken of one agent: try again in 1 s"


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def test_an_agent_calls_so_often_and_again_a_second_later(hurried: World, clock: TestClock) -> None:
    for _ in range(10):
        hurried.rpc("ann", "ping")
    with hurried.counting() as calls:
        assert hurried.rpc("ann", "ping")["error"]["message"] == TOO_OFTEN
        assert hurried.refusal("ann", "coral_create_thread", threadName="x") == TOO_OFTEN
    assert calls == []
    assert hurried.rpc("bob", "ping")["result"] == {}
    clock.pass_ms(1_000)
    told = [hurried.rpc("ann", "ping") for _ in range(6)]
    assert ["result" in answer for answer in told] == [True] * 5 + [False]


def test_who_calls_too_often_is_told_so_in_every_form(hurried: World) -> None:
    for _ in range(10):
        hurried.post("ann", request("ping"))
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    stateless = hurried.post("ann", request("tools/list", _meta=meta), {"mcp-protocol-version": "2026-07-28"})
    assert (stateless.status, stateless.headers["Retry-After"]) == (429, "1")
    assert json.loads(stateless.body)["error"]["message"] == TOO_OFTEN
    stream = handle(hurried.services, Request("GET", hurried.secret("ann")))
    assert (stream.status, json.loads(stream.body)["message"]) == (429, TOO_OFTEN)
    notified = hurried.post("ann", {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})
    assert (notified.status, notified.body) == (202, b"")


def test_each_message_of_a_batch_counts(hurried: World) -> None:
    batch = [request("ping"), {"jsonrpc": "2.0", "method": "notifications/initialized"}] * 4
    answers = json.loads(hurried.post("ann", batch).body)
    assert [answer["result"] for answer in answers] == [{}] * 4
    answers = json.loads(hurried.post("ann", batch).body)
    assert [answer["error"]["message"] for answer in answers] == [TOO_OFTEN] * 4
    assert hurried.rpc("ann", "ping")["result"] == {}


def test_who_comes_back_too_often_for_a_wait_is_asked_to_come_once_more(hurried: World) -> None:
    waits = request("tools/call", name="coral_wait_for_message", arguments={"maxWaitMs": 60_000})
    sent = {"mcp-protocol-version": "2025-11-25", "accept": "application/json, text/event-stream", "user-agent": "node"}
    stream = hurried.post("ann", waits, sent).body.decode()
    event_id = stream.splitlines()[0].removeprefix("id: ")
    for _ in range(9):
        hurried.rpc("ann", "ping")
    answer = handle(hurried.services, Request("GET", hurried.secret("ann"), {"last-event-id": event_id}))
    assert (answer.status, answer.body.decode()) == (200, f"id: {event_id}\nretry: 1000\ndata:\n\n")


def test_no_limit_is_no_limit(here: World, clock: TestClock) -> None:
    with here.on(clock, mcp_calls_per_s=0):
        for _ in range(50):
            assert here.rpc("ann", "ping")["result"] == {}
