"""The request that creates a session, on the wire."""

from typing import Annotated, Literal

from pydantic import Field

from .base import WireModel
from .graph import AgentGraphRequest
from .namespaces import Annotations, Name, SessionNamespaceRequest
from .sessions import SessionRuntimeSettings


class CreateIfNotExists(WireModel):
    """Use the namespace as it is, or create it as asked for."""

    type: Literal["create_if_not_exists"]
    namespace_request: SessionNamespaceRequest


class UseExisting(WireModel):
    """Use a namespace that is there."""

    type: Literal["use_existing"]
    name: Name


class Immediate(WireModel):
    """Start the agents now."""

    mode: Literal["immediate"] = "immediate"
    runtime_settings: SessionRuntimeSettings = Field(default_factory=SessionRuntimeSettings)


class Defer(WireModel):
    """Start the agents when the session is executed."""

    mode: Literal["defer"]


class SessionRequest(WireModel):
    """A session to be created."""

    agent_graph_request: AgentGraphRequest
    namespace_provider: Annotated[CreateIfNotExists | UseExisting, Field(discriminator="type")]
    execution: Annotated[Immediate | Defer, Field(discriminator="mode")] = Field(default_factory=Immediate)
    annotations: Annotations = Field(default_factory=dict)
