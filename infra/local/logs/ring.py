"""The latest lines of all logs on this machine, in memory: what CloudWatch is for on AWS."""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Self

from chalicelib.wire.logs import ErrorEvent, LogFilter, LoggingEvent

#: Lines that are kept (Coral's ``logging.logBufferSize``), and bytes that they may take together.
MOST_EVENTS = 32_768
MOST_BYTES = 64 * 2**20

#: What a line takes in memory beside its text.
EVENT_BYTES = 700

#: Most lines of the past that a follower is given (Coral's ``logging.maxReplay``).
MAX_REPLAY = 2_048

#: Lines that wait for one follower, and bytes that they may take together.
MOST_WAITING = 4_096
MOST_WAITING_BYTES = 16 * 2**20


class _Latest:
    """The latest lines, bounded in number and in bytes; the newest is kept however large it is."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self.events: deque[LoggingEvent] = deque()

    def push(self, event: LoggingEvent) -> int:
        """Add a line and drop the oldest ones that there is no room for; return how many."""
        self.events.append(event)
        self._bytes += _size_of(event)
        dropped = 0
        while len(self.events) > 1 and (len(self.events) > self._most or self._bytes > self._most_bytes):
            self.pop()
            dropped += 1
        return dropped

    def pop(self) -> LoggingEvent:
        """Take the oldest line."""
        event = self.events.popleft()
        self._bytes -= _size_of(event)
        return event


def _size_of(event: LoggingEvent) -> int:
    trace = event.exception_stack_trace if isinstance(event, ErrorEvent) else ()
    return EVENT_BYTES + sys.getsizeof(event.text) + sum(map(sys.getsizeof, trace))


class Subscription:
    """A follower's lines: those of the past that it was promised, then each new one. Of use to one thread.

    A follower that is slow loses the oldest of the new lines.

    Attributes
    ----------
    lost : int
        How many lines it has lost.
    """

    def __init__(self, ring: "Ring", wanted: LogFilter) -> None:
        self._ring = ring
        self._wanted = wanted
        self._past: deque[LoggingEvent] = deque()
        self._coming = _Latest(MOST_WAITING, MOST_WAITING_BYTES)
        self._changed = threading.Condition()
        self.lost = 0
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next(self, timeout_s: float | None = None) -> LoggingEvent | None:
        """Return the next line, waiting for it; ``None`` when none came in time, or the subscription is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._past or self._coming.events, timeout_s)
            if self.closed:
                return None
            if self._past:
                return self._past.popleft()
            return self._coming.pop() if self._coming.events else None

    def close(self) -> None:
        """Stop following; a thread that waits for a line is told that there is none."""
        self._ring.leave(self)
        with self._changed:
            self.closed = True
            self._past.clear()
            self._changed.notify_all()

    def offer(self, event: LoggingEvent) -> None:
        """Take a new line, if it is wanted."""
        if self._wanted.passes(event):
            with self._changed:
                self.lost += self._coming.push(event)
                self._changed.notify_all()

    def promise(self, past: Iterator[LoggingEvent], limit: int) -> None:
        """Take the latest of the past, which is given from its end; they come before all that was offered."""
        wanted = islice(filter(self._wanted.passes, past), limit)
        self._past.extendleft(wanted)


class Ring:
    """The latest lines, each at a position that is counted from 1; the oldest are dropped."""

    def __init__(self, *, events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._lock = threading.Lock()
        self._latest = _Latest(events, most_bytes)
        self._last = 0
        self._followers: list[Subscription] = []
        self._closed = False

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def append(self, event: LoggingEvent) -> None:
        """Add a line, and give it to those who follow."""
        with self._lock:
            self._last += 1
            self._latest.push(event)
            # Within the lock: all who follow see the same order.
            for follower in self._followers:
                follower.offer(event)

    def read(self, wanted: LogFilter, after: int = 0) -> Iterator[tuple[int, LoggingEvent | None]]:
        """Read the lines that are wanted from behind a position on, each with its own.

        Lines that were dropped are skipped without notice. Last comes the position of the end, without a line. A
        position beyond the end is of an earlier run, whose lines are gone: then all are read.
        """
        with self._lock:
            last, events = self._last, list(self._latest.events)
        first = last - len(events) + 1
        skipped = max(0, after + 1 - first) if after <= last else 0
        for position, event in enumerate(events[skipped:], first + skipped):
            if wanted.passes(event):
                yield position, event
        yield last, None

    def follow(self, wanted: LogFilter, limit: int) -> Subscription:
        """Follow the lines that are wanted: at most ``limit`` of the latest (`MAX_REPLAY` at most), then new ones.

        Between the two nothing is missed, and nothing comes twice.
        """
        subscription = Subscription(self, wanted)
        with self._lock:
            past = list(self._latest.events)
            self._followers.append(subscription)
            closed = self._closed
        # Outside of the lock, which every agent's output waits for.
        subscription.promise(reversed(past), max(0, min(limit, MAX_REPLAY)))
        if closed:
            subscription.close()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forget a follower."""
        with self._lock:
            if subscription in self._followers:
                self._followers.remove(subscription)

    def close(self) -> None:
        """Send all followers home."""
        with self._lock:
            self._closed = True
            followers = list(self._followers)
        for follower in followers:
            follower.close()
