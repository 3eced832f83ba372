"""How agents are named on the wire: in which registry, by which name and version, to run in which runtime."""

from typing import Annotated, Literal

from pydantic import Field

from .base import WireModel

RuntimeId = Literal["executable", "docker", "function", "prototype"]


class LocalSource(WireModel):
    """The registry of this deployment."""

    type: Literal["local"] = "local"


class LinkedSource(WireModel):
    """The registry of a linked server."""

    type: Literal["linked"]
    linked_server_id: str


class MarketplaceSource(WireModel):
    """Coral's marketplace."""

    type: Literal["marketplace"]


AgentRegistrySourceIdentifier = Annotated[LocalSource | LinkedSource | MarketplaceSource, Field(discriminator="type")]


#: A name or version that the registry can be asked for: DynamoDB takes no empty key, and none above 1,024 bytes.
RegistryKey = Annotated[str, Field(min_length=1, max_length=256)]


class RegistryAgentIdentifier(WireModel):
    """Which agent, in which version, of which registry."""

    name: RegistryKey
    version: RegistryKey
    registry_source_id: AgentRegistrySourceIdentifier
