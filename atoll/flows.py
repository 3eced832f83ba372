"""What takes several requests, as generators without I/O: both clients drive them.

A flow yields a `Call` and is sent its result, or is thrown its error; a `Pause`, to be slept; an `Out`, which is for
the caller; a `Listen`, to open a socket, and is sent an `Opened`; or a `Hear`, to wait on that, and is sent a `Heard`.
"""

import dataclasses
import enum
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from atoll import calls
from atoll.calls import Call, Page
from atoll.errors import AtollError, AtollWarning, NotFound, Refused, Unavailable, Unreachable
from atoll.models import Delivery, SignedDelivery

T = TypeVar("T")

#: Pauses between two looks at what may grow, in s: the first, by how much each is longer, and the longest.
FIRST_PAUSE_S = 0.25
PAUSE_GROWTH = 1.5
LONGEST_PAUSE_S = 2.0

#: Pauses after an error that passes, in s, each twice as long as the last.
FIRST_ERROR_PAUSE_S = 1.0
LONGEST_ERROR_PAUSE_S = 30.0

#: How late a delivery may appear in the listing, in ms: its time is that at which its body began to be stored.
LATEST_MS = 30_000

#: How many deliveries are looked through at once; of more the newest are given.
MOST_DELIVERIES = 10_000

#: What is answered where a single delivery cannot be signed: it is gone, or too large.
NOT_SIGNED = (404, 413)

#: How long nothing is asked while a socket is open and says nothing, in s: should it miss something, that is the delay.
QUIET_S = 20.0

#: How long a socket that was not to be had, or broke at once, is not tried again, in s: the first time, and at most.
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0

#: Which numbers are times (epoch ms): no log has so many lines.
TIMES = re.compile("[0-9]{13}")

#: How often in a row a page may be asked for at once, though none had what the socket spoke of.
MOST_IN_VAIN = 3

#: How often in a row a server that is followed may give no answer: half a minute.
MOST_OUTAGES = 15


@dataclasses.dataclass(frozen=True)
class Pause:
    """Time to sleep, in s."""

    s: float


@dataclasses.dataclass(frozen=True)
class Out(Generic[T]):
    """What is for the caller."""

    value: T


@dataclasses.dataclass(frozen=True)
class FollowedDelivery:
    """A delivery, and either how it is sent now or why that is not to be had."""

    delivery: Delivery
    signed: SignedDelivery | None
    refusal: Refused | None = None


@dataclasses.dataclass(frozen=True)
class Listen:
    """A socket, on which the server says that there is something new."""

    path: str
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Opened(enum.Enum):
    """Whether a socket is open: it may be later, or it never will."""

    YES = enum.auto()
    NOT_NOW = enum.auto()
    NEVER = enum.auto()


@dataclasses.dataclass(frozen=True)
class Hear:
    """Time to wait on the socket at most, in s."""

    within_s: float


class Heard(enum.Enum):
    """What came of waiting on a socket: that there is something new, nothing within the time, or that it is gone."""

    SOMETHING = enum.auto()
    NOTHING = enum.auto()
    END = enum.auto()


Flow: TypeAlias = Generator[Call[Any] | Pause | Out[T] | Listen | Hear, Any, None]
OnError: TypeAlias = Callable[[AtollError], None] | None


def listing(page_at: Callable[[str | None], Call[Page[T]]]) -> Flow[T]:
    """Give the entries of a listing one by one, a page at a time."""
    cursor: str | None = None
    while True:
        page: Page[T] = yield page_at(cursor)
        for entry in page.entries:
            yield Out(entry)
        if page.cursor is None:
            return
        cursor = page.cursor


class _Waiting:
    """When the next page is asked for: once a socket says so, or after a pause where none is to be had."""

    def __init__(self, socket: Listen) -> None:
        self._socket = socket
        self._is_open = False
        #: Something was said, and no page has it yet: what prints and what tells of it may be different services.
        self._is_expecting = False
        #: How often something was said since a page had something, or nothing was said for a while.
        self._in_vain = 0
        self._pause_s = FIRST_PAUSE_S
        self._retry_in_s = 0.0
        self._next_retry_s = FIRST_RETRY_S

    def found(self) -> None:
        """Take note that a page had something."""
        self._is_expecting, self._in_vain, self._pause_s = False, 0, FIRST_PAUSE_S

    def wait(self) -> Flow[Any]:
        """Wait until a page may have something."""
        if not self._is_open and self._retry_in_s <= 0:
            yield from self._open()
            if self._is_open:
                return  # for what came while it was opened
        if self._is_expecting and self._pause_s >= LONGEST_PAUSE_S:
            self._is_expecting = False
        if self._is_open:
            if self._in_vain > MOST_IN_VAIN:  # one that speaks without end does not have pages asked for without end
                yield Pause(self._pause_s)
            yield from self._hear(self._pause_s if self._is_expecting else QUIET_S)
        else:
            yield Pause(self._pause_s)
            self._retry_in_s -= self._pause_s
        self._pause_s = min(self._pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)

    def _open(self) -> Flow[Any]:
        opened: Opened = yield self._socket
        self._is_open = opened is Opened.YES
        if opened is Opened.NEVER:
            self._retry_in_s = float("inf")
        elif opened is Opened.NOT_NOW:
            self._try_later()

    def _hear(self, within_s: float) -> Flow[Any]:
        heard: Heard = yield Hear(within_s)
        if heard is Heard.END:
            self._is_open = False
            self._try_later()
            return
        self._next_retry_s = FIRST_RETRY_S
        self._in_vain = self._in_vain + 1 if heard is Heard.SOMETHING else 0
        if heard is Heard.SOMETHING:
            self._is_expecting = True
            if self._in_vain <= MOST_IN_VAIN:
                self._pause_s = FIRST_PAUSE_S

    def _try_later(self) -> None:
        self._retry_in_s = self._next_retry_s
        self._next_retry_s = min(2 * self._next_retry_s, LONGEST_RETRY_S)


