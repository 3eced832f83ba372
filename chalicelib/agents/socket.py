"""socket: a place in a session for a process that is started elsewhere, from an IDE, say.

It makes no connection: the process does, which takes its place with the variables that it prints.
"""

import re
from collections.abc import Mapping
from typing import Any

from chalicelib.agents.here import Here


def take(here: Here) -> dict[str, Any]:
    """Print the environment that the process needs, and wait for what never comes."""
    agent = here.turn.agent
    variables = {
        "CORAL_CONNECTION_URL": agent.connection_url,
        "CORAL_AGENT_ID": agent.name,
        "CORAL_AGENT_SECRET": agent.secret,
        "CORAL_SESSION_ID": agent.session_id,
        "CORAL_API_URL": agent.api_url,
        "CORAL_RUNTIME_ID": "function",
    }
    if agent.system_prompt is not None:
        variables["CORAL_PROMPT_SYSTEM"] = agent.system_prompt
    here.say(jetbrains({name: value for name, value in variables.items() if not re.search("[\r\n]", value)}))
    if here.turn.reason == "started":
        here.say("secrets are hidden here: as an executable this agent leaves the line as it is in a file")
    return {"wait": {"for": "agent", "agentName": here.name}}


def jetbrains(variables: Mapping[str, str]) -> str:
    """Return ``K=V;K=V``, as the field "Environment variables" of a run configuration takes it."""
    return ";".join(f"{name}={_quoted(value)}" for name, value in variables.items())


def _quoted(value: str) -> str:
    if ";" not in value and not value.startswith('"'):
        return value
    return '"' + re.sub(r'([\\";])', r"\\\1", value) + '"'
