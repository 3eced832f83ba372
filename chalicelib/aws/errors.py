"""Classifies errors: AWS's, and the transient ones among them (throttles, failures of a service or of the network)."""

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.bus import NotPublished
from chalicelib.aws.turn_queue import NotSent
from chalicelib.store.items import Unprocessed

#: Throttles and conflicts that say neither "Throttl" nor 5xx; and what S3 says to an SDK that completes an upload once
#: more because an answer was lost: the next try is an upload of its own.
_TRANSIENT_CODES = {
    "NoSuchUpload",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "TransactionCanceledException",
    "TransactionConflictException",
}


def is_aws_error(error: Exception) -> bool:
    """Return whether AWS failed or refused: the same call may succeed later, if only after a change of policy."""
    return isinstance(error, (ClientError, BotoCoreError, NotPublished, NotSent, Unprocessed))


def is_transient(error: Exception) -> bool:
    """Return whether the same call may succeed a little later."""
    if isinstance(error, (BotoCoreError, NotPublished, NotSent, Unprocessed)):
        return True
    if not isinstance(error, ClientError):
        return False
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "Throttl" in code or status >= 500 or code in _TRANSIENT_CODES
