"""The last lines that the agents of a session have printed, for its archive: what cannot be read is said in them.

They hold nothing up: reading them ends with its time, and an error of the logs is a line that says so.
"""

import heapq
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.aws.errors import is_aws_error
from chalicelib.store.agents import AgentRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.logs import LoggingEvent, WarningEvent, tags_of

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: How many lines of an agent are kept, and how many bytes of JSON they may have.
AGENT_LINES = 200
AGENT_BYTES = 65_536
#: How many bytes the lines of a session may have: each agent has an equal part when that is less.
SESSION_BYTES = 2 * 2**20
#: No agent's lines are begun to be read later than this after the first's.
READING_MS = 10_000

#: Reads the lines of an agent: `SessionLogs.last`.
_Read = Callable[[AgentRecord], list[LoggingEvent] | None]


def of_session(
    services: "Services", session: SessionRecord, agents: Sequence[AgentRecord], *, ended_at_ms: int
) -> Iterator[str]:
    """Read the last lines of a session's agents by their time, each as JSON text; an agent's own keep their order.

    Parameters
    ----------
    ended_at_ms
        The time (epoch ms) of a line that says what is missing where there is no other.
    """
    end_ms = services.clock.now_ms() + READING_MS
    most_bytes = min(AGENT_BYTES, SESSION_BYTES // max(1, len(agents)))
    read = services.session_logs.last(session.namespace, session.session_id, AGENT_LINES + 1)
    found = []
    for agent in agents:
        lines, missing = _lines(read, agent) if services.clock.now_ms() < end_ms else ([], _LATE)
        kept = _latest(lines, most_bytes)
        if len(kept) < len(lines):
            missing = _OLDER
        if missing:
            at_ms = kept[0][0] if kept else ended_at_ms
            kept.appendleft((at_ms, _json(_missing(session, agent, missing, at_ms))))
        if missing not in ("", _OLDER):
            about = {"namespace": session.namespace, "session": session.session_id, "agent": agent.name}
            logger.warning("last lines are not archived", extra={**about, "reason": missing})
        found.append(kept)
    return (text for _, text in heapq.merge(*found, key=lambda each: each[0]))


_OLDER = f"only its last lines are kept, {AGENT_LINES} at most"
_LATE = f"reading the lines of all agents takes longer than {READING_MS} ms"
_UNKNOWN = "its secrets, which would have to be hidden, cannot be known any more"


def _lines(read: _Read, agent: AgentRecord) -> tuple[list[LoggingEvent], str]:
    """Return the lines of an agent, and why they are missing."""
    try:
        lines = read(agent)
    except Exception as error:
        if not is_aws_error(error):
            raise
        # Its message may name what the reader of a history does not know.
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        return [], f"reading them failed: {code}"
    return ([], _UNKNOWN) if lines is None else (lines, "")


def _latest(lines: Sequence[LoggingEvent], most_bytes: int) -> deque[tuple[int, str]]:
    """Return as many of the last lines as are kept, each with its time."""
    kept: deque[tuple[int, str]] = deque()
    for line in reversed(lines):
        text = _json(line)
        most_bytes -= len(text.encode())
        if most_bytes < 0 or len(kept) == AGENT_LINES:
            break
        kept.appendleft((line.timestamp, text))
    return kept


def _missing(session: SessionRecord, agent: AgentRecord, why: str, at_ms: int) -> LoggingEvent:
    tags = tags_of(session.namespace, session.session_id, agent.name)
    return WarningEvent(timestamp=at_ms, text=f"lines of this agent are not archived: {why}", tags=tags)


def _json(line: LoggingEvent) -> str:
    return line.model_dump_json(by_alias=True, exclude_none=True)
