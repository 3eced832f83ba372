"""CloudWatch Logs: what the agents of a session print, each into a stream of its own.

A cursor says how far each stream was read, since CloudWatch shows the lines of one agent later than another's: a time
before which all was read, and for each agent that has printed after it the time of its last line and how many lines of
that millisecond were given. Within a stream lines keep their order; one that CloudWatch takes more than `LATE_MS` to
show may be missed.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError

from chalicelib.aws.tasks import log_stream
from chalicelib.clock import Clock
from chalicelib.settings import Settings
from chalicelib.store.agents import AgentRecord, Agents
from chalicelib.wire.logs import InfoEvent, LoggingEvent, tags_of

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

#: How much later than other lines one may come to be seen: so much is read again each time.
LATE_MS = 10_000

#: How much of a line is looked at (CloudWatch takes 256 KB): more than is shown of it.
MOST_CHARS = 65_536

#: Most streams of one FilterLogEvents (CloudWatch Logs API reference).
STREAMS_AT_ONCE = 100

#: Pages that are looked at for the last lines of a stream: one may be empty and not the last (GetLogEvents).
LAST_PAGES = 3

#: How long (s) a call waits for a connection, and for an answer; and how often it is tried.
CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 8
TRIES = 3

#: Hides secrets in a line.
Hide = Callable[[str], str]

#: A time, and the line of that time; ``None`` at the end of each of CloudWatch's pages, which may be empty.
_Found = tuple[int, Any]


class SessionLogs(Protocol):
    """The lines of sessions: of CloudWatch on AWS, of a ring on one machine."""

    def read(
        self, namespace: str, session_id: str, agent: str | None, after: str
    ) -> Iterator[tuple[str, LoggingEvent | None]]:
        """Read the lines of a session, or of one of its agents, from behind a cursor on; ``0`` is the beginning.

        Gives each line with its cursor, and cursors alone where nothing is to be shown, the last one too. The caller
        stops when it has enough, or no more time.
        """

    def last(self, namespace: str, session_id: str, limit: int) -> Callable[[AgentRecord], list[LoggingEvent] | None]:
        """Return what reads the last lines of an agent of a session, at most ``limit``.

        It returns ``None`` when what is to be hidden in them cannot be known any more.
        """


class CloudWatchLogs:
    """The agents' log group of this deployment."""

    def __init__(
        self,
        client: "CloudWatchLogsClient",
        settings: Settings,
        clock: Clock,
        agents: Agents,
        hide: Callable[[str, str], Hide | None],
    ) -> None:
        """
        Parameters
        ----------
        hide
            Returns what hides the secrets of an agent, given its session's id and its name; ``None`` when that cannot
            be known any more: then nothing of it is shown.
        """
        self._client = client
        self._group = f"/atoll/{settings.stage}/agents"
        self._clock = clock
        self._agents = agents
        self._hide = hide

    def read(
        self, namespace: str, session_id: str, agent: str | None, after: str
    ) -> Iterator[tuple[str, LoggingEvent | None]]:
        """Read what agents have printed (`SessionLogs`); a call of CloudWatch for up to 10,000 lines."""
        began_ms = self._clock.now_ms()
        place = _Place(after, settled_ms=began_ms - LATE_MS)
        streams = {stream_of(each): each for each in self._agents_of(session_id, agent) if each.printing_id}
        hiding: dict[str, Hide | None] = {}
        for _, event in self._events(streams, place.floor_ms):
            if event is None:
                yield place.cursor, None  # the caller looks at its time
                continue
            of = streams[event["logStreamName"]]
            if not place.pass_line(of.position, event["timestamp"]):
                continue
            if of.name not in hiding:
                hiding[of.name] = self._hide(session_id, of.name)
            hide = hiding[of.name]
            yield place.cursor, line_of(of, event, hide) if hide else None
        place.settle()
        yield place.cursor, None

    def last(self, namespace: str, session_id: str, limit: int) -> Callable[[AgentRecord], list[LoggingEvent] | None]:
        """Return what reads the last lines of an agent (`SessionLogs`), by a call of CloudWatch or two."""

        def read(agent: AgentRecord) -> list[LoggingEvent] | None:
            printed = self._last_of(stream_of(agent), limit) if agent.printing_id else []
            if not printed:
                return []
            hide = self._hide(session_id, agent.name)
            return [line_of(agent, event, hide) for event in printed] if hide else None

        return read

    def _last_of(self, stream: str, limit: int) -> list[Any]:
        asked: dict[str, Any] = {"logGroupName": self._group, "logStreamName": stream, "limit": limit}
        for _ in range(LAST_PAGES):
            try:
                page = self._client.get_log_events(**asked, startFromHead=False)
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
                break  # nothing was printed
            if page["events"] or page["nextBackwardToken"] == asked.get("nextToken"):
                return list(page["events"])
            asked["nextToken"] = page["nextBackwardToken"]
        return []

    def _agents_of(self, session_id: str, name: str | None) -> list[AgentRecord]:
        if name is None:
            return self._agents.of_session(session_id)
        found = self._agents.find(session_id, name)
        return [found] if found else []

    def _events(self, streams: Mapping[str, AgentRecord], since_ms: int) -> Iterator[_Found]:
        """Read streams together; ends at once when there is none."""
        names = list(streams)
        # No line is older than its session: CloudWatch need not look at what is.
        since_ms = max(since_ms, min((each.created_at_ms or 0 for each in streams.values()), default=0) - LATE_MS)
        parts = (names[first : first + STREAMS_AT_ONCE] for first in range(0, len(names), STREAMS_AT_ONCE))
        return heapq.merge(*(self._there(part, since_ms) for part in parts), key=itemgetter(0))

    def _there(self, names: list[str], since_ms: int) -> Iterator[_Found]:
        try:
            yield from self._found(names, since_ms)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            # One stream that is not there hides all others: that of an agent whose container has not started yet.
            if there := [name for name in names if self._exists(name)]:
                yield from self._found(there, since_ms)

    def _found(self, names: list[str], since_ms: int) -> Iterator[_Found]:
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=self._group, logStreamNames=names, startTime=since_ms, interleaved=True
        )
        at_ms = since_ms
        for page in pages:
            for event in page["events"]:
                at_ms = event["timestamp"]
                yield at_ms, event
            yield at_ms, None

    def _exists(self, stream: str) -> bool:
        found = self._client.describe_log_streams(logGroupName=self._group, logStreamNamePrefix=stream, limit=1)
        return bool(found["logStreams"])


