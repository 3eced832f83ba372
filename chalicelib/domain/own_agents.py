"""The agents that are Atoll's own: Coral's debug agents, as functions. They are in every registry, and in no table."""

import hashlib
from functools import cache
from pathlib import Path

from chalicelib.domain import agent_files
from chalicelib.store.registry import RegistryAgentRecord

NAMES = ("echo", "puppet", "seed", "socket", "tool")

#: As Coral's have it.
VERSION = "1.0.0"

_FOLDER = Path(__file__).resolve().parents[1] / "agents"


@cache
def record(name: str) -> RegistryAgentRecord:
    """Return one of them as the registry would store it."""
    agent = agent_files.parse((_FOLDER / f"{name}.toml").read_text("utf-8"))
    text = agent.model_dump_json(by_alias=True, exclude_none=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return RegistryAgentRecord(name=name, version=VERSION, agent=text, digest=digest, registered_at_ms=0)
