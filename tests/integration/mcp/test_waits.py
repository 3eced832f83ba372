"""Waiting, on a clock that tests move: what ends a wait, when, and what it costs."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from chalicelib.domain import errors
from chalicelib.domain.waits.wait import BELIEVED_MS
from chalicelib.stores import LONGEST_PAUSE_S
from chalicelib.wire.base import iso_from_ms
from tests.mcp_world import NEVER_S, SESSION, TestClock, World

#: The calls with which start and stop of a wait that is answered at once are put into the log.
TOLD = ["UpdateItem", "PutItem", "PutItem"]


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
    assert clock.now_ms() - clock.start_ms <= 5_000 + LONGEST_PAUSE_S * 1000


def test_a_wait_without_a_message_ends_at_its_time(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")
    assert wait(there, "bob", 3_000) == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 3_000


class _Busy(TestClock):
    """A clock that goes on by a millisecond whenever it is read, and whose pauses are short, as writes make them."""

    def __init__(self, early_ms: int) -> None:
        self._early_ms = early_ms
        super().__init__()

    def now_ms(self) -> int:
        self.pass_ms(1)
        return super().now_ms()

    def sleep(self, seconds: float) -> None:
        self.pass_ms(max(0, round(seconds * 1000) - self._early_ms))


@pytest.mark.parametrize("early_ms", range(40, 44))
def test_a_wait_is_over_at_whichever_step_its_time_ends(here: World, early_ms: int) -> None:
    with here.on(_Busy(early_ms), mcp_wait_limit_ms=60_000):
        assert wait(here, "bob", 200) == {"status": "Timeout reached"}


def test_a_wait_for_longer_than_any_is_the_longest(there: World, clock: TestClock) -> None:
    assert wait(there, "bob", 3_600_000) == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 58_000


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


def stamp_of(message: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000)


def test_what_is_sent_in_one_millisecond_is_stamped_in_a_row_and_all_given(there: World, clock: TestClock) -> None:
    """The clock stands still."""
    thread = there.thread("ann", "bob")
    sent = [stamp_of(there.send("ann", thread, text)) for text in ("first", "second", "third")]
    assert sent == [sent[0], sent[0] + 1, sent[0] + 2]
    given, from_ms = [], clock.start_ms
    for _ in range(3):
        clock.pass_ms(10_000)
        message = wait(there, "bob", 0, currentUnixTime=from_ms)["message"]
        given.append(message["text"])
        from_ms = stamp_of(message) + 1
    assert given == ["first", "second", "third"]
    assert wait(there, "bob", 0, currentUnixTime=from_ms) == {"status": "Timeout reached"}


@pytest.mark.parametrize("step_ms", [-3_600_000, -3_000, -1_000, 1_000, 3_600_000])
def test_a_senders_clock_that_is_wrong_hides_nothing(there: World, clock: TestClock, step_ms: int) -> None:
    thread = there.thread("ann", "bob", "cem")
    seen, from_ms = [], clock.now_ms()

    def send_wrongly() -> None:
        with there.on(TestClock(clock.now_ms() + step_ms)):
            there.send("cem", thread, "by a wrong clock")

    clock.plan(1_000, lambda: there.send("ann", thread, "before"))
    clock.plan(1_100, send_wrongly)
    clock.plan(1_200, lambda: there.send("ann", thread, "after"))
    for _ in range(3):
        message = wait(there, "bob", 5_000, currentUnixTime=from_ms)["message"]
        seen.append(message["text"])
        from_ms = stamp_of(message) + 1
    assert seen == ["before", "by a wrong clock", "after"]
    assert wait(there, "bob", 0, currentUnixTime=from_ms) == {"status": "Timeout reached"}


def test_a_message_that_comes_meanwhile_counts_whatever_its_stamp(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    there.send("ann", thread, "before")
    clock.plan(1_000, lambda: there.send("ann", thread, "meanwhile"))
    got = wait(there, "bob", currentUnixTime=clock.now_ms() + 3_600_000)["message"]
    assert got["text"] == "meanwhile"


def test_a_time_is_found_in_a_long_log_by_few_reads(there: World, clock: TestClock) -> None:
    there.rpc("bob", "ping")
    thread = there.thread("ann", "bob")
    sent = []
    for number in range(400):
        clock.pass_ms(7)
        sent.append(there.send("ann", thread, str(number)))
    clock.pass_ms(1_000)
    for number in (0, 150, 388, 390, 399):
        for from_ms in (stamp_of(sent[number]), stamp_of(sent[number]) - 5):
            with there.counting() as calls:
                assert wait(there, "bob", 0, currentUnixTime=from_ms)["message"] == sent[number]
            assert len(calls) <= 12 + len(TOLD), calls


def test_a_wait_from_the_beginning_reads_pages_and_not_all(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    there.rpc("bob", "ping")
    first = there.send("ann", thread, "first")
    for number in range(200):
        there.send("ann", thread, str(number))
    with there.counting() as calls:
        assert wait(there, "bob", 0, currentUnixTime=0)["message"] == first
    assert calls == ["BatchGetItem", "Query", "BatchGetItem", *TOLD]


def test_a_wait_asks_for_the_threads_that_messages_are_in_and_no_others(there: World, clock: TestClock) -> None:
    there.rpc("bob", "ping")
    others = [there.thread("ann", "cem") for _ in range(5)]
    mine = there.thread("ann", "bob")
    clock.pass_ms(1_000)
    started_ms = clock.now_ms()
    for thread in [*others, mine]:
        there.send("ann", thread, "hello")
    with there.counting() as calls:
        assert wait(there, "bob", 0, currentUnixTime=started_ms)["message"]["threadId"] == mine
    assert calls == ["BatchGetItem", "Query", "BatchGetItem", *TOLD]


@pytest.mark.parametrize("more", [{}, {"currentUnixTime": None, "maxWaitMs": None}], ids=["missing", "null"])
def test_a_wait_that_is_given_no_times_is_one_from_now_on_and_of_the_longest(
    there: World, clock: TestClock, more: dict[str, Any]
) -> None:
    thread = there.thread("ann", "bob")
    there.send("ann", thread, "before")
    clock.pass_ms(10)
    assert there.tool("bob", "coral_wait_for_message", **more) == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 10 + 58_000


@pytest.mark.parametrize("from_ms", [-1, -(2**63), 0])
def test_a_wait_from_before_all_time_gives_what_was_sent_first(there: World, clock: TestClock, from_ms: int) -> None:
    first = there.send("ann", there.thread("ann", "bob"), "first")
    assert wait(there, "bob", 0, currentUnixTime=from_ms)["message"] == first


@pytest.mark.parametrize("from_ms", [10**15 + 1, 2**63 - 1, 10**40])
def test_a_wait_from_after_all_time_gives_what_comes_while_it_lasts(
    there: World, clock: TestClock, from_ms: int
) -> None:
    """Coral's own McpToolsTest asks from ``Long.MAX_VALUE``."""
    thread = there.thread("ann", "bob")
    there.send("ann", thread, "before")
    clock.plan(1_000, lambda: there.send("ann", thread, "meanwhile"))
    assert wait(there, "bob", currentUnixTime=from_ms)["message"]["text"] == "meanwhile"


