"""How `make run` ends: small processes that are signalled as a terminal, or the kernel, would do it."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

#: How long a process of a few imports may take to do anything, in s.
PROCESS_S = 30.0

START = """
import os, signal, sys, threading, time
from infra.local.signals import StopSignals
signals = StopSignals(within_s={within_s})
print("started", flush=True)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def started(then: str, *, within_s: float = PROCESS_S) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", START.format(within_s=within_s) + then]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait(start: Start, number: signal.Signals) -> None:
    process = start("signals.wait(); print('stopping')")
    process.send_signal(number)
    assert process.communicate(timeout=PROCESS_S) == ("stopping\n", "")


def test_a_signal_that_another_thread_gets_ends_the_wait(start: Start) -> None:
    process = start(
        "blocked = threading.Thread(target=time.sleep, args=(60,), daemon=True); blocked.start()\n"
        "threading.Timer(0.2, lambda: signal.pthread_kill(blocked.ident, signal.SIGINT)).start()\n"
        "signals.wait(); print('stopping')"
    )
    assert process.communicate(timeout=PROCESS_S) == ("stopping\n", "")


def test_a_signal_that_comes_before_anybody_waits_counts(start: Start) -> None:
    process = start("os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1); signals.wait(); print('stopping')")
    assert process.communicate(timeout=PROCESS_S) == ("stopping\n", "")


def test_the_second_signal_ends_the_process_at_once(start: Start) -> None:
    process = start("signals.wait(); print('stopping', flush=True); threading.Lock().acquire(); time.sleep(600)")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PROCESS_S) == 128 + signal.SIGTERM


def test_an_end_that_takes_too_long_says_where_each_thread_is(start: Start) -> None:
    process = start("def stuck(): time.sleep(600)\nsignals.wait(); stuck()", within_s=0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PROCESS_S)
    assert process.returncode == 1
    assert "Timeout" in errors
    assert "in stuck" in errors
