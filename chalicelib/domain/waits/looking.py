"""Finding in the log what a waiting agent hears: messages, and the past of threads that it is added to."""

from collections.abc import Collection, Iterable
from itertools import takewhile
from typing import TYPE_CHECKING

from chalicelib.domain.waits.hearing import Filter, Hearing
from chalicelib.store.items import BATCH_GET_ITEMS
from chalicelib.store.log import LogEntry
from chalicelib.wire.events import FromFilter, MentionsFilter
from chalicelib.wire.waits import PausedWait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chalicelib.store.turns import TurnRecord
    from chalicelib.stores import Stores

#: No position of a log is behind it: what its client cancels is another wait of the agent.
_BEHIND_ALL = 10**12


def hears(stores: "Stores", session_id: str, hearing: Hearing, page: "Sequence[LogEntry]") -> bool:
    """Return whether an agent hears the first message of a page; reads the threads of all of them."""
    wanted = [entry.event["message"]["threadId"] for entry in page if hearing.wants(entry)]
    if wanted[0] not in hearing.known:
        ids = [each for each in dict.fromkeys(wanted) if each not in hearing.known][:BATCH_GET_ITEMS]
        for each, thread in zip(ids, stores.reads.threads(session_id, ids), strict=True):
            hearing.learn(each, thread)
    return hearing.known[wanted[0]]


def first_of_past(
    stores: "Stores", session_id: str, hearing: Hearing, joined: tuple[str, LogEntry], told: Collection[int] = ()
) -> LogEntry | None:
    """Return the first message that an agent hears of a thread's past, which it has ``joined`` by an entry.

    Messages at the positions ``told`` are none of it.
    """
    thread_id, before = joined
    thread = stores.threads.find(session_id, thread_id)
    if thread is None or not hearing.learn(thread_id, thread):
        return None
    read = stores.log.read(session_id, thread.log_position + 1)
    past = takewhile(lambda entry: entry.position < before.position, read)
    return next((entry for entry in past if hearing.wants(entry, thread_id) and entry.position not in told), None)


def hearing_of(turn: "TurnRecord") -> Hearing:
    """Return what judges entries of the log for an agent that runs as a function and waits."""
    filters: list[Filter] = []
    if turn.waits_for == "mention":
        filters.append(MentionsFilter(name=turn.name))
    elif turn.waits_for == "agent":
        filters.append(FromFilter(name=turn.from_agent or ""))
    wait = PausedWait(id=f"w{0:032x}", filters=filters, started_ms=0, deadline_ms=0, next_ms=0, position=1)
    return Hearing(turn.name, wait, _BEHIND_ALL)


def first_heard(
    stores: "Stores", turn: "TurnRecord", hearing: Hearing, entries: Iterable[LogEntry]
) -> tuple[LogEntry | None, int]:
    """Return the first message with which an agent's wait ends, and up to where it has read then.

    ``entries`` are those of the log from behind its position on, without a hole. Raises `Conflict` when session or
    agent have ended.
    """
    reached = turn.position
    for entry in entries:
        hearing.note(entry)
        reached = entry.position
        joined = hearing.adds_to(entry)
        if joined and (past := first_of_past(stores, turn.session_id, hearing, (joined, entry), turn.told)):
            return past, reached
        if hearing.wants(entry) and hears(stores, turn.session_id, hearing, [entry]):
            return entry, reached
    return None, reached