@pytest.mark.parametrize("wait_ms", [-1, -(10**40)])
def test_a_wait_of_less_than_no_time_looks_once(there: World, clock: TestClock, wait_ms: int) -> None:
    assert wait(there, "bob", wait_ms) == {"status": "Timeout reached"}
    assert clock.now_ms() == clock.start_ms


@pytest.mark.parametrize("name", ["zoe", "bob"], ids=["an unknown agent", "itself"])
def test_a_wait_for_an_agent_that_sends_nothing_lasts_its_time(there: World, clock: TestClock, name: str) -> None:
    thread = there.thread("ann", "bob")
    clock.plan(100, lambda: there.send("bob", thread, "mine"))
    assert wait(there, "bob", 5_000, kind="agent", agentName=name) == {"status": "Timeout reached"}
    assert clock.now_ms() - clock.start_ms == 5_000


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
    clock.plan(1_000, lambda: there.services.log.append(SESSION, lambda _: closing, expires_at=NEVER_S))
    said = there.refusal("bob", "coral_wait_for_message", currentUnixTime=clock.now_ms())
    assert "is closing" in said
    assert clock.now_ms() - clock.start_ms < 1_500


def test_an_agent_that_is_stopped_waits_no_longer(there: World, clock: TestClock) -> None:
    stopped = {"type": "runtime_stopped", "timestamp": iso_from_ms(clock.now_ms()), "name": "bob"}
    clock.plan(1_000, lambda: there.services.log.append(SESSION, lambda _: stopped, expires_at=NEVER_S))
    said = there.refusal("bob", "coral_wait_for_message", currentUnixTime=clock.now_ms())
    assert "was stopped" in said


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
    clock.pass_ms(10_000 + BELIEVED_MS)
    assert there.communication("bob") == "thinking"
    wait(there, "bob", 1)
    agent = there.services.agents.find(SESSION, "bob")
    assert agent is not None
    assert agent.waits == {}


