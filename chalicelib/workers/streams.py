"""Records of a table's stream, one batch of an invocation: retried, or given to the dead-letter queue.

A record that AWS refused is retried, and blocks the records after it meanwhile. A record that fails for any other
reason would fail for ever, and block its stream for half a day: it goes to the dead-letter queue.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from chalicelib.aws.errors import is_aws_error
from chalicelib.services import current
from chalicelib.store import changes
from chalicelib.telemetry import about, count, request_id

logger = logging.getLogger(__name__)

Record = dict[str, Any]


def react(
    groups: Iterable[Sequence[Record]], reaction: Callable[[Sequence[Record]], None], context: Any, *, in_order: bool
) -> dict[str, Any]:
    """React to groups of records and return what Lambda is to hand over again (``batchItemFailures``).

    A group that fails comes again as a whole; with ``in_order`` nothing after it is reacted to before that.
    """
    failures: list[dict[str, str]] = []
    with about(request=request_id(context)):
        for group in groups:
            try:
                with about(**changes.ids_of(group[0])):
                    reaction(group)
            except Exception as error:
                # The outermost edge: an error that is not AWS's is a bug here.
                logger.exception("a change was not reacted to")
                if is_aws_error(error) or not all(_dead_lettered(record, error) for record in group):
                    failures.append({"itemIdentifier": group[0]["dynamodb"]["SequenceNumber"]})
                    if in_order:
                        break
    return {"batchItemFailures": failures}


def _dead_lettered(record: dict[str, Any], error: Exception) -> bool:
    """Send a record's identifiers to the dead-letter queue; ``False`` when that failed: then retry the record."""
    letter = {
        "eventSourceARN": record.get("eventSourceARN"),
        "eventID": record.get("eventID"),
        "eventName": record.get("eventName"),
        "sequenceNumber": record["dynamodb"]["SequenceNumber"],
        "keys": record["dynamodb"].get("Keys"),
        "error": type(error).__name__,
    }
    try:
        current().dead_letters.put(letter)
    except Exception as failure:
        if not is_aws_error(failure):
            raise
        logger.exception("a dead letter was not taken")
        return False
    count("ChangesDeadLettered")
    return True
