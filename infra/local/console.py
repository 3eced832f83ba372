"""What a person sees: the banner, and what the agents print, each line with its agent's name in front."""

import logging
import re
import threading
import zlib
from collections import deque
from typing import IO, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

#: What waits to be shown at most; when a terminal, or a pipe behind this process, takes no more, the rest is left out.
MOST_WAITING = 10_000

#: Colours that can be read on light and on dark ground.
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta", "bright_green")

#: Escape sequences and control characters but the tab: an agent's output must not control the terminal.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def agent_line(agent: str, line: str) -> Text:
    """Return a line of an agent's output as it is shown."""
    colour = COLOURS[zlib.crc32(agent.encode()) % len(COLOURS)]
    return Text.assemble((f"{_CONTROL.sub('', agent):>12} │ ", colour), _CONTROL.sub("", line))


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
        self.show(agent_line(agent, line))

    def show_notice(self, line: str, is_fault: bool) -> None:
        """Show what is to be told of the agents in watched folders."""
        self.show(Text(_CONTROL.sub("", line), style="yellow" if is_fault else "dim"))

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
        if isinstance(what, logging.LogRecord):
            handler.emit(what)
        else:
            self._console.print(what, soft_wrap=isinstance(what, Text), highlight=False)


class TerminalHandler(logging.Handler):
    """Shows log records where everything else is shown."""

    def __init__(self, terminal: Terminal, level: int) -> None:
        super().__init__(level)
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self._terminal.show(record)