def told_of_waits(there: World) -> list[tuple[str, str | None]]:
    """Return what the log tells of waits: the entry's type, and the text of the message that ended one."""
    entries = [entry.event for entry in there.services.log.read(SESSION)]
    waits = [event for event in entries if event["type"].startswith("agent_wait")]
    return [(event["type"].removeprefix("agent_wait_"), event.get("message", {}).get("text")) for event in waits]


def test_the_log_tells_of_a_wait_that_a_message_ends(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    clock.plan(1_000, lambda: there.send("ann", thread, "hello", "bob"))
    wait(there, "bob", kind="mention")
    told = [entry.event for entry in there.services.log.read(SESSION)][-3:]
    assert [event["type"] for event in told] == ["agent_wait_start", "thread_message_sent", "agent_wait_stop"]
    assert told[0]["filters"] == [{"type": "mentions", "name": "bob"}]
    assert told[2]["message"] == told[1]["message"]


@pytest.mark.parametrize("wait_ms", [0, 20_000])
def test_the_log_tells_of_a_wait_that_is_answered_at_once(there: World, clock: TestClock, wait_ms: int) -> None:
    there.rpc("bob", "ping")
    there.send("ann", there.thread("ann", "bob"), "hello")
    with there.counting() as calls:
        wait(there, "bob", wait_ms, currentUnixTime=clock.start_ms)
    assert calls == ["BatchGetItem", "Query", "BatchGetItem", *TOLD]
    assert told_of_waits(there) == [("start", None), ("stop", "hello")]


def test_the_log_tells_of_the_start_alone_of_a_wait_that_nothing_ends(there: World, clock: TestClock) -> None:
    """As Coral does, which does not begin a wait of no time at all."""
    there.thread("ann", "bob")
    wait(there, "bob", 0)
    assert told_of_waits(there) == []
    wait(there, "bob", 1_000)
    assert told_of_waits(there) == [("start", None)]


def test_the_log_tells_of_a_wait_whose_time_is_over_with_its_first_look(there: World, clock: TestClock) -> None:
    def take_long(name: str, _params: dict[str, Any]) -> None:
        if name == "Query":
            clock.pass_ms(50)

    there.rpc("bob", "ping")
    there.before_call = take_long
    wait(there, "bob", 20)
    assert told_of_waits(there) == [("start", None)]
    agent = there.services.agents.find(SESSION, "bob")
    assert agent is not None
    assert agent.waits == {}


def waited(there: World, name: str, wait_ms: int, from_ms: int, *, kind: str = "message") -> tuple[Any, int]:
    """Wait; return the message, and the time from which the agent is told to ask next."""
    arguments = {"currentUnixTime": from_ms, "maxWaitMs": wait_ms}
    result = there.rpc(name, "tools/call", {"name": f"coral_wait_for_{kind}", "arguments": arguments})["result"]
    assert set(result["structuredContent"]) <= {"status", "message"}, "Coral's clients decode it strictly"
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    (told,) = re.findall(r"currentUnixTime (\d+)", result["content"][1]["text"])
    return result["structuredContent"].get("message"), int(told)


def test_who_asks_from_the_time_that_a_wait_tells_is_given_each_message_once(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    next_ms = clock.now_ms()
    for after_ms in (100, 101, 3_000):
        clock.plan(after_ms, lambda: there.send("ann", thread, str(clock.now_ms() - clock.start_ms)))
    given = []
    for _ in range(5):
        message, next_ms = waited(there, "bob", 2_000, next_ms)
        given.append(message and message["text"])
        clock.pass_ms(700)
    assert given == ["100", "101", "3000", None, None]


@pytest.mark.parametrize("from_ms", [0, 10**15], ids=["from before all", "from after all"])
@pytest.mark.parametrize("step_ms", [-3_600_000, 0, 3_600_000])
def test_a_wait_in_vain_hides_nothing_from_the_next_one(
    there: World, clock: TestClock, step_ms: int, from_ms: int
) -> None:
    """Not what came while it lasted and was not for it, whatever the clock of its sender."""
    thread = there.thread("ann", "bob")

    def send() -> None:
        with there.on(TestClock(clock.now_ms() + step_ms)):
            there.send("ann", thread, "to nobody")

    clock.plan(500, send)
    message, next_ms = waited(there, "bob", 1_000, from_ms, kind="mention")
    assert message is None
    message, next_ms = waited(there, "bob", 0, next_ms)
    assert message["text"] == "to nobody"
    assert waited(there, "bob", 0, next_ms)[0] is None


def test_what_comes_before_the_first_look_of_a_wait_in_vain_is_not_hidden_from_the_next_one(
    there: World, clock: TestClock
) -> None:
    """It may be stamped before the wait began: by a clock that is behind, a millisecond after what was there last."""
    thread = there.thread("ann", "bob")
    there.rpc("bob", "ping")
    clock.pass_ms(10_000)

    def cut_in(name: str, _params: dict[str, Any]) -> None:
        if name == "Query":
            there.before_call = lambda *_: None
            with there.on(TestClock(clock.now_ms() - 5_000)):
                there.send("ann", thread, "just then")

    there.before_call = cut_in
    message, next_ms = waited(there, "bob", 0, 10**15)
    assert message is None
    assert waited(there, "bob", 0, next_ms)[0]["text"] == "just then"


def test_who_was_given_the_past_of_a_thread_is_not_told_to_ask_for_what_it_has_had(
    there: World, clock: TestClock
) -> None:
    old = there.thread("ann", "cem")
    there.send("ann", old, "of the past")
    thread = there.thread("ann", "bob")
    clock.pass_ms(1_000)
    there.send("ann", thread, "had")
    message, next_ms = waited(there, "bob", 0, clock.start_ms)
    assert message["text"] == "had"
    adding = {"threadId": old, "participantName": "bob"}
    clock.plan(2_000, lambda: there.tool("ann", "coral_add_participant", **adding))
    message, next_ms = waited(there, "bob", 5_000, next_ms)
    assert message["text"] == "of the past"
    assert waited(there, "bob", 0, next_ms)[0] is None


#: The id of every request that `World.rpc` makes.
REQUEST_ID = 1


def cancel(there: World, name: str, request_id: Any = REQUEST_ID) -> None:
    """Tell that a client gives a request up."""
    params = {"requestId": request_id, "reason": "its user has pressed a key"}
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    assert there.post(name, body, {"mcp-protocol-version": "2025-06-18"}).status == 202


def test_a_wait_that_its_client_cancels_ends(there: World, clock: TestClock) -> None:
    thread = there.thread("ann", "bob")
    seen: list[str | None] = []
    clock.plan(5_000, lambda: seen.append(there.communication("bob")))
    clock.plan(5_001, lambda: cancel(there, "bob"))
    assert "cancelled" in there.refusal("bob", "coral_wait_for_message", currentUnixTime=clock.now_ms())
    assert clock.now_ms() - clock.start_ms <= 5_001 + LONGEST_PAUSE_S * 1000
    assert (seen, there.communication("bob")) == (["waiting_message"], "thinking")
    assert told_of_waits(there) == [("start", None)]
    sent = there.send("ann", thread, "later")
    assert wait(there, "bob", 0, currentUnixTime=clock.start_ms)["message"] == sent


def test_a_wait_that_is_cancelled_before_its_first_look_ends(there: World, clock: TestClock) -> None:
    there.thread("ann", "bob")

    def cut_in(name: str, _params: dict[str, Any]) -> None:
        if name == "Query":
            there.before_call = lambda *_: None
            cancel(there, "bob")

    there.rpc("bob", "ping")
    there.before_call = cut_in
    assert "cancelled" in there.refusal("bob", "coral_wait_for_message", currentUnixTime=0)
    assert clock.now_ms() == clock.start_ms


@pytest.mark.parametrize(
    ("name", "request_id"), [("bob", "1"), ("bob", 2), ("cem", 1), ("bob", None), ("bob", [1]), ("bob", {})]
)
def test_a_wait_lasts_when_something_else_is_cancelled(
    there: World, clock: TestClock, name: str, request_id: Any
) -> None:
    thread = there.thread("ann", "bob")
    clock.plan(1_000, lambda: cancel(there, name, request_id))
    clock.plan(2_000, lambda: there.send("ann", thread, "now"))
    assert wait(there, "bob")["message"]["text"] == "now"


def test_a_cancellation_ends_no_wait_that_comes_after_it(there: World, clock: TestClock) -> None:
    """Clients count their requests from the beginning when they connect again."""
    thread = there.thread("ann", "bob")
    clock.plan(1_000, lambda: cancel(there, "bob"))
    there.refusal("bob", "coral_wait_for_message", currentUnixTime=0)
    clock.plan(5_000, lambda: there.send("ann", thread, "now"))
    assert wait(there, "bob", currentUnixTime=0)["message"]["text"] == "now"


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
        assert wait(there, "bob", currentUnixTime=clock.start_ms)["status"] == "Message received"
    assert calls == ["BatchGetItem", "Query", "BatchGetItem", *TOLD]
    clock.pass_ms(10)
    with there.counting() as calls:
        assert wait(there, "bob", 25_000)["status"] == "Timeout reached"
    assert len(calls) <= 70


def test_an_unknown_secret_waits_for_nothing(there: World) -> None:
    with pytest.raises(errors.Unauthorized):
        there.actor("zoe")
