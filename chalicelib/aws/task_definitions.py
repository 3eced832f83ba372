"""Builds and registers the ECS task definitions of registry agents.

An agent with options that travel as files gets a second container, ``options``, that runs first: it fetches them with
the agent's secret and unpacks them into a volume that both share.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.aws.task_overrides import (
    CONTAINER,
    EXECUTABLE,
    OPTIONS_CONTAINER,
    OPTIONS_DIRECTORY,
    OPTIONS_TOKEN,
    OPTIONS_URL,
)
from chalicelib.aws.tasks import TaskRefused, is_final, stream_prefix
from chalicelib.settings import Settings
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.wire.identifiers import RuntimeId
from chalicelib.wire.registry import DockerRuntime, ExecutableRuntime

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient

#: What the first container does. The answer is a tar archive in base64: text passes API Gateway unchanged, where bytes
#: would need a setting. curl reads the header from its input, so that no list of processes shows the secret.
#: Each step by itself: not every `sh` has `pipefail`. Owners are not restored, which takes a capability.
_FETCH = (
    f'set -e; [ -n "${OPTIONS_URL}" ] || exit 0; folder=$(mktemp -d); '
    f'echo "Authorization: Bearer ${OPTIONS_TOKEN}" | '
    f'curl -fsS --retry 5 --retry-all-errors --max-time 30 -H @- -o "$folder/text" "${OPTIONS_URL}"; '
    'base64 -d < "$folder/text" > "$folder/tar"; '
    f'tar -x -o -f "$folder/tar" -C {OPTIONS_DIRECTORY}'
)

#: How many bytes of an agent's lines wait at most for CloudWatch. An agent that prints more at once loses lines, and is
#: not held up (ECS Developer Guide, "Send Amazon ECS logs to CloudWatch": the default has changed, and differs).
_LOG_BUFFER = "10m"

#: MiB of the task's memory that the first container may use.
_FETCH_MEMORY_MIB = 64


class TaskDefinitions:
    """The task definitions of this deployment. An unused one costs nothing, so they are never deregistered."""

    def __init__(self, client: "ECSClient", settings: Settings) -> None:
        self._client = client
        self._settings = settings

    def wanted(self, record: RegistryAgentRecord, runtime: RuntimeId) -> tuple[str, dict[str, Any]]:
        """Return the task definition that an agent's runtime is to have, and a key that differs from any other's.

        It follows from the agent and from the deployment's settings and region, each of which may change.
        """
        request = definition_of(record, runtime, self._settings, self._client.meta.region_name)
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return f"{runtime}_{digest[:16]}", request

    def register(self, request: dict[str, Any]) -> str:
        """Register a task definition and return its ARN with revision; raise `TaskRefused` for a permanent refusal."""
        try:
            return self._client.register_task_definition(**request)["taskDefinition"]["taskDefinitionArn"]
        except ClientError as error:
            if is_final(error):
                raise TaskRefused(error) from error
            raise


def definition_of(record: RegistryAgentRecord, runtime: RuntimeId, settings: Settings, region: str) -> dict[str, Any]:
    """Return the ``RegisterTaskDefinition`` request of an agent's runtime; ``ValueError`` if the agent lacks it."""
    agent = record.definition
    wanted = agent.runtimes.get(runtime)
    fetches = any(option.transport == "fs" for option in agent.options.values())
    task = record.task
    memory = task.memory_mib or settings.agent_memory_mib
    if isinstance(wanted, DockerRuntime):
        main, first = _docker(wanted, record.version), _fetching(settings)
        if task.credentials is not None:
            main["repositoryCredentials"] = {"credentialsParameter": f"{settings.prefix}/images/{task.credentials}"}
    elif isinstance(wanted, ExecutableRuntime):
        main, first = _process(wanted, record.base_path), {"image": EXECUTABLE}
    else:
        raise ValueError(f"the agent {record.name} {record.version} has no runtime {runtime}")
    logs = {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": f"/atoll/{settings.stage}/agents",
            "awslogs-region": region,
            "awslogs-stream-prefix": stream_prefix(record.name, record.version),
            "mode": "non-blocking",
            "max-buffer-size": _LOG_BUFFER,
        },
    }
    containers = [{**main, "name": CONTAINER, "essential": True, "memory": memory, "logConfiguration": logs}]
    if fetches:
        containers[0] |= {
            "memory": memory - _FETCH_MEMORY_MIB,
            "dependsOn": [{"containerName": OPTIONS_CONTAINER, "condition": "SUCCESS"}],
            "mountPoints": [{"sourceVolume": "options", "containerPath": OPTIONS_DIRECTORY, "readOnly": True}],
        }
        containers.append(
            {
                **first,
                "name": OPTIONS_CONTAINER,
                "essential": False,
                "memory": _FETCH_MEMORY_MIB,
                "mountPoints": [{"sourceVolume": "options", "containerPath": OPTIONS_DIRECTORY, "readOnly": False}],
                "logConfiguration": logs,
            }
        )
    return {
        "family": f"{settings.prefix}-{record.name}-{_in_family(record.version)}-{runtime}",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": str(task.cpu or settings.agent_cpu),
        "memory": str(memory),
        "executionRoleArn": settings.agent_execution_role or f"{settings.prefix}-{settings.region}-agent-execution",
        "taskRoleArn": settings.agent_task_role or f"{settings.prefix}-{settings.region}-agent-task",
        "containerDefinitions": containers,
        "volumes": [{"name": "options"}] if fetches else [],
        "runtimePlatform": {
            "cpuArchitecture": "ARM64" if (task.architecture or settings.agent_architecture) == "arm64" else "X86_64",
            "operatingSystemFamily": "LINUX",
        },
        **({"ephemeralStorage": {"sizeInGiB": task.ephemeral_storage_gib}} if task.ephemeral_storage_gib else {}),
    }


def _docker(runtime: DockerRuntime, version: str) -> dict[str, Any]:
    return {"image": _tagged(runtime.image, version), **({"command": runtime.command} if runtime.command else {})}


def _tagged(image: str, version: str) -> str:
    """Return an image as it is run: as in Coral one without a tag has the agent's version as its tag.

    A colon before the last slash is a port's, and a digest says enough. A tag cannot have a ``+``.
    """
    if "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:{version.replace('+', '_')}"


def _process(runtime: ExecutableRuntime, base_path: str | None) -> dict[str, Any]:
    """Return a process of this machine; its path may be relative to the agent's file, or a name on ``PATH``."""
    path = runtime.path
    if base_path and (Path(base_path) / path).is_file():
        path = str(Path(base_path) / path)
    directory = {"workingDirectory": base_path} if base_path else {}
    return {"image": EXECUTABLE, "command": [path, *runtime.arguments], **directory}


def _fetching(settings: Settings) -> dict[str, Any]:
    # As root: the volume is root's, whatever the image's own user. It may do nothing else that root may.
    return {
        "image": settings.options_image,
        "user": "0",
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
        "entryPoint": ["sh", "-c"],
        "command": [_FETCH],
    }


def _in_family(version: str) -> str:
    """Write a version with what a family may have: letters, digits, ``_`` and ``-``."""
    return version.replace(".", "_").replace("+", "_")
