"""Which errors are AWS's, and which of those pass: throttles, failures of a service or of the way to it."""

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.bus import NotPublished

#: Throttles and conflicts that say neither "Throttl" nor 5xx.
_PASSING = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "TransactionCanceledException",
    "TransactionConflictException",
}


def is_of_aws(error: Exception) -> bool:
    """Tell whether AWS failed or refused: then the same call may do another time, if only somebody mends a policy."""
    return isinstance(error, (ClientError, BotoCoreError, NotPublished))


def passes(error: Exception) -> bool:
    """Tell whether the same call may succeed a little later."""
    if isinstance(error, (BotoCoreError, NotPublished)):
        return True
    if not isinstance(error, ClientError):
        return False
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "Throttl" in code or status >= 500 or code in _PASSING
