"""The way of a table's records to a function, without a table."""

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.dynamodb.streams import Mapping, Pump, Record

#: Nothing here takes as long.
DEADLINE_S = 10.0


@pytest.fixture
def calls() -> "queue.Queue[list[int]]":
    """The batches with which the function was called."""
    return queue.Queue()


@pytest.fixture
def pump(calls: "queue.Queue[list[int]]") -> Iterator[Pump]:
    def invoke(function: str, event: dict[str, Any]) -> None:
        calls.put([record["number"] for record in event["Records"]])

    made = Pump("t", Mapping("f", batch_size=3), invoke=invoke, give_up=_never, gather_s=600)
    made.start()
    yield made
    made.stop()  # at once, though it gathers
    made.join(10)


def _never(message: Record) -> None:
    raise AssertionError(message)


def test_records_are_gathered_until_a_batch_is_full(pump: Pump, calls: "queue.Queue[list[int]]") -> None:
    pump.put({"number": 0})
    with pytest.raises(queue.Empty):
        calls.get(timeout=0.1)
    pump.put({"number": 1})
    pump.put({"number": 2})

    assert calls.get(timeout=DEADLINE_S) == [0, 1, 2]
