"""Queues whose messages a function takes, one by one: SQS and Lambda's event source mapping in one.

A FIFO queue has one message of a group under way at a time, in their order, and takes a message of one deduplication id
once in five minutes. A message that the function does not take comes again when its visibility timeout is over, and
after so many times it goes to the queue's dead-letter queue. (Amazon SQS Developer Guide, "FIFO queues"; AWS Lambda
Developer Guide, "Using Lambda with Amazon SQS".)
"""

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from infra.local.in_process import Operations, Request, operations
from infra.local.scheduler import Scheduler

log = logging.getLogger(__name__)

#: For how long (ms) a message with the same deduplication id is not taken (SQS Developer Guide, "Exactly-once").
DEDUPLICATION_MS = 300_000

#: How many messages are with functions at a time: on AWS a thousand, here each is a thread.
MOST_UNDER_WAY = 16

OPERATIONS = ("SendMessage", "SendMessageBatch", "ChangeMessageVisibility")


@dataclass(frozen=True)
class QueueMapping:
    """A queue and the function behind it: what ``AWS::SQS::Queue`` and the mapping say that matters here."""

    name: str
    arn: str
    function: str
    visibility_ms: int
    most_receives: int
    #: ARN of the queue for messages that were received too often.
    dead_letters: str | None

    @classmethod
    def of(cls, queue: dict[str, Any], mapping: dict[str, Any]) -> "QueueMapping":
        """Read the properties of both resources; the ARN is the mapping's source."""
        redrive = queue.get("RedrivePolicy", {})
        return cls(
            name=queue["QueueName"],
            arn=mapping["EventSourceArn"],
            function=mapping["FunctionName"],
            visibility_ms=1000 * int(queue.get("VisibilityTimeout", 30)),
            most_receives=int(redrive.get("maxReceiveCount", 1_000)),
            dead_letters=redrive.get("deadLetterTargetArn"),
        )


@dataclass
class _Message:
    mapping: QueueMapping
    body: str
    group: str
    attributes: dict[str, str]
    message_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    received: int = 0
    #: After how long (ms) it comes again, once it was changed.
    comes_again_ms: int | None = None


