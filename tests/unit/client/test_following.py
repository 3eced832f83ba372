"""When a session that is followed is asked for: by a socket's word or after pauses, bounded in every weather."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from atoll import flows
from atoll.calls import Page
from atoll.errors import NotFound, Unavailable, Unreachable
from atoll.flows import Hear, Heard, Listen, Opened, Out, Pause
from atoll.models import LoggingEvent

SOCKET = Listen("/ws")


class Weather:
    """A server and the network before it, by a clock of its own: what there is, and when what happens."""

    def __init__(
        self, *, opened: Opened = Opened.YES, lives_s: float = float("inf"), speaks_every_s: float = float("inf")
    ) -> None:
        self.now_s = 0.0
        #: When entries come, and when each was given.
        self.comes_at_s: list[float] = []
        self.given_at_s: list[float] = []
        self.asked = 0
        self.opened_at_s: list[float] = []
        self._opened, self._lives_s = opened, lives_s
        #: How often the socket says something of which no page has anything.
        self._speaks_every_s = speaks_every_s
        self._told = 0
        self.until_s = 600.0
        self.away: Callable[[float], Exception | None] = lambda _: None

    def _there(self) -> int:
        return sum(1 for each in self.comes_at_s if each <= self.now_s)

    def ask(self, cursor: str) -> Page[Any]:
        self.asked += 1
        if self.now_s >= self.until_s:
            raise NotFound(404, "gone", {})
        if error := self.away(self.now_s):
            raise error
        there = self._there()
        return Page(list(range(int(cursor), there)), str(there))

    def hear(self, within_s: float) -> Heard:
        if self._speaks_every_s < within_s:
            self.now_s += self._speaks_every_s
            return Heard.SOMETHING
        breaks_s = self.opened_at_s[-1] + self._lives_s
        untold = [each for each in sorted(self.comes_at_s)[self._told :] if each <= self.now_s + within_s]
        if untold and untold[0] < breaks_s:
            self.now_s = max(self.now_s, untold[0])
            self._told = self._there()
            return Heard.SOMETHING
        if breaks_s <= self.now_s + within_s:
            self.now_s = max(self.now_s, breaks_s)
            return Heard.END
        self.now_s += within_s
        return Heard.NOTHING

    def follow(self) -> list[Any]:
        """Follow until the session is gone, and return all that was given."""
        live: Any = lambda cursor: ("live", cursor)  # noqa: E731
        kept: Any = lambda cursor: ("kept", cursor)  # noqa: E731
        flow: Any = flows.following(live, kept, "0", SOCKET)
        found: list[Any] = []
        given: Any = None
        fault: Exception | None = None
        for _ in range(100_000):
            try:
                step: Any = flow.send(given) if fault is None else flow.throw(fault)
            except StopIteration:
                return found
            given, fault = None, None
            match step:
                case Out(page):
                    found += page.entries
                    self.given_at_s += [self.now_s] * len(page.entries)
                case Pause(s):
                    self.now_s += s
                case Listen():
                    self.opened_at_s.append(self.now_s)
                    given = self._opened
                case Hear(within_s):
                    given = self.hear(within_s)
                case ("live", cursor):
                    try:
                        given = self.ask(cursor)
                    except Exception as error:
                        fault = error
                case ("kept", cursor):
                    fault = NotFound(404, "gone", {})
        raise AssertionError("it does not end")

    @property
    def longest_delay_s(self) -> float:
        return max(given - came for given, came in zip(self.given_at_s, self.comes_at_s, strict=True))


ENTRIES = [5.0, 7.5, 7.5, 100.0, 341.7, 341.8]


def test_with_a_socket_what_comes_is_there_at_once_and_little_is_asked() -> None:
    weather = Weather()
    weather.comes_at_s = ENTRIES
    assert weather.follow() == list(range(6))
    assert weather.longest_delay_s == 0
    assert weather.asked <= 600 / flows.QUIET_S + 3 * len(ENTRIES) + 3
    assert len(weather.opened_at_s) == 1


@pytest.mark.parametrize("opened", [Opened.NEVER, Opened.NOT_NOW])
def test_without_one_it_is_asked_every_two_seconds(opened: Opened) -> None:
    weather = Weather(opened=opened)
    weather.comes_at_s = ENTRIES
    assert weather.follow() == list(range(6))
    assert weather.longest_delay_s <= flows.LONGEST_PAUSE_S
    assert 300 <= weather.asked <= 400
    # 1, 2, 4 … 256 and 300 s behind one another, or never again.
    assert len(weather.opened_at_s) == (1 if opened is Opened.NEVER else 10)


@pytest.mark.parametrize("lives_s", [0.0, 0.01, 3.0])
def test_a_socket_that_breaks_again_and_again_costs_no_more_than_asking(lives_s: float) -> None:
    weather = Weather(lives_s=lives_s)
    weather.comes_at_s = ENTRIES
    assert weather.follow() == list(range(6))
    assert weather.longest_delay_s <= flows.LONGEST_PAUSE_S
    assert weather.asked <= 400
    gaps = [later - sooner for sooner, later in itertools.pairwise(weather.opened_at_s)]
    assert len(gaps) <= 30
    assert gaps
    assert min(gaps) >= flows.FIRST_RETRY_S


def test_a_socket_that_speaks_of_nothing_costs_no_more_than_asking() -> None:
    weather = Weather(speaks_every_s=0.005)
    weather.comes_at_s = ENTRIES
    assert weather.follow() == list(range(6))
    assert weather.longest_delay_s <= flows.LONGEST_PAUSE_S + 0.01
    assert weather.asked <= 400


def test_one_that_ends_after_a_long_time_is_opened_anew() -> None:
    weather = Weather(lives_s=120)
    weather.comes_at_s = ENTRIES
    assert weather.follow() == list(range(6))
    assert weather.longest_delay_s <= flows.LONGEST_PAUSE_S
    assert len(weather.opened_at_s) == 5
    assert weather.asked < 100


@pytest.mark.parametrize("error", [Unreachable("away"), Unavailable(503, "busy", {})])
def test_a_server_that_is_away_for_a_while_is_waited_for(error: Exception) -> None:
    weather = Weather()
    weather.comes_at_s = ENTRIES
    weather.away = lambda now_s: error if 98 <= now_s < 125 or 300 <= now_s < 325 else None
    assert weather.follow() == list(range(6))
    weather = Weather()
    weather.away = lambda now_s: error if now_s >= 98 else None
    with pytest.raises(type(error)):
        weather.follow()
    assert weather.now_s <= 98 + flows.QUIET_S + 2 * flows.MOST_OUTAGES
    weather = Weather()
    weather.away = lambda _: error
    with pytest.raises(type(error)):
        weather.follow()
    assert weather.asked == 1


def line(at_ms: int, agent: str, text: str) -> LoggingEvent:
    from pydantic import TypeAdapter

    tags = [{"type": "agent", "name": agent}]
    kind: TypeAdapter[LoggingEvent] = TypeAdapter(LoggingEvent)
    return kind.validate_python({"type": "info", "timestamp": at_ms, "text": text, "tags": tags})


def test_of_last_lines_those_are_given_that_were_not_seen() -> None:
    seen = [line(1, "a", "one"), line(2, "a", "x"), line(2, "a", "x"), line(9, "b", "late")]
    kept = [
        line(1, "a", "lines of this agent are not archived"),
        line(1, "a", "one"),
        *[line(2, "a", "x")] * 3,
        line(2, "a", "y"),
        line(3, "a", "z"),
        line(8, "b", "early"),
        line(9, "b", "late"),
        line(4, "c", "alone"),
    ]
    unseen = flows._Unseen()
    unseen.note(seen)
    found = [(flows.speaker_of(each), each.text) for each in unseen.of(kept)]
    assert found == [("a", "x"), ("a", "y"), ("a", "z"), ("c", "alone")]


def test_who_goes_on_from_a_cursor_gets_no_lines_of_before_it_again() -> None:
    since_ms = 1_795_722_230_000
    old, seen = line(since_ms - 1, "b", "read before"), line(since_ms + 5, "a", "seen")
    last = [old, seen, line(since_ms + 6, "a", "not seen"), line(since_ms + 7, "c", "not seen")]
    for lives in (True, False):
        flow: Any = flows.logs("n", "s", None, f"{since_ms}-0.3.1")
        found: list[str] = []
        step = next(flow)
        if lives:
            step = flow.send(Page([seen], f"{since_ms}-0.5.1"))
            found += [each.text for each in step.value.entries]
            next(flow)
        step = flow.throw(NotFound(404, "gone", {}))
        assert (step.path.rpartition("/history/")[2], step.query["after"]) == ("s/logs", "0")
        step = flow.send(Page(last, None))
        found += [each.text for each in step.value.entries]
        assert found == ["seen", "not seen", "not seen"]
        with pytest.raises(StopIteration):
            next(flow)


def test_lines_of_a_sessions_last_moments_come_from_the_history_and_none_twice() -> None:
    """On one machine: cursors are numbers of lines, and those of the history are others."""
    seen = [line(1, "a", "one"), line(2, "a", "two")]
    flow: Any = flows.logs("n", "s", None, "0")
    next(flow)
    found = [each.text for each in flow.send(Page(seen, "7")).value.entries]
    next(flow)
    step = flow.throw(NotFound(404, "gone", {}))
    assert (step.path.rpartition("/history/")[2], step.query["after"]) == ("s/logs", "0")
    step = flow.send(Page([*seen, line(2, "a", "three")], "3"))
    found += [each.text for each in step.value.entries]
    assert found == ["one", "two", "three"]
    assert step.value.cursor == "7", "one that the session knew"
    assert next(flow).query["after"] == "3"


def test_who_goes_on_in_the_history_alone_does_so_by_its_cursor() -> None:
    flow: Any = flows.logs("n", "s", None, "12")
    next(flow)
    step = flow.throw(NotFound(404, "gone", {}))
    assert step.query["after"] == "12"
    step = flow.send(Page([line(1, "a", "thirteen")], "13"))
    assert ([each.text for each in step.value.entries], step.value.cursor) == (["thirteen"], "13")
