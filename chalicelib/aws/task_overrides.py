"""Builds the overrides of an agent's task (`RunTask`), whose size ECS limits, and the environment files that they name.

Overrides are in ECS's events and in CloudTrail; an environment file is an object of S3 that ECS reads as it starts the
task. Pure: a request that creates a session measures with it the overrides of its agents' tasks.
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

#: Longest line of an environment file, in bytes. The reader of the public ECS agent (amazon-ecs-agent, `envfile.go`)
#: takes less than 64 KiB; Fargate's is not public.
MAX_LINE_BYTES = 32_768

#: Where the files of options are in a container.
OPTIONS_DIRECTORY = "/coral/options"


def overrides(environments: Mapping[str, Mapping[str, str]], files: Mapping[str, str]) -> "TaskOverrideTypeDef":
    """Return the overrides of an agent's task; ECS takes at most `MAX_OVERRIDES_BYTES`.

    Parameters
    ----------
    environments
        Variables that everybody may see, by the container's name.
    files
        ARNs of the environment files of these containers, for those that have one.
    """
    return {"containerOverrides": [_with(name, variables, files) for name, variables in environments.items()]}


def _with(container: str, environment: Mapping[str, str], files: Mapping[str, str]) -> "ContainerOverrideTypeDef":
    override: ContainerOverrideTypeDef = {
        "name": container,
        "environment": [{"name": name, "value": value} for name, value in environment.items()],
    }
    if container in files:
        override["environmentFiles"] = [{"type": "s3", "value": files[container]}]
    return override


def fault_of_line(name: str, value: str) -> str | None:
    """Return why an environment file does not carry a variable exactly; ``None`` when it does.

    A line is split at its first ``=``, and what follows is the value: quotes, spaces, ``#``, ``$`` and backslashes are
    parts of it (ECS Developer Guide, "Pass environment variables to a container"; amazon-ecs-agent issue 3429). Fargate
    leaves out an empty value (containers-roadmap issue 2466).
    """
    if not value:
        return "is empty"
    if "\n" in value or "\r" in value:
        return "has a line break"
    if len(f"{name}={value}".encode()) > MAX_LINE_BYTES:
        return f"takes more than {MAX_LINE_BYTES} bytes with its name"
    return None


def environment_file(variables: Mapping[str, str]) -> bytes:
    """Return the content of an environment file with variables that have no `fault_of_line`."""
    return "".join(f"{name}={value}\n" for name, value in variables.items()).encode()
