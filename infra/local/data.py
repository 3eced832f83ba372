"""What outlives a local stack: tables, objects and what was to be done with them, in one SQLite file of a folder."""

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "atoll.sqlite3"

#: The layout of the file (``user_version``); a file of another one is left alone.
LAYOUT = 1

#: How long another process that has the file may take to let go of it, in s.
BUSY_S = 1.0

#: Largest log that is kept beside the file once all of it is in the file, in bytes.
LARGEST_LOG = 64 * 1024 * 1024

#: How many values are read at once.
READ_AT_ONCE = 100

#: A kind, a key within it, and the value; ``None`` deletes.
Row = tuple[str, str, str | bytes | None]


class DataUnusable(Exception):
    """A folder cannot be used for data; the message says why."""


class Data:
    """Values by kind and key.

    What was written is there after the end of the process, however it ends. When the machine loses power, the file
    stays whole, and the writes of the last seconds may be missing: the disk is not waited for.
    """

    def __init__(self, folder: Path) -> None:
        """Open the file of a folder, or make both; raise `DataUnusable`."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                folder / FILE, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise DataUnusable(f"{folder}: {error}") from error
        self._lock = threading.Lock()
        #: What is to be written yet, the last value of each: what was refused, and what need not be there at once.
        self._behind: dict[tuple[str, str], str | bytes | None] = {}
        self._closed = False
        try:
            self._prepare(folder)
        except (sqlite3.Error, DataUnusable) as error:
            self._connection.close()
            if isinstance(error, DataUnusable):
                raise
            busy = getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            why = "another Atoll has this folder in use" if busy else str(error)
            raise DataUnusable(f"{folder}: {why}") from error

    def _prepare(self, folder: Path) -> None:
        execute = self._connection.execute
        # One process has the file. The kernel takes this lock back from a process that was killed.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA journal_mode = WAL")
        # A commit is in the kernel's hands: enough for the end of the process, not for that of the machine.
        execute("PRAGMA synchronous = NORMAL")
        execute(f"PRAGMA journal_size_limit = {LARGEST_LOG}")
        execute("BEGIN IMMEDIATE")
        [layout] = execute("PRAGMA user_version").fetchone()
        if layout not in (0, LAYOUT):
            execute("ROLLBACK")
            raise DataUnusable(f"{folder}: its layout is {layout}, which this Atoll does not know (it writes {LAYOUT})")
        execute("CREATE TABLE IF NOT EXISTS kept (kind TEXT, key TEXT, value BLOB NOT NULL, PRIMARY KEY (kind, key))")
        execute(f"PRAGMA user_version = {LAYOUT}")
        execute("COMMIT")

    def write(self, rows: Iterable[Row]) -> None:
        """Write values, all of them or none; when this returns, they outlive the process.

        Raises
        ------
        sqlite3.Error
            when they cannot be written now. They are in memory by then, so they are written with what comes next.
        """
        with self._lock:
            self._later(rows)
            self._flush()

    def write_later(self, rows: Iterable[Row]) -> None:
        """Write values with the next that are written, or at the end: for what may as well be forgotten."""
        with self._lock:
            self._later(rows)

    def read(self, kind: str) -> Iterator[tuple[str, str | bytes]]:
        """Read keys and values of a kind, in the order in which the keys were written."""
        last = 0
        while True:
            with self._lock:
                self._flush()
                # `+`: by place in the file, not by key.
                rows = self._connection.execute(
                    "SELECT rowid, key, value FROM kept WHERE rowid > ? AND +kind = ? ORDER BY rowid LIMIT ?",
                    (last, kind, READ_AT_ONCE),
                ).fetchall()
            for _, key, value in rows:
                yield key, value
            if len(rows) < READ_AT_ONCE:
                return
            last = rows[-1][0]

    def get(self, kind: str, key: str) -> str | bytes | None:
        """Return one value; ``None`` when there is none."""
        with self._lock:
            self._flush()
            found = self._connection.execute(
                "SELECT value FROM kept WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return found[0] if found else None

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        with self._lock:
            try:
                self._flush()
            except sqlite3.Error:
                pass  # it was logged
            finally:
                self._closed = True
                self._connection.close()

    def _later(self, rows: Iterable[Row]) -> None:
        for kind, key, value in rows:
            self._behind.pop((kind, key), None)  # the last place is the last write's
            self._behind[kind, key] = value

    def _flush(self) -> None:
        if self._closed or not self._behind:
            return
        execute = self._connection.execute
        try:
            execute("BEGIN")
            for (kind, key), value in self._behind.items():
                if value is None:
                    execute("DELETE FROM kept WHERE kind = ? AND key = ?", (kind, key))
                else:
                    execute(
                        "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                        (kind, key, value),
                    )
            execute("COMMIT")
        except sqlite3.Error as error:
            log.error("the data cannot be written, it is tried again with the next write: %s", error)
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._behind.clear()
