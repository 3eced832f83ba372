"""API Gateway's management of WebSocket connections: pushes to those who follow something."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient

#: How long (s) a new connection may take from the moment at which it is noted until it takes frames.
_CONNECTS_WITHIN_S = 0.5

#: How long a push may take, in s: who follows holds up nothing for longer.
TIMEOUT_S = 2

#: How many connections are pushed to at the same time.
_AT_ONCE = 16

#: Largest frame (API Gateway quotas, "WebSocket frame size" and "Message payload size": 128 KB), in bytes of UTF-8.
LARGEST_FRAME = 128 * 1024


#: Frames for connections, by their ids.
Frames = Mapping[str, Sequence[str]]


class Connections(Protocol):
    """Pushes frames of text to connections."""

    #: Largest frame that a connection takes, in bytes of UTF-8.
    largest_frame: int

    def push(self, frames: Frames) -> set[str]:
        """Push frames to connections, by their ids, each connection's in order; return those that take no more.

        A connection is gone, or too slow to wait for: its client can come back and go on from its cursor.
        """

    def close(self, connection_ids: Iterable[str]) -> None:
        """Close connections; those that are gone are left alone."""


class ManagedConnections:
    """The connections of a stage's WebSocket API, by calls of ``PostToConnection``."""

    largest_frame = LARGEST_FRAME

    def __init__(self, client: "ApiGatewayManagementApiClient", clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def push(self, frames: Frames) -> set[str]:
        """Push frames; see `Connections`."""
        if len(frames) < 2:
            pushed = [self._push(*each) for each in frames.items()]
        else:
            with ThreadPoolExecutor(min(_AT_ONCE, len(frames))) as pool:
                pushed = list(pool.map(self._push, frames, frames.values()))
        return {connection_id for connection_id, took in pushed if not took}

    def _push(self, connection_id: str, frames: Sequence[str]) -> tuple[str, bool]:
        try:
            for number, frame in enumerate(frames):
                self._post(connection_id, frame.encode(), patient=number == 0)
        except (ClientError, BotoCoreError):  # gone, throttled for longer than a call may wait, or slow
            self.close([connection_id])
            return connection_id, False
        return connection_id, True

    def _post(self, connection_id: str, frame: bytes, *, patient: bool) -> None:
        try:
            self._client.post_to_connection(ConnectionId=connection_id, Data=frame)
        except ClientError as error:
            # A connection counts as gone, too, until its `$connect` has been answered.
            if not patient or error.response["Error"]["Code"] != "GoneException":
                raise
            self._clock.sleep(_CONNECTS_WITHIN_S)
            self._client.post_to_connection(ConnectionId=connection_id, Data=frame)

    def close(self, connection_ids: Iterable[str]) -> None:
        """Close connections; see `Connections`."""
        for connection_id in connection_ids:
            try:
                self._client.delete_connection(ConnectionId=connection_id)
            except (ClientError, BotoCoreError):
                continue