class _Place:
    """How far the streams of a session were read."""

    def __init__(self, cursor: str, *, settled_ms: int) -> None:
        """Read a cursor; a time up to ``settled_ms`` is settled: no line before it is still to be seen."""
        floor, *marks = cursor.split("-")
        #: All lines before it (epoch ms) were read.
        self.floor_ms = self._began_ms = int(floor)
        self._settled_ms = settled_ms
        #: Of each agent, by its position in the graph: the time of its last line that was read, and how many lines of
        #: that time were.
        self._read: dict[int, tuple[int, int]] = {}
        for mark in marks:
            agent, behind_ms, count = map(int, mark.split("."))
            self._read[agent] = self.floor_ms + behind_ms, count
        #: The same of the lines that were seen by this reader.
        self._seen: dict[int, tuple[int, int]] = {}

    @property
    def cursor(self) -> str:
        """The place as a cursor."""
        marks = (
            f"{agent}.{at_ms - self.floor_ms}.{count}"
            for agent, (at_ms, count) in sorted(self._read.items())
            if at_ms >= self.floor_ms
        )
        return "-".join([str(self.floor_ms), *marks])

    def pass_line(self, agent: int, at_ms: int) -> bool:
        """Pass the next line of an agent; ``False`` when it was read before."""
        last_ms, count = self._seen.get(agent, (at_ms, 0))
        self._seen[agent] = seen = (at_ms, count + 1 if last_ms == at_ms else 1)
        if seen <= self._read.get(agent, (self._began_ms, 0)):
            return False
        self._read[agent] = seen
        # Lines come by their time, so all before this one were passed.
        self.floor_ms = max(self.floor_ms, min(at_ms, self._settled_ms))
        return True

    def settle(self) -> None:
        """Note that all lines that can be seen were."""
        self.floor_ms = max(self.floor_ms, self._settled_ms)


def stream_of(agent: AgentRecord) -> str:
    """Return the log stream of what an agent prints."""
    made_of = agent.registry_agent_identifier
    return log_stream(made_of["name"], made_of["version"], agent.printing_id or "")


def line_of(agent: AgentRecord, event: Any, hide: Hide) -> LoggingEvent:
    """Return a line of an agent, its secrets hidden; ``event`` is as CloudWatch Logs lists it, and as it pushes it."""
    # The log driver writes both outputs of a process into one stream: it cannot be told which a line came from.
    return InfoEvent(
        timestamp=event["timestamp"],
        text=hide(event["message"].rstrip("\r\n")[:MOST_CHARS]),
        tags=tags_of(agent.namespace, agent.session_id, agent.name, "out"),
    )
