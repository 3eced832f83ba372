"""tool: call one tool, print its result, exit."""

import json
from typing import Any

from coral_agent import Session, ToolRefused, say, text_option


async def work(session: Session) -> None:
    """Call `TOOL_NAME` with the JSON object in `TOOL_INPUT` (none: `{}`) and print what it returns."""
    result = await session.call(text_option("TOOL_NAME"), _tool_input())
    say(result if isinstance(result, str) else json.dumps(result))


def _tool_input() -> dict[str, Any]:
    try:
        value = json.loads(text_option("TOOL_INPUT", "{}"))
    except json.JSONDecodeError as error:
        raise ToolRefused(f"TOOL_INPUT is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolRefused("TOOL_INPUT is no JSON object")
    return value