def following(
    live: Callable[[str], Call[Page[T]]],
    kept: Callable[[str], Call[Page[T]]],
    after: str,
    socket: Listen,
    unseen: "_Unseen | None" = None,
) -> Flow[Page[T]]:
    """Give what comes to a session page by page until it is over, then what the history has besides.

    Whoever goes on later from the cursor of the last page that was dealt with misses nothing. Raises `NotFound` for a
    session that never was there, and `Unreachable` or `Unavailable` when the server gives no answer for half a minute.
    With ``unseen`` cursors of the history are other ones: it says what is not among the pages before.
    """
    cursor, seen, outages, waiting = after, False, 0, _Waiting(socket)
    while True:
        try:
            page: Page[T] = yield live(cursor)
        except NotFound as error:
            gone = error
            break
        except (Unreachable, Unavailable):
            outages += 1
            if not seen or outages > MOST_OUTAGES:
                raise
            yield Pause(LONGEST_PAUSE_S)
            continue
        seen, outages = True, 0
        moved = page.cursor != cursor
        cursor = page.cursor or cursor
        if page.entries:
            waiting.found()
            if unseen is not None:
                unseen.note(page.entries)
            yield Out(page)
        elif not moved:
            yield from waiting.wait()
    if unseen is None or not (seen or unseen.since_ms):
        rest = _rest(kept, cursor)
    else:
        rest = _unseen_rest(kept, cursor, unseen)
    try:
        yield from rest
    except NotFound:
        if not seen:
            raise gone from None


def _rest(kept: Callable[[str], Call[Page[T]]], cursor: str) -> Flow[Page[T]]:
    while True:
        page: Page[T] = yield kept(cursor)
        if page.entries:
            yield Out(page)
        if page.cursor is None or page.cursor == cursor:
            return
        cursor = page.cursor


def _unseen_rest(kept: Callable[[str], Call[Page[T]]], last: str, unseen: "_Unseen") -> Flow[Page[T]]:
    """Give what the history has besides, with the cursor of what was there last."""
    cursor = "0"
    while True:
        page: Page[T] = yield kept(cursor)
        if entries := unseen.of(page.entries):
            yield Out(Page(entries, last))
        if page.cursor is None or page.cursor == cursor:
            return
        cursor = page.cursor


class _Unseen:
    """Which lines come behind those that were seen, by each agent's time: its own never change places.

    Of an agent of which none was seen, those are that come since a time (epoch ms) up to which all were read before.
    """

    def __init__(self, since_ms: int = 0) -> None:
        self.since_ms = since_ms
        #: The time of an agent's latest line, and the texts of that time.
        self._latest: dict[str, tuple[int, list[str]]] = {}

    def note(self, lines: Sequence[Any]) -> None:
        """Take note of lines that were seen."""
        for line in lines:
            name = speaker_of(line)
            time_ms, texts = self._latest.get(name, (0, []))
            if line.timestamp > time_ms:
                self._latest[name] = (line.timestamp, [line.text])
            elif line.timestamp == time_ms:
                texts.append(line.text)

    def of(self, lines: Sequence[Any]) -> list[Any]:
        """Return the others of some lines."""
        return [line for line in lines if self._is_unseen(line)]

    def _is_unseen(self, line: Any) -> bool:
        time_ms, texts = self._latest.get(speaker_of(line), (self.since_ms, []))
        if line.timestamp == time_ms and line.text in texts:
            texts.remove(line.text)
            return False
        return bool(line.timestamp >= time_ms)


def speaker_of(line: Any) -> str:
    """Return the agent that a line is about, or nothing."""
    return next((str(tag.name) for tag in line.tags if tag.type == "agent"), "")


