"""Finds and repairs inconsistent state, on a schedule; it may run at any time, also beside itself.

It finds nothing as long as AWS delivers as documented. Each repair does again what a lost reaction would have done, by
the same functions, so it is safe beside the reaction itself. What is younger than `GRACE_MS` is left to the usual way.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from chalicelib.aws.errors import is_transient
from chalicelib.aws.tasks import DESCRIBED_AT_ONCE, TaskState
from chalicelib.domain import budgets, namespaces
from chalicelib.reactions import changes, deliveries, launches, lifecycle
from chalicelib.store.agents import AgentRecord
from chalicelib.store.session_items import SessionRemains
from chalicelib.store.sessions import SessionRecord

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: How long the usual way may take. Longer than a stream, a queue or an eventually consistent list is behind.
GRACE_MS = 10 * 60 * 1000
#: How long items may be there before their session is: much longer than a request takes.
ORPHAN_MS = 3600 * 1000
#: The sessions are read in so many parts, each run beginning with another, because a run may be cut short.
PARTS = 16
#: Items are read in so many parts, one a run: all of them once a day when a run comes every five minutes.
ITEM_PARTS = 288
RUN_EVERY_MS = 5 * 60 * 1000
#: How often the lifecycle of one session is started anew.
MOST_RESTARTS = 20

#: Says whether this run should come to its end.
Hurry = Callable[[], bool]


def reconcile(services: "Services", hurry: Hurry = lambda: False) -> "Counter[str]":
    """Find and repair every kind of inconsistent state; return the number of repairs, by kind.

    A part whose reads AWS refuses is left for the next run; the others are done all the same.
    """
    run = _Run(services, hurry)
    for part in (run.deliveries, run.namespaces, run.sessions, run.tasks, run.items):
        try:
            part()
        except Exception as error:
            if not is_transient(error):
                raise
            logger.warning("left for the next run", extra={"part": part.__name__, "error": type(error).__name__})
    return run.repairs


class _Run:
    """One run."""

    def __init__(self, services: "Services", hurry: Hurry) -> None:
        self.repairs: Counter[str] = Counter()
        self._services = services
        self._hurry = hurry
        self._now_ms = services.clock.now_ms()
        self._number = self._now_ms // RUN_EVERY_MS
        #: Names of the namespaces that clients see.
        self._homes: set[str] = set()

    def _repaired(self, kind: str, **what: str) -> None:
        self.repairs[kind] += 1
        logger.warning("repaired", extra={"kind": kind, **what})

    def _is_old(self, since_ms: int | None) -> bool:
        return since_ms is not None and self._now_ms - since_ms > GRACE_MS

    # Deliveries and namespaces

    def deliveries(self) -> None:
        """Begin a new round of deliveries without an execution."""
        for delivery_id in deliveries.take_over_forgotten(self._services):
            self._repaired("delivery_stalled", deliveryId=delivery_id)

    def namespaces(self) -> None:
        """Finish deletions that were broken off."""
        for record in self._services.namespaces.all():
            if self._hurry():
                return
            if record.state == "deleting" and self._is_old(record.deleting_since_ms):
                if record.forced:
                    changes.end_namespace(self._services, record.name)
                elif self._services.sessions.any_in(record.name):
                    self._services.namespaces.stop_deleting(record.name)
                else:
                    namespaces.delete_when_empty(self._services, record.name)
                self._repaired("namespace_left_deleting", namespace=record.name)

    # Sessions

    def sessions(self) -> None:
        """Give each session a lifecycle that runs, and end those that are over."""
        running = set(self._services.machines.running())
        self._homes = {record.name for record in self._services.namespaces.all() if not record.forced}
        for part in range(PARTS):
            for session in self._services.sessions.stored(((self._number + part) % PARTS, PARTS)):
                if self._hurry():
                    return
                self._session(session, running)

    def _session(self, session: SessionRecord, running: set[str]) -> None:
        where = {"namespace": session.namespace, "sessionId": session.session_id}
        if session.status == "pending_execution":
            if session.expires_at * 1000 < self._now_ms and self._services.sessions.remove(
                session.namespace, session.session_id, status="pending_execution"
            ):
                self._repaired("pending_expired", **where)
            return
        if not self._is_old(_latest_ms(session)):
            return
        if booked := budgets.book_overdue(self._services, session):
            self._repaired("holds_overdue", **where, holds=str(booked))
        if session.status == "executed" and self._is_homeless(session):
            changes.end_with_namespace(self._services, session)
            self._repaired("namespace_missing", **where)
            return
        if session.session_id not in running and self._restarted(session):
            self._repaired("execution_lost", **where)
        elif session.status == "closing":
            self._hasten(session)
        else:
            self._end(session)

    def _is_homeless(self, session: SessionRecord) -> bool:
        """Tell whether no client can see a session any more: its namespace is gone, or hidden and about to be."""
        if session.namespace in self._homes:
            return False
        record = self._services.namespaces.find(session.namespace)
        return record is None or record.forced

    def _restarted(self, session: SessionRecord) -> bool:
        """Start a lifecycle anew unless one runs: the list of those that run may be behind."""
        for restart in range(MOST_RESTARTS):
            status = self._services.machines.status(session.session_id, restart)
            if status == "RUNNING":
                return False
            if status is None:
                return changes.start(self._services, session, restart=restart)
        about = {"namespace": session.namespace, "session": session.session_id}
        logger.error("no lifecycle of this session comes to its end", extra=about)
        return False

    def _hasten(self, session: SessionRecord) -> None:
        """Answer the lifecycle's token once more; when it still does not go on, start another one beside it."""
        where = {"namespace": session.namespace, "sessionId": session.session_id}
        if session.task_token is not None:
            self._services.machines.end_run(session.task_token)
            self._repaired("closing_not_announced", **where)
        due_ms = session.hold_until_ms or session.closing_at_ms or 0
        if self._now_ms - due_ms > 3 * GRACE_MS and self._replaced(session):
            self._repaired("hold_overdue", **where)

    def _replaced(self, session: SessionRecord) -> bool:
        """Start a lifecycle beside one that runs and does not get on: both do only what is missing."""
        for restart in range(1, MOST_RESTARTS):
            status = self._services.machines.status(session.session_id, restart)
            if status == "RUNNING":
                return False
            if status is None:
                return changes.start(self._services, session, restart=restart)
        return False

    def _end(self, session: SessionRecord) -> None:
        """Close an executed session whose time or whose agents are over, once its record says so too."""
        where = session.namespace, session.session_id
        if self._is_old(lifecycle.ttl_end_ms(session)):
            if self._services.sessions.close(*where, now_ms=self._now_ms, reason="ttl"):
                self._repaired("ttl_missed", namespace=where[0], sessionId=where[1])
            return
        known = self._services.agents.of_session(session.session_id)
        for agent, task in self._gone(known):
            self._note_end(agent, task)
            self._repaired("task_gone", sessionId=session.session_id, agent=agent.name)
        if any(agent.status == "waiting" and self._is_old(agent.failed_at_ms) for agent in known):
            launches.launch_waiting(self._services, *where)
            self._repaired("launch_forgotten", namespace=where[0], sessionId=where[1])
        for agent in self._overdue(known):
            launches.nudge_again(self._services, agent)
            self._repaired("turn_overdue", sessionId=session.session_id, agent=agent.name)
        if known and lifecycle.close_when_exited(self._services, *where):
            self._repaired("agents_gone", namespace=where[0], sessionId=where[1])

    def _overdue(self, known: list[AgentRecord]) -> Iterator[AgentRecord]:
        """Return the agents that run as functions and should have had a turn, or the end of one, by now."""
        functions = {agent.name: agent for agent in known if agent.is_function and agent.status == "running"}
        for turn in self._services.turns.of_session(known[0].session_id) if functions else ():
            agent = functions.get(turn.name)
            if agent is None:
                continue
            since_ms = turn.again_at_ms or turn.busy_until_ms or turn.deadline_ms
            if turn.exited or self._is_old(since_ms if turn.turn or turn.in_turn else agent.started_at_ms):
                yield agent

    def _gone(self, known: list[AgentRecord]) -> Iterator[tuple[AgentRecord, TaskState | None]]:
        """Return the agents that are said to run in a task that does not."""
        thought = [agent for agent in known if agent.status == "running" and agent.task_arn]
        old = [agent for agent in thought if self._is_old(agent.started_at_ms)]
        found = {task.arn: task for task in self._services.tasks.described([agent.task_arn or "" for agent in old])}
        for agent in old:
            task = found.get(agent.task_arn or "")
            if task is None or task.stopped:
                yield agent, task

    def _note_end(self, agent: AgentRecord, task: TaskState | None) -> None:
        if task is not None and task.never_started and launches.start_again(self._services, agent, task):
            return
        reason = task.reason if task and task.reason else "its task is gone"
        at_ms = (task.stopped_at_ms if task else None) or self._now_ms
        if task is not None and task.started_at_ms is not None:
            agent = launches.contained(self._services, agent, task_arn=task.arn, since_ms=task.started_at_ms)
        launches.exited(self._services, agent, reason=reason, at_ms=at_ms)

    # Tasks

    def tasks(self) -> None:
        """Stop tasks that are not needed: their session is over, or their agent was ended."""
        # All are listed before any is stopped: a page begins where the one before it ended.
        running = list(self._services.tasks.running())
        for start in range(0, len(running), DESCRIBED_AT_ONCE):
            if self._hurry():
                return
            for task in self._services.tasks.described(running[start : start + DESCRIBED_AT_ONCE]):
                ours = launches.is_of_agent(task.started_by) and not task.stopped
                if ours and self._is_old(task.created_at_ms) and self._is_stray(task):
                    self._services.tasks.stop(task.arn, reason="this task is not needed")
                    self._repaired("task_stray", startedBy=task.started_by, taskArn=task.arn)

    def _is_stray(self, task: TaskState) -> bool:
        agent = launches.of_task(self._services, task.started_by)
        if agent is None:
            return True
        if agent.status == "stopped":
            return self._is_old(agent.stopped_at_ms)
        session = self._services.sessions.find(agent.namespace, agent.session_id)
        return session is None or (session.status == "closing" and self._is_old(session.closing_at_ms))

    # Items

    def items(self) -> None:
        """Delete items of sessions that are not there: a creation was broken off, or a writer came after the purge."""
        for remains in self._services.session_items.remains((self._number % ITEM_PARTS, ITEM_PARTS)):
            if self._hurry():
                return
            if self._is_orphaned(remains):
                while not self._services.session_items.purge(remains.session_id, at_most=lifecycle.PURGE_SLICE):
                    pass
                self._repaired("items_orphaned", sessionId=remains.session_id)

    def _is_orphaned(self, remains: SessionRemains) -> bool:
        if remains.written_at_ms is None or self._now_ms - remains.written_at_ms < ORPHAN_MS:
            return False
        if (
            remains.namespace is None
        ):  # its agents go first in a purge: a session without agents is being purged, or was
            return not self._services.agents.of_session(remains.session_id)
        return self._services.sessions.find(remains.namespace, remains.session_id) is None


def _latest_ms(session: SessionRecord) -> int | None:
    return session.closing_at_ms or session.executed_at_ms
