"""The environment of an agent's process: Coral's variables and its options (contract, "Agents' environment").

Only identifiers are in the overrides of its task, which ECS tells in its events and CloudTrail records. What else there
is travels in an environment file; what a file does not carry exactly, and is no secret, is in the overrides too.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from chalicelib.aws.task_overrides import (
    CONTAINER,
    OPTIONS_CONTAINER,
    OPTIONS_TOKEN,
    OPTIONS_URL,
    environment_file,
    fault_of_line,
    overrides,
)
from chalicelib.domain import agent_secrets, options
from chalicelib.domain.errors import AtollError
from chalicelib.settings import LONGEST_URLS, Settings, Urls
from chalicelib.store.agents import AgentRecord
from chalicelib.wire.llm_proxy import ResolvedProxy

if TYPE_CHECKING:
    from mypy_boto3_ecs.type_defs import TaskOverrideTypeDef

    from chalicelib.stores import Stores

#: What the keys of environment files begin with, in the bucket.
FOLDER = "environments/"

#: Variables that everybody may see.
_IDENTIFIERS = {"CORAL_AGENT_ID", "CORAL_SESSION_ID", "CORAL_API_URL", "CORAL_RUNTIME_ID", OPTIONS_URL}


@dataclasses.dataclass(frozen=True)
class TaskEnvironment:
    """The variables of an agent's task, by the names of its containers."""

    agent: AgentRecord
    #: In the overrides of the task.
    shown: Mapping[str, Mapping[str, str]]
    #: In an environment file of the container.
    filed: Mapping[str, Mapping[str, str]] = dataclasses.field(repr=False)

    def overrides(self, settings: Settings) -> "TaskOverrideTypeDef":
        """Return the overrides of the task."""
        arns = {container: settings.body_arn(_key(self.agent, container)) for container in self.filed}
        return overrides(self.shown, arns)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the environment files: the key of each in the stage's bucket, and its content."""
        for container, variables in self.filed.items():
            yield _key(self.agent, container), environment_file(variables)


class NoModels(AtollError):
    """An agent needs a model, and this stage has no address for models."""


def keys_of(agent: AgentRecord) -> list[str]:
    """Return the keys of all environment files that an agent may have."""
    return [_key(agent, container) for container in (CONTAINER, OPTIONS_CONTAINER)]


def _key(agent: AgentRecord, container: str) -> str:
    return f"{FOLDER}{agent.session_id}/{agent.position}-{container}.env"


def check(stores: "Stores", agent: AgentRecord, option_values: str | None) -> None:
    """Raise `BadRequest` when this agent's environment cannot travel to its task.

    The stage's URLs may not be known here: the longest possible ones are counted.
    """
    if agent.is_function:  # it has no environment: all of it is in each of its turns
        return
    resolved = options.ResolvedOptions.from_json(option_values or "{}")
    if agent.runtime != "executable":  # a process of this machine, whose overrides nobody sees
        options.check_secrets_travel(agent.name, resolved, options.environment(resolved))
    # Any key will do: it does not change the length of a secret.
    secret = agent_secrets.mint("", agent.namespace, agent.session_id, agent.name)
    environment = of(agent, secret, option_values, stores.settings.urls or LONGEST_URLS)
    options.check_overrides_size(agent.name, environment.overrides(stores.settings))


def of(agent: AgentRecord, secret: str, option_values: str | None, urls: Urls) -> TaskEnvironment:
    """Return the environment of an agent's process, and that of the container that fetches its option files, if any.

    Raises `NoModels` for an agent that needs a model where none can be reached.
    """
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
    environment |= _of_models(agent, f"{urls.models}/llm-proxy/{secret}")
    if agent.system_prompt is not None:
        environment["CORAL_PROMPT_SYSTEM"] = agent.system_prompt
    of_containers = {CONTAINER: environment}
    if options.files(resolved):
        of_containers[OPTIONS_CONTAINER] = {OPTIONS_URL: f"{urls.api}/api/v1/agent/options", OPTIONS_TOKEN: secret}
    shown: dict[str, dict[str, str]] = {}
    filed: dict[str, dict[str, str]] = {}
    for container, variables in of_containers.items():
        shown[container] = {
            name: value for name, value in variables.items() if name in _IDENTIFIERS or fault_of_line(name, value)
        }
        filed[container] = {name: value for name, value in variables.items() if name not in shown[container]}
    return TaskEnvironment(agent, shown, filed)


def _of_models(agent: AgentRecord, base_url: str) -> dict[str, str]:
    """Return where an agent finds each of its models, and what that is. The URLs have its secret in them."""
    if agent.proxies and base_url.startswith("/"):
        raise NoModels("this stage has no address for models: it was deployed without Function URLs")
    environment = {}
    for name, wired in (agent.proxies or {}).items():
        proxy = ResolvedProxy.model_validate(wired)
        environment[f"CORAL_PROXY_URL_{name}"] = f"{base_url}/{name}"
        environment[f"CORAL_PROXY_FORMAT_{name}"] = proxy.format
        environment[f"CORAL_PROXY_MODEL_{name}"] = proxy.model_name
    return environment
