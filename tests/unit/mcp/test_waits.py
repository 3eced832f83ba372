"""Waits as properties: whatever order messages are stamped in and appear in, none is missed.

The stores are lists in memory here, so that thousands of orders can be tried; what DynamoDB makes of the same calls is
tested with the tools.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain import waits
from chalicelib.domain.actors import Actor
from chalicelib.settings import Settings
from chalicelib.store.agents import AgentRecord
from chalicelib.store.log import WRITE_LIMIT_MS, Log
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.threads import ThreadRecord
from chalicelib.stores import TimedWatch
from chalicelib.wire.base import iso_from_ms
from chalicelib.wire.threads import SessionThreadMessage
from chalicelib.wire.waits import PausedWait
from tests.mcp_world import NEVER_S, TestClock

#: Differences of the writers' clocks (ms) that the overlap leaves room for.
SKEW_MS = 300


class MemoryLog(Log):
    """A log in memory."""

    def __init__(self, clock: TestClock) -> None:
        self._table: Any = self
        self.clock = clock
        self._items: dict[str, dict[str, Any]] = {}

    def put(self, item: dict[str, Any], **_: Any) -> bool:
        self._items[item["item"]] = item
        return True

    def query(self, condition: str, values: Any, **_: Any) -> Iterator[dict[str, Any]]:
        wanted = sorted(key for key in self._items if values[":from"] <= key <= values[":to"])
        return iter([self._items[key] for key in wanted])


class Memory:
    """As much of a deployment as a wait uses, with one agent ``bob`` in two threads.

    With ``hold_ms`` its waits are paused, and bob comes back for them.
    """

    def __init__(self, hold_ms: int | None = None) -> None:
        self.hold_ms = hold_ms
        self.clock = TestClock()
        self.settings = Settings(mcp_wait_limit_ms=60_000)
        self.log = MemoryLog(self.clock)
        self.threads = self
        self.agents = self
        self.heard: dict[str, Any] | None = None
        self.was_given: dict[str, int] = {}

    def watch(self, _session: str, _cares: object) -> TimedWatch:
        return TimedWatch(self.clock)

    def of_session(self, session_id: str) -> list[ThreadRecord]:
        return [
            ThreadRecord(
                session_id=session_id,
                thread_id=thread,
                name="topic",
                creator_name="ann",
                created_at_ms=0,
                expires_at=NEVER_S,
                participants={"ann", "bob"},
            )
            for thread in ("t0", "t1")
        ]

    def start_wait(self, *_: Any, **__: Any) -> None:
        pass

    def end_wait(
        self,
        _agent: AgentRecord,
        _wait: str,
        *,
        heard: dict[str, Any] | None,
        given: tuple[str, int] | None = None,
    ) -> None:
        self.heard = heard
        self.was_given |= dict([given]) if given else {}

    def bob(self) -> Actor:
        agent = AgentRecord(
            session_id="s",
            namespace="ns",
            name="bob",
            position=0,
            registry_agent_identifier={},
            runtime="executable",
            expires_at=NEVER_S,
            heard=self.heard,
            given=self.was_given,
        )
        session = SessionRecord(
            namespace="ns", session_id="s", status="executed", created_at_ms=0, expires_at=NEVER_S, namespace_state={}
        )
        return Actor(session, agent)

    def appear(self, thread: str, number: int, stamp_ms: int) -> None:
        """Let a message be read that was stamped a while ago."""
        stamp = iso_from_ms(stamp_ms)
        message = {
            "id": f"m{number}",
            "threadId": thread,
            "text": str(number),
            "senderName": "ann",
            "mentionNames": [],
            "timestamp": stamp,
        }
        event = {"type": "thread_message_sent", "timestamp": stamp, "message": message}
        self.log.append("s", event, at_ms=stamp_ms, expires_at=NEVER_S, seq=number)

    def wait(self, from_ms: int) -> SessionThreadMessage | None:
        """Wait for up to 6 s."""
        terms = waits.Terms(from_ms=from_ms, max_wait_ms=6_000, hold_ms=self.hold_ms)
        go_on = partial(waits.for_message, terms=terms)
        while True:
            try:
                return go_on(self, self.bob())  # type: ignore[arg-type]
            except waits.Paused as paused:
                self.clock.sleep(paused.rest_ms / 1000)
                carried = PausedWait.model_validate_json(paused.wait.model_dump_json(by_alias=True))
                go_on = partial(waits.resume, paused=carried)

    def given(self, thinks_ms: list[int]) -> Iterator[tuple[int, int]]:
        """Wait as the instruction says, from after the latest stamp, until nothing comes any more.

        Yields the number of each message and the time at which the agent had it.
        """
        latest_ms = self.clock.now_ms() - 1 - SKEW_MS
        for pause_ms in itertools.cycle(thinks_ms):
            message = self.wait(latest_ms + 1)
            if message is None:
                return
            yield int(message.text), self.clock.now_ms()
            latest_ms = max(latest_ms, message.timestamp)
            self.clock.sleep(pause_ms / 1000)


@dataclasses.dataclass(frozen=True)
class Write:
    """A message: when it is stamped, by a clock that is wrong by so much, and how long after that it appears (ms)."""

    at_ms: int
    skew_ms: int
    delay_ms: int
    thread: str


#: The writer measures its delay itself: beyond the limit it writes again, which is tested with the log.
WRITES = st.lists(
    st.builds(
        Write,
        at_ms=st.integers(0, 3_000),
        skew_ms=st.integers(-SKEW_MS, SKEW_MS),
        delay_ms=st.one_of(st.integers(0, 20), st.integers(0, WRITE_LIMIT_MS - SKEW_MS - 1)),
        thread=st.sampled_from(["t0", "t1"]),
    ),
    min_size=1,
    max_size=10,
)
THINKS_MS = st.lists(st.one_of(st.integers(0, 60), st.integers(0, 3_000)), min_size=1, max_size=5)


HOLDS_MS = st.one_of(st.none(), st.integers(0, 2_000))


@given(WRITES, THINKS_MS, HOLDS_MS)
@settings(max_examples=3 * settings().max_examples)
def test_an_agent_that_waits_again_and_again_is_given_every_message_once(
    writes: list[Write], thinks_ms: list[int], hold_ms: int | None
) -> None:
    here = Memory(hold_ms)
    started_ms = here.clock.start_ms
    for number, write in enumerate(writes):
        stamp_ms = started_ms + write.at_ms + write.skew_ms
        here.clock.plan(write.at_ms + write.delay_ms, partial(here.appear, write.thread, number, stamp_ms))
    assert sorted(number for number, _ in here.given(thinks_ms)) == list(range(len(writes)))


@given(WRITES)
@settings(max_examples=2 * settings().max_examples)
def test_a_message_is_given_soon_after_it_appears_and_not_before(writes: list[Write]) -> None:
    here = Memory()
    started_ms = here.clock.start_ms
    for number, write in enumerate(writes):
        stamp_ms = started_ms + write.at_ms + write.skew_ms
        here.clock.plan(write.at_ms + write.delay_ms, partial(here.appear, write.thread, number, stamp_ms))
    for number, at_ms in here.given([0]):
        late_ms = at_ms - started_ms - writes[number].at_ms - writes[number].delay_ms
        assert 0 <= late_ms <= waits.LONGEST_PAUSE_S * 1000
