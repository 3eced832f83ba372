"""Waiting, on a clock that tests move: what ends a wait, when, and what it costs."""

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.domain import errors, threads, waits
from chalicelib.store.agents import MOST_GIVEN
from chalicelib.store.log import OVERLAP_MS
from chalicelib.wire.base import iso_from_ms
from tests.mcp_world import NEVER_S, SESSION, TestClock, World


@pytest.fixture
def clock(here: World) -> TestClock:
    return TestClock()


@pytest.fixture
def there(here: World, clock: TestClock) -> Iterator[World]:
    """The session of ``ann``, ``bob`` and ``cem`` on the clock that tests move; a wait may last a minute."""
    with here.on(clock, mcp_wait_limit_ms=60_000):
        yield here


def wait(there: World, name: str, wait_ms: int = 60_000, *, kind: str = "message", **more: Any) -> Any:
    more.setdefault("currentUnixTime", there.services.clock.now_ms())
    return there.tool(name, f"coral_wait_for_{kind}", maxWaitMs=wait_ms, **more)


def test_a_message_sent_meanwhile_ends_the_wait(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    clock.plan(5_000, lambda: there.send("ann", thread, "now"))
    assert wait(there, "bob")["message"]["text"] == "now"
    assert clock.now_ms() - clock.start_ms <= 5_000 + waits.LONGEST_PAUSE_S * 1000


def test_a_wait_without_a_message_ends_at_its_time(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    assert wait(there, "bob", 3_000) == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 3_000


def test_a_wait_for_longer_than_any_is_the_longest(there: World, clock: TestClock) -> None:
    assert wait(there, "bob", 3_600_000) == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 60_000


def test_a_door_that_closes_earlier_ends_the_wait(here: World, clock: TestClock) -> None:
    with here.on(clock, mcp_wait_limit_ms=25_000):
        assert wait(here, "bob") == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 25_000


def test_a_wait_counts_only_what_is_stamped_from_its_time_on(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    first = there.send("ann", thread, "first")
    clock.pass_ms(10)
    second_at = clock.now_ms()
    there.send("ann", thread, "second")
    clock.pass_ms(10)
    assert wait(there, "bob", 0, currentUnixTime=clock.start_ms)["message"] == first
    assert wait(there, "bob", 0, currentUnixTime=second_at)["message"]["text"] == "second"
    assert wait(there, "bob", 0, currentUnixTime=second_at + 1) == {"status": "Timeout reached"}


def test_messages_of_one_millisecond_are_all_given_however_late_one_asks(there: World, clock: TestClock) -> None:
    """The clock stands still: all three have one stamp."""
    thread = there.thread("ann", "bob")
    for text in ("first", "second", "third"):
        there.send("ann", thread, text)
    given, from_ms = [], clock.start_ms
    for _ in range(3):
        clock.pass_ms(2 * OVERLAP_MS)
        given.append(wait(there, "bob", 0, currentUnixTime=from_ms)["message"]["text"])
        from_ms = clock.start_ms + 1
    assert sorted(given) == ["first", "second", "third"]
    assert wait(there, "bob", 0, currentUnixTime=from_ms) == {"status": "Timeout reached"}


def test_what_another_wait_was_given_does_not_hide_the_rest_of_a_millisecond(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob", "cem")
    there.send("ann", thread, "first")
    there.send("ann", thread, "second")
    one = wait(there, "bob", 0, kind="agent", agentName="ann", currentUnixTime=clock.start_ms)["message"]["text"]
    clock.pass_ms(10)
    there.send("cem", thread, "between")
    wait(there, "bob", 0, kind="agent", agentName="cem", currentUnixTime=clock.start_ms)
    other = wait(there, "bob", 0, kind="agent", agentName="ann", currentUnixTime=clock.start_ms + 1)["message"]["text"]
    assert {one, other} == {"first", "second"}


def test_an_agents_record_keeps_but_the_latest_that_it_was_given(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    for number in range(MOST_GIVEN + 5):
        there.send("ann", thread, str(number))
        assert wait(there, "bob", 0, currentUnixTime=clock.now_ms())["message"]["text"] == str(number)
        clock.pass_ms(1)
    bob = there.services.agents.find(SESSION, "bob")
    assert bob is not None
    assert sorted(bob.given.values()) == [clock.now_ms() - ago for ago in range(MOST_GIVEN, 0, -1)]


def test_own_messages_do_not_count(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    there.send("bob", thread, "mine")
    assert wait(there, "bob", 100, currentUnixTime=0) == {"status": "Timeout reached"}


def test_filters_pass_over_what_does_not_match(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob", "cem")
    clock.plan(100, lambda: there.send("ann", thread, "to nobody"))
    clock.plan(200, lambda: there.send("ann", thread, "to cem", "cem"))
    clock.plan(300, lambda: there.send("cem", thread, "from cem"))
    clock.plan(400, lambda: there.send("ann", thread, "to bob", "bob"))
    started = clock.start_ms
    assert wait(there, "bob", kind="mention", currentUnixTime=started)["message"]["text"] == "to bob"
    assert wait(there, "bob", kind="agent", agentName="cem", currentUnixTime=started)["message"]["text"] == "from cem"
    assert wait(there, "bob", currentUnixTime=started)["message"]["text"] == "to nobody"


def test_a_participant_added_meanwhile_gets_the_first_matching_message_of_the_past(
    there: World, clock: TestClock
) -> None:
    thread = there.thread("ann", "cem")
    there.send("ann", thread, "before bob")
    there.send("cem", thread, "before bob, too")
    clock.pass_ms(60_000)
    clock.plan(
        61_000,
        lambda: there.tool("ann", "coral_add_participant", threadId=thread, participantName="bob"),
    )
    assert wait(there, "bob", kind="agent", agentName="cem")["message"]["text"] == "before bob, too"


def test_a_thread_closed_meanwhile_gives_no_messages(there: World, clock: TestClock) -> None:
    closing, staying = there.thread("ann", "bob"), there.thread("ann", "bob")

    def both() -> None:
        there.send("ann", closing, "too late")
        there.tool("ann", "coral_close_thread", threadId=closing, summary="")
        there.send("ann", staying, "stays")

    clock.plan(1_000, both)
    assert wait(there, "bob")["message"]["text"] == "stays"


def test_a_session_closed_meanwhile_ends_the_wait_with_an_error(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    closing = {"type": "session_closing", "timestamp": iso_from_ms(clock.now_ms())}
    clock.plan(1_000, lambda: there.services.log.append(SESSION, closing, at_ms=clock.now_ms(), expires_at=NEVER_S))
    said = there.refusal("bob", "coral_wait_for_message", currentUnixTime=clock.now_ms())
    assert "is closing" in said
    assert clock.now_ms() - clock.start_ms < 1_500


def test_an_agent_that_is_stopped_waits_no_longer(there: World, clock: TestClock) -> None:
    stopped = {"type": "runtime_stopped", "timestamp": iso_from_ms(clock.now_ms()), "name": "bob", "reason": "killed"}
    clock.plan(1_000, lambda: there.services.log.append(SESSION, stopped, at_ms=clock.now_ms(), expires_at=NEVER_S))
    said = there.refusal("bob", "coral_wait_for_message", currentUnixTime=clock.now_ms())
    assert "killed" in said


def test_an_agent_is_seen_waiting_as_long_as_it_waits(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    seen: list[str | None] = []
    assert there.communication("bob") is None
    clock.plan(1_000, lambda: seen.append(there.communication("bob")))
    clock.plan(2_000, lambda: there.send("ann", thread, "hello"))
    wait(there, "bob")
    assert (seen, there.communication("bob")) == (["waiting_message"], "thinking")


def test_several_waits_of_one_agent_end_each_by_itself(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    seen: list[Any] = []

    def inner() -> None:
        seen.append(wait(there, "bob", 1_000, kind="mention"))
        seen.append(there.communication("bob"))

    clock.plan(500, inner)
    clock.plan(5_000, lambda: there.send("ann", thread, "for the outer one"))
    assert wait(there, "bob")["message"]["text"] == "for the outer one"
    assert seen == [{"status": "Timeout reached"}, "waiting_message"]
    assert there.communication("bob") == "thinking"


def test_a_wait_that_crashed_is_believed_only_for_its_time(there: World, clock: TestClock) -> None:
    def die(name: str, params: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    clock.plan(1_500, lambda: setattr(there, "before_call", die))
    with pytest.raises(KeyboardInterrupt):
        wait(there, "bob", 10_000)
    there.before_call = lambda name, params: None
    assert there.communication("bob") == "waiting_message"
    clock.pass_ms(10_000 + waits.BELIEVED_MS)
    assert there.communication("bob") == "thinking"
    wait(there, "bob", 1)
    agent = there.services.agents.find(SESSION, "bob")
    assert agent is not None
    assert agent.waits == {}


def test_the_log_tells_of_waits_that_had_to_wait(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    clock.plan(1_000, lambda: there.send("ann", thread, "hello", "bob"))
    wait(there, "bob", kind="mention")
    wait(there, "bob", 0, currentUnixTime=clock.start_ms)
    told = [
        entry.event for entry in there.services.log.since(SESSION, 0) if entry.event["type"].startswith("agent_wait")
    ]
    assert [event["type"] for event in told] == ["agent_wait_start", "agent_wait_stop"]
    assert told[0]["filters"] == [{"type": "mentions", "name": "bob"}]
    assert told[1]["message"]["text"] == "hello"


def test_calls_of_each_operation_are_few(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    there.rpc("bob", "ping")
    with there.counting() as calls:
        there.rpc("bob", "tools/list")
    assert calls == ["BatchGetItem"]
    with there.counting() as calls:
        there.send("ann", thread, "hello", "bob")
    assert calls == ["BatchGetItem", "UpdateItem", "PutItem"]
    with there.counting() as calls:
        assert wait(there, "bob", currentUnixTime=0)["status"] == "Message received"
    assert len(calls) <= 4
    with there.counting() as calls:
        assert wait(there, "bob", 25_000, currentUnixTime=clock.now_ms() + 1)["status"] == "Timeout reached"
    assert len(calls) <= 80


def test_an_entry_whose_write_took_too_long_is_written_again_and_read_once(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    slow = iter([OVERLAP_MS * 2, 0, 0])

    def delay(name: str, params: dict[str, Any]) -> None:
        if name == "PutItem" and params["Item"]["item"]["S"].startswith("EVENT#"):
            clock.pass_ms(next(slow))

    def send() -> None:
        there.before_call = delay
        threads.send(there.services, there.actor("ann"), thread, "slow", [])
        there.before_call = lambda name, params: None

    clock.plan(1_000, send)
    got = wait(there, "bob")["message"]
    copies = [entry for entry in there.services.log.since(SESSION, 0) if entry.event["type"] == "thread_message_sent"]
    assert len(copies) == 2
    assert len({entry.id for entry in copies}) == 1
    assert copies[1].at_ms - copies[0].at_ms == OVERLAP_MS * 2
    (view,) = threads.views(there.services, SESSION)
    assert [message.text for message in view.messages] == ["slow"] == [got["text"]]


def test_an_unknown_secret_waits_for_nothing(there: World) -> None:
    with pytest.raises(errors.Unauthorized):
        there.actor("zoe")
