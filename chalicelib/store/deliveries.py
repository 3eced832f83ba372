"""The deliveries table: each webhook with its frozen body, its attempts, and the execution that owns its round.

A delivery is tried in rounds. A round belongs to the first execution that claims it, and every attempt is recorded on
condition that the round, its owner and the number of attempts are what they were: a repetition changes nothing.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, Self

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.table import Table

#: Most attempts that an item keeps, the latest: with 1 KB of the answer in each, and a body of 300 KB beside them, it
#: stays below DynamoDB's 400 KB.
KEPT_ATTEMPTS = 30

_BY_NAMESPACE = "by-namespace"
#: Sparse: holds only what is pending, since nothing else has its key.
_PENDING = "pending"


DeliveryState = Literal["pending", "delivered", "failed"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttemptRecord(Record):
    """One POST and what came of it: a status and the beginning of the answer, or an error."""

    time_ms: int
    round: int
    duration_ms: int
    status: int | None = None
    answer: str | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeliveryRecord(Record):
    """A delivery as it is stored; times in epoch ms, ``expires_at`` in epoch s."""

    delivery_id: str
    namespace: str
    session_id: str
    url: str
    created_at_ms: int
    expires_at: int
    #: Size of the body, which is here or, when it is large, in S3 under its key. Neither is in a listing. It is text,
    #: as UTF-8 in and out: the same bytes always, and a stream record of it is readable JSON.
    body_bytes: int
    body: str | None = None
    body_key: str | None = None
    #: Why it is the base report though the extended one was asked for, and the path of the session's history.
    reduced: str | None = None
    history_path: str | None = None
    state: DeliveryState = "pending"
    #: Grows by one each time it is sent again: the fact that the stream turns into a new execution.
    round: int = 1
    #: The execution that the round belongs to.
    execution: str | None = None
    #: Attempts so far on the schedule that is under way.
    tries: int = 0
    #: The latest `KEPT_ATTEMPTS`, oldest first.
    attempts: list[AttemptRecord] = dataclasses.field(default_factory=list)
    #: When the next attempt is due; there while pending.
    next_attempt_at_ms: int | None = None

    def to_item(self) -> Item:
        """Return the attributes of the item."""
        item = {**super().to_item(), "attempts": [attempt.to_item() for attempt in self.attempts]}
        return {**item, "pendingId": self.delivery_id} if self.state == "pending" else item

    @classmethod
    def from_item(cls, item: Item) -> Self:
        """Read the attributes of the item; a listing has no body."""
        attempts = [AttemptRecord.from_item(attempt) for attempt in item.get("attempts", [])]
        return super().from_item({**item, "attempts": attempts})


def key_of(delivery_id: str) -> Key:
    """Return the key of a delivery."""
    return {"deliveryId": delivery_id}


class Deliveries:
    """The deliveries table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def create(self, record: DeliveryRecord) -> bool:
        """Write a new delivery; ``False`` when there is one under its id, which stays as it is."""
        return self._table.put(record.to_item(), when="attribute_not_exists(#deliveryId)")

    def find(self, delivery_id: str) -> DeliveryRecord | None:
        """Read a delivery with its body."""
        item = self._table.get(key_of(delivery_id))
        return DeliveryRecord.from_item(item) if item else None

    def of_namespace(
        self, namespace: str, *, limit: int | None, start: tuple[str, int] | None = None
    ) -> Iterator[DeliveryRecord]:
        """Read the deliveries of a namespace, newest first, without bodies; a new one may be missing for a moment.

        ``start`` is the id and the creation time of the delivery after which the listing goes on.
        """
        after: dict[str, str | int] | None = None
        if start:
            after = {"namespace": namespace, "deliveryId": start[0], "createdAtMs": start[1]}
        items = self._table.query(
            "#namespace = :namespace",
            {":namespace": namespace},
            index=_BY_NAMESPACE,
            limit=limit,
            backwards=True,
            start=after,
        )
        return map(DeliveryRecord.from_item, items)

    def overdue(self, before_ms: int) -> Iterator[str]:
        """Read the ids of pending deliveries whose next attempt was due before a time: they may have no execution."""
        return (item["deliveryId"] for item in self._table.scan(index=_PENDING) if item["nextAttemptAtMs"] < before_ms)

    def claim(self, delivery_id: str, round_: int, execution: str) -> DeliveryRecord | None:
        """Give a round to an execution; ``None`` when it is not under way, or another's."""
        return self._change(
            delivery_id,
            "SET #execution = :execution",
            when="#state = :pending AND #round = :round AND "
            "(attribute_not_exists(#execution) OR #execution = :execution)",
            values={":execution": execution, ":round": round_},
        )

    def record(
        self, seen: DeliveryRecord, attempt: AttemptRecord, *, state: DeliveryState, next_attempt_at_ms: int | None
    ) -> DeliveryRecord | None:
        """Add an attempt to the delivery as it was seen; ``None`` when it is not like that any more."""
        attempts = [*seen.attempts, attempt][-KEPT_ATTEMPTS:]
        change = "SET #state = :state, #tries = :tries, #attempts = :attempts"
        values: dict[str, Any] = {
            ":state": state,
            ":tries": seen.tries + 1,
            ":attempts": [kept.to_item() for kept in attempts],
            ":round": seen.round,
            ":execution": seen.execution,
            ":seen": seen.tries,
        }
        if next_attempt_at_ms is None:
            change += " REMOVE #pendingId, #nextAttemptAtMs"
        else:
            change += ", #nextAttemptAtMs = :next"
            values[":next"] = next_attempt_at_ms
        return self._change(
            seen.delivery_id,
            change,
            when="#state = :pending AND #round = :round AND #execution = :execution AND #tries = :seen",
            values=values,
        )

    def start_again(self, seen: DeliveryRecord, *, now_ms: int) -> DeliveryRecord | None:
        """Begin a new round of a settled delivery, on a schedule of its own; ``None`` when another call did."""
        return self._change(
            seen.delivery_id,
            "SET #state = :pending, #round = :next, #tries = :none, #nextAttemptAtMs = :now, #pendingId = :id "
            "REMOVE #execution",
            when="#state <> :pending AND #round = :round",
            values={
                ":round": seen.round,
                ":next": seen.round + 1,
                ":none": 0,
                ":now": now_ms,
                ":id": seen.delivery_id,
            },
        )

    def take_over(self, seen: DeliveryRecord, *, now_ms: int) -> DeliveryRecord | None:
        """Begin a new round of an abandoned pending delivery, where its schedule was; ``None`` when it moved."""
        return self._change(
            seen.delivery_id,
            "SET #round = :next, #nextAttemptAtMs = :now REMOVE #execution",
            when="#state = :pending AND #round = :round AND #tries = :seen",
            values={":round": seen.round, ":next": seen.round + 1, ":seen": seen.tries, ":now": now_ms},
        )

    def _change(self, delivery_id: str, change: str, *, when: str, values: dict[str, Any]) -> DeliveryRecord | None:
        item = self._table.update(key_of(delivery_id), change, when=when, values={":pending": "pending", **values})
        return DeliveryRecord.from_item(item) if item else None
