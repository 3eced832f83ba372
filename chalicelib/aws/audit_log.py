"""CloudWatch Logs: the audit log of this deployment, in a log group of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient


class AuditLog:
    """The audit log: a stream a day (UTC)."""

    def __init__(self, client: "CloudWatchLogsClient", settings: Settings) -> None:
        self._client = client
        self._group = f"/atoll/{settings.stage}/audit"

    def write(self, lines: Sequence[tuple[int, str]]) -> None:
        """Write lines, each with its time (epoch ms); raise ``ClientError`` when CloudWatch Logs refuses them.

        A call takes 10,000 lines of 1 MB together, from one day: what a subscription hands over at once is less.
        """
        for day, of_day in groupby(sorted(lines), lambda line: _day(line[0])):
            events = [{"timestamp": time_ms, "message": text} for time_ms, text in of_day]
            where = {"logGroupName": self._group, "logStreamName": day}
            try:
                self._client.put_log_events(**where, logEvents=events)  # type: ignore[arg-type]
            except self._client.exceptions.ResourceNotFoundException:
                self._begin(day)
                self._client.put_log_events(**where, logEvents=events)  # type: ignore[arg-type]

    def _begin(self, day: str) -> None:
        try:
            self._client.create_log_stream(logGroupName=self._group, logStreamName=day)
        except ClientError as error:  # another was quicker
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date().isoformat()
