"""The methods of MCP that agents may call, and in which era."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from mcp_types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    DiscoverResult,
    EmptyResult,
    InitializeResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    LoggingCapability,
    LoggingLevel,
    PromptsCapability,
    ReadResourceResult,
    ResourcesCapability,
    Result,
    ServerCapabilities,
    TextResourceContents,
    ToolsCapability,
)

from chalicelib.domain import actors, meeting, waits
from chalicelib.mcp import envelope, resources, resumption, tools
from chalicelib.mcp.protocol import (
    HANDSHAKE_VERSIONS,
    RESOURCE_NOT_FOUND,
    SERVER_INFO,
    STATELESS_VERSIONS,
    Era,
    Id,
    ProtocolError,
)

if TYPE_CHECKING:
    from chalicelib.stores import Stores
    from chalicelib.wire.custom_tools import GraphAgentTool

Params = Mapping[str, Any]

#: How long (ms) a client may keep what never changes during a session.
_LASTING_MS = 3_600_000


#: What is answered while a session is closing, to any of its agents. Clients list the tools after a call that may have
#: closed the session, and it is that call which they would report as failed.
_WHILE_CLOSING = {"initialize", "ping", "server/discover", "tools/list"}


class SessionOver(Exception):
    """The session is closing: of its agents only `_WHILE_CLOSING` is answered."""


class Call:
    """Serves the requests of one POST."""

    def __init__(
        self,
        stores: "Stores",
        actor: actors.Actor,
        headers: Mapping[str, str],
        deadline_ms: int,
        *,
        closing: bool = False,
    ) -> None:
        self._stores = stores
        self._actor = actor
        self._headers = headers
        #: The era of its messages; a batch is of one.
        self.era: Era = "handshake"
        #: Until when (epoch ms) an answer may be waited for.
        self._deadline_ms = deadline_ms
        #: How long a wait is held open; ``None`` as long as it lasts.
        self.hold_ms: int | None = None
        #: The id of the request that is served.
        self.request_id: Id = None
        #: The custom tool that is called, once it was read for its headers.
        self._custom: GraphAgentTool | None = None
        self._closing = closing
        self._connected = closing or actor.agent.connected_at_ms is not None

    def connect(self) -> None:
        """Record the first request of an agent; a blocking agent waits for the other blocking agents."""
        if self._connected:
            return
        self._connected = True
        if actors.connect(self._stores, self._actor) and self._actor.agent.blocking:
            meeting.wait_for_blocking(self._stores, self._actor, self._deadline_ms)

    def take(self, notification: str, params: Params) -> None:
        """Take a notification: a cancelled request waits no longer, all others change nothing."""
        if self._closing:
            return
        self.connect()
        request_id = params.get("requestId")
        if notification == "notifications/cancelled" and isinstance(request_id, str | int):
            waits.cancel(self._stores, self._actor, request_id)

    def serve(self, method: str, params: Params) -> Result:
        """Answer a request.

        Raises `ProtocolError` when there is no such method or its parameters are wrong, `SessionOver` for what a
        closing session does not answer.
        """
        if self._closing and method not in _WHILE_CLOSING:
            raise SessionOver
        handler = _METHODS[self.era].get(method)
        if handler is None:
            raise ProtocolError(METHOD_NOT_FOUND, f"Method not found: {method[:64]}")
        self.connect()
        if self.era == "stateless" and method == "tools/call":
            name, arguments = _tool_call(params)
            self._custom = tools.custom(self._stores, self._actor.agent, name)
            schema = self._custom.input_schema.to_wire() if self._custom else {}
            envelope.check_parameters(schema, arguments, self._headers)
        return handler(self, params)

    def initialize(self, params: Params) -> Result:
        """Agree on a version: the client's where it is served, else the newest; raise `ProtocolError` without one."""
        asked = params.get("protocolVersion")
        if not isinstance(asked, str):
            raise ProtocolError(INVALID_PARAMS, "protocolVersion must be a string")
        return InitializeResult(
            protocol_version=asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1],
            # An agent's lists never change, so no change of them goes unsaid. The state does, and nobody is told:
            # subscriptions are taken, and not announced (docs/agents.md).
            capabilities=ServerCapabilities(
                tools=ToolsCapability(list_changed=True),
                resources=ResourcesCapability(list_changed=True),
                prompts=PromptsCapability(list_changed=True),
                logging=LoggingCapability(),
            ),
            server_info=SERVER_INFO,
            instructions=resources.instruction(self._actor.agent),
        )

    def discover(self, _params: Params) -> Result:
        """Return the server's description in the stateless era (`server/discover`).

        Its client speaks a version that is listed; some do so in the other era, whose waits can be paused.
        """
        falls_back = resumption.is_offered_instead(self._stores, self._headers)
        return DiscoverResult(
            supported_versions=list(resumption.VERSIONS if falls_back else STATELESS_VERSIONS),
            capabilities=ServerCapabilities(
                tools=ToolsCapability(), resources=ResourcesCapability(), prompts=PromptsCapability()
            ),
            server_info=SERVER_INFO,
            instructions=resources.instruction(self._actor.agent),
            ttl_ms=_LASTING_MS,
        )

    def nothing(self, _params: Params) -> Result:
        """Return an empty result."""
        return EmptyResult()

    def set_level(self, params: Params) -> Result:
        """Accept a log level, without effect: there are no log messages; raise `ProtocolError` for an unknown one."""
        if params.get("level") not in get_args(LoggingLevel):
            raise ProtocolError(INVALID_PARAMS, f"level must be one of {', '.join(get_args(LoggingLevel))}")
        return EmptyResult()

    def list_tools(self, params: Params) -> Result:
        """List what this agent may call."""
        _check_cursor(params)
        return ListToolsResult(tools=tools.listed(self._stores, self._actor.agent), ttl_ms=_LASTING_MS)

    def call_tool(self, params: Params) -> Result:
        """Call a tool. What is wrong with the call is an error in the result, so that a model can correct it.

        An unknown tool is that in the handshake era, as in Coral; the stateless era's specification says otherwise
        (2026-07-28, "Tools", "Error Handling").
        """
        name, arguments = _tool_call(params)
        try:
            return tools.call(
                self._stores,
                self._actor,
                name,
                arguments,
                self._deadline_ms,
                hold_ms=self.hold_ms,
                request_id=self.request_id,
                known=self._custom,
            )
        except tools.UnknownTool as error:
            if self.era == "stateless":
                raise
            return tools.refused(str(error))

    def list_resources(self, params: Params) -> Result:
        """List the two resources."""
        _check_cursor(params)
        return ListResourcesResult(resources=resources.listed(), ttl_ms=_LASTING_MS)

    def list_resource_templates(self, params: Params) -> Result:
        """List no templates."""
        _check_cursor(params)
        return ListResourceTemplatesResult(resource_templates=[], ttl_ms=_LASTING_MS)

    def read_resource(self, params: Params) -> Result:
        """Read a resource; raise `ProtocolError` for an unknown one."""
        uri = self._resource(params)
        text = resources.read(self._stores, self._actor, uri)
        return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type="text/markdown", text=text)])

    def subscribe(self, params: Params) -> Result:
        """Accept a subscription, or its end, without effect: no request of a server's could reach its client.

        Raises `ProtocolError` for an unknown resource.
        """
        self._resource(params)
        return EmptyResult()

    def _resource(self, params: Params) -> str:
        uri = params.get("uri")
        if not isinstance(uri, str):
            raise ProtocolError(INVALID_PARAMS, "uri must be a string")
        if uri not in resources.URIS:
            code = INVALID_PARAMS if self.era == "stateless" else RESOURCE_NOT_FOUND
            raise ProtocolError(code, f"Resource not found: {uri[:256]}", {"uri": uri[:256]})
        return uri

    def list_prompts(self, params: Params) -> Result:
        """List no prompts."""
        _check_cursor(params)
        return ListPromptsResult(prompts=[], ttl_ms=_LASTING_MS)

    def get_prompt(self, params: Params) -> Result:
        """Raise `ProtocolError`: there are no prompts."""
        raise ProtocolError(INVALID_PARAMS, f"there is no prompt {str(params.get('name'))[:64]!r}")


