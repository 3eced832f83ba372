"""The end of a run and the beginning of the next: what is closed, and what is found wrong in the data and put right."""

import time

from chalicelib.domain import api_keys
from chalicelib.reactions import launches, reports
from chalicelib.services import Services
from infra.local.data import Data

#: Values that are not in tables, by name.
SETTING = "setting"

#: How often is looked whether all sessions have reported, in s.
STEP_S = 0.05

#: Why an agent has stopped that ran when its machine, or the process that had started it, was ended.
REASON = "the Atoll that ran it was stopped"


def recover(services: Services) -> None:
    """Note that agents which ran in the last run do not any more, and that ECS knows no task definition.

    Agents that run as functions go on: what they were to do is found in their session.
    """
    services.registry.forget_task_definitions()
    now_ms = services.clock.now_ms()
    for session in services.sessions.stored((0, 1)):
        if session.status == "pending_execution":
            continue
        for agent in services.agents.of_session(session.session_id):
            if agent.status == "running" and agent.is_function:
                launches.nudge_again(services, agent)
            elif agent.status == "running":
                launches.exited(services, agent, reason=REASON, at_ms=now_ms)


def close_sessions(services: Services, within_s: float) -> None:
    """Close every session that runs, and wait until each has its report and the first attempt to deliver it is made."""
    deadline_s = time.monotonic() + within_s
    ids = set()
    while True:
        left = 0
        for session in services.sessions.stored((0, 1)):
            if session.status == "pending_execution":
                continue
            ids.add(session.session_id)
            where = session.namespace, session.session_id
            services.sessions.close(*where, now_ms=services.clock.now_ms(), reason="closed_by_user")
            left += session.hold_until_ms is None
        if not left and not any(_waits_for_first_attempt(services, session_id) for session_id in ids):
            return
        if time.monotonic() > deadline_s:
            return
        time.sleep(STEP_S)


def _waits_for_first_attempt(services: Services, session_id: str) -> bool:
    delivery = services.deliveries.find(reports.delivery_id(session_id))
    return delivery is not None and delivery.state == "pending" and not delivery.attempts


def remembered(data: Data, name: str, value: str) -> str:
    """Return the value that the first run had for a setting: this one, when none was before."""
    found = data.get(SETTING, name)
    if found is None:
        data.write([(SETTING, name, value)])
        return value
    return str(found)


def replace_key(services: Services, data: Data, key: str) -> None:
    """Let the stack's key of an earlier run not reach anything any more, if it was another."""
    now, before = api_keys.hash_of(key), data.get(SETTING, "api-key")
    if before is not None and before != now:
        services.api_keys.remove(str(before))
    data.write([(SETTING, "api-key", now)])
