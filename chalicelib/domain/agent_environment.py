"""What an agent's process is given: Coral's variables and its options (contract, "Agents' environment")."""

from typing import TYPE_CHECKING

from chalicelib.aws.task_overrides import OPTIONS_TOKEN, OPTIONS_URL
from chalicelib.domain import agent_secrets, options
from chalicelib.settings import LONGEST_URLS, Urls
from chalicelib.store.agents import AgentRecord

if TYPE_CHECKING:
    from chalicelib.stores import Stores


def check_size(stores: "Stores", agent: AgentRecord, option_values: str | None) -> None:
    """Raise `BadRequest` when ECS will not take what this agent's task is to be given.

    Its URLs may not be known here, and need not be: the longest that there can be are counted.
    """
    # The key is no matter: it does not change the length of a secret.
    secret = agent_secrets.mint("", agent.namespace, agent.session_id, agent.name)
    urls = stores.settings.urls or LONGEST_URLS
    options.check_overrides_size(agent.name, *of(agent, secret, option_values, urls))


def of(
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
