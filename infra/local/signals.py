"""How a person stops `make run`: the first signal asks for it, the second ends the process at once.

Nothing is done in a signal's handler: one that takes a lock may wait for the very thread that it interrupts, and a
signal that the kernel gives to another thread does not wake the main one. The interpreter writes each signal's number
into a socket as it comes, and a thread reads it there.
"""

import faulthandler
import os
import signal
import socket
import threading

#: The signals that stop.
STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Follows the signals of this process, from the main thread's call of this on."""

    def __init__(self, *, within_s: float) -> None:
        """
        Parameters
        ----------
        within_s
            How long the process may take to end after the first signal. One that takes longer prints where each of its
            threads is, to its errors, and is ended.
        """
        self._within_s = within_s
        self._asked = threading.Event()
        self._numbers, told = socket.socketpair()
        told.setblocking(False)
        self._told = told  # as long as this is there
        signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        for number in STOPPING:
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._follow, name="signals", daemon=True).start()

    def wait(self) -> None:
        """Wait for the first."""
        self._asked.wait()

    def _follow(self) -> None:
        self._numbers.recv(1)
        faulthandler.dump_traceback_later(self._within_s, exit=True)
        self._asked.set()
        [number] = self._numbers.recv(1)
        os._exit(128 + number)
