"""The life of a session after its execution: the tasks of the `session-lifecycle` state machine.

Each may run twice, late, or after the session is gone: every step looks at what is there and does what is missing.
"""

import logging
from typing import TYPE_CHECKING

from chalicelib.aws.errors import is_aws_error
from chalicelib.aws.tasks import NoCapacity, TaskState
from chalicelib.reactions import archive, launches, reports
from chalicelib.store.log import SESSION_CLOSING
from chalicelib.store.session_items import ENDS_S
from chalicelib.store.sessions import CloseReason, SessionRecord
from chalicelib.wire.base import iso_from_ms
from chalicelib.wire.sessions import HoldAfterExit, MinimumTime, SessionRuntimeSettings

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: Items that one RemoveSession deletes: 100 BatchWriteItem calls, a few seconds.
PURGE_SLICE = 2_500

#: Reason of a session that ends with its namespace: it is not held.
NAMESPACE_DELETED: CloseReason = "namespace_deleted"

#: Longer than the creation of a session takes, to the last of its looks at its namespace.
CREATION_MS = 60_000


class NamespaceGoing(Exception):
    """A session may not run yet: its namespace is not there, or is being deleted. It is tried again."""


_REASONS: dict[str, CloseReason] = {"": "agents_exited", "States.Timeout": "ttl"}


def run_agents(services: "Services", namespace: str, session_id: str, task_token: str) -> None:
    """Start every agent that is not started yet; the task token is answered when the session is to end.

    The token is stored first, and only while the session is executed: code that closes it later finds the token, and
    the session's creation cannot take it back any more. Raises `NamespaceGoing`.
    """
    _check_namespace(services, namespace, session_id)
    session = services.sessions.keep_token(namespace, session_id, task_token)
    if session is None:
        services.machines.end_run(task_token)
        return
    now_ms, end_ms = services.clock.now_ms(), ttl_end_ms(session)
    if end_ms is not None and end_ms <= now_ms:  # the machine counts each attempt to start the agents anew
        services.sessions.close(namespace, session_id, now_ms=now_ms, reason="ttl")
        return
    stored_options = services.agents.options_of_session(session_id)
    failures: list[Exception] = []
    for agent in services.agents.of_session(session_id):
        if agent.status == "waiting":
            try:
                launches.launch(services, session, agent, stored_options.get(agent.name))
            except Exception as error:
                if is_aws_error(error) or isinstance(error, NoCapacity):
                    failures.append(error)  # one agent that has to wait must not hold up the others
                    continue
                logger.exception("agent cannot be started", extra={"agent": agent.name})
                launches.stopped(services, agent, reason="it cannot be started", at_ms=services.clock.now_ms())
    if failures:
        raise failures[0]
    close_when_exited(services, namespace, session_id)


def _check_namespace(services: "Services", namespace: str, session_id: str) -> None:
    """Let no session begin to run whose namespace is gone or going: its creation may be about to take it back.

    Whoever deletes the namespace after this looks for sessions after that, and finds this one.
    """
    space = services.namespaces.find(namespace)
    if space is not None and space.state == "active":
        return
    session = services.sessions.find(namespace, session_id)
    if session is None or session.status != "executed" or session.task_token is not None:
        return  # it is over, or runs
    now_ms = services.clock.now_ms()
    if (space is not None and not space.forced) or now_ms - (session.executed_at_ms or now_ms) < CREATION_MS:
        raise NamespaceGoing(f"the namespace {namespace!r} is gone or going: {session_id!r} may not be created in it")
    services.sessions.close(namespace, session_id, now_ms=now_ms, reason=NAMESPACE_DELETED)


def ttl_end_ms(session: SessionRecord) -> int | None:
    """Return when (epoch ms) the time to live of an executed session is over; ``None`` when it has none."""
    settings = SessionRuntimeSettings.model_validate(session.runtime_settings or {})
    if settings.ttl is None or session.executed_at_ms is None:
        return None
    return session.executed_at_ms + settings.ttl


def close_when_exited(services: "Services", namespace: str, session_id: str) -> bool:
    """Close an executed session none of whose agents is running or still to be started; ``False`` otherwise."""
    if not all(agent.status == "stopped" for agent in services.agents.of_session(session_id)):
        return False
    return bool(services.sessions.close(namespace, session_id, now_ms=services.clock.now_ms(), reason="agents_exited"))


def close_session(services: "Services", namespace: str, session_id: str, error: str = "") -> int:
    """End a session: its agents, their secrets, its report; return until when (epoch ms) it is held.

    ``error`` is the name of the error that ended the run: ``States.Timeout`` when its TTL passed.
    """
    reason = _REASONS.get(error, "failed")
    if (
        services.sessions.close(namespace, session_id, now_ms=services.clock.now_ms(), reason=reason)
        and reason == "failed"
    ):
        logger.error("session failed", extra={"namespace": namespace, "session": session_id, "error": error})
    agents = services.agents.of_session(session_id)
    for agent in agents:
        launches.end(services, agent, reason="the session is closed")
    launches.forget_environments(services, agents)
    session = services.sessions.find(namespace, session_id)
    if session is None or session.status != "closing":
        return services.clock.now_ms()  # taken back, or removed with its namespace
    if session.hold_until_ms is None:
        reports.freeze(services, session, services.agents.of_session(session_id))
    return _hold(services, session)


