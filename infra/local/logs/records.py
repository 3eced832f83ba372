"""What Atoll logs of sessions and agents on this machine: on AWS it is in the functions' logs."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chalicelib.telemetry import Ids
from chalicelib.wire.logs import (
    DebugEvent,
    ErrorEvent,
    InfoEvent,
    LoggingEvent,
    ProxyRequestTag,
    SensitiveTag,
    TraceEvent,
    WarningEvent,
    tags_of,
)
from infra.local.logs.ring import Ring

#: What a line has beside its message that is worth showing to who reads the log of a session.
_DETAILS = ("reason", "threadId", "error")


class SessionLines(logging.Handler):
    """Puts the records that are about a session into the ring."""

    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self._ring = ring
        self.addFilter(Ids())

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; one that is about no session is left out."""
        if getattr(record, "session", None) is not None:
            self._ring.append(event_of(record))


def event_of(record: logging.LogRecord) -> LoggingEvent:
    """Return a record as a line of the log.

    Of an exception it has the kind and where it arose: its message may be content of a session.
    """
    known = vars(record)
    details = [f"{name}: {known[name]}" for name in _DETAILS if name in known]
    line: dict[str, Any] = {
        "timestamp": int(record.created * 1000),
        "text": record.getMessage() + (f" ({', '.join(details)})" if details else ""),
        "tags": tags_of(known.get("namespace"), known["session"], known.get("agent")),
    }
    if "proxyNumber" in known:
        line["tags"].append(ProxyRequestTag(proxy_number=known["proxyNumber"]))
    if record.levelno >= logging.ERROR:
        return ErrorEvent(**line, exception_stack_trace=_trace_of(record))
    if record.levelno >= logging.WARNING:
        return WarningEvent(**line)
    if record.levelno >= logging.INFO:
        return InfoEvent(**line)
    line["tags"].append(SensitiveTag())
    return DebugEvent(**line) if record.levelno >= logging.DEBUG else TraceEvent(**line)


def _trace_of(record: logging.LogRecord) -> list[str]:
    if not record.exc_info or record.exc_info[0] is None:
        return []
    frames = traceback.extract_tb(record.exc_info[2])
    return [record.exc_info[0].__name__, *(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)]


@contextmanager
def session_lines(ring: Ring) -> Iterator[None]:
    """Put what Atoll logs of sessions into a ring until the end of the context."""
    logger = logging.getLogger("chalicelib")
    handler, level = SessionLines(ring), logger.level
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
