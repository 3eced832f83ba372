"""What takes several requests, as generators without I/O: both clients drive them.

A flow yields a `Call` and is sent its result, or is thrown its error; a `Pause`, to be slept; or an `Out`, which is for
the caller.
"""

import dataclasses
import warnings
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeAlias, TypeVar

from atoll import calls
from atoll.calls import Call, Page
from atoll.errors import AtollError, AtollWarning, NotFound, Refused, Unreachable
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


Flow: TypeAlias = Generator[Call[Any] | Pause | Out[T], Any, None]
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


def following(
    live: Callable[[str], Call[Page[T]]],
    kept: Callable[[str], Call[Page[T]]],
    after: str,
    *,
    kept_from_start: bool = False,
) -> Flow[Page[T]]:
    """Give what comes to a session page by page until it is over, then what the history has besides.

    Whoever goes on later from the cursor of the last page that was dealt with misses nothing. Raises `NotFound` for a
    session that never was there. With ``kept_from_start`` cursors of the history are other ones: then it is read only
    when the session was over from the start.
    """
    cursor, pause_s, seen = after, FIRST_PAUSE_S, False
    while True:
        try:
            page: Page[T] = yield live(cursor)
        except NotFound:
            break
        seen = True
        pause_s = FIRST_PAUSE_S if page.entries else min(pause_s * PAUSE_GROWTH, LONGEST_PAUSE_S)
        moved = page.cursor != cursor
        cursor = page.cursor or cursor
        if page.entries:
            yield Out(page)
        elif not moved:
            yield Pause(pause_s)
    if seen and kept_from_start:
        return
    try:
        yield from _rest(kept, cursor)
    except NotFound:
        if not seen:
            raise


def _rest(kept: Callable[[str], Call[Page[T]]], cursor: str) -> Flow[Page[T]]:
    while True:
        page: Page[T] = yield kept(cursor)
        if page.entries:
            yield Out(page)
        if page.cursor is None or page.cursor == cursor:
            return
        cursor = page.cursor


def events(namespace: str, session_id: str, after: str) -> Flow[Page[Any]]:
    """Follow the events of a session to its end."""
    return following(
        lambda cursor: calls.events(namespace, session_id, cursor, None),
        lambda cursor: calls.historic_events(namespace, session_id, cursor, None),
        after,
    )


def logs(namespace: str, session_id: str, agent: str | None, after: str) -> Flow[Page[Any]]:
    """Follow what the agents of a session print to its end."""
    return following(
        lambda cursor: calls.logs(namespace, session_id, agent, cursor, None),
        lambda cursor: calls.historic_logs(namespace, session_id, agent, cursor, None),
        after,
        kept_from_start=True,
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
