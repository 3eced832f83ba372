"""Agents of a session: what clients see of them, how one is started, and how one is known to have stopped."""

import logging
from typing import TYPE_CHECKING

from chalicelib import telemetry
from chalicelib.aws import stage_urls
from chalicelib.aws.stage_urls import Urls
from chalicelib.aws.tasks import OPTIONS_TOKEN, OPTIONS_URL, TaskRefused, log_stream
from chalicelib.domain import agent_secrets, options, registry
from chalicelib.store.agents import AgentRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.agents import (
    Connected,
    NotConnected,
    Running,
    SessionAgentState,
    SessionAgentUsageReport,
    Stopped,
    Thinking,
    Waiting,
    WaitingMessage,
)
from chalicelib.wire.base import iso_from_ms
from chalicelib.wire.identifiers import RegistryAgentIdentifier

if TYPE_CHECKING:
    from chalicelib.deployment import Deployment

logger = logging.getLogger(__name__)


def started_by(agent: AgentRecord) -> str:
    """Return ``startedBy`` of an agent's task, by which its events find it again."""
    return f"{agent.session_id}/{agent.position}"


def is_ours(started_by: str) -> bool:
    """Tell whether a task was started for an agent: others may run theirs in the same cluster."""
    session_id, _, position = started_by.rpartition("/")
    return bool(session_id) and position.isdecimal()


def of_task(atoll: "Deployment", started_by: str) -> AgentRecord | None:
    """Return the agent for which a task was started; ``None`` when it is not there, or never was."""
    session_id, _, position = started_by.rpartition("/")
    found = atoll.agents.of_session(session_id)
    return next((agent for agent in found if str(agent.position) == position), None)


def state_of(agent: AgentRecord, now_ms: int) -> SessionAgentState:
    """Return an agent as clients see it."""
    return SessionAgentState(
        name=agent.name,
        registry_agent_identifier=RegistryAgentIdentifier.model_validate(agent.registry_agent_identifier),
        status=_status_of(agent, now_ms),
        description=agent.description,
        links=agent.links,
        annotations=agent.annotations,
    )


def _status_of(agent: AgentRecord, now_ms: int) -> Waiting | Running | Stopped:
    if agent.status == "stopped":
        return Stopped(reason=agent.stopped_reason)
    if agent.connected_at_ms is not None:
        waits = (agent.waiting_until_ms or 0) > now_ms
        return Running(
            connection_status=Connected(communication_status=WaitingMessage() if waits else Thinking()),
        )
    return Running(connection_status=NotConnected()) if agent.status == "running" else Waiting()


def usage_of(agent: AgentRecord, now_ms: int) -> SessionAgentUsageReport | None:
    """Return the report of an agent's run; ``None`` when it never ran."""
    if agent.started_at_ms is None:
        return None
    return SessionAgentUsageReport(
        name=agent.name,
        registry_identifier=RegistryAgentIdentifier.model_validate(agent.registry_agent_identifier),
        start_time=agent.started_at_ms,
        end_time=agent.stopped_at_ms or now_ms,
        annotations=agent.annotations,
    )


def launch(atoll: "Deployment", session: SessionRecord, agent: AgentRecord, option_values: str | None) -> None:
    """Start a waiting agent's task. It may run twice: the second time ECS answers with the same task.

    An agent that can never be started is stopped with the reason. Raises what ECS raises when it may work later.
    """
    secret = agent_secrets.mint(atoll.secrets.get("agent-key"), session.namespace, session.session_id, agent.name)
    if not atoll.agents.admit(session.session_id, agent.name, secret_hash=agent_secrets.hash_of(secret)):
        return
    try:
        definition = registry.task_definition(atoll, agent.registry_agent_identifier, agent.runtime)
        environment, options_environment = _given(agent, secret, option_values, atoll.stage_urls.get())
        task_arn = atoll.tasks.run(
            definition, environment, started_by=started_by(agent), options_environment=options_environment
        )
    except (TaskRefused, registry.CannotRun) as error:
        telemetry.count("LaunchesFailed")
        logger.warning("agent refused", extra={"agent": agent.name, "reason": str(error)})
        stopped(atoll, agent, reason=str(error), at_ms=atoll.clock.now_ms())
        return
    now_ms = atoll.clock.now_ms()
    _tell(atoll, agent, "runtime_started", at_ms=now_ms)
    made_of = agent.registry_agent_identifier
    stream = log_stream(made_of["name"], made_of["version"], task_arn)
    logger.info("agent started", extra={"agent": agent.name, "task": task_arn, "stream": stream})
    if atoll.agents.start(session.session_id, agent.name, task_arn=task_arn, now_ms=now_ms):
        telemetry.measure("TimeToRunning", now_ms - (session.executed_at_ms or session.created_at_ms))
    else:
        # It has stopped already, or its session was closed while ECS was asked: then nobody else knows of the task.
        atoll.tasks.stop(task_arn, reason="the session is closed")


