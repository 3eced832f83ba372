"""Child processes: each with a group of its own, read line by line, and ended with everything that it started."""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from chalicelib.wire.logs import Io
from infra.local.ecs.reaper import MARK, kill_marked

#: What a child gets of this process's environment: what programs need to run at all, nothing that is secret.
INHERITED = {
    "HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "LANG",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SYSTEMROOT",
    "TMPDIR",
    "TZ",
    "USER",
    "http_proxy",
    "https_proxy",
    "no_proxy",
}

#: How long the output of a process that has ended may take to be read, in s.
LAST_WORDS_S = 1.0

#: How long the process that ends what is left may take for that, in s.
REAPER_S = 2.0

#: A line of output is cut after so many bytes, so that a child cannot fill the memory.
LONGEST_LINE = 64 * 1024

#: How many lines of one child are read in a second, after a burst of so many; `LINE_BYTES` of long lines count as one
#: more. A child that prints more has to wait: reading it all would take the time that the others need.
LINES_PER_S = 2_000
BURST_LINES = 10_000
LINE_BYTES = 500


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: its own variables, above the few that it inherits."""
    inherited = {name: value for name, value in os.environ.items() if name in INHERITED or name.startswith("LC_")}
    # An agent's `python` is the one that runs this, with the packages that are installed for it.
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    # Python agents show what they print when they print it.
    return {**inherited, "PATH": path, "PYTHONUNBUFFERED": "1", **variables}


class Reaper:
    """A process that ends the children when this one is killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        #: Marks of groups that have ended, for the next look.
        self._marks: set[str] = set()
        self._process: subprocess.Popen[str] | None = None

    def watch(self, pid: int, mark: str) -> None:
        """Take a process group into care, with what leaves it and has its mark."""
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                    text=True,
                    env={},
                )
            self._say(f"+{pid} {mark}")

    def end(self, pid: int, mark: str) -> None:
        """End what has left a process group that has ended, and let go of it: its id may be reused soon."""
        with self._lock:
            self._marks.add(mark)
        with self._looking:  # one look is enough for all that end at the same time
            with self._lock:
                marks, self._marks = self._marks, set()
            kill_marked(marks)
        with self._lock:
            self._say(f"-{pid} {mark}")

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
                try:
                    self._process.wait(REAPER_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
                self._process = None

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()


class Lines:
    """Cuts what a process writes into lines. Of a line that is too long the beginning is kept, the rest dropped."""

    def __init__(self) -> None:
        self._begun = b""
        #: Whether the rest of a line is being dropped.
        self._full = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Take what was read; yield the lines that end with it, or that are too long with it."""
        *ends, rest = chunk.split(b"\n")
        for part in ends:
            yield from self._keep(part)
            yield from self.end(whole=True)
        yield from self._keep(rest)

    def end(self, *, whole: bool = False) -> Iterator[str]:
        """Yield the line that was begun; what is not ``whole`` is one only if there is something of it."""
        if not self._full and (whole or self._begun):
            yield _text(self._begun)
        self._begun, self._full = b"", False

    def _keep(self, part: bytes) -> Iterator[str]:
        if not self._full:
            self._begun += part[: LONGEST_LINE - len(self._begun)]
            if len(self._begun) == LONGEST_LINE:
                yield _text(self._begun)
                self._full = True


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


class Pace:
    """How fast the lines of one child are read."""

    def __init__(self) -> None:
        #: By when what was read so far should have been, at the pace that is allowed.
        self._due_s = float("-inf")

    def pause_s(self, lines: int, size: int, *, now_s: float) -> float:
        """Return how long to wait after reading so many lines and bytes at a time (of the monotonic clock)."""
        self._due_s = max(self._due_s, now_s - BURST_LINES / LINES_PER_S) + (lines + size / LINE_BYTES) / LINES_PER_S
        return max(0.0, self._due_s - now_s)


class Child:
    """A process that was started."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        variables: Mapping[str, str],
        directory: str | None,
        reaper: Reaper,
        on_line: Callable[[Io, str], None],
        on_exit: Callable[[int], None],
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it.

        Parameters
        ----------
        on_line
            Takes each line that it writes: to its output or its errors, the line (`LONGEST_LINE` of it at most).
        on_exit
            Takes its exit code, after its last line; as in a container, 128 and more when a signal ended it.
        pass_fds
            File descriptors that it has under the same numbers.

        Raises
        ------
        OSError
            when it cannot be started.
        """
        self._reaper = reaper
        self._mark = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._ended = False
        #: Set when what is left of the output is to be read at once.
        self._last_words = threading.Event()
        self._on_line = on_line
        self._on_exit = on_exit
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment(variables), MARK: self._mark},
            cwd=directory or None,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        reaper.watch(self._process.pid, self._mark)
        self._reader = threading.Thread(target=self._read, name=f"output-{self._process.pid}", daemon=True)
        self._reader.start()
        self._waiter = threading.Thread(target=self._await_exit, name=f"process-{self._process.pid}", daemon=True)
        self._waiter.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started."""
        with self._lock:
            if not self._ended:
                _signal_group(self._process.pid, number)

    def join(self, timeout_s: float) -> bool:
        """Wait until it has ended and said so; whether it has."""
        self._waiter.join(timeout_s)
        return not self._waiter.is_alive()

    def _read(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        pace = Pace()
        with selectors.DefaultSelector() as pipes, self._process.stdout as output, self._process.stderr as errors:
            pipes.register(output, selectors.EVENT_READ, ("out", Lines()))
            pipes.register(errors, selectors.EVENT_READ, ("error", Lines()))
            while pipes.get_map():
                for key, _ in pipes.select():
                    self._last_words.wait(pace.pause_s(*self._read_pipe(pipes, key), now_s=time.monotonic()))

    def _read_pipe(self, pipes: selectors.BaseSelector, key: selectors.SelectorKey) -> tuple[int, int]:
        """Read what is in a pipe; return how many lines and bytes that were."""
        io, lines = key.data
        chunk = os.read(key.fd, LONGEST_LINE)
        if not chunk:
            pipes.unregister(key.fileobj)
        count = 0
        for line in lines.feed(chunk) if chunk else lines.end():
            self._on_line(io, line)
            count += 1
        return count, len(chunk)

    def _await_exit(self) -> None:
        pid = self._process.pid
        if hasattr(os, "waitid"):
            # Without collecting it yet: until then its process id cannot be reused.
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        with self._lock:
            self._ended = True
            # A container ends with its first process, whatever else runs in it.
            _signal_group(pid, signal.SIGKILL)
        code = self._process.wait()
        self._reaper.end(pid, self._mark)
        self._last_words.set()
        self._reader.join(LAST_WORDS_S)
        self._on_exit(128 - code if code < 0 else code)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
