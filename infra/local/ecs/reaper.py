"""Ends what its parent started when the parent is gone: run as a process of its own, it outlives even a SIGKILL.

Reads lines from its standard input: ``+<pid> <mark>`` a process group was started, ``-<pid> <mark>`` it has ended. The
end of the input is the end of the parent.

A process that leaves its group (``setsid``) is found by the mark in its environment, which it has from the first
process of the group, where the system shows that (``/proc``). One that clears its environment too is not found.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

#: The variable that marks what a process has started.
MARK = "_ATOLL_PROCESS"

#: How often is looked for marked processes at most: one may start another just when it is killed.
MOST_LOOKS = 10

_PROC = Path("/proc")


def main() -> None:
    """Follow the parent to its end, then end its process groups."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: dict[int, str] = {}
    for line in sys.stdin:
        pid, mark = line[1:].split()
        if line[0] == "+":
            groups[int(pid)] = mark
        else:
            groups.pop(int(pid), None)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    kill_marked(set(groups.values()))


def kill_marked(marks: set[str]) -> None:
    """Kill every process that has one of these marks in its environment."""
    variables = {f"{MARK}={mark}".encode() for mark in marks}
    for _ in range(MOST_LOOKS):
        found = list(_having(variables)) if variables else []
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _having(variables: set[bytes]) -> Iterator[int]:
    for folder in _PROC.iterdir() if _PROC.is_dir() else ():
        if folder.name.isdecimal():
            # Those of other users cannot be read; one that has ended has none.
            with contextlib.suppress(OSError):
                if not variables.isdisjoint((folder / "environ").read_bytes().split(b"\0")):
                    yield int(folder.name)


if __name__ == "__main__":
    main()
