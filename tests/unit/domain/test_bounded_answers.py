"""Answers about sessions are bounded by what they take to be built: their bytes, what is read for them, and time."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.clock import Clock
from chalicelib.domain import sessions, threads
from chalicelib.domain.errors import TooLarge, TryLater
from chalicelib.domain.threads import Bounds
from chalicelib.store.log import LogEntry
from chalicelib.store.message_counts import Counted
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.threads import ThreadRecord

SESSION = SessionRecord(
    namespace="n",
    session_id="s",
    status="executed",
    created_at_ms=0,
    executed_at_ms=0,
    expires_at=0,
    namespace_state={},
)


class TickingClock(Clock):
    """A clock that goes on by a millisecond with every entry that is read."""

    time_ms = 0

    def now_ms(self) -> int:
        return self.time_ms


class There:
    """The stores of one session: an open and a closed thread, and messages of so many bytes in one of them."""

    def __init__(self, count: int, size: int = 1, *, thread: str = "open") -> None:
        self.clock = TickingClock()
        self.count, self.size, self.thread = count, size, thread
        self.read = 0
        self.kept = Counted()
        self.threads = SimpleNamespace(page=lambda *_, **__: iter([_thread("open"), _thread("closed")]))
        self.log = SimpleNamespace(read=self._entries)
        self.agents = SimpleNamespace(of_session=lambda _: [])
        self.message_counts = SimpleNamespace(find=lambda _: self.kept, keep=self._keep)

    def _keep(self, _: str, counted: Counted, *, expires_at: int) -> None:
        self.kept = counted

    def _entries(self, _: str, first: int = 1, *, live: bool = True) -> Iterator[LogEntry]:
        for position in range(first, self.count + 1):
            self.read += 1
            self.clock.time_ms += 1
            message = {
                "id": f"m{position}",
                "threadId": self.thread,
                "text": "x" * self.size,
                "senderName": "a",
                "mentionNames": ["b"],
                "timestamp": "2026-01-01T00:00:00.000Z",
            }
            yield LogEntry(f"e{position}", position, position, {"type": "thread_message_sent", "message": message}, 0)


def _thread(state: Any) -> ThreadRecord:
    return ThreadRecord(
        session_id="s", thread_id=state, name=state, creator_name="a", created_at_ms=0, expires_at=0, state=state
    )


def extended(there: Any, *, answer_bytes: int = 5_000_000, deadline_ms: int = 1_000_000) -> Any:
    return sessions.extended_state_of(there, SESSION, Bounds(answer_bytes, deadline_ms))


def test_many_short_messages_are_as_large_as_their_json() -> None:
    there = There(100_000)
    with pytest.raises(TooLarge, match="more than 10000 bytes"):
        extended(there, answer_bytes=10_000)
    assert there.read < 60


def test_an_answer_that_fits_is_not_refused() -> None:
    there = There(30)
    whole = extended(there, answer_bytes=10_000)
    assert len(whole.threads[-1].messages) == 30
    assert len(whole.model_dump_json(by_alias=True)) < 10_000


def test_messages_that_are_not_shown_are_read_only_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "READ_BYTES", 100_000)
    there = There(1_000, 9_700, thread="closed")
    with pytest.raises(TooLarge, match="the log of the session has more than 100000 bytes"):
        extended(there)
    assert there.read == 11


def test_a_log_is_read_for_a_time_only() -> None:
    there = There(100_000, thread="closed")
    with pytest.raises(TooLarge, match="takes too long"):
        extended(there, deadline_ms=50)
    assert there.read == 51


def test_threads_that_no_answer_holds_are_not_read_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MOST_BYTES", 2_000)
    there, read = There(0), 0

    def page(*_: Any, **__: Any) -> Iterator[ThreadRecord]:
        nonlocal read
        for _number in range(1_000):
            read += 1
            yield _thread("open")

    there.threads.page = page
    with pytest.raises(TooLarge, match="list them page by page, at /thread"):
        extended(there)
    assert read < 30


def test_counting_goes_on_where_its_time_was_over() -> None:
    there: Any = There(100)
    for reached in (41, 82):
        with pytest.raises(TryLater):
            threads.message_counts(there, SESSION, there.clock.time_ms + 40)
        assert there.kept.position == reached
    assert threads.message_counts(there, SESSION, there.clock.time_ms + 40) == {"open": 100}


def test_sessions_of_a_namespace_are_bounded_by_their_annotations_too() -> None:
    noted = SessionRecord(**{**vars(SESSION), "annotations": {"note": "x" * 1_000}})
    stores: Any = SimpleNamespace(
        clock=TickingClock(), sessions=SimpleNamespace(of_namespace=lambda _: iter([noted] * 100))
    )
    record = NamespaceRecord(name="n", created_at_ms=0)
    with pytest.raises(TooLarge, match="sessions of more than 50000 bytes: list them page by page"):
        sessions.namespace_with_sessions(stores, record, Bounds(50_000, 1_000))
    assert len(sessions.namespace_with_sessions(stores, record, Bounds(200_000, 1_000)).sessions) == 100
