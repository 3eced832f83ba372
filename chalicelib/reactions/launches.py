"""Starts and ends the tasks of agents, and records that they have started or stopped."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import telemetry
from chalicelib.aws.tasks import NoCapacity, TaskRefused, TaskState, log_stream
from chalicelib.domain import agent_environment, agent_secrets, option_values
from chalicelib.domain.nudges import group_of, nudge_of
from chalicelib.domain.sealing import Unreadable
from chalicelib.reactions import task_definitions
from chalicelib.store.agents import AgentRecord, StoredOptions
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.base import iso_from_ms

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: How many tasks of an agent may fail to start before it is stopped.
MOST_FAILED_TASKS = 3


def started_by(agent: AgentRecord) -> str:
    """Return ``startedBy`` of an agent's task, which leads from its ECS events back to the agent."""
    return f"{agent.session_id}/{agent.position}"


def is_of_agent(started_by: str) -> bool:
    """Return whether a task was started for an agent: a cluster may run other tasks too."""
    session_id, _, position = started_by.rpartition("/")
    return bool(session_id) and position.isdecimal()


def of_task(services: "Services", started_by: str) -> AgentRecord | None:
    """Return the agent for which a task was started; ``None`` when it is not there, or never was."""
    session_id, _, position = started_by.rpartition("/")
    found = services.agents.of_session(session_id)
    return next((agent for agent in found if str(agent.position) == position), None)


def launch(
    services: "Services", session: SessionRecord, agent: AgentRecord, stored_options: StoredOptions | None
) -> None:
    """Start a waiting agent's task. It may run twice: the second time ECS answers with the same task.

    An agent that can never be started is stopped with the reason, one whose option values cannot be opened too. Raises
    what ECS raises when it may work later, and `NoCapacity` when it may with the next launch.
    """
    secret = agent_secrets.mint(services.secrets.get("agent-key"), session.namespace, session.session_id, agent.name)
    if agent.is_function:
        _start_turns(services, session, agent, secret)
        return
    if not services.agents.admit(session.session_id, agent.name, secret_hash=agent_secrets.hash_of(secret)):
        return
    try:
        definition = task_definitions.of(services, agent.registry_agent_identifier, agent.runtime)
        text = option_values.text_of(services, stored_options, session_id=agent.session_id, agent=agent.name)
        environment = agent_environment.of(agent, secret, text, services.stage_urls.get())
        for key, content in environment.files():  # before the task, which ECS may start at once
            services.bodies.put(key, content, content_type="text/plain; charset=utf-8")
        overrides = environment.overrides(services.settings)
        task_arn = services.tasks.run(
            definition.task_definition,
            overrides,
            started_by=started_by(agent),
            launch=agent.launch,
            spot=definition.spot,
            tags=_tags(services, agent),
        )
    except NoCapacity:
        services.agents.launch_anew(agent)
        raise
    except (TaskRefused, task_definitions.CannotRun, Unreadable, agent_environment.NoModels) as error:
        telemetry.count("LaunchesFailed")
        logger.warning("agent refused", extra={**_about(agent), "reason": str(error)})
        stopped(services, agent, reason=str(error), at_ms=services.clock.now_ms())
        forget_environments(services, [agent])
        return
    now_ms = services.clock.now_ms()
    _append(services, agent, "runtime_started", at_ms=now_ms, name=agent.name)
    made_of = agent.registry_agent_identifier
    stream = log_stream(made_of["name"], made_of["version"], task_arn)
    logger.info("agent started", extra={**_about(agent), "task": task_arn, "stream": stream})
    if services.agents.start(session.session_id, agent.name, task_arn=task_arn, now_ms=now_ms):
        telemetry.measure("TimeToRunning", now_ms - (session.executed_at_ms or session.created_at_ms))
    elif not _never_started(services, agent, task_arn):
        # It has stopped already, or its session was closed while ECS was asked: then no other code knows of the task.
        services.tasks.stop(task_arn, reason="the session is closed")
        forget_environments(services, [agent])


