"""Ends what its parent started when the parent is gone: run as a process of its own, it outlives even a SIGKILL.

Reads lines from its standard input: ``+<pid>`` a process group was started, ``-<pid>`` it has ended. The end of the
input is the end of the parent.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Follow the parent to its end, then end its process groups."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            groups.add(pid)
        else:
            groups.discard(pid)
    for pid in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