class Queues:
    """The queues of one stack."""

    def __init__(
        self, scheduler: Scheduler, *, invoke: Callable[[str, Any], Any], send: Callable[[str, str], None]
    ) -> None:
        """
        Parameters
        ----------
        invoke
            Calls a function and waits for its answer.
        send
            Sends a text to another queue, by its ARN.
        """
        self._scheduler = scheduler
        self._invoke = invoke
        self._send = send
        self._mappings: dict[str, QueueMapping] = {}
        self._lock = threading.Lock()
        #: What waits in each group, the first of them under way.
        self._groups: dict[tuple[str, str], deque[_Message]] = {}
        #: Groups whose first message is to be handed over.
        self._ready: deque[tuple[str, str]] = deque()
        self._under_way = 0
        self._taken_ms: dict[tuple[str, str], int] = {}
        self._goes = False

    @property
    def operations(self) -> Operations:
        """The operations of SQS on these queues; others are left to moto."""
        return operations(self, *OPERATIONS)

    def add(self, mapping: QueueMapping) -> None:
        """Have a queue with a function behind it."""
        self._mappings[mapping.name] = mapping

    def go_on(self) -> None:
        """Hand messages over from here on."""
        self._goes = True
        self._hand_over()

    def send_message(self, request: Request) -> dict[str, Any] | None:
        """Take a message; ``None`` for a queue that is not one of these."""
        mapping = self._mappings.get(request["QueueUrl"].rpartition("/")[2])
        return None if mapping is None else self._take(mapping, request)

    def send_message_batch(self, request: Request) -> dict[str, Any] | None:
        """Take messages; ``None`` for a queue that is not one of these."""
        mapping = self._mappings.get(request["QueueUrl"].rpartition("/")[2])
        if mapping is None:
            return None
        return {"Successful": [{"Id": entry["Id"], **self._take(mapping, entry)} for entry in request["Entries"]]}

    def change_message_visibility(self, request: Request) -> dict[str, Any] | None:
        """Let a message that is with its function come again at another time."""
        if request["QueueUrl"].rpartition("/")[2] not in self._mappings:
            return None
        with self._lock:
            for waiting in self._groups.values():
                if waiting[0].message_id == request["ReceiptHandle"]:
                    waiting[0].comes_again_ms = 1000 * int(request["VisibilityTimeout"])
        return {}

    def _take(self, mapping: QueueMapping, entry: dict[str, Any]) -> dict[str, Any]:
        group = entry.get("MessageGroupId") or uuid.uuid4().hex
        given = ("MessageGroupId", "MessageDeduplicationId")
        attributes = {name: entry[name] for name in given if name in entry}
        message = _Message(mapping, entry["MessageBody"], group, attributes)
        fact = entry.get("MessageDeduplicationId")
        if fact is not None and not self._is_new(mapping.name, fact):
            return {"MessageId": message.message_id}
        if delay_s := int(entry.get("DelaySeconds", 0)):
            self._scheduler.after(1000 * delay_s, self._arrive, message)
        else:
            self._arrive(message)
        return {"MessageId": message.message_id}

    def _is_new(self, queue: str, fact: str) -> bool:
        now_ms = self._scheduler.now_ms
        with self._lock:
            known_ms = self._taken_ms.get((queue, fact))
            if known_ms is not None and now_ms - known_ms < DEDUPLICATION_MS:
                return False
            self._taken_ms.pop((queue, fact), None)
            self._taken_ms[queue, fact] = now_ms
            # The oldest come first.
            while self._taken_ms and now_ms - next(iter(self._taken_ms.values())) >= DEDUPLICATION_MS:
                del self._taken_ms[next(iter(self._taken_ms))]
        return True

    def _arrive(self, message: _Message) -> None:
        place = message.mapping.name, message.group
        with self._lock:
            waiting = self._groups.setdefault(place, deque())
            waiting.append(message)
            if len(waiting) == 1:
                self._ready.append(place)
        self._hand_over()

    def _hand_over(self) -> None:
        with self._lock:
            while self._goes and self._ready and self._under_way < MOST_UNDER_WAY:
                self._under_way += 1
                self._scheduler.run(self._carry, self._ready.popleft())

    def _carry(self, place: tuple[str, str]) -> None:
        """Hand the first message of a group to its function, and go on with the next."""
        message = self._groups[place][0]
        message.received += 1
        done = self._is_taken(message)
        if not done and message.received >= message.mapping.most_receives:
            log.error("%s: gave up on a message", message.mapping.name)
            if message.mapping.dead_letters:
                self._send(message.mapping.dead_letters, message.body)
            done = True
        with self._lock:
            self._under_way -= 1
            if done:
                self._groups[place].popleft()
                if self._groups[place]:
                    self._ready.append(place)
                else:
                    del self._groups[place]
        if not done:
            again_ms = message.comes_again_ms
            message.comes_again_ms = None
            visible_ms = message.mapping.visibility_ms if again_ms is None else again_ms
            self._scheduler.after(visible_ms, self._again, place)
        self._hand_over()

    def _again(self, place: tuple[str, str]) -> None:
        with self._lock:
            self._ready.append(place)
        self._hand_over()

    def _is_taken(self, message: _Message) -> bool:
        record = {
            "messageId": message.message_id,
            "receiptHandle": message.message_id,
            "body": message.body,
            "attributes": {**message.attributes, "ApproximateReceiveCount": str(message.received)},
            "eventSource": "aws:sqs",
            "eventSourceARN": message.mapping.arn,
        }
        try:
            answer = self._invoke(message.mapping.function, {"Records": [record]})
        except Exception as error:
            log.debug("%s failed: %s", message.mapping.function, error)
            return False
        return not (answer or {}).get("batchItemFailures")
