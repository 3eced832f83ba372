"""Nudges to agents that run as functions: for what is in the log of their session, and for what is due."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from chalicelib.domain import waits
from chalicelib.domain.nudges import group_of, nudge_of
from chalicelib.store.log import LogEntry
from chalicelib.store.turns import TurnRecord

if TYPE_CHECKING:
    from chalicelib.domain.waits.hearing import Hearing
    from chalicelib.services import Services
    from chalicelib.wire.turns import LaterNudge


def to_entries(services: "Services", waiting: Sequence[TurnRecord], entries: Iterable[LogEntry]) -> None:
    """Nudge the agents for which entries of their session's log may be something to do."""
    nudges = []
    threads = _Threads(services, waiting[0].session_id)
    hearings = {turn.name: waits.hearing_of(turn) for turn in waiting}
    for entry in sorted(entries, key=lambda entry: entry.position):
        for turn in waiting:
            if entry.position > turn.position and _cares(turn, hearings[turn.name], entry, threads):
                message = entry.event.get("message")
                about = {"thread_id": message["threadId"]} if message else {}
                nudge = nudge_of(turn, position=entry.position, after=turn.position, **about)
                group = group_of(turn)
                nudges.append((group, f"{group}/{entry.position}", nudge))
    services.turn_queue.nudge(nudges)


class _Threads:
    """The participants of a session's threads, each thread read once."""

    def __init__(self, services: "Services", session_id: str) -> None:
        self._services = services
        self._session_id = session_id
        self._known: dict[str, set[str]] = {}

    def has(self, thread_id: str, name: str) -> bool:
        """Return whether an agent takes part in a thread, or the thread's participants are not known any more."""
        if thread_id not in self._known:
            thread = self._services.threads.find(self._session_id, thread_id)
            self._known[thread_id] = set(thread.participants) if thread else {name}
        return name in self._known[thread_id]


def _cares(turn: TurnRecord, hearing: "Hearing", entry: LogEntry, threads: _Threads) -> bool:
    """Return whether an entry may be something to do for an agent.

    One that is in a turn looks at the log after it, whatever it waits for then.
    """
    kind = entry.event["type"]
    if turn.turn == 0:
        return bool(turn.blocking) and kind in ("agent_connected", "runtime_stopped")
    if (
        turn.in_turn
        or kind not in ("thread_message_sent", "thread_participant_added")
        or not hearing.cares(entry.event)
    ):
        return False
    if kind != "thread_message_sent" or turn.waits_for == "mention":  # who is mentioned takes part
        return True
    return threads.has(entry.event["message"]["threadId"], turn.name)


def later(services: "Services", given: "LaterNudge") -> None:
    """Take a nudge for later: send it now, if its time has come, or delay it again.

    One of an earlier turn is dropped.
    """
    nudge = given.nudge
    turn = services.turns.find(nudge.session_id, nudge.agent)
    if turn is None or turn.turn != given.turn:
        return
    if given.due_ms - services.clock.now_ms() > 0:
        services.turn_queue.later(given)
        return
    group = group_of(turn)
    services.turn_queue.nudge([(group, f"{group}/due-{given.turn}-{given.number}", nudge)])
