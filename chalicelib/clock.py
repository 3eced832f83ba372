"""Time, as a part that a test can replace."""

import time


class Clock:
    """The wall clock, in epoch milliseconds, and the only place that sleeps."""

    def now_ms(self) -> int:
        """Return the time in epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Pause this handler."""
        time.sleep(seconds)