def _tool_call(params: Params) -> tuple[str, dict[str, Any]]:
    name, arguments = params.get("name"), params.get("arguments")
    if not isinstance(name, str):
        raise ProtocolError(INVALID_PARAMS, "name must be a string")
    if not isinstance(arguments, dict | None):
        raise ProtocolError(INVALID_PARAMS, "arguments must be an object")
    return name, arguments or {}


def _check_cursor(params: Params) -> None:
    if params.get("cursor") is not None:
        raise ProtocolError(INVALID_PARAMS, "there is no further page: this cursor was not handed out")


_Handler = Callable[[Call, Params], Result]

_SHARED: dict[str, _Handler] = {
    "tools/list": Call.list_tools,
    "tools/call": Call.call_tool,
    "resources/list": Call.list_resources,
    "resources/templates/list": Call.list_resource_templates,
    "resources/read": Call.read_resource,
    "prompts/list": Call.list_prompts,
    "prompts/get": Call.get_prompt,
}
_METHODS: dict[Era, dict[str, _Handler]] = {
    "handshake": {
        **_SHARED,
        "initialize": Call.initialize,
        "ping": Call.nothing,
        "logging/setLevel": Call.set_level,
        "resources/subscribe": Call.subscribe,
        "resources/unsubscribe": Call.subscribe,
    },
    "stateless": {**_SHARED, "server/discover": Call.discover},
}
