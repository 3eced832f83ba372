"""ECS task definitions of registry agents: registered when the agent is, looked up when a session launches it."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from chalicelib.aws.tasks import TaskRefused
from chalicelib.domain import errors, registry
from chalicelib.domain.registry import runtime_of
from chalicelib.store.agents import FUNCTION, PROTOTYPE
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.wire.identifiers import RuntimeId
from chalicelib.wire.registry import PROTOTYPE_FUNCTION

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)


class CannotRun(Exception):
    """An agent of a session cannot be launched: the registry has changed since the session was created."""


class Launchable(NamedTuple):
    """What an agent's task is run from."""

    task_definition: str
    spot: bool


def arn_of(services: "Services", identifier: Mapping[str, Any], runtime: str) -> str:
    """Return the ARN of an agent's task definition, as `of` does."""
    return of(services, identifier, runtime).task_definition


def of(services: "Services", identifier: Mapping[str, Any], runtime: str) -> Launchable:
    """Return what an agent's task is run from, registering its task definition if that has not been done.

    Raises `CannotRun` when the agent, or its runtime, is not in the registry any more, `TaskRefused` when ECS refuses.
    """
    record = services.registry.find_for_launch(identifier["name"], identifier["version"])
    if record is None:
        raise CannotRun(f"the agent {identifier['name']} {identifier['version']} is not in the registry any more")
    offered: dict[str, RuntimeId] = {each: each for each in record.definition.runtimes.offered()}
    if runtime not in offered:
        raise CannotRun(f"the agent {record.name} {record.version} has no runtime {runtime!r} any more")
    return Launchable(_defined(services, record, offered[runtime]), record.task.spot)


def function_of(services: "Services", identifier: Mapping[str, Any], runtime: str) -> dict[str, str]:
    """Return what is called for an agent that runs as a function: ``function``, or ``handler`` and its ``folder``.

    Raises `CannotRun` when the agent, or that runtime, is not in the registry any more.
    """
    name, version = identifier["name"], identifier["version"]
    record = services.registry.find_for_launch(name, version) or registry.own(services, name, version)
    if record is None:
        raise CannotRun(f"the agent {name} {version} is not in the registry any more")
    if runtime not in record.definition.runtimes.offered():
        raise CannotRun(f"the agent {name} {version} has no runtime {runtime!r} any more")
    return {"function": PROTOTYPE_FUNCTION} if runtime == PROTOTYPE else registry.called(services, record)


def define(services: "Services", name: str, version: str) -> None:
    """Register the task definitions of an agent, so that its first launch finds them.

    A refusal of ECS is logged here, and is the stop reason of each agent that is launched from it.
    """
    record = services.registry.find(name, version)
    if record is None:
        return
    for runtime in record.definition.runtimes.offered():
        if runtime in (FUNCTION, PROTOTYPE):
            continue  # it has no task
        try:
            runtime_of(services, record.definition, runtime)
            _defined(services, record, runtime)
        except errors.BadRequest:
            continue  # no session can ask for it here
        except TaskRefused as error:
            logger.warning("task definition refused", extra={"agent": f"{name} {version}", "reason": str(error)})


def _defined(services: "Services", record: RegistryAgentRecord, runtime: RuntimeId) -> str:
    """Return the ARN of a task definition. Two launches may register one at once; both use the one stored first."""
    key, request = services.task_definitions.wanted(record, runtime)
    if known := record.task_definitions.get(key):
        return known
    return services.registry.keep_task_definition(record, key, services.task_definitions.register(request))