def events(namespace: str, session_id: str, after: str) -> Flow[Page[Any]]:
    """Follow the events of a session to its end."""
    return following(
        lambda cursor: calls.events(namespace, session_id, cursor, None),
        lambda cursor: calls.historic_events(namespace, session_id, cursor, None),
        after,
        Listen(calls.socket_of_events(namespace, session_id)),
    )


def logs(namespace: str, session_id: str, agent: str | None, after: str) -> Flow[Page[Any]]:
    """Follow what the agents of a session print to its end."""
    wanted = {"namespaceFilter": namespace, "sessionFilter": session_id, "limit": "0"}
    wanted |= {} if agent is None else {"agentFilter": agent}
    floor = after.partition("-")[0]
    return following(
        lambda cursor: calls.logs(namespace, session_id, agent, cursor, None),
        lambda cursor: calls.historic_logs(namespace, session_id, agent, cursor, None),
        after,
        Listen(calls.SOCKET_OF_LOGS, wanted),
        # On AWS a cursor begins with such a time; on one machine, and of the history, with the number of a line.
        unseen=_Unseen(int(floor) if TIMES.fullmatch(floor) else 0),
    )


def registry() -> Flow[Any]:
    """Give the registered agents one by one."""

    def entries(page: Page[Any]) -> list[Any]:
        return [agent for source in page.entries for agent in source.agents]

    cursor: str | None = None
    while True:
        page = yield calls.registry(cursor)
        for agent in entries(page):
            yield Out(agent)
        if page.cursor is None:
            return
        cursor = page.cursor


def deliveries(namespace: str, since_ms: int | None, on_error: OnError) -> Flow[FollowedDelivery]:
    """Give each delivery of a namespace once, the oldest first and signed just before it is given, without end.

    Those that were made since a time (epoch ms), or from now on. The listing has the newest first and a new one late,
    so each look goes back behind the newest that was seen, and what was seen is remembered for as long.
    """
    newest: Page[Delivery] = yield calls.deliveries(namespace, None)
    latest_ms = max((each.created_at for each in newest.entries), default=0)
    from_ms, seen = since_ms or 0, dict[str, int]()
    if since_ms is None:
        from_ms = latest_ms - LATEST_MS
        before = yield from _deliveries_since(namespace, from_ms, on_error)
        seen = {each.delivery_id: each.created_at for each in before}
    pause_s = FIRST_PAUSE_S
    while True:
        found = yield from _deliveries_since(namespace, from_ms, on_error)
        new = [each for each in reversed(found) if each.delivery_id not in seen]
        for each in new:
            seen[each.delivery_id] = each.created_at
            yield Out((yield from _signed(each, on_error)))
        latest_ms = max([latest_ms, *(each.created_at for each in new)])
        from_ms = max(from_ms, latest_ms - LATEST_MS)
        seen = {delivery_id: made_ms for delivery_id, made_ms in seen.items() if made_ms >= from_ms}
        pause_s = FIRST_PAUSE_S if new else min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
        yield Pause(pause_s)


def _deliveries_since(
    namespace: str, from_ms: int, on_error: OnError
) -> Generator[Call[Any] | Pause, Any, list[Delivery]]:
    """Return the deliveries that were made since a time, the newest first."""
    found: list[Delivery] = []
    cursor: str | None = None
    while True:
        page: Page[Delivery] = yield from _patiently(calls.deliveries(namespace, cursor), on_error)
        wanted = [each for each in page.entries if each.created_at >= from_ms]
        found += wanted
        if page.cursor is None or len(wanted) < len(page.entries):
            return found
        if len(found) >= MOST_DELIVERIES:
            warnings.warn(
                f"{namespace} has more than {MOST_DELIVERIES} deliveries to look through: the oldest are left out",
                AtollWarning,
                stacklevel=2,
            )
            return found
        cursor = page.cursor


def _signed(delivery: Delivery, on_error: OnError) -> Generator[Call[Any] | Pause, Any, FollowedDelivery]:
    call = calls.sign_delivery(delivery.namespace, delivery.delivery_id)
    try:
        return FollowedDelivery(delivery, (yield from _patiently(call, on_error)))
    except Refused as refusal:
        if refusal.status not in NOT_SIGNED:
            raise
        return FollowedDelivery(delivery, None, refusal)


def _patiently(call: Call[T], on_error: OnError) -> Generator[Call[Any] | Pause, Any, T]:
    """Make a call as often as it takes; raise what will not pass."""
    pause_s = FIRST_ERROR_PAUSE_S
    while True:
        try:
            return (yield call)  # type: ignore[no-any-return]
        except (Unreachable, Refused) as error:
            if isinstance(error, Refused) and error.status != 429 and error.status < 500:
                raise
            if on_error is not None:
                on_error(error)
        yield Pause(pause_s)
        pause_s = min(pause_s * 2, LONGEST_ERROR_PAUSE_S)
