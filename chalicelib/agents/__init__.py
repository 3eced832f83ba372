"""Agents that run as functions in Atoll's own process: Coral's debug agents.

Each takes a turn and returns what a function answers (`chalicelib.wire.turns.TurnOutput`, as JSON).
"""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.agents import echo, puppet, seed, socket, tool
from chalicelib.agents.here import Here, Stopped

__all__ = ["OWN", "Here", "Stopped"]

#: By the part of their names behind ``atoll/``.
OWN: Mapping[str, Callable[[Here], dict[str, Any]]] = {
    "echo": echo.take,
    "puppet": puppet.take,
    "seed": seed.take,
    "socket": socket.take,
    "tool": tool.take,
}
