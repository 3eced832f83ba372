"""Table streams: one pump a table carries its records, in order and in batches, to the function mapped to it."""

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

#: Pauses between two tries of one batch, in s: the first, and the longest.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0

#: After how many failures in a row a warning is logged.
WARN_AFTER = 3

Record = dict[str, Any]


@dataclass(frozen=True)
class Mapping:
    """An ``AWS::Lambda::EventSourceMapping``: the properties that matter for a stream of one shard."""

    function: str
    batch_size: int = 100
    bisect: bool = False
    reports_item_failures: bool = False
    longest_age_s: float = float("inf")
    most_retries: float = float("inf")
    #: Names of events, each with beginnings of sort keys, that records must have to be carried; none carries all.
    wanted: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, properties: dict[str, Any]) -> "Mapping":
        """Read the properties of the resource; -1 stands for no limit."""

        def limit(name: str) -> float:
            value = float(properties.get(name, -1))
            return value if value >= 0 else float("inf")

        return cls(
            function=properties["FunctionName"],
            batch_size=int(properties.get("BatchSize", 100)),
            bisect=bool(properties.get("BisectBatchOnFunctionError", False)),
            reports_item_failures="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
            longest_age_s=limit("MaximumRecordAgeInSeconds"),
            most_retries=limit("MaximumRetryAttempts"),
            wanted=tuple(map(_wanted, properties.get("FilterCriteria", {}).get("Filters", []))),
        )

    def wants(self, kind: str, keys: dict[str, Any]) -> bool:
        """Return whether records of a kind of event about an item, by its keys as DynamoDB writes them, are carried."""
        return not self.wanted or any(
            kind == each and keys["item"]["S"].startswith(beginnings) for each, beginnings in self.wanted
        )


def _wanted(filter_: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """Read a filter of the one form that the templates have: an event's name, and beginnings of ``item``.

    Raises ``ValueError`` or ``KeyError`` for another form.
    """
    pattern = json.loads(filter_["Pattern"])
    [kind] = pattern["eventName"]
    [(_, text)] = pattern["dynamodb"]["Keys"]["item"].items()
    return kind, tuple(each["prefix"] for each in text)


class Pump:
    """The way of one table's records to one function, on a thread of its own."""

    def __init__(
        self,
        table: str,
        mapping: Mapping,
        *,
        invoke: Callable[[str, Any], Any],
        give_up: Callable[[Record], None],
        gather_s: float = 0.0,
        carried: Callable[[list[Record]], None] = lambda _: None,
    ) -> None:
        """
        Parameters
        ----------
        carried
            Takes the records that need not be carried any more.
        invoke
            Calls a function with an event; whatever it raises makes the batch be tried again.
        give_up
            Takes the message about a batch that was tried for too long (its destination on failure).
        gather_s
            How long a batch that is not full waits for more records.
        """
        self.mapping = mapping
        self._gather_s = gather_s
        self._invoke = invoke
        self._give_up = give_up
        self._carried = carried
        self._waiting: deque[Record] = deque()
        self._arrived = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"stream-{table}", daemon=True)

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def put(self, record: Record) -> None:
        """Take the next record of the table."""
        with self._arrived:
            self._waiting.append(record)
            if len(self._waiting) in (1, self.mapping.batch_size):  # in between nobody waits for it
                self._arrived.notify()

    def stop(self) -> None:
        """End after the invocation that is running; what was not carried yet is left."""
        self._stopped.set()
        with self._arrived:
            self._arrived.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the end, but no longer than this."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            with self._arrived:
                self._arrived.wait_for(lambda: self._waiting or self._stopped.is_set())
                self._arrived.wait_for(self._is_enough, self._gather_s)
                batch = [self._waiting.popleft() for _ in range(min(self.mapping.batch_size, len(self._waiting)))]
            if batch:
                self._carry(batch)
                if not self._stopped.is_set():
                    self._carried(batch)

    def _is_enough(self) -> bool:
        return len(self._waiting) >= self.mapping.batch_size or self._stopped.is_set()

    def _carry(self, batch: list[Record]) -> None:
        """Carry a batch until it has arrived, is too old, was tried too often, or all is over."""
        failures = 0
        since = time.monotonic()
        while not self._stopped.is_set():
            left, raised = self._attempt(batch)
            if not left:
                return
            if len(left) < len(batch):
                failures, since = 0, time.monotonic()
            elif raised and self.mapping.bisect and len(batch) > 1:
                # One bad record must not hold up what comes before it.
                self._stopped.wait(FIRST_PAUSE_S)
                self._carry(batch[: len(batch) // 2])
                self._carry(batch[len(batch) // 2 :])
                return
            batch = left
            failures += 1
            if failures > self.mapping.most_retries or time.monotonic() - since > self.mapping.longest_age_s:
                self._give_up(self._given_up(batch))
                return
            if failures == WARN_AFTER:
                log.warning("%s keeps failing on a record of its stream; trying on", self.mapping.function)
            self._stopped.wait(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10)))

    def _attempt(self, batch: list[Record]) -> tuple[list[Record], bool]:
        """Call the function once; return what is left to carry, and whether the function raised."""
        try:
            answer = self._invoke(self.mapping.function, {"Records": batch})
        except Exception as error:
            log.debug("%s failed: %s", self.mapping.function, error)
            return batch, True
        if not self.mapping.reports_item_failures or not isinstance(answer, dict):
            return [], False
        failed = {failure.get("itemIdentifier") for failure in answer.get("batchItemFailures") or []}
        if not failed:
            return [], False
        # Lambda takes the first failed record as the place to go on from; one that it does not know fails the batch.
        for index, record in enumerate(batch):
            if record["dynamodb"]["SequenceNumber"] in failed:
                return batch[index:], False
        return batch, False

    def _given_up(self, batch: list[Record]) -> Record:
        return {
            "requestContext": {"functionArn": self.mapping.function, "condition": "RetryAttemptsExhausted"},
            "DDBStreamBatchInfo": {
                "startSequenceNumber": batch[0]["dynamodb"]["SequenceNumber"],
                "endSequenceNumber": batch[-1]["dynamodb"]["SequenceNumber"],
                "batchSize": len(batch),
                "streamArn": batch[0]["eventSourceARN"],
            },
        }
