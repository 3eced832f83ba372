"""puppet: is there and does nothing, until it is ended. Others speak in its name, through the puppet API."""

from typing import Any

from chalicelib.agents.here import Here


def take(here: Here) -> dict[str, Any]:
    """Wait for what never comes: a message of its own."""
    return {"wait": {"for": "agent", "agentName": here.name}}
