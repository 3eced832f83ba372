"""What processes print: cut into lines, told apart by where they were written, and read at a bounded pace."""

import sys
import threading
import time

import pytest

from infra.local.ecs import processes
from infra.local.ecs.processes import Child, Lines, Pace, Reaper


def lines_of(*chunks: bytes) -> list[str]:
    cutter = Lines()
    found = [line for chunk in chunks for line in cutter.feed(chunk)]
    return [*found, *cutter.end()]


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"o", b"ne\nt", b"wo"], ["one", "two"]),
        ([b"\n\nthree\r\n"], ["", "", "three"]),
        ([], []),
        ([b"caf\xc3", b"\xa9\n"], ["café"]),
        ([b"\xff\xfe ok\n"], ["�� ok"]),
    ],
)
def test_bytes_are_cut_into_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert lines_of(*chunks) == lines


def test_of_a_line_without_end_the_beginning_is_kept_and_the_rest_dropped() -> None:
    chunk = b"x" * 50_000
    found = lines_of(*[chunk] * 100, b"\nnext\n")
    assert [len(line) for line in found] == [processes.LONGEST_LINE, 4]


def test_a_line_that_does_not_end_is_there_once_it_is_long_enough() -> None:
    assert len(list(Lines().feed(b"x" * 100_000))) == 1


def test_who_prints_a_little_is_not_held_up() -> None:
    pace = Pace()
    assert all(pace.pause_s(1, 100, now_s=float(second)) == 0 for second in range(100))


def test_who_prints_much_is_read_at_a_bounded_pace() -> None:
    pace, now_s = Pace(), 0.0
    for _ in range(100):
        now_s += pace.pause_s(1_000, 2_000, now_s=now_s)
    assert now_s >= (100_000 - processes.BURST_LINES) / processes.LINES_PER_S


def run(code: str) -> list[tuple[str, str]]:
    """Run a program and return what it printed, when it has ended."""
    found: list[tuple[str, str]] = []
    ended = threading.Event()
    reaper = Reaper()
    Child(
        [sys.executable, "-S", "-c", code],
        variables={},
        directory=None,
        reaper=reaper,
        on_line=lambda io, line: found.append((io, line)),
        on_exit=lambda _: ended.set(),
    )
    assert ended.wait(20)
    reaper.close()
    return found


def test_output_and_errors_are_told_apart() -> None:
    found = run("import sys; print('fine'); print('not fine', file=sys.stderr)")
    assert sorted(found) == [("error", "not fine"), ("out", "fine")]


def test_a_flood_is_read_to_its_end_without_waiting_for_it_to_be_slow() -> None:
    """A process that has ended is not held up any more."""
    began_s = time.monotonic()
    found = run(f"print('y\\n' * {processes.BURST_LINES}, end='')")
    assert len(found) == processes.BURST_LINES
    assert time.monotonic() - began_s < 10