def _hold(services: "Services", session: SessionRecord) -> int:
    held: SessionRecord | None = session
    while held is not None:
        if held.hold_until_ms is not None:
            return held.hold_until_ms
        until_ms = hold_until_ms(held)
        if services.sessions.hold(
            held.namespace,
            held.session_id,
            reason=held.close_reason,
            hold_until_ms=until_ms,
            expires_at=until_ms // 1000 + services.settings.retention_s,
        ):
            return until_ms
        # Its namespace is being deleted meanwhile, which forgoes the hold.
        held = services.sessions.find(held.namespace, held.session_id)
    return services.clock.now_ms()


def hold_until_ms(session: SessionRecord) -> int:
    """Return until when (epoch ms) a closed session is held: the contract's persistence modes."""
    closed_ms = session.closing_at_ms or session.created_at_ms
    if session.close_reason == NAMESPACE_DELETED:
        return closed_ms
    mode = SessionRuntimeSettings.model_validate(session.runtime_settings or {}).persistence_mode
    if isinstance(mode, HoldAfterExit):
        return closed_ms + mode.duration
    if isinstance(mode, MinimumTime):
        return max(closed_ms, session.created_at_ms + mode.time)
    return closed_ms


def remove_session(services: "Services", namespace: str, session_id: str, *, archived: bool = True) -> bool:
    """Delete a slice of a closed session, its record last, once it is ``archived``; ``True`` when it is gone."""
    if archived and not archive.archive(services, namespace, session_id):
        return False
    services.session_items.close_log(session_id, namespace)
    if not purge(services, session_id, waits_end=True):
        return False
    services.sessions.remove(namespace, session_id, status="closing")
    return True


def purge(services: "Services", session_id: str, *, waits_end: bool = False) -> bool:
    """Delete a slice of a session's items; ``True`` when nothing is left, but what followers have not got yet.

    The stream is behind this: entries that it has not come to are read and pushed later, and `entries.to_end` deletes
    them then, with the followers. So who has a follower added meanwhile has to see that the session goes
    (`following.session`).
    """
    unpushed = services.session_followers.of_session(session_id).first_unpushed
    whole = services.session_items.purge(session_id, at_most=PURGE_SLICE, waits_end=waits_end, first_unpushed=unpushed)
    if whole and unpushed is not None:
        services.session_followers.end(session_id, expires_at=services.clock.now_ms() // 1000 + ENDS_S)
    return whole


def task_runs(services: "Services", started_by: str, *, task_arn: str, started_at_ms: int) -> None:
    """Record that the task of an agent runs; the event may come twice, late, and before ``RunTask`` has returned."""
    agent = launches.of_task(services, started_by)
    if agent is not None:
        launches.contained(services, agent, task_arn=task_arn, since_ms=started_at_ms)
        launches.forget_environments(services, [agent])


def task_stopped(services: "Services", task: TaskState) -> None:
    """Record that the task of an agent has stopped, and close its session when it was the last one.

    The event may come twice, late, and before ``RunTask`` has returned, so the agent is found by ``started_by``. An
    agent whose task never started is started again, twice.
    """
    at_ms = task.stopped_at_ms or services.clock.now_ms()
    agent = launches.of_task(services, task.started_by)
    if agent is None:
        return
    task = launches.explained(services, task)
    if task.never_started and launches.start_again(services, agent, task):
        return
    if task.started_at_ms is not None:
        agent = launches.contained(services, agent, task_arn=task.arn, since_ms=task.started_at_ms)
    else:
        launches.forget_environments(services, [agent])  # nobody will tell that it runs
    launches.exited(services, agent, reason=task.reason, at_ms=at_ms)
    close_when_exited(services, agent.namespace, agent.session_id)


def announce_closing(services: "Services", session: SessionRecord) -> None:
    """Let the lifecycle of a session that is closing go on, and end its waits."""
    # First of all: what ends the session does not wait for a log whose writes are slow.
    if session.task_token is not None:
        services.machines.end_run(session.task_token)
    event = {"type": SESSION_CLOSING, "timestamp": iso_from_ms(session.closing_at_ms or services.clock.now_ms())}
    # The purge leaves it, or comes before it; it expires by itself: no wait lasts longer than a minute.
    services.log.append(
        session.session_id,
        lambda _: event,
        entry_id=SESSION_CLOSING,
        expires_at=services.clock.now_ms() // 1000 + ENDS_S,
        log_expires_at=session.expires_at,
    )
