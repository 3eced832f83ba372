"""What follows from each fact in the tables: the only place where a write leads to anything else.

Every reaction may run twice, late or out of order.
"""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalicelib import telemetry
from chalicelib.domain import namespaces, quotas, sessions
from chalicelib.reactions import archive, lifecycle, manager_events, task_definitions
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.base import iso_from_ms

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)


def to_session(services: "Services", old: SessionRecord | None, new: SessionRecord | None) -> None:
    """React to a change of a session record."""
    if old is None and new is not None:
        _publish_session(services, "session_created", "initialSessionState", new)
        _log("session created", new)
        telemetry.count("SessionsCreated")
    if new is not None and new.status == "executed" and (old is None or old.status != "executed"):
        _publish_session(services, "session_running", "sessionState", new)
        _log("session executed", new)
        start(services, new)
    if new is not None and new.status == "closing" and (old is None or old.status != "closing"):
        _publish_session(services, "session_closing", "sessionState", new)
        lifecycle.announce_closing(services, new)
        _log("session closing", new, reason=new.close_reason)
        quotas.settle(services, new)
        telemetry.count("SessionsClosed", reason=new.close_reason or "unknown")
    if old is not None and new is None:
        _gone(services, old)


def start(services: "Services", session: SessionRecord, *, restart: int = 0) -> bool:
    """Start the lifecycle of a session; the TTL counts from its execution. ``False`` when it was started before."""
    end_ms = lifecycle.ttl_end_ms(session)
    ttl_s = services.settings.session_s if end_ms is None else max(1, -(-(end_ms - services.clock.now_ms()) // 1000))
    return services.machines.start_lifecycle(session.namespace, session.session_id, ttl_s=ttl_s, restart=restart)


def _gone(services: "Services", session: SessionRecord) -> None:
    if session.task_token is not None:  # taken back while it ran: its lifecycle stops the tasks and purges the items
        services.machines.end_run(session.task_token)
    elif session.status == "pending_execution":
        services.session_items.close_log(session.session_id, session.namespace)
        while not lifecycle.purge(services, session.session_id, waits_end=True):
            pass
    _publish_session(services, "session_closed", "finalSessionState", session)
    _log("session closed", session)
    quotas.settle(services, session)
    _delete_when_empty(services, session.namespace)


def to_namespace(services: "Services", old: NamespaceRecord | None, new: NamespaceRecord | None) -> None:
    """React to a change of a namespace."""
    if old is None and new is not None:
        _publish_namespace(services, "namespace_created", "initialState", new)
    if new is not None and new.forced and not (old is not None and old.forced):
        end_namespace(services, new.name)
    if old is not None and new is None:
        _publish_namespace(services, "namespace_closed", "finalState", old)


def end_namespace(services: "Services", name: str) -> None:
    """End every session of a namespace that is deleted by request; the last one to go takes the namespace with it."""
    for session in services.sessions.of_namespace(name):
        end_with_namespace(services, session)
    _delete_when_empty(services, name)


def _delete_when_empty(services: "Services", name: str) -> None:
    """Delete a namespace that has no session left; by request, with its history, to which no session adds any more."""
    namespaces.delete_when_empty(services, name, forget=lambda: archive.forget_namespace(services, name))


def end_with_namespace(services: "Services", session: SessionRecord) -> None:
    """End one session without a hold, whatever its status."""
    where = session.namespace, session.session_id
    if session.status == "pending_execution" and services.sessions.remove(*where, status="pending_execution"):
        return
    now_ms = services.clock.now_ms()
    if services.sessions.close(*where, now_ms=now_ms, reason=lifecycle.NAMESPACE_DELETED):
        return
    if not services.sessions.forgo_hold(*where, reason=lifecycle.NAMESPACE_DELETED):
        while not lifecycle.remove_session(services, *where, archived=False):
            pass


def to_agent(services: "Services", name: str, version: str) -> None:
    """React to a new or changed registry agent."""
    task_definitions.define(services, name, version)


def to_delivery(services: "Services", delivery_id: str, round_number: int) -> None:
    """React to a new delivery, or to a new round of an old one."""
    services.bus.publish("webhook_requested", {"deliveryId": delivery_id, "round": round_number})


def _log(what: str, session: SessionRecord, **more: str | None) -> None:
    logger.info(what, extra={"namespace": session.namespace, "session": session.session_id, **more})


def _publish_session(services: "Services", kind: str, field: str, session: SessionRecord) -> None:
    namespace_state = dict(session.namespace_state)
    state = sessions.state_of(session).to_wire()
    _publish(services, namespace_state, kind, {field: state, "namespaceState": namespace_state})


def _publish_namespace(services: "Services", kind: str, field: str, namespace: NamespaceRecord) -> None:
    state = namespaces.state_of(namespace).to_wire()
    _publish(services, state, kind, {field: state})


def _publish(services: "Services", namespace_state: Mapping[str, Any], kind: str, content: Mapping[str, Any]) -> None:
    """Publish a `LocalSessionManagerEvent` on the bus, and push it to those who follow."""
    event = {"type": kind, "timestamp": iso_from_ms(services.clock.now_ms()), **content}
    services.bus.publish(kind, event)
    manager_events.push(services, event, namespace_state)
