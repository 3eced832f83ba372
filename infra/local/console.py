"""What a person sees: the banner, what happens to sessions and agents, and what agents print.

Each line has its agent's name in front, and the beginning of its session's id.
"""

import logging
import re
import threading
from collections import deque
from typing import IO, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from atoll.command.lines import agent_line, plain
from chalicelib.telemetry import Ids

#: What waits to be shown at most; when a terminal, or a pipe behind this process, takes no more, the rest is left out.
MOST_WAITING = 10_000

#: How much of a session's id is shown before a line.
LABEL_CHARS = 4

#: How wide the names before lines are.
LABEL_COLUMNS = 16

#: What is logged of sessions and agents and is told, in which words and how.
_TOLD = {
    "session created": ("created", "dim"),
    "session executed": ("its agents are started", "dim"),
    "session closing": ("is closing", "dim"),
    "session closed": ("is closed", "dim"),
    "agent started": ("starts", "dim"),
    "agent connected": ("is connected", "dim"),
    "agent stopped": ("stopped", "dim"),
    "agent refused": ("cannot be started", "bold red"),
    "task never started": ("could not be started, and is tried again", "red"),
}


#: Reasons of a stop that are faults: a program that failed, one that could not be started, and what ECS calls an error.
_FAULTY = re.compile(r"with code [1-9]|Error\b|cannot be started|Cannot")

#: Loggers of Atoll itself; what others log is shown with their names.
_OWN_LOGGERS = ("chalicelib", "infra", "atoll")


class _Console(Console):
    """A console that leaves a closed pipe to its caller."""

    def on_broken_pipe(self) -> None:
        """Raise: rich would end the process."""
        raise BrokenPipeError


class _Records(RichHandler):
    """Shows log records, and leaves a closed pipe to its caller too."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise what was raised."""
        raise  # noqa: PLE0704, the caller handles it


class Terminal:
    """Shows what it is given, in its order, on a thread of its own: whoever has something to show never waits for it.

    A pipe may be full for ever, or closed: neither must stop an agent, or a request.
    """

    def __init__(self, file: IO[str] | None = None) -> None:
        """
        Parameters
        ----------
        file
            Where to show things; the output of this process by default.
        """
        self._console = _Console(file=file)
        self._waiting: deque[Any] = deque()
        self._left_out = 0
        self._changed = threading.Condition()
        self._broken = False
        #: Whether something is being shown.
        self._busy = False
        threading.Thread(target=self._run, name="terminal", daemon=True).start()

    def show(self, what: Any) -> None:
        """Show text, or anything else that rich can show, or a log record."""
        with self._changed:
            if self._broken:
                return
            if len(self._waiting) >= MOST_WAITING:
                self._left_out += 1
                return
            self._waiting.append(what)
            self._changed.notify_all()

    def show_agent_line(self, agent: str, line: str) -> None:
        """Show a line of an agent's output."""
        self.show(agent_line(agent, line, width=LABEL_COLUMNS))

    def show_notice(self, line: str, is_fault: bool) -> None:
        """Show what is to be told of the agents in watched folders."""
        self.show(Text(plain(line), style="yellow" if is_fault else "dim"))

    def flush(self, timeout_s: float) -> None:
        """Wait until all is shown, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not (self._waiting or self._busy), timeout_s)

    def _run(self) -> None:
        handler = _Records(console=self._console)
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                what, self._busy = self._waiting.popleft(), True
                left_out, self._left_out = (self._left_out, 0) if not self._waiting else (0, self._left_out)
            try:
                self._print(handler, what)
                if left_out:
                    self._print(handler, Text(f"{left_out} lines are not shown: they came too fast.", style="dim"))
            except (OSError, ValueError):  # nobody reads any more; the file is closed
                with self._changed:
                    self._broken = True
                    self._waiting.clear()
                    self._changed.notify_all()
                return

    def _print(self, handler: RichHandler, what: Any) -> None:
        if isinstance(what, logging.LogRecord) and what.exc_info:
            handler.emit(what)
        elif isinstance(what, logging.LogRecord):
            self._print(handler, _record_line(what))
        else:
            self._console.print(what, soft_wrap=isinstance(what, Text), highlight=False)


def _record_line(record: logging.LogRecord) -> Text:
    """Return a log record without a traceback as it is shown: one line."""
    style = "bold red" if record.levelno >= logging.ERROR else "yellow"
    source = "" if record.name.partition(".")[0] in _OWN_LOGGERS else f"{record.name}: "
    return Text(plain(f"! {source}{' '.join(record.getMessage().splitlines())}"), style=style)


def label_of(agent: str, session_id: str) -> str:
    """Return what stands before the lines of an agent: agents of one name are told apart by their sessions."""
    return f"{agent} {session_id[:LABEL_CHARS]}"


class SessionHandler(logging.Handler):
    """Shows in one line each what happens to sessions and agents, out of what is logged of them.

    Such a record is not for `TerminalHandler` any more.
    """

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.INFO)
        self._terminal = terminal
        self.addFilter(Ids())

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record that is one of those; all others are left alone."""
        known, text = vars(record), record.getMessage()
        session, told = known.get("session"), _TOLD.get(text)
        if session is None or told is None:
            return
        record.is_told = True
        said, style = told
        details = [str(known["reason"])] if known.get("reason") else []
        if text == "session created":
            details.append(f"{known.get('namespace')}/{session}")
        line = agent_line(
            label_of(known.get("agent") or "session", session), ": ".join([said, *details]), width=LABEL_COLUMNS
        )
        line.stylize("red" if _FAULTY.search(": ".join(details)) and style == "dim" else style)
        self._terminal.show(line)


class TerminalHandler(logging.Handler):
    """Shows log records where everything else is shown."""

    def __init__(self, terminal: Terminal, level: int) -> None:
        super().__init__(level)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, unless `SessionHandler` has shown it."""
        if not getattr(record, "is_told", False):
            self._terminal.show(record)
