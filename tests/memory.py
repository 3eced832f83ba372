"""How much memory a piece of code takes."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def tracing() -> Iterator[Callable[[], int]]:
    """Give what returns the most bytes of Python's that were held at once in the block; after it too."""
    peak = 0
    tracemalloc.start()

    def peak_bytes() -> int:
        return max(peak, tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0)

    try:
        yield peak_bytes
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
