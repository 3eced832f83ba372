"""What follows from a budget that is low, or was reached: its consequence, an event on the bus, a webhook.

The fact is an item that a call has written, once for a limit (`store.budgets.Notice`).
"""

import hashlib
import logging
from typing import TYPE_CHECKING

from chalicelib import telemetry
from chalicelib.reactions import deliveries, launches
from chalicelib.store.budgets import Notice
from chalicelib.wire.budgets import BudgetNotice

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: Why an agent was stopped.
STOPPED = "its budget is reached"


def to_notice(services: "Services", notice: Notice) -> None:
    """React to a notice; a repetition closes nothing, stops nothing and sends nothing twice, but on the bus."""
    if notice.kind == "budget_reached":
        _consequence(services, notice)
    about = {"namespace": notice.namespace, "session": notice.session_id}
    logger.info(notice.kind.replace("_", " "), extra={**about, "level": notice.level, "agent": notice.agent})
    telemetry.count("BudgetsLow" if notice.kind == "budget_low" else "BudgetsReached")
    shown = view(notice)
    services.bus.publish(notice.kind, shown.to_wire())
    if notice.url is not None:
        deliveries.freeze(
            services,
            delivery_id=delivery_id(notice),
            namespace=notice.namespace,
            session_id=notice.session_id,
            url=notice.url,
            body=shown.model_dump_json(by_alias=True, exclude_none=True).encode(),
        )


def view(notice: Notice) -> BudgetNotice:
    """Return a notice as the bus and the webhook have it."""
    return BudgetNotice(
        type=notice.kind,
        timestamp=notice.at_ms,
        namespace=notice.namespace,
        session_id=notice.session_id,
        level=notice.level,
        agent_name=notice.agent,
        on_reached=notice.on_reached,
        limit=notice.limit,
        spent=notice.spent,
        held=notice.held,
        available=notice.available,
    )


def delivery_id(notice: Notice) -> str:
    """Return the id of a notice among the deliveries: its own has the name of an agent, whatever that is made of."""
    return f"{notice.session_id}-budget-{hashlib.sha256(notice.notice_id.encode()).hexdigest()[:16]}"


def _consequence(services: "Services", notice: Notice) -> None:
    where = notice.namespace, notice.session_id
    if notice.on_reached == "close_session":
        services.sessions.close(*where, now_ms=services.clock.now_ms(), reason="budget_reached")
    elif notice.on_reached == "stop_agent" and notice.agent is not None:
        agent = services.agents.find(notice.session_id, notice.agent)
        if agent is None:
            return
        launches.take_back(services, agent, reason=STOPPED)
        if agent.stopped_reason == STOPPED and agent.task_arn:  # it was cut off before it had stopped the task
            services.tasks.stop(agent.task_arn, reason=STOPPED)
