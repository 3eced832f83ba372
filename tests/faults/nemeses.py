"""What goes wrong for as long as it lasts, not at one call: writes that are slow, clocks that were stepped."""

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.faults.platform import Call, World

_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"}


@contextlib.contextmanager
def slow_writes(world: World, table: str, duration_ms: int) -> Iterator[None]:
    """Have every write of a table take so long; the world goes on meanwhile."""

    def delay(call: Call) -> None:
        if call.operation in _WRITES and f"atoll-local-{table}" in _tables(call.parameters):
            world.run_for(duration_ms)

    world.before_call.append(delay)
    try:
        yield
    finally:
        world.before_call.remove(delay)


@contextlib.contextmanager
def stepped_clock(world: World, step_ms: int) -> Iterator[None]:
    """Have the clock of what runs now be wrong by so much."""
    clock = world.services.clock
    right = clock.now_ms
    clock.now_ms = lambda: world.now_ms + step_ms  # type: ignore[method-assign]
    try:
        yield
    finally:
        clock.now_ms = right  # type: ignore[method-assign]


def _tables(parameters: dict[str, Any]) -> set[str]:
    writes = [next(iter(write.values())) for write in parameters.get("TransactItems", ())]
    named = {write["TableName"] for write in [parameters, *writes] if "TableName" in write}
    return named | set(parameters.get("RequestItems", ()))
