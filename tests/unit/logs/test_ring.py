"""The ring of the lines on one machine: bounded, read from a position on, and followed without a gap."""

import sys
import threading

import pytest

from chalicelib.wire.logs import InfoEvent, LogFilter, LoggingEvent, tags_of
from infra.local.logs import ring
from infra.local.logs.ring import Ring

ALL = LogFilter()


def line(text: str, session: str = "s", agent: str | None = "a") -> LoggingEvent:
    return InfoEvent(timestamp=0, text=text, tags=tags_of("n", session, agent))


def filled(*texts: str, events: int = 100, most_bytes: int = 1 << 20) -> Ring:
    made = Ring(events=events, most_bytes=most_bytes)
    for text in texts:
        made.append(line(text))
    return made


def texts(found: "list[tuple[int, LoggingEvent | None]]") -> list[str]:
    return [event.text for _, event in found if event is not None]


def test_lines_are_read_in_order_from_behind_a_position_on() -> None:
    made = filled("one", "two", "three")
    found = list(made.read(ALL))
    assert texts(found) == ["one", "two", "three"]
    assert texts(list(made.read(ALL, after=found[0][0]))) == ["two", "three"]


def test_the_end_is_a_position_too_whatever_was_wanted() -> None:
    made = filled("one", "two")
    [(end, nothing)] = made.read(LogFilter(session="another"))
    assert nothing is None
    made.append(line("later", session="another"))
    assert texts(list(made.read(LogFilter(session="another"), after=end))) == ["later"]


def test_the_oldest_lines_go_when_there_are_too_many() -> None:
    made = filled(*map(str, range(7)), events=5)
    assert texts(list(made.read(ALL, after=1))) == ["2", "3", "4", "5", "6"]


def test_the_oldest_lines_go_when_they_are_too_large() -> None:
    large = "x" * 10_000
    most = 3 * (sys.getsizeof(large) + ring.EVENT_BYTES)
    made = filled("first", *(f"{number}{large[1:]}" for number in range(3)), most_bytes=most)
    assert [text[0] for text in texts(list(made.read(ALL)))] == ["0", "1", "2"]


def test_one_line_is_kept_however_large() -> None:
    assert texts(list(filled("one", "x" * 100, most_bytes=1).read(ALL))) == ["x" * 100]


def test_a_position_of_an_earlier_run_is_the_beginning() -> None:
    assert texts(list(filled("one").read(ALL, after=1_000))) == ["one"]


def test_a_follower_is_given_the_latest_that_it_wants_and_then_what_comes() -> None:
    made = filled("one", "two", "three")
    made.append(line("of another", session="t"))
    with made.follow(LogFilter(session="s"), limit=2) as following:
        made.append(line("not wanted", session="t"))
        made.append(line("four"))
        assert [following.next(0) for _ in range(4)] == [line("two"), line("three"), line("four"), None]


@pytest.mark.parametrize(("limit", "replayed"), [(0, 0), (1, 1), (5_000, ring.MAX_REPLAY)])
def test_a_follower_says_how_much_of_the_past_it_wants(limit: int, replayed: int) -> None:
    made = filled(*map(str, range(ring.MAX_REPLAY + 10)), events=5_000, most_bytes=1 << 30)
    with made.follow(ALL, limit) as following:
        assert sum(following.next(0) is not None for _ in range(ring.MAX_REPLAY + 10)) == replayed


def test_nothing_is_missed_or_repeated_where_past_and_live_meet() -> None:
    made = Ring(events=100_000, most_bytes=1 << 30)
    total = 3_000

    def write() -> None:
        for number in range(total):
            made.append(line(str(number)))

    writer = threading.Thread(target=write)
    writer.start()
    found: list[list[str]] = []
    while writer.is_alive() and len(found) < 20:
        with made.follow(ALL, ring.MAX_REPLAY) as following:
            found.append([event.text for _ in range(50) if (event := following.next(1)) is not None])
    writer.join()

    assert found
    for got in found:
        assert got == [str(number) for number in range(int(got[0]), int(got[0]) + len(got))]


def test_a_slow_follower_loses_the_oldest_and_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "MOST_WAITING", 3)
    made = filled()
    with made.follow(ALL, 0) as following:
        for number in range(10):
            made.append(line(str(number)))
        assert [event.text for _ in range(3) if (event := following.next(0))] == ["7", "8", "9"]
        assert following.lost == 7


def test_a_follower_that_waits_is_woken_by_a_line_and_by_the_end() -> None:
    made = filled()
    following = made.follow(ALL, 0)
    timer = threading.Timer(0.05, made.append, [line("came")])
    timer.start()
    assert following.next(5) == line("came")
    timer.join()

    closing = threading.Timer(0.05, made.close)
    closing.start()
    assert following.next(5) is None
    closing.join()
    assert following.closed


def test_who_has_left_is_given_nothing() -> None:
    made = filled("one")
    following = made.follow(ALL, 1)
    following.close()
    made.append(line("two"))
    assert following.next(0) is None
    assert made.followers == 0


def test_a_follower_of_a_closed_ring_is_closed() -> None:
    made = filled("one")
    made.close()
    following = made.follow(ALL, 1)
    assert following.closed
