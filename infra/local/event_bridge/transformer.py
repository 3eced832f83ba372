"""What a target gets that has an input transformer (EventBridge User Guide, "Input transformation").

Values are put into the template as they are: a text with a quote breaks it. A text that is not within quotes gets some,
objects and lists are JSON, and a path that leads nowhere leaves nothing.
"""

import json
from collections.abc import Mapping
from typing import Any

#: Variables that every template may use.
_EVENT, _TIME = "aws.events.event.json", "aws.events.event.ingestion-time"


class InvalidInput(Exception):
    """What a template makes of an event is no JSON; EventBridge tries no more."""


def transformed(transformer: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
    """Return what a template makes of an event; raise `InvalidInput` when that is no JSON."""
    paths = transformer.get("InputPathsMap", {})
    values = {name: _at(path, event) for name, path in paths.items()} | {_EVENT: event, _TIME: event["time"]}
    text = "".join(_filled(transformer["InputTemplate"], values))
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{text} is no JSON: {error}") from error


def _at(path: str, event: Any) -> Any:
    for name in path.split(".")[1:]:
        event = event.get(name) if isinstance(event, Mapping) else None
    return event


def _filled(template: str, values: Mapping[str, Any]) -> list[str]:
    """Return the parts of a template, with values for the names of variables."""
    parts: list[str] = []
    quoted = False
    while template:
        name = template[1:].partition(">")[0]
        if template[0] == "<" and name in values:
            parts.append(_written(values[name], quoted))
            template = template[len(name) + 2 :]
            continue
        escaped = template[0] == "\\"
        quoted ^= template[0] == '"'
        parts.append(template[: 1 + escaped])
        template = template[1 + escaped :]
    return parts


def _written(value: Any, quoted: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value if quoted else f'"{value}"'
    return json.dumps(value).replace('"', "") if quoted else json.dumps(value)
