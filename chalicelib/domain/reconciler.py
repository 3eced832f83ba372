"""Finds what slipped through, and mends it: on a schedule, beside everything else, as often as one likes.

Nothing here is needed as long as AWS keeps its word. Each repair does again what a lost reaction would have done, by
the same functions, so it is safe beside the reaction itself. What is younger than `GRACE_MS` is left to the usual way.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from chalicelib.aws.tasks import DESCRIBED_AT_ONCE, TaskState
from chalicelib.domain import agents, lifecycle, namespaces, reactions, webhooks
from chalicelib.domain.outages import passes
from chalicelib.store.agents import AgentRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.table import Item

if TYPE_CHECKING:
    from chalicelib.deployment import Deployment

logger = logging.getLogger(__name__)

#: How long the usual way may take. Longer than a stream, a queue or an eventually consistent list is behind.
GRACE_MS = 10 * 60 * 1000
#: How long items may be there before their session is: much longer than a request takes.
ORPHAN_MS = 3600 * 1000
#: The sessions are read in so many parts, each run beginning with another: one that is cut short neglects nobody.
PARTS = 16
#: Items are read in so many parts, one a run: all of them once a day when a run comes every five minutes.
ITEM_PARTS = 288
RUN_EVERY_MS = 5 * 60 * 1000
#: How often the lifecycle of one session is started anew.
MOST_MENDS = 20

#: Tells whether this run should come to its end.
Hurry = Callable[[], bool]


def reconcile(atoll: "Deployment", hurry: Hurry = lambda: False) -> "Counter[str]":
    """Look at everything that can be stranded and mend what is; return how often, by the kind of repair.

    A part that AWS refuses to show now is left for the next run; the others are done all the same.
    """
    run = _Run(atoll, hurry)
    for part in (run.deliveries, run.namespaces, run.sessions, run.tasks, run.items):
        try:
            part()
        except Exception as error:
            if not passes(error):
                raise
            logger.warning("left for the next run", extra={"part": part.__name__, "error": type(error).__name__})
    return run.repairs


class _Run:
    """One run."""

    def __init__(self, atoll: "Deployment", hurry: Hurry) -> None:
        self.repairs: Counter[str] = Counter()
        self._atoll = atoll
        self._hurry = hurry
        self._now_ms = atoll.clock.now_ms()
        self._number = self._now_ms // RUN_EVERY_MS
        #: Names of the namespaces that clients see.
        self._homes: set[str] = set()

    def _mended(self, kind: str, **what: str) -> None:
        self.repairs[kind] += 1
        logger.warning("mended", extra={"kind": kind, **what})

    def _is_old(self, since_ms: int | None) -> bool:
        return since_ms is not None and self._now_ms - since_ms > GRACE_MS

    # Deliveries and namespaces

    def deliveries(self) -> None:
        """Begin a new round of deliveries that nobody is at."""
        for delivery_id in webhooks.take_over_forgotten(self._atoll):
            self._mended("delivery_stalled", deliveryId=delivery_id)

    def namespaces(self) -> None:
        """Finish deletions that were broken off."""
        for record in self._atoll.namespaces.all():
            if self._hurry():
                return
            if record.state == "deleting" and self._is_old(record.deleting_since_ms):
                if record.forced:
                    reactions.end_namespace(self._atoll, record.name)
                elif self._atoll.sessions.any_in(record.name):
                    self._atoll.namespaces.stop_deleting(record.name)
                else:
                    namespaces.delete_when_empty(self._atoll, record.name)
                self._mended("namespace_left_deleting", namespace=record.name)

    # Sessions

    def sessions(self) -> None:
        """Give each session a lifecycle that runs, and end those that are over."""
        running = set(self._atoll.machines.running())
        self._homes = {record.name for record in self._atoll.namespaces.all() if not record.forced}
        for part in range(PARTS):
            for session in self._atoll.sessions.stored(((self._number + part) % PARTS, PARTS)):
                if self._hurry():
                    return
                self._session(session, running)

    def _session(self, session: SessionRecord, running: set[str]) -> None:
        where = {"namespace": session.namespace, "sessionId": session.session_id}
        if session.status == "pending_execution":
            if session.expires_at * 1000 < self._now_ms and self._atoll.sessions.remove(
                session.namespace, session.session_id, status="pending_execution"
            ):
                self._mended("pending_expired", **where)
            return
        if not self._is_old(_latest_ms(session)):
            return
        if session.status == "executed" and self._is_homeless(session):
            reactions.end_with_namespace(self._atoll, session)
            self._mended("namespace_missing", **where)
            return
        if session.session_id not in running and self._restarted(session):
            self._mended("execution_lost", **where)
        elif session.status == "closing":
            self._hasten(session)
        else:
            self._end(session)

    def _is_homeless(self, session: SessionRecord) -> bool:
        """Tell whether no client can see a session any more: its namespace is gone, or hidden and about to be."""
        if session.namespace in self._homes:
            return False
        record = self._atoll.namespaces.find(session.namespace)
        return record is None or record.forced

    def _restarted(self, session: SessionRecord) -> bool:
        """Start a lifecycle anew unless one runs: the list of those that run may be behind."""
        for mend in range(MOST_MENDS):
            status = self._atoll.machines.status(session.session_id, mend)
            if status == "RUNNING":
                return False
            if status is None:
                return reactions.start(self._atoll, session, mend=mend)
        logger.error("no lifecycle of this session comes to its end", extra={"sessionId": session.session_id})
        return False

    def _hasten(self, session: SessionRecord) -> None:
        """Tell the lifecycle once more that its session is closing; past all patience, put another one in its place."""
        where = {"namespace": session.namespace, "sessionId": session.session_id}
        if session.task_token is not None:
            self._atoll.machines.end_run(session.task_token)
            self._mended("closing_not_told", **where)
        due_ms = session.hold_until_ms or session.closing_at_ms or 0
        if self._now_ms - due_ms > 3 * GRACE_MS and self._replaced(session):
            self._mended("hold_overdue", **where)

    def _replaced(self, session: SessionRecord) -> bool:
        """Start a lifecycle beside one that runs and does not get on: both do only what is missing."""
        for mend in range(1, MOST_MENDS):
            status = self._atoll.machines.status(session.session_id, mend)
            if status == "RUNNING":
                return False
            if status is None:
                return reactions.start(self._atoll, session, mend=mend)
        return False

    def _end(self, session: SessionRecord) -> None:
        """Close an executed session whose time or whose agents are over, once the record tells so too."""
        where = session.namespace, session.session_id
        if self._is_old(lifecycle.ttl_end_ms(session)):
            if self._atoll.sessions.close(*where, now_ms=self._now_ms, reason="ttl"):
                self._mended("ttl_missed", namespace=where[0], sessionId=where[1])
            return
        known = self._atoll.agents.of_session(session.session_id)
        for agent, task in self._gone(known):
            self._note_end(agent, task)
            self._mended("task_gone", sessionId=session.session_id, agent=agent.name)
        if known and lifecycle.close_when_exited(self._atoll, *where):
            self._mended("agents_gone", namespace=where[0], sessionId=where[1])

    def _gone(self, known: list[AgentRecord]) -> Iterator[tuple[AgentRecord, TaskState | None]]:
        """Return the agents that are said to run in a task that does not."""
        thought = [agent for agent in known if agent.status == "running" and agent.task_arn]
        old = [agent for agent in thought if self._is_old(agent.started_at_ms)]
        found = {task.arn: task for task in self._atoll.tasks.described([agent.task_arn or "" for agent in old])}
        for agent in old:
            task = found.get(agent.task_arn or "")
            if task is None or task.stopped:
                yield agent, task

    def _note_end(self, agent: AgentRecord, task: TaskState | None) -> None:
        reason = task.reason if task and task.reason else "its task is gone"
        at_ms = (task.stopped_at_ms if task else None) or self._now_ms
        agents.stopped(self._atoll, agent, reason=reason, at_ms=at_ms)

    # Tasks

    def tasks(self) -> None:
        """Stop tasks that run for nobody: their session is over, or their agent was ended."""
        # All are listed before any is stopped: a page begins where the one before it ended.
        running = list(self._atoll.tasks.running())
        for start in range(0, len(running), DESCRIBED_AT_ONCE):
            if self._hurry():
                return
            for task in self._atoll.tasks.described(running[start : start + DESCRIBED_AT_ONCE]):
                ours = agents.is_ours(task.started_by) and not task.stopped
                if ours and self._is_old(task.created_at_ms) and self._is_stray(task):
                    self._atoll.tasks.stop(task.arn, reason="nobody needs this task")
                    self._mended("task_stray", startedBy=task.started_by, taskArn=task.arn)

    def _is_stray(self, task: TaskState) -> bool:
        agent = agents.of_task(self._atoll, task.started_by)
        if agent is None:
            return True
        if agent.status == "stopped":
            return self._is_old(agent.stopped_at_ms)
        session = self._atoll.sessions.find(agent.namespace, agent.session_id)
        return session is None or (session.status == "closing" and self._is_old(session.closing_at_ms))

    # Items

    def items(self) -> None:
        """Delete items of sessions that are not there: a creation was broken off, or a writer came after the purge."""
        for session_id, found in self._atoll.session_items.by_session((self._number % ITEM_PARTS, ITEM_PARTS)):
            if self._hurry():
                return
            if self._is_orphaned(session_id, found):
                while not self._atoll.session_items.purge(session_id, at_most=lifecycle.PURGE_SLICE):
                    pass
                self._mended("items_orphaned", sessionId=session_id)

    def _is_orphaned(self, session_id: str, items: list[Item]) -> bool:
        ages = [self._now_ms - made_ms for item in items if (made_ms := _made_ms(item)) is not None]
        if not ages or min(ages) < ORPHAN_MS:
            return False
        namespace = next((item["namespace"] for item in items if "namespace" in item), None)
        if namespace is None:  # its agents go first in a purge: whoever has none is being purged, or was
            return not self._atoll.agents.of_session(session_id)
        return self._atoll.sessions.find(namespace, session_id) is None


def _latest_ms(session: SessionRecord) -> int | None:
    return session.closing_at_ms or session.executed_at_ms


def _made_ms(item: Item) -> int | None:
    """Return when an item was written; ``None`` for one that does not say so, or that tells of a session's end."""
    kind, _, rest = item["item"].partition("#")
    if kind == "EVENT":
        stamp, _, entry_id = rest.partition("#")
        return None if entry_id == "session_closing" else int(stamp)
    made_ms = item.get("createdAtMs")
    return int(made_ms) if made_ms is not None else None
