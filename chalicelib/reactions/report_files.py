"""Extended end reports as files: written in memory that does not grow with what was said in the session.

In a report the messages are in their threads, and in the log they are in the order in which they were sent. So one
reading of the log puts them on disk and keeps where each begins; then the threads are written one after the other.
"""

from array import array
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO

from chalicelib.domain.errors import TooLarge
from chalicelib.store.log import LogEntry
from chalicelib.wire.sessions import ExtendedReport, SessionEndReport
from chalicelib.wire.threads import OpenThread, SessionThreadMessage

#: How a thread without messages has them in JSON. No text can contain it: in texts, quotes are escaped.
_NO_MESSAGES = b'"messages":[]'

#: How large a file may become in memory before it is on disk.
_IN_MEMORY_BYTES = 4_000_000


def temporary() -> IO[bytes]:
    """Open a file for a report, which is deleted when it is closed; on disk only once it is large."""
    return SpooledTemporaryFile(_IN_MEMORY_BYTES)


def write(report: SessionEndReport, entries: Iterable[LogEntry], to: IO[bytes], *, at_most_bytes: int) -> None:
    """Write a report with the messages among these entries of the log; its threads come without any.

    Raises `TooLarge` as soon as it is known that the report has more than ``at_most_bytes``.
    """
    assert isinstance(report.session_state, ExtendedReport)
    threads = report.session_state.state.threads
    # Each thread has the mark once, in the order of the threads.
    first, *rest = report.model_dump_json(by_alias=True, exclude_none=True).encode().split(_NO_MESSAGES)
    assert len(rest) == len(threads), "every thread comes without messages, and nothing else looks like one"
    room = _Room(at_most_bytes)
    room.take(len(first) + sum(len(_NO_MESSAGES) + len(part) for part in rest))
    shown = {thread.id for thread in threads if isinstance(thread.state, OpenThread)}
    with temporary() as file:
        messages = _Messages(file)
        for entry in entries if shown else ():
            if entry.event["type"] == "thread_message_sent" and entry.event["message"]["threadId"] in shown:
                room.take(messages.add(SessionThreadMessage.model_validate(entry.event["message"])))
        to.write(first)
        for thread, part in zip(threads, rest, strict=True):
            to.write(b'"messages":[')
            for number, message in enumerate(messages.of(thread.id)):
                to.write(b"," + message if number else message)
            to.write(b"]" + part)


class _Room:
    """How many bytes a report may still have."""

    def __init__(self, at_most_bytes: int) -> None:
        self._most = self._left = at_most_bytes

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge(f"the extended report has more than {self._most} bytes")


class _Messages:
    """Messages in a file, a line of JSON each, and where those of each thread begin."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0
        self._places: dict[str, array[int]] = {}

    def add(self, message: SessionThreadMessage) -> int:
        """Add a message at the end; return by how many bytes the report is larger for it, its comma among them."""
        line = message.model_dump_json(by_alias=True, exclude_none=True).encode()
        self._file.write(line + b"\n")
        places = self._places.setdefault(message.thread_id, array("Q"))
        places.append(self._end)
        self._end += len(line) + 1
        return len(line) + (len(places) > 1)

    def of(self, thread_id: str) -> Iterator[bytes]:
        """Read the messages of a thread, in the order in which they were added."""
        for place in self._places.get(thread_id, ()):
            self._file.seek(place)
            yield self._file.readline().rstrip(b"\n")
