"""The scheduler of the local stack: a thread for each thing that is done, and one that begins it at its time."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

#: How long what runs may take to end when the scheduler is closed, in s.
FAREWELL_S = 2.0

#: Longest sleep before a time of the wall clock, in s: a suspended laptop's sleep counts for that clock alone.
NAP_S = 30.0

#: How many cancelled timers are kept before they are looked for.
MOST_CANCELLED = 1_000


class Timer:
    """Something that is to be done (`infra.local.scheduler.Timer`)."""

    def __init__(self, what: Callable[..., Any], arguments: tuple[Any, ...], cancelled: Callable[[], None]) -> None:
        self._task: tuple[Callable[..., Any], tuple[Any, ...]] | None = (what, arguments)
        self._cancelled = cancelled

    def cancel(self) -> None:
        """Let it not be done, and let go of what it would have been done with."""
        if self._task is not None:
            self._task = None
            self._cancelled()

    def take(self) -> tuple[Callable[..., Any], tuple[Any, ...]] | None:
        """Return what is to be done, once; ``None`` when it was cancelled."""
        task, self._task = self._task, None
        return task

    @property
    def is_void(self) -> bool:
        """Whether nothing is to be done any more."""
        return self._task is None


class Background:
    """Runs functions now, later, or again and again, until it is closed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: set[threading.Thread] = set()
        # By the monotonic clock what is due after a pause, by the wall clock what is due at a time; both in s.
        self._paused: list[tuple[float, int, Timer]] = []
        self._dated: list[tuple[float, int, Timer]] = []
        self._cancelled = 0
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._clock: threading.Thread | None = None

    @property
    def now_ms(self) -> int:
        """The time, in epoch ms."""
        return time.time_ns() // 1_000_000

    def run(self, what: Callable[..., Any], *arguments: Any) -> None:
        """Run a function soon, on a thread of its own."""
        thread = threading.Thread(target=self._safely, args=(what, arguments), name=self._name, daemon=True)
        with self._changed:
            if self._closed:
                return
            self._threads.add(thread)
            thread.start()

    def after(self, delay_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        """Run a function once, after a pause."""
        return self._put(self._paused, time.monotonic() + delay_ms / 1000, what, arguments)

    def at(self, time_ms: int, what: Callable[..., Any], *arguments: Any) -> Timer:
        """Run a function once, at a time in epoch ms and not before it."""
        return self._put(self._dated, time_ms / 1000, what, arguments)

    def every(self, period_s: float, what: Callable[[], Any]) -> None:
        """Run a function once a period; a run that is not over when the next is due delays it."""

        def again() -> None:
            try:
                what()
            finally:
                self.after(int(period_s * 1000), again)

        self.after(int(period_s * 1000), again)

    def close(self) -> None:
        """Forget what is due, and wait a few seconds for what runs."""
        with self._changed:
            self._closed = True
            self._paused.clear()
            self._dated.clear()
            self._changed.notify()
            threads = [*self._threads, *([self._clock] if self._clock is not None else [])]
        deadline_s = time.monotonic() + FAREWELL_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _put(
        self, queue: list[tuple[float, int, Timer]], due_s: float, what: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Timer:
        timer = Timer(what, arguments, self._forget_cancelled)
        with self._changed:
            if self._closed:
                return timer
            if self._clock is None:
                self._clock = threading.Thread(target=self._watch_clock, name=f"{self._name}-clock", daemon=True)
                self._clock.start()
            heapq.heappush(queue, (due_s, next(self._numbers), timer))
            if queue[0][2] is timer:
                self._changed.notify()
        return timer

    def _forget_cancelled(self) -> None:
        """Drop cancelled timers once they are many: most are to be for a quarter of an hour, and are not needed."""
        with self._changed:
            self._cancelled += 1
            if self._cancelled < max(MOST_CANCELLED, (len(self._paused) + len(self._dated)) // 2):
                return
            self._cancelled = 0
            for queue in (self._paused, self._dated):
                queue[:] = [entry for entry in queue if not entry[2].is_void]
                heapq.heapify(queue)

    def _watch_clock(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                if (timer := self._next_due()) is None:
                    self._changed.wait(self._pause_s())
                    continue
                task = timer.take()
            if task is not None:
                self.run(task[0], *task[1])

    def _next_due(self) -> Timer | None:
        for queue, now_s in ((self._paused, time.monotonic()), (self._dated, time.time())):
            if queue and queue[0][0] <= now_s:
                return heapq.heappop(queue)[2]
        return None

    def _pause_s(self) -> float | None:
        pauses_s = [self._paused[0][0] - time.monotonic()] if self._paused else []
        pauses_s += [min(NAP_S, self._dated[0][0] - time.time())] if self._dated else []
        return max(0.0, min(pauses_s)) if pauses_s else None

    def _safely(self, what: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            what(*arguments)
        except Exception:
            log.exception("%s failed", getattr(what, "__qualname__", what))
        finally:
            with self._changed:
                self._threads.discard(threading.current_thread())
