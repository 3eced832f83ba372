"""tool: calls one tool, prints its result, and exits."""

import json
from typing import Any

from chalicelib.agents.here import LONGEST_SLEEP_MS, Here, ToolRefused


def take(here: Here) -> dict[str, Any]:
    """Call `TOOL_NAME` with the JSON object in `TOOL_INPUT` (none: ``{}``) and print what it returns."""
    delay_ms = here.option("START_DELAY", 0)
    if here.turn.reason == "started" and delay_ms > LONGEST_SLEEP_MS:
        return {"wait": here.pause(delay_ms)}
    if here.turn.reason == "started":
        here.sleep_ms(delay_ms)
    try:
        result = here.call(here.option("TOOL_NAME"), _input(here.option("TOOL_INPUT") or "{}"))
        here.say(result if isinstance(result, str) else json.dumps(result))
    except ToolRefused as refusal:
        here.say(f"refused: {refusal}")
    return {"exit": True}


def _input(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ToolRefused(f"TOOL_INPUT is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ToolRefused("TOOL_INPUT is no JSON object")
    return value
