"""The two queues (SQS) of agents that run as functions: which agent has something to do, now or later.

Now: a FIFO queue, whose groups are agents, so that one turn of an agent is under way at a time. A message says only
that there may be something to do, under a derived id: what comes twice within five minutes is one message.

Later: a queue of delayed messages. SQS delays one for 15 minutes at most, so a message may have to be delayed again.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from chalicelib.clock import Clock
    from chalicelib.wire.turns import LaterNudge, Nudge

#: Most messages of one call, and the longest delay (SQS API reference, "SendMessageBatch", "SendMessage").
SENT_AT_ONCE = 10
LONGEST_DELAY_S = 900


class NotSent(Exception):
    """SQS did not take every message of a call; the same call may succeed later."""


class TurnQueue:
    """The queues of this deployment."""

    def __init__(self, client: "SQSClient", settings: Settings, clock: "Clock") -> None:
        self._client = client
        self._clock = clock
        host = f"sqs.{settings.region}.amazonaws.com{'.cn' if settings.partition == 'aws-cn' else ''}"
        self._url = f"https://{host}/{settings.account}/{settings.prefix}-"

    def nudge(self, nudges: Sequence[tuple[str, str, "Nudge"]]) -> None:
        """Send nudges, each with its group and the id of the fact that it is about.

        Raises `NotSent`, and ``ClientError`` when SQS refuses all of them.
        """
        for start in range(0, len(nudges), SENT_AT_ONCE):
            answer = self._client.send_message_batch(
                QueueUrl=f"{self._url}turns.fifo",
                Entries=[
                    {
                        "Id": str(number),
                        "MessageBody": json.dumps(nudge.to_wire()),
                        "MessageGroupId": group,
                        "MessageDeduplicationId": fact,
                    }
                    for number, (group, fact, nudge) in enumerate(nudges[start : start + SENT_AT_ONCE])
                ],
            )
            if failed := answer.get("Failed"):
                raise NotSent(f"SQS refused {len(failed)} of {len(nudges)} messages: {failed[0]['Code']}")

    def put_back(self, queue_arn: str, receipt_handle: str, *, after_s: int) -> None:
        """Let a message that was received come again after so many seconds, not when its visibility timeout is over."""
        self._client.change_message_visibility(
            QueueUrl=self._url.rpartition("/")[0] + f"/{queue_arn.rpartition(':')[2]}",
            ReceiptHandle=receipt_handle,
            VisibilityTimeout=after_s,
        )

    def later(self, later: "LaterNudge") -> None:
        """Send a nudge for later. It comes at its time or up to a second after it, if that is within 15 minutes."""
        wait_ms = max(0, later.due_ms - self._clock.now_ms())
        self._client.send_message(
            QueueUrl=f"{self._url}deadlines",
            MessageBody=json.dumps(later.to_wire()),
            DelaySeconds=min(LONGEST_DELAY_S, -(-wait_ms // 1000)),
        )