def check_size(atoll: "Deployment", agent: AgentRecord, option_values: str | None) -> None:
    """Raise `BadRequest` when ECS will not take what this agent's task is to be given."""
    # The key is no matter: it does not change the length of a secret.
    secret = agent_secrets.mint("", agent.namespace, agent.session_id, agent.name)
    urls = stage_urls.longest(atoll.settings)
    options.check_overrides_size(agent.name, *_given(agent, secret, option_values, urls))


def _given(
    agent: AgentRecord, secret: str, option_values: str | None, urls: Urls
) -> tuple[dict[str, str], dict[str, str] | None]:
    """Return the environment of an agent's process, and that of what fetches the files of its options, if any."""
    resolved = options.ResolvedOptions.from_json(option_values or "{}")
    environment = options.environment(resolved)
    environment |= {
        "CORAL_CONNECTION_URL": f"{urls.mcp}/mcp/v1/{secret}/mcp",
        "CORAL_AGENT_ID": agent.name,
        "CORAL_AGENT_SECRET": secret,
        "CORAL_SESSION_ID": agent.session_id,
        "CORAL_API_URL": urls.api,
        "CORAL_RUNTIME_ID": agent.runtime,
    }
    if agent.system_prompt is not None:
        environment["CORAL_PROMPT_SYSTEM"] = agent.system_prompt
    fetching = {OPTIONS_URL: f"{urls.api}/api/v1/agent/options", OPTIONS_TOKEN: secret}
    return environment, fetching if options.files(resolved) else None


def ran(atoll: "Deployment", agent: AgentRecord, *, since_ms: int) -> None:
    """Note when an agent started of whose start nothing is known: its launch was cut off after ECS had its task."""
    if agent.started_at_ms is None:
        _tell(atoll, agent, "runtime_started", at_ms=since_ms)
        atoll.agents.note_start(agent.session_id, agent.name, now_ms=since_ms)


def stopped(atoll: "Deployment", agent: AgentRecord, *, reason: str, at_ms: int) -> None:
    """Note that an agent has stopped, in its state and in the log; once is enough, twice changes nothing."""
    if agent.status == "stopped":
        return
    _tell(atoll, agent, "runtime_stopped", at_ms=at_ms, reason=reason)
    if atoll.agents.stop(agent.session_id, agent.name, now_ms=at_ms, reason=reason):
        logger.info("agent stopped", extra={"session": agent.session_id, "agent": agent.name, "reason": reason})


def end(atoll: "Deployment", agent: AgentRecord, *, reason: str) -> None:
    """Stop an agent and whatever task runs for it, known to its record or not."""
    # The mark comes first: a launch under way sees it and stops the task that it has just been given.
    stopped(atoll, agent, reason=reason, at_ms=atoll.clock.now_ms())
    if agent.task_arn:
        atoll.tasks.stop(agent.task_arn, reason=reason)
        return
    for task in atoll.tasks.described(atoll.tasks.started_by(started_by(agent))):
        if task.started_at_ms is not None:
            ran(atoll, agent, since_ms=task.started_at_ms)
        atoll.tasks.stop(task.arn, reason=reason)


def _tell(atoll: "Deployment", agent: AgentRecord, kind: str, *, at_ms: int, reason: str | None = None) -> None:
    """Tell of an agent in the log, before its record knows: whoever tries again tells it again, as the same entry."""
    event = {"type": kind, "timestamp": iso_from_ms(at_ms), "name": agent.name}
    if reason is not None:
        event["reason"] = reason
    entry_id = f"{kind}-{agent.position}"
    atoll.log.append(agent.session_id, event, at_ms=at_ms, expires_at=agent.expires_at, entry_id=entry_id)
