"""Many at once on one clock: threads of which one runs at a time, until it sleeps; and a table in memory beneath them.

What happens in which order follows from the times alone, so a run can be repeated.
"""

import dataclasses
import heapq
import itertools
import operator
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from chalicelib.clock import Clock
from chalicelib.domain.actors import Actor
from chalicelib.settings import Settings
from chalicelib.store.agents import AgentRecord
from chalicelib.store.log import Log, Room
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.threads import Change, ThreadRecord
from chalicelib.stores import Stores

START_MS = 1_800_000_000_000
NEVER_S = 1 << 40
SESSION = "s"


class Died(BaseException):
    """A process ended in the middle of its work."""


class Simulation:
    """One clock for all."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.errors: list[BaseException] = []
        #: How many threads have not ended.
        self.active = 0
        self._due: list[tuple[int, int, threading.Semaphore]] = []
        self._order = itertools.count()
        self._turn = threading.Semaphore(0)

    def start(self, what: Callable[[], Any], *, after_ms: int = 0) -> None:
        """Have a thread do something from a time on."""
        gate = threading.Semaphore(0)
        self.active += 1

        def run() -> None:
            gate.acquire()
            try:
                what()
            except Died:
                pass
            except BaseException as error:
                self.errors.append(error)
            finally:
                self.active -= 1
                self._turn.release()

        threading.Thread(target=run, daemon=True).start()
        heapq.heappush(self._due, (self.now_ms + after_ms, next(self._order), gate))

    def sleep(self, duration_ms: int) -> None:
        """Pause the thread that calls this."""
        gate = threading.Semaphore(0)
        heapq.heappush(self._due, (self.now_ms + duration_ms, next(self._order), gate))
        self._turn.release()
        gate.acquire()

    def run(self) -> None:
        """Let everything happen; raise what any thread has raised."""
        while self._due:
            at_ms, _, gate = heapq.heappop(self._due)
            self.now_ms = max(self.now_ms, at_ms)
            gate.release()
            self._turn.acquire()
        if self.errors:
            raise self.errors[0]


class WrongClock(Clock):
    """A clock that may be stepped away from the right time."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.wrong_ms = 0

    def now_ms(self) -> int:
        return self._simulation.now_ms + self.wrong_ms

    def sleep(self, seconds: float) -> None:
        self._simulation.sleep(round(seconds * 1000))


@dataclasses.dataclass
class Weather:
    """What a process's calls meet: how long each write takes before and after it is made, and when it dies."""

    writes_ms: Iterator[tuple[int, int]] = dataclasses.field(default_factory=lambda: itertools.repeat((1, 1)))
    #: Numbers of the writes before which it dies.
    dies: frozenset[int] = frozenset()
    made: int = 0


class MemoryTable:
    """As much of `chalicelib.store.table.Table` as the log uses, on items that all processes share."""

    def __init__(
        self, simulation: Simulation, clock: Clock, items: dict[str, dict[str, Any]], weather: Weather
    ) -> None:
        self.clock = clock
        self.items = items
        self._simulation = simulation
        self._weather = weather

    def get(self, key: dict[str, str]) -> dict[str, Any] | None:
        self._simulation.sleep(1)
        return self.items.get(key["item"])

    def query(self, condition: str, values: dict[str, Any], *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        assert condition == "#sessionId = :session AND #item BETWEEN :first AND :last"
        self._simulation.sleep(1)
        return iter([self.items[key] for key in sorted(self.items) if values[":first"] <= key <= values[":last"]])

    def try_put(self, item: dict[str, Any], *, when: str) -> tuple[bool, dict[str, Any] | None]:
        found: tuple[bool, dict[str, Any] | None] = self.write(lambda: self._put(item, when))
        return found

    def update(
        self, key: dict[str, str], change: str, *, when: str | None = None, values: dict[str, Any]
    ) -> dict[str, Any] | None:
        done, item = self.try_update(key, change, when=when or "", values=values)
        return item if done else None

    def try_update(
        self, key: dict[str, str], change: str, *, when: str, values: dict[str, Any]
    ) -> tuple[bool, dict[str, Any] | None]:
        found: tuple[bool, dict[str, Any] | None] = self.write(lambda: self._update(key, change, when, values))
        return found

    def write(self, perform: Callable[[], Any]) -> Any:
        """Make a write that takes its time, or die before it."""
        self._weather.made += 1
        if self._weather.made in self._weather.dies:
            raise Died
        before_ms, after_ms = next(self._weather.writes_ms)
        self._simulation.sleep(before_ms)
        done = perform()
        self._simulation.sleep(after_ms)
        return done

    def _put(self, item: dict[str, Any], when: str) -> tuple[bool, dict[str, Any] | None]:
        there = self.items.get(item["item"])
        if not _holds(when, there or {}, {}):
            return False, there
        self.items[item["item"]] = item
        return True, None

    def _update(
        self, key: dict[str, str], change: str, when: str, values: dict[str, Any]
    ) -> tuple[bool, dict[str, Any] | None]:
        old = self.items.get(key["item"])
        if when and not _holds(when, old or {}, values):
            return False, old
        new = {**(old or key)}
        change, _, added = change.partition(" ADD ")
        for name, value in re.findall(r"#(\w+) (:\w+)", added):
            new[name] = (old or {}).get(name, 0) + values[value]
        for name, text in re.findall(r"#(\w+) = ((?:[^,(]|\([^)]*\))+)", change.removeprefix("SET ")):
            new[name] = sum(_value(part.strip(), old or {}, values) for part in text.split(" + "))
        self.items[key["item"]] = new
        return True, new


def _holds(when: str, item: dict[str, Any], values: dict[str, Any]) -> bool:
    def one(text: str) -> bool:
        if missing := re.fullmatch(r"attribute_not_exists\(#(\w+)\)", text):
            return missing[1] not in item
        if there := re.fullmatch(r"attribute_exists\(#(\w+)\)", text):
            return there[1] in item
        if text.startswith("NOT "):
            return not one(text.removeprefix("NOT "))
        left, sign, right = text.split(" ")
        found = item.get(left.removeprefix("#"))
        signs = {"<": operator.lt, ">=": operator.ge, "=": operator.eq}
        return found is not None and bool(signs[sign](found, values[right]))

    return any(all(map(one, either.split(" AND "))) for either in when.split(" OR "))


def _value(text: str, item: dict[str, Any], values: dict[str, Any]) -> Any:
    if default := re.fullmatch(r"if_not_exists\(#(\w+), (:\w+)\)", text):
        return item.get(default[1], values[default[2]])
    return item[text.removeprefix("#")] if text.startswith("#") else values[text]


class MemoryThreads:
    """The threads that all processes share."""

    def __init__(self, table: MemoryTable, there: dict[str, ThreadRecord]) -> None:
        self._table = table
        self._there = there

    def create(self, record: ThreadRecord) -> None:
        self._table.write(lambda: self._there.update({record.thread_id: record}))

    def find(self, _session: str, thread_id: str) -> ThreadRecord | None:
        self._table.get({"item": ""})
        return self._there.get(thread_id)

    def threads(self, session_id: str, ids: list[str]) -> list[ThreadRecord | None]:
        self._table.get({"item": ""})
        return [self._there.get(each) for each in ids]

    def of_session(self, _session: str) -> list[ThreadRecord]:
        return list(self._there.values())

    def add(self, _session: str, thread_id: str, *, requester: str, name: str) -> Change:
        return self._changed(
            thread_id,
            lambda there: requester in there.participants and name not in there.participants,
            lambda there: {"participants": there.participants | {name}},
        )

    def close(self, _session: str, thread_id: str, *, summary: str, now_ms: int) -> Change:
        return self._changed(
            thread_id,
            lambda there: there.state == "open",
            lambda _: {"state": "closed", "summary": summary, "closed_at_ms": now_ms},
        )

    def _changed(self, thread_id: str, may: Callable[[ThreadRecord], bool], change: Callable[[Any], Any]) -> Change:
        def perform() -> Change:
            there = self._there[thread_id]
            made = may(there)
            if made:
                self._there[thread_id] = dataclasses.replace(there, **change(there))
            return Change(made, self._there[thread_id])

        found: Change = self._table.write(perform)
        return found


class Process(Stores):
    """One process of a deployment: its own clock, its own weather, and tables that it shares with the others."""

    def __init__(
        self, simulation: Simulation, items: dict[str, dict[str, Any]], threads: dict[str, ThreadRecord]
    ) -> None:
        self.own_clock, self.weather = WrongClock(simulation), Weather()
        super().__init__(Settings(mcp_wait_limit_ms=60_000), self.own_clock)
        table = MemoryTable(simulation, self.own_clock, items, self.weather)
        self.log = Log(table, Room(entries=1_000_000, size_bytes=500_000_000, threads=1_000))  # type: ignore[arg-type]
        self.threads = self.reads = MemoryThreads(table, threads)  # type: ignore[assignment]
        self.agents = self  # type: ignore[assignment]

    def minted(self, secret: str) -> bool:
        """No secret is used here."""
        raise NotImplementedError

    def seal(self, text: str, *, session_id: str, agent: str) -> bytes:
        """No option is used here."""
        raise NotImplementedError

    def opened(self, sealed: bytes, *, session_id: str, agent: str) -> str:
        """No option is used here."""
        raise NotImplementedError

    def start_wait(self, *_: Any, **__: Any) -> bool:
        """Nobody looks."""
        return True

    def end_wait(self, *_: Any, **__: Any) -> None:
        """Nobody looks."""

    def actor(self, name: str) -> Actor:
        agent = AgentRecord(
            session_id=SESSION,
            namespace="ns",
            name=name,
            position=0,
            registry_agent_identifier={},
            runtime="executable",
            expires_at=NEVER_S,
            links=["ann", "bob", "cem", "dan", "eve"],
        )
        session = SessionRecord(
            namespace="ns",
            session_id=SESSION,
            status="executed",
            created_at_ms=0,
            expires_at=NEVER_S,
            namespace_state={},
        )
        return Actor(session, agent)
