"""What a person sees, where nobody may be looking: a pipe that is full, or closed, stops nobody."""

import contextlib
import io
import logging
import os

import pytest
from rich.text import Text

from infra.local import console as shown
from infra.local.console import SessionHandler, Terminal, TerminalHandler

#: How long a thread may take for a few lines, in s.
SOON_S = 10.0


def test_lines_are_shown_in_their_order() -> None:
    file = io.StringIO()
    terminal = Terminal(file)
    logger = logging.getLogger("test_terminal")
    logger.addHandler(TerminalHandler(terminal, logging.WARNING))
    terminal.show_agent_line("ann", "hello \x1b[2J")
    logger.warning("a warning\nof two lines")
    logger.info("not this")
    terminal.show_notice("a fault", True)
    terminal.flush(SOON_S)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines[0] == "             ann │ hello"
    assert lines[1:] == ["! test_terminal: a warning of two lines", "a fault"]


def test_an_error_is_shown_with_its_traceback() -> None:
    file = io.StringIO()
    terminal = Terminal(file)
    try:
        raise ValueError("this")
    except ValueError as error:
        what = {"msg": "a failure", "levelname": "ERROR", "exc_info": (ValueError, error, error.__traceback__)}
        terminal.show(logging.makeLogRecord(what))
    terminal.flush(SOON_S)
    assert "a failure" in file.getvalue()
    assert "ValueError: this" in file.getvalue()


@pytest.mark.parametrize(
    ("reason", "is_fault"),
    [
        ("exited with code 3", True),
        ("exited with code 0", False),
        ("CannotStartContainerError: no such program: x", True),
        ("it cannot be started", True),
        ("the session is closed", False),
    ],
)
def test_a_stop_that_is_a_fault_is_red(reason: str, is_fault: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(io.StringIO())
    told: list[Text] = []
    monkeypatch.setattr(terminal, "show", told.append)
    about = {"msg": "agent stopped", "session": "4d34c05f", "agent": "ann", "reason": reason}
    SessionHandler(terminal).emit(logging.makeLogRecord(about))
    assert any("red" in str(span.style) for span in told[0].spans) is is_fault


def test_what_happens_is_said_once_in_a_line_each() -> None:
    file = io.StringIO()
    terminal = Terminal(file)
    logger = logging.getLogger("chalicelib.test_terminal")
    parent = logging.getLogger("chalicelib")
    handlers = [SessionHandler(terminal), TerminalHandler(terminal, logging.WARNING)]
    level = parent.level
    parent.addHandler(handlers[0])
    logging.getLogger().addHandler(handlers[1])
    parent.setLevel(logging.INFO)
    try:
        about = {"namespace": "shop", "session": "4d34c05f-7569"}
        logger.info("session created", extra=about)
        logger.info("thread created", extra={**about, "agent": "ann"})
        logger.warning("agent refused", extra={**about, "agent": "ann", "reason": "there is no program \x1b[2J'x'"})
        logger.info("agent stopped", extra={**about, "agent": "bob", "reason": "exited with code 3"})
        logger.warning("another warning", extra=about)
    finally:
        parent.removeHandler(handlers[0])
        logging.getLogger().removeHandler(handlers[1])
        parent.setLevel(level)
    terminal.flush(SOON_S)
    *lines, other = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines == [
        "    session 4d34 │ created: shop/4d34c05f-7569",
        "        ann 4d34 │ cannot be started: there is no program 'x'",
        "        bob 4d34 │ stopped: exited with code 3",
    ]
    assert other == "! another warning"


def test_a_full_pipe_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "MOST_WAITING", 50)
    reading, writing = os.pipe()
    terminal = Terminal(os.fdopen(writing, "w"))
    for _ in range(500):
        terminal.show_agent_line("ann", "x" * 1_000)
    terminal.flush(0.01)
    assert len(terminal._waiting) <= 50
    # Who reads on is told that something is missing.
    read = b""
    while b"lines are not shown" not in read:
        read += os.read(reading, 65_536)
    terminal.flush(SOON_S)
    os.close(reading)


RECORD = {"name": "any", "levelno": logging.WARNING, "msg": "hello"}
FAILURE = {**RECORD, "exc_info": (ValueError, ValueError("this"), None)}


@pytest.mark.parametrize("line", ["hello", logging.makeLogRecord(RECORD), logging.makeLogRecord(FAILURE)])
def test_a_closed_pipe_stops_nobody(line: str | logging.LogRecord) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w") as file:
        terminal = Terminal(file)
        for _ in range(10):
            terminal.show(line)
        terminal.flush(SOON_S)
        terminal.show(line)
        assert not terminal._waiting
        assert terminal._broken
