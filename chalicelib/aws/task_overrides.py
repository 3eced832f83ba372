"""Builds the overrides of an agent's task (`RunTask`), whose size ECS limits.

Pure: a request that creates a session measures with it the overrides of its agents' tasks.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_ecs.type_defs import ContainerOverrideTypeDef, TaskOverrideTypeDef

#: What the container of an agent is called in its task definition.
CONTAINER = "agent"

#: The image of a container that the local stack runs as a process of this machine.
EXECUTABLE = "executable"

#: The container that runs before it, for an agent with options that travel as files, and the variables that say
#: where to fetch them, and with what.
OPTIONS_CONTAINER = "options"
OPTIONS_URL = "ATOLL_OPTIONS_URL"
OPTIONS_TOKEN = "ATOLL_OPTIONS_TOKEN"  # noqa: S105, the name of a variable

#: Largest overrides of one task (ECS API reference, "TaskOverride": the whole, written as JSON).
MAX_OVERRIDES_BYTES = 8_192

#: Where the files of options are in a container.
OPTIONS_DIRECTORY = "/coral/options"


def overrides(
    environment: Mapping[str, str], options_environment: Mapping[str, str] | None = None
) -> "TaskOverrideTypeDef":
    """Return the overrides of an agent's task; ECS takes at most `MAX_OVERRIDES_BYTES`."""
    containers: list[ContainerOverrideTypeDef] = [_with(CONTAINER, environment)]
    if options_environment is not None:
        containers.append(_with(OPTIONS_CONTAINER, options_environment))
    return {"containerOverrides": containers}


def _with(container: str, environment: Mapping[str, str]) -> "ContainerOverrideTypeDef":
    return {
        "name": container,
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
    }
