"""What Atoll logs of a session on this machine is a line of its log, without anything that may be content."""

import logging

from chalicelib.telemetry import about
from chalicelib.wire.logs import LogFilter, LoggingEvent
from infra.local.logs.records import session_lines
from infra.local.logs.ring import Ring

logger = logging.getLogger("chalicelib.anything")


def logged(say: "object") -> list[LoggingEvent]:
    """Return the lines of a ring that were logged by a call."""
    ring = Ring()
    with session_lines(ring):
        say()  # type: ignore[operator]
    logger.info("later", extra={"session": "s"})
    return [event for _, event in ring.read(LogFilter(allow_sensitive=True)) if event is not None]


def test_a_line_has_the_tags_of_what_it_is_about() -> None:
    def say() -> None:
        with about(namespace="n", session="s"):
            logger.info("session closing", extra={"reason": "ttl"})
            logger.warning("agent refused", extra={"agent": "a", "reason": "no room"})

    closing, refused = logged(say)
    assert (closing.type, closing.text) == ("info", "session closing (reason: ttl)")
    assert [tag.type for tag in closing.tags] == ["namespace", "session"]
    assert (refused.type, refused.text) == ("warning", "agent refused (reason: no room)")
    assert [tag.to_wire()["mdcMap"] for tag in refused.tags] == [{"ns": "n"}, {"sid": "s"}, {"agent": "a"}]


def test_what_is_about_no_session_is_left_out() -> None:
    assert logged(lambda: logger.warning("AWS is busy")) == []


def test_an_error_has_its_kind_and_place_and_no_message() -> None:
    def say() -> None:
        try:
            raise ValueError("the option is hunter22")
        except ValueError:
            logger.exception("failed", extra={"session": "s"})

    [error] = logged(say)
    trace = error.to_wire()["exceptionStackTrace"]
    assert trace[0] == "ValueError"
    assert "test_records.py" in trace[1]
    assert "hunter22" not in str(error)


def test_debug_lines_are_sensitive() -> None:
    def say() -> None:
        before = logger.level
        logger.setLevel(logging.DEBUG)
        logger.debug("step", extra={"session": "s"})
        logger.setLevel(before)

    [step] = logged(say)
    assert (step.type, step.tags[-1].type) == ("debug", "sensitive")