def _never_started(services: "Services", agent: AgentRecord, task_arn: str) -> bool:
    """Return whether a task is known to have failed to start: another launch may need the agent's environment then."""
    now = services.agents.find(agent.session_id, agent.name)
    return now is not None and task_arn in now.failed_task_arns


def explained(services: "Services", task: TaskState) -> TaskState:
    """Return a stopped task with ECS's own reason, which is asked for when nothing else says why.

    ECS knows a task for about an hour. What it does not say now, the code of its stop says: nothing waits for a reason.
    """
    if not task.unexplained:
        return task
    try:
        found = services.tasks.described([task.arn])
    except (BotoCoreError, ClientError) as error:
        logger.warning("reason of a stop not read", extra={"task": task.arn, "error": str(error)})
        return task
    return dataclasses.replace(task, reason=found[0].reason, unexplained=False) if found else task


def start_again(services: "Services", agent: AgentRecord, task: TaskState) -> bool:
    """Have an agent started again whose task never started; ``False`` when it has stopped, or has failed often enough.

    The lifecycle does that: its step is let fail, and tries again to start all agents that wait. A repetition of this
    makes it try once more at most.
    """
    if agent.status == "stopped":
        return False
    if task.arn not in agent.failed_task_arns:
        if len(agent.failed_task_arns) + 1 >= MOST_FAILED_TASKS:
            return False
        logger.warning("task never started", extra={**_about(agent), "task": task.arn, "reason": task.reason})
        services.agents.relaunch(agent, task_arn=task.arn, now_ms=services.clock.now_ms())
    elif agent.status == "running":
        return True  # in the next one
    launch_waiting(services, agent.namespace, agent.session_id)
    return True


def launch_waiting(services: "Services", namespace: str, session_id: str) -> None:
    """Have the lifecycle of an executed session start the agents that wait."""
    session = services.sessions.find(namespace, session_id)
    # While no token is there, the agents are still to be read that a lifecycle starts.
    if session is not None and session.status == "executed" and session.task_token is not None:
        services.machines.repeat_run(session.task_token)


def _start_turns(services: "Services", session: SessionRecord, agent: AgentRecord, secret: str) -> None:
    """Start an agent that runs as a function: its first turn is on its way before it is said to run."""
    try:
        function = task_definitions.function_of(services, agent.registry_agent_identifier, agent.runtime)
    except task_definitions.CannotRun as error:
        telemetry.count("LaunchesFailed")
        logger.warning("agent refused", extra={**_about(agent), "reason": str(error)})
        stopped(services, agent, reason=str(error), at_ms=services.clock.now_ms())
        return
    secret_hash = agent_secrets.hash_of(secret)
    if not services.agents.admit(session.session_id, agent.name, secret_hash=secret_hash, function=function):
        return
    now_ms = services.clock.now_ms()
    _append(services, agent, "runtime_started", at_ms=now_ms, name=agent.name)
    group = group_of(agent)
    services.turn_queue.nudge([(group, f"{group}/started", nudge_of(agent))])
    if services.agents.run(session.session_id, agent.name, now_ms=now_ms):
        logger.info("agent started", extra=_about(agent))
        telemetry.measure("TimeToRunning", now_ms - (session.executed_at_ms or session.created_at_ms))


def nudge_again(services: "Services", agent: AgentRecord) -> None:
    """Nudge an agent that runs as a function and whose nudges may be lost, those for later among them."""
    group, now_ms = group_of(agent), services.clock.now_ms()
    services.turn_queue.nudge([(group, f"{group}/again-{now_ms}", nudge_of(agent, again=True))])


def forget_environments(services: "Services", agents: Sequence[AgentRecord]) -> None:
    """Delete the environment files of agents, which ECS reads once, before a task's containers start."""
    services.bodies.delete([key for agent in agents for key in agent_environment.keys_of(agent)])


def ran(services: "Services", agent: AgentRecord, *, since_ms: int) -> None:
    """Record an agent's start that its launch did not record, because it was cut off after ``RunTask``."""
    if agent.started_at_ms is None:
        _append(services, agent, "runtime_started", at_ms=since_ms, name=agent.name)
        services.agents.note_start(agent.session_id, agent.name, now_ms=since_ms)


