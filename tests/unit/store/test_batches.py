"""Batches that DynamoDB does not process whole are asked for again: growing pauses, a bound, and then an error."""

from typing import Any

import pytest

from chalicelib.aws.errors import is_aws_error, is_transient
from chalicelib.store.items import FIRST_PAUSE_S, LONGEST_PAUSE_S, MOST_TRIES, Unprocessed
from chalicelib.store.reads import Reads
from chalicelib.store.session_items import SessionItems
from chalicelib.store.table import Table
from tests.mcp_world import TestClock

#: What a request of API Gateway has, in ms: all pauses together must leave time for the rest.
REQUEST_MS = 29_000


class Throttled:
    """A DynamoDB that processes one entry of a batch each time it is asked, or none at all."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.stuck = stuck
        self.calls = 0
        self.deleted: list[str] = []

    def query(self, **_: Any) -> Any:
        items = [{"sessionId": {"S": "s"}, "item": {"S": f"AGENT#{number}"}} for number in range(5)]
        return {"Items": [] if self.deleted else items}

    def batch_write_item(self, RequestItems: Any) -> Any:
        self.calls += 1
        [(table, requests)] = RequestItems.items()
        if self.stuck:
            return {"UnprocessedItems": RequestItems}
        self.deleted.append(requests[0]["DeleteRequest"]["Key"]["item"]["S"])
        return {"UnprocessedItems": {table: requests[1:]} if requests[1:] else {}}

    def batch_get_item(self, RequestItems: Any) -> Any:
        self.calls += 1
        return {"Responses": {}, "UnprocessedKeys": RequestItems if self.stuck or self.calls < 3 else {}}


class PausingClock(TestClock):
    """Remembers its pauses, in s."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        super().sleep(seconds)


def items_on(client: Any, clock: TestClock) -> SessionItems:
    return SessionItems(Table(client, "session-items", clock))


def test_what_is_left_of_a_batch_is_written_with_the_next_calls() -> None:
    client, clock = Throttled(), PausingClock()
    assert items_on(client, clock).purge("s", at_most=100)
    assert client.deleted == [f"AGENT#{number}" for number in range(5)]
    assert len(clock.pauses) == client.calls - 1


def test_a_write_that_stays_throttled_is_an_error_that_may_pass() -> None:
    client, clock = Throttled(stuck=True), PausingClock()
    with pytest.raises(Unprocessed, match="5 writes to session-items") as raised:
        items_on(client, clock).purge("s", at_most=100)
    assert client.calls == MOST_TRIES
    assert is_transient(raised.value)
    assert is_aws_error(raised.value)


def test_pauses_grow_are_jittered_and_leave_a_request_its_time() -> None:
    clock = PausingClock()
    with pytest.raises(Unprocessed):
        items_on(Throttled(stuck=True), clock).purge("s", at_most=100)
    limits = [min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**number) for number in range(MOST_TRIES - 1)]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(clock.pauses, limits, strict=True))
    assert sum(limits) * 1000 < REQUEST_MS / 2
    others = PausingClock()
    with pytest.raises(Unprocessed):
        items_on(Throttled(stuck=True), others).purge("s", at_most=100)
    assert others.pauses != clock.pauses


def test_keys_that_are_left_of_a_read_are_read_again() -> None:
    client, clock = Throttled(), PausingClock()
    assert Reads(client, clock, str).session("n", "s") == (None, None)  # type: ignore[arg-type]
    assert client.calls == 3


def test_a_read_that_stays_throttled_is_an_error_that_names_the_tables() -> None:
    with pytest.raises(Unprocessed, match="namespaces, sessions"):
        Reads(Throttled(stuck=True), PausingClock(), str).session("n", "s")  # type: ignore[arg-type]
