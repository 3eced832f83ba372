"""Which errors of AWS pass by themselves: throttles, and failures of the service or on the way to it."""

from botocore.exceptions import BotoCoreError, ClientError

#: Throttles and conflicts that say neither "Throttl" nor 5xx.
_PASSING = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "TransactionConflictException"}


def passes(error: Exception) -> bool:
    """Tell whether the same call may succeed a little later."""
    if isinstance(error, BotoCoreError):
        return True
    if not isinstance(error, ClientError):
        return False
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "Throttl" in code or status >= 500 or code in _PASSING