def contained(services: "Services", agent: AgentRecord, *, task_arn: str, since_ms: int) -> AgentRecord:
    """Record that the task of an agent runs, and so its container; return the agent as it is then.

    An agent that is a process of this machine has none. The container's id is the task's: it leads to the task (``ecs
    describe-tasks``) and to the stream of its output, and names no account, which the task's ARN does.
    """
    ran(services, agent, since_ms=since_ms)
    if agent.runtime != "docker" or agent.container_id is not None:
        return agent
    container_id = task_arn.rpartition("/")[2]
    _append(services, agent, "docker_container_created", at_ms=since_ms, containerId=container_id)
    services.agents.note_container(agent.session_id, agent.name, container_id)
    return dataclasses.replace(agent, container_id=container_id)


def exited(services: "Services", agent: AgentRecord, *, reason: str, at_ms: int) -> None:
    """Record that the task of an agent has ended, and its container with it; the agent may be stopped already."""
    stopped(services, agent, reason=reason, at_ms=at_ms)
    if agent.container_id is not None:
        _append(services, agent, "docker_container_removed", at_ms=at_ms, containerId=agent.container_id)


def stopped(services: "Services", agent: AgentRecord, *, reason: str, at_ms: int) -> None:
    """Record that an agent has stopped, in its state and in the log; a repetition changes nothing."""
    if agent.status != "stopped":
        _append(services, agent, "runtime_stopped", at_ms=at_ms, name=agent.name)
        if services.agents.stop(agent.session_id, agent.name, now_ms=at_ms, reason=reason):
            logger.info("agent stopped", extra={**_about(agent), "reason": reason})
    if agent.is_function:  # a turn that is under way cannot be stored any more
        services.turns.forget(agent.session_id, agent.name)


def end(services: "Services", agent: AgentRecord, *, reason: str) -> None:
    """Stop an agent and whatever task runs for it, known to its record or not."""
    # The mark comes first: a launch under way sees it and stops the task that it has just started.
    stopped(services, agent, reason=reason, at_ms=services.clock.now_ms())
    if agent.is_function:
        return
    if agent.task_arn:
        services.tasks.stop(agent.task_arn, reason=reason)
        return
    for task in services.tasks.described(services.tasks.started_by(started_by(agent))):
        if task.started_at_ms is not None:
            ran(services, agent, since_ms=task.started_at_ms)
        services.tasks.stop(task.arn, reason=reason)


def take_back(services: "Services", agent: AgentRecord, *, reason: str) -> None:
    """Stop an agent of an executed session, whether it runs or is still being started; nothing if it has stopped.

    A request may do this: beside DynamoDB it calls ``StopTask`` alone. A launch under way that has no task yet sees
    the mark and starts none; one that has its task by then finds the agent stopped, and stops the task itself.
    """
    if agent.status == "stopped" and not agent.is_function:  # of one what is to be forgotten may be left
        return
    stopped(services, agent, reason=reason, at_ms=services.clock.now_ms())
    if agent.is_function:  # its session closes as its turns are gone
        return
    # A session whose last agent this was closes when `run_agents` comes to its end.
    now = services.agents.find(agent.session_id, agent.name)
    if now is not None and now.task_arn:
        services.tasks.stop(now.task_arn, reason=reason)


def _tags(services: "Services", agent: AgentRecord) -> dict[str, str]:
    """Return the tags of an agent's task, by which its cost can be told apart."""
    return {
        "atoll:stage": services.settings.stage,
        "atoll:namespace": agent.namespace,
        "atoll:session": agent.session_id,
        "atoll:agent": agent.name,
    }


def _about(agent: AgentRecord) -> dict[str, str]:
    return {"namespace": agent.namespace, "session": agent.session_id, "agent": agent.name}


def _append(services: "Services", agent: AgentRecord, kind: str, *, at_ms: int, **fields: Any) -> None:
    """Append an agent's event to the log before its record changes: a repetition appends the same entry."""
    event = {"type": kind, "timestamp": iso_from_ms(at_ms), **fields}
    entry_id = f"{kind}-{agent.position}"
    services.log.append_once(agent.session_id, event, entry_id=entry_id, expires_at=agent.expires_at)
