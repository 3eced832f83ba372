"""What a person sees, where nobody may be looking: a pipe that is full, or closed, stops nobody."""

import contextlib
import io
import logging
import os

import pytest

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
    logger.warning("a warning")
    logger.info("not this")
    terminal.show_notice("a fault", True)
    terminal.flush(SOON_S)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert lines[0] == "             ann │ hello"
    assert "a warning" in lines[1]
    assert lines[2] == "a fault"


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
    assert "another warning" in other


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


@pytest.mark.parametrize("line", ["hello", logging.makeLogRecord({"msg": "hello"})])
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
