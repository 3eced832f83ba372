"""Logs and metrics of a Lambda: JSON lines with the ids of what they are about, and metrics among them (EMF).

Outside Lambda logging stays as the process has set it up, and no metric is written. Nothing here is content of a
session: ids, names, outcomes and durations only.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

#: Of the metrics, on CloudWatch.
NAMESPACE = "Atoll"

_IN_LAMBDA = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
_ids: ContextVar[dict[str, str]] = ContextVar("ids")


@contextmanager
def about(**ids: str | None) -> Iterator[None]:
    """Add ids (``namespace``, ``session``, ``agent``, ``request``, …) to every line that is logged in the context."""
    token = _ids.set({**_ids.get({}), **{name: value for name, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        _ids.reset(token)


def note(**ids: str) -> None:
    """Add ids to the lines that follow in the innermost `about`, which are known only now."""
    _ids.get({}).update(ids)


def request_id(context: Any) -> str | None:
    """Return the id of an invocation; a test may have none."""
    return getattr(context, "aws_request_id", None)


def count(metric: str, *, value: int = 1, **dimensions: str) -> None:
    """Count something that happened: ``count("SessionsClosed", reason="ttl")``."""
    _write(metric, "Count", value, dimensions)


def measure(metric: str, duration_ms: int) -> None:
    """Record how long something took."""
    _write(metric, "Milliseconds", duration_ms, {})


def audit(action: str, by: Mapping[str, str], outcome: str, **what: str) -> None:
    """Write a line of the audit log, whatever the level of other lines: who did what to what, and what came of it.

    On AWS a subscription copies such lines, known by ``audit``, into a log group of their own.
    """
    _audit.info("%s: %s", action, outcome, extra={"audit": action, "outcome": outcome, **by, **what})


_audit = logging.getLogger("atoll.audit")
_audit.setLevel(logging.INFO)


def _write(metric: str, unit: str, value: int, dimensions: dict[str, str]) -> None:
    if not _IN_LAMBDA:
        return
    # Not at the top: most invocations count nothing.
    from aws_lambda_powertools.metrics import MetricUnit, single_metric

    with single_metric(name=metric, unit=MetricUnit(unit), value=value, namespace=NAMESPACE) as written:
        written.add_dimension(name="stage", value=os.environ.get("ATOLL_STAGE", ""))
        for name, text in dimensions.items():
            written.add_dimension(name=name, value=text)


class Ids(logging.Filter):
    """Adds the ids of the context to a record; what the line itself says comes first."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in _ids.get({}).items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


#: What every record has: the rest is what the line itself says.
_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class _Line(logging.Formatter):
    """Writes a record as Powertools' logger does, without its import: 15 ms of every function's cold start."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "level": record.levelname,
            "location": f"{record.funcName}:{record.lineno}",
            "message": record.getMessage(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "service": "atoll",
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if trace := os.environ.get("_X_AMZN_TRACE_ID"):
            line["xray_trace_id"] = trace.split(";")[0].removeprefix("Root=")
        if record.exc_info and record.exc_info[0]:
            line["exception"] = self.formatException(record.exc_info)
            line["exception_name"] = record.exc_info[0].__name__
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up() -> None:
    """Write the lines of Atoll, and of Chalice in its name, as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Line())
    handler.addFilter(Ids())
    for name in ("atoll", "chalicelib"):
        logger = logging.getLogger(name)
        logger.setLevel(os.environ.get("POWERTOOLS_LOG_LEVEL", "INFO"))
        logger.propagate = False
        logger.handlers = [handler]


if _IN_LAMBDA:
    set_up()
