"""Streams of a DynamoDB that is not in this process (``AWS_ENDPOINT_URL_DYNAMODB``): polled, as Lambda polls AWS's."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger(__name__)

#: Pause between two polls that found nothing, in s.
POLL_S = 0.1
#: Pause before the stream is opened anew after an error, in s.
REOPEN_S = 1.0

#: How long a poll may take to end when the stack stops, in s.
FAREWELL_S = 2.0

Record = dict[str, Any]


class ForeignStream:
    """Reads the stream of one table from now on, on a thread of its own; each record goes to ``sink``."""

    def __init__(self, table: str, client: Any, arn: str, sink: Callable[[str, Record], None]) -> None:
        """
        Parameters
        ----------
        client
            The boto3 client of DynamoDB Streams.
        """
        self._table = table
        self._client = client
        self._arn = arn
        self._sink = sink
        self._stopped = threading.Event()
        #: Iterators of the open shards, by shard id; ``None`` for one that was read to its end.
        self._iterators: dict[str, str | None] = {}
        #: Records of a shard that were read: an iterator that is lost begins after the last.
        self._read: dict[str, str] = {}
        self._begin()
        self._thread = threading.Thread(target=self._run, name=f"foreign-stream-{table}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the poll that is under way."""
        self._stopped.set()
        self._thread.join(FAREWELL_S)

    def _begin(self) -> None:
        """Skip what was in the stream before: whatever reacts to it has reacted."""
        for shard in self._shards():
            self._iterators[shard] = self._iterator(shard, "LATEST")

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                found = self._poll()
            except (BotoCoreError, ClientError) as error:
                log.warning("the stream of %s cannot be read, trying on: %s", self._table, error)
                self._iterators.clear()
                self._stopped.wait(REOPEN_S)
                continue
            if not found:
                self._stopped.wait(POLL_S)

    def _poll(self) -> int:
        """Read each open shard once; return how many records there were."""
        if all(iterator is None for iterator in self._iterators.values()):
            self._open()
        found = 0
        for shard, iterator in list(self._iterators.items()):
            if iterator is None:
                continue
            answer = self._client.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                self._sink(self._table, self._as_lambda_has_it(record))
                self._read[shard] = record["dynamodb"]["SequenceNumber"]
                found += 1
            self._iterators[shard] = answer.get("NextShardIterator")
        return found

    def _open(self) -> None:
        """Open the shards that follow those that are at their end, or all of them after an error."""
        for shard in self._shards():
            if shard in self._read:
                if shard not in self._iterators:
                    self._iterators[shard] = self._iterator(
                        shard, "AFTER_SEQUENCE_NUMBER", SequenceNumber=self._read[shard]
                    )
            elif self._iterators.get(shard) is None:
                self._iterators[shard] = self._iterator(shard, "TRIM_HORIZON")

    def _shards(self) -> Iterator[str]:
        description = self._client.describe_stream(StreamArn=self._arn)["StreamDescription"]
        return (shard["ShardId"] for shard in description["Shards"])

    def _iterator(self, shard: str, kind: str, **place: str) -> str:
        answer = self._client.get_shard_iterator(StreamArn=self._arn, ShardId=shard, ShardIteratorType=kind, **place)
        return str(answer["ShardIterator"])

    def _as_lambda_has_it(self, record: Record) -> Record:
        """Return a record as an event has it: JSON, the time in s, with the stream that it is of."""
        change = {**record["dynamodb"]}
        moment = change.get("ApproximateCreationDateTime")
        if moment is not None:
            change["ApproximateCreationDateTime"] = int(moment.timestamp())
        return {**record, "dynamodb": change, "eventSourceARN": self._arn}
