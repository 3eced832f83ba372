"""Work that nobody waits for: a few threads that run it, and one that starts it when its time has come."""

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """Runs functions now, later, or again and again, until it is closed."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._timer: threading.Thread | None = None

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function soon."""
        with self._changed:
            if not self._closed:
                self._pool.submit(self._safely, function, arguments)

    def after(self, delay_s: float, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function once, after a delay."""
        with self._changed:
            if self._closed:
                return
            if self._timer is None:
                self._timer = threading.Thread(target=self._watch_clock, name=f"{self._name}-timer", daemon=True)
                self._timer.start()
            due = (time.monotonic() + delay_s, next(self._numbers), lambda: self.run(function, *arguments))
            heapq.heappush(self._due, due)
            self._changed.notify()

    def every(self, period_s: float, function: Callable[[], Any]) -> None:
        """Run a function once a period; a run that is not over when the next is due delays it."""

        def again() -> None:
            try:
                function()
            finally:
                self.after(period_s, again)

        self.after(period_s, again)

    def close(self) -> None:
        """Forget what is due and wait for what runs."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()
        self._pool.shutdown(cancel_futures=True)
        if self._timer is not None:
            self._timer.join()

    def _watch_clock(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                _, _, start = heapq.heappop(self._due)
            start()

    @staticmethod
    def _safely(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        except Exception:
            log.exception("%s failed", getattr(function, "__qualname__", function))
