"""CloudWatch Logs: lines of agents that run as functions, where other agents' lines are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import ClientError

from chalicelib.aws.session_logs import stream_of
from chalicelib.clock import Clock
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

    from chalicelib.store.agents import AgentRecord

#: Most lines of a turn, and the longest of them, in characters (CloudWatch Logs takes 256 KB, `masks` shows 16,000).
MOST_LINES = 100
LONGEST_LINE = 16_000


class AgentLines(Protocol):
    """Where lines of agents go: CloudWatch on AWS, the ring of latest lines on one machine."""

    def write(self, agent: "AgentRecord", lines: Sequence[str], *, failed: bool = False) -> None:
        """Write lines of an agent, its secrets hidden already; ``failed`` for those about an error."""


class CloudWatchLines:
    """The agents' log group of this deployment."""

    def __init__(self, client: "CloudWatchLogsClient", settings: Settings, clock: Clock) -> None:
        self._client = client
        self._group = f"/atoll/{settings.stage}/agents"
        self._clock = clock

    def write(self, agent: "AgentRecord", lines: Sequence[str], *, failed: bool = False) -> None:
        """Write lines (`AgentLines`) into the agent's stream, which is made for the first."""
        where = {"logGroupName": self._group, "logStreamName": stream_of(agent)}
        now_ms = self._clock.now_ms()
        events = [{"timestamp": now_ms, "message": line[:LONGEST_LINE] or " "} for line in lines[:MOST_LINES]]
        try:
            self._client.put_log_events(**where, logEvents=events)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            self._make(where)
            self._client.put_log_events(**where, logEvents=events)  # type: ignore[arg-type]

    def _make(self, where: dict[str, str]) -> None:
        try:
            self._client.create_log_stream(**where)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise
