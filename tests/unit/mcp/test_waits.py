"""Waits as properties: whoever sends, however slowly and by whatever clock, each waiter is given each message once.

Senders, waiters, joins and closes go on beside each other (`tests.simulation`), each in a process of its own. What came
of it is held against a plain list: the log, read from its beginning when all is over.
"""

import dataclasses
import itertools
from functools import partial
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.domain import threads, waits
from chalicelib.domain.errors import BadRequest
from chalicelib.store.items import Unprocessed
from chalicelib.store.log import HOLE_MS, LogEntry
from chalicelib.store.threads import ThreadRecord
from chalicelib.stores import LONGEST_PAUSE_S
from chalicelib.wire.threads import SessionThreadMessage
from chalicelib.wire.waits import PausedWait
from tests.simulation import NEVER_S, SESSION, START_MS, Process, Simulation

#: Threads: two that stay as they are, one that is closed, one to which waiters are added.
STAYING, CLOSED, JOINED = ("t0", "t1"), "t2", "t3"


@dataclasses.dataclass(frozen=True)
class Sender:
    """A process that sends, one message after the other."""

    pauses_ms: list[int]
    threads: list[str]
    #: How wrong its clock is at each message, in ms.
    wrong_ms: list[int]
    #: How long each of its writes takes before and after it is made, again and again.
    writes_ms: list[tuple[int, int]]
    dies_before: int | None


@dataclasses.dataclass(frozen=True)
class Waiter:
    """An agent that waits again and again, and thinks in between."""

    name: str
    thinks_ms: list[int]
    hold_ms: int | None


WRONG_MS = st.one_of(st.just(0), st.sampled_from([-3_600_000, -3_000, -1_000, -1, 1, 1_000, 3_000, 3_600_000]))
WRITES_MS = st.one_of(
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.integers(0, 1_500), st.integers(0, 1_500)),
    st.sampled_from([(1_100, 0), (0, 1_100), (6_000, 0), (0, 6_000), (2_500, 2_500)]),
)
SENDERS = st.lists(
    st.builds(
        Sender,
        pauses_ms=st.lists(st.integers(0, 1_500), min_size=1, max_size=5),
        threads=st.lists(st.sampled_from([*STAYING, CLOSED, JOINED]), min_size=1, max_size=4),
        wrong_ms=st.lists(WRONG_MS, min_size=1, max_size=3),
        writes_ms=st.lists(WRITES_MS, min_size=1, max_size=3),
        dies_before=st.one_of(st.none(), st.none(), st.integers(1, 8)),
    ),
    min_size=1,
    max_size=5,
)
WAITERS = st.builds(
    Waiter,
    name=st.just("bob"),
    thinks_ms=st.lists(st.one_of(st.integers(0, 60), st.integers(0, 3_000)), min_size=1, max_size=4),
    hold_ms=st.one_of(st.none(), st.none(), st.integers(0, 2_000)),
)


class World:
    """One session with the agents ``ann`` and ``dan``, who send, and ``bob`` and ``cem``, who wait."""

    def __init__(self) -> None:
        self.simulation = Simulation()
        self.items: dict[str, dict[str, Any]] = {}
        members = {"ann", "dan", "bob", "cem"}
        self.threads = {
            name: ThreadRecord(
                session_id=SESSION,
                thread_id=name,
                name="topic",
                creator_name="ann",
                created_at_ms=START_MS,
                expires_at=NEVER_S,
                participants=members - ({"bob", "cem"} if name == JOINED else set()),
            )
            for name in (*STAYING, CLOSED, JOINED)
        }
        #: Messages that were acknowledged.
        self.acknowledged: list[SessionThreadMessage] = []
        #: By each waiter: what it was given, and when.
        self.given: dict[str, list[tuple[SessionThreadMessage, int]]] = {"bob": [], "cem": []}
        self.waiting = 0

    def process(self) -> Process:
        return Process(self.simulation, self.items, self.threads)

    def send(self, name: str, sender: Sender) -> None:
        """Send as a sender does."""
        process = self.process()
        process.weather.writes_ms = itertools.cycle(sender.writes_ms)
        process.weather.dies = frozenset([sender.dies_before] if sender.dies_before else [])
        for number, pause_ms in enumerate(sender.pauses_ms):
            self.simulation.sleep(pause_ms)
            process.own_clock.wrong_ms = sender.wrong_ms[number % len(sender.wrong_ms)]
            thread = sender.threads[number % len(sender.threads)]
            try:
                sent = threads.send(process, process.actor(name), thread, f"{name} {number}", [])
            except (BadRequest, Unprocessed):  # the thread was closed; the writes are too slow
                continue
            self.acknowledged.append(sent)

    def change(self, *, join_ms: int, close_ms: int) -> None:
        """Add the waiters to a thread, and close another."""
        process = self.process()
        self.simulation.sleep(join_ms)
        for name in ("bob", "cem"):
            threads.add_participant(process, process.actor("ann"), JOINED, name)
        self.simulation.sleep(close_ms)
        threads.close(process, process.actor("ann"), CLOSED, "over")

    def wait(self, waiter: Waiter) -> None:
        """Wait as each wait says, from the time that it tells on, until nothing can come any more."""
        process = self.process()
        self.waiting += 1
        from_ms = 1
        for pause_ms in itertools.cycle(waiter.thinks_ms):
            over = self.simulation.active <= self.waiting
            heard = self._wait_once(process, waiter, from_ms)
            message, from_ms = heard.message, heard.next_ms
            if message is None and over:
                self.waiting -= 1
                return
            if message is not None:
                self.given[waiter.name].append((message, self.simulation.now_ms))
            self.simulation.sleep(pause_ms)

    def _wait_once(self, process: Process, waiter: Waiter, from_ms: int) -> waits.Heard:
        now_ms = self.simulation.now_ms
        hold_ms = None if waiter.hold_ms is None else now_ms + waiter.hold_ms
        terms = waits.Terms(from_ms=from_ms, deadline_ms=now_ms + 3_000, hold_until_ms=hold_ms)
        go_on = partial(waits.for_message, terms=terms)
        while True:
            try:
                return go_on(process, process.actor(waiter.name))
            except waits.Paused as paused:
                self.simulation.sleep(paused.rest_ms)
                carried = PausedWait.model_validate_json(paused.wait.model_dump_json(by_alias=True))
                go_on = partial(waits.resume, paused=carried)

    def log(self) -> list[LogEntry]:
        """Read the log when all is over."""
        found: list[LogEntry] = []
        process = self.process()
        self.simulation.start(lambda: found.extend(process.log.read(SESSION)))
        self.simulation.run()
        return found


def messages(entries: list[LogEntry], *wanted: str) -> list[str]:
    """Return the ids of the messages of some threads in their order."""
    sent = [entry.event["message"] for entry in entries if entry.event["type"] == "thread_message_sent"]
    return [message["id"] for message in sent if message["threadId"] in wanted]


def check_log(world: World) -> list[LogEntry]:
    """Each position is there once, stamps rise, and each acknowledged message is there once."""
    entries = world.log()
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
    stamps = [entry.stamp_ms for entry in entries]
    assert stamps == sorted(set(stamps))
    in_log = messages(entries, *STAYING, CLOSED, JOINED)
    assert len(set(in_log)) == len(in_log)
    assert {message.id for message in world.acknowledged} <= set(in_log)
    return entries


def check_waiter(world: World, name: str, entries: list[LogEntry]) -> None:
    """A waiter was given every message of the threads that stay once, in the order of the log, and no other twice."""
    given = [message for message, _ in world.given[name]]
    # Who is added to a thread at that very moment may be given one of its messages and, as its past, the first again.
    ids = [message.id for message in given if message.thread_id != JOINED]
    assert len(set(ids)) == len(ids), f"{name} was given a message twice"
    assert [message.id for message in given if message.thread_id in STAYING] == messages(entries, *STAYING)
    assert [m.id for m in given if m.thread_id == CLOSED] == [i for i in messages(entries, CLOSED) if i in ids]
    added = next(
        entry.position
        for entry in entries
        if entry.event["type"] == "thread_participant_added" and entry.event["name"] == name
    )
    since = messages([entry for entry in entries if entry.position > added], JOINED)
    joined = [message.id for message in given if message.thread_id == JOINED]
    assert len(joined) - len(set(joined)) <= 1
    assert [each for each in dict.fromkeys(joined) if each in since] == since, "who was added is given all from then on"


@given(SENDERS, WAITERS, WAITERS, st.integers(0, 3_000), st.integers(0, 3_000))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_waiter_is_given_every_message_once_and_in_one_order(
    senders: list[Sender], bob: Waiter, cem: Waiter, join_ms: int, close_ms: int
) -> None:
    world = World()
    for number, sender in enumerate(senders):
        world.simulation.start(partial(world.send, "ann" if number % 2 else "dan", sender))
    world.simulation.start(lambda: world.change(join_ms=join_ms, close_ms=close_ms))
    for waiter in (bob, dataclasses.replace(cem, name="cem")):
        world.simulation.start(partial(world.wait, waiter))
    world.simulation.run()
    entries = check_log(world)
    check_waiter(world, "bob", entries)
    check_waiter(world, "cem", entries)


@given(SENDERS.map(lambda senders: [dataclasses.replace(each, dies_before=None, threads=["t0"]) for each in senders]))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_message_is_given_soon_after_it_was_acknowledged(senders: list[Sender]) -> None:
    world = World()
    acknowledged_ms: dict[str, int] = {}
    append = world.acknowledged.append

    def note(sent: Any) -> None:
        acknowledged_ms[sent.id] = world.simulation.now_ms
        append(sent)

    world.acknowledged = type("Noting", (list,), {})()
    world.acknowledged.append = note  # type: ignore[method-assign]
    quick = [dataclasses.replace(each, writes_ms=[(1, 1)]) for each in senders]
    for sender in quick:
        world.simulation.start(partial(world.send, "ann", sender))
    waiter = Waiter("bob", [0], None)
    world.simulation.start(partial(world.wait, waiter))
    world.simulation.run()
    at_ms = {message.id: given_ms for message, given_ms in world.given["bob"]}
    assert set(at_ms) == set(acknowledged_ms)
    in_a_row_ms = 20 * len(at_ms)  # one wait gives one message
    assert all(at_ms[each] - acknowledged_ms[each] <= LONGEST_PAUSE_S * 1000 + in_a_row_ms for each in at_ms)


def test_twenty_senders_at_once_of_whom_one_is_slow_all_get_through() -> None:
    world = World()
    for number in range(20):
        slow = number == 0
        writes_ms = [(600, 600)] if slow else [(2, 2)]
        sender = Sender([0] * (2 if slow else 20), ["t0"], [0], writes_ms, None)
        world.simulation.start(partial(world.send, "ann", sender))
    world.simulation.start(partial(world.wait, Waiter("bob", [0], None)))
    world.simulation.run()
    entries = check_log(world)
    assert len(world.acknowledged) == 19 * 20 + 2
    assert [message.id for message, _ in world.given["bob"]] == messages(entries, "t0")


def test_a_wait_that_stands_before_a_hole_ends_a_second_after_it_came() -> None:
    world = World()
    # It dies between ticket and put: a session's first ticket takes two writes.
    dead = Sender([0], ["t0"], [0], [(1, 1)], dies_before=3)
    world.simulation.start(partial(world.send, "ann", dead))
    world.simulation.start(partial(world.send, "dan", Sender([100], ["t0"], [0], [(1, 1)], None)))
    found: list[tuple[Any, int]] = []

    def wait() -> None:
        process = world.process()
        terms = waits.Terms(from_ms=1, deadline_ms=world.simulation.now_ms)
        found.append((waits.for_message(process, process.actor("bob"), terms), world.simulation.now_ms))

    world.simulation.start(wait, after_ms=500)
    world.simulation.run()
    [(heard, at_ms)] = found
    assert heard.message.text == "dan 0"
    assert HOLE_MS <= at_ms - START_MS - 500 <= HOLE_MS + 200
