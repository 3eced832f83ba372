"""The Lambda behind the queues of agents that run as functions: what is to be looked at now, and what later."""

import json
import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib.aws.errors import is_aws_error
from chalicelib.reactions import nudges, turns
from chalicelib.services import current
from chalicelib.telemetry import about, request_id

lambdas = Blueprint(__name__)
logger = logging.getLogger(__name__)

#: After how many seconds a message comes again that AWS refused something for, the first times.
SOON_S = (5, 30, 120)


@lambdas.lambda_function(name="run_turn")
def run_turn(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take nudges of agents (`chalicelib.wire.turns`); answers ``{"batchItemFailures"}``."""
    failed = [record["messageId"] for record in event["Records"] if not _taken(record, context)]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def _taken(record: dict[str, Any], context: Any) -> bool:
    """Take one message; ``False`` when it is to come again."""
    from chalicelib.wire.turns import LaterNudge, Nudge

    body = json.loads(record["body"])
    is_later = "dueMs" in body
    nudge = LaterNudge.model_validate(body).nudge if is_later else Nudge.model_validate(body)
    ids = {"namespace": nudge.namespace, "session": nudge.session_id, "agent": nudge.agent}
    with about(**ids, request=request_id(context)):
        try:
            if is_later:
                nudges.later(current(), LaterNudge.model_validate(body))
                return True
            # One that comes again was cut off, and what follows from a turn may not have been done.
            again = nudge.again or _received(record) > 1
            turns.run(current(), nudge.model_copy(update={"again": again}), context.get_remaining_time_in_millis)
        except turns.UnderWay:
            return False
        except Exception as error:
            # The outermost edge. It comes again, and at last goes to the dead-letter queue.
            logger.exception("a nudge was not taken")
            if is_aws_error(error):
                _put_back(record)
            return False
    return True


def _put_back(record: dict[str, Any]) -> None:
    """Let a message come again soon, at first, when AWS has refused something: nobody else has its agent's turn."""
    received = _received(record)
    if received > len(SOON_S):
        return
    try:
        current().turn_queue.put_back(record["eventSourceARN"], record["receiptHandle"], after_s=SOON_S[received - 1])
    except Exception as error:
        if not is_aws_error(error):
            raise
        logger.warning("a nudge was not put back", extra={"error": type(error).__name__})


def _received(record: dict[str, Any]) -> int:
    return int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))
