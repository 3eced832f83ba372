"""The environment of an agent's process: Coral's variables and its options (contract, "Agents' environment")."""

from typing import TYPE_CHECKING

from chalicelib.aws.task_overrides import OPTIONS_TOKEN, OPTIONS_URL
from chalicelib.domain import agent_secrets, options
from chalicelib.settings import LONGEST_URLS, Urls
from chalicelib.store.agents import AgentRecord

if TYPE_CHECKING:
    from chalicelib.stores import Stores


def check_size(stores: "Stores", agent: AgentRecord, option_values: str | None) -> None:
    """Raise `BadRequest` when the overrides of this agent's task are too large for ECS.

    The stage's URLs may not be known here: the longest possible ones are counted.
    """
    # Any key will do: it does not change the length of a secret.
    secret = agent_secrets.mint("", agent.namespace, agent.session_id, agent.name)
    urls = stores.settings.urls or LONGEST_URLS
    options.check_overrides_size(agent.name, *of(agent, secret, option_values, urls))


def of(
    agent: AgentRecord, secret: str, option_values: str | None, urls: Urls
) -> tuple[dict[str, str], dict[str, str] | None]:
    """Return the environment of an agent's process, and that of the container that fetches its option files, if any."""
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
