"""The tools of a prototype: those of its own MCP server, called in this process, and those of other servers."""

import copy
import json
import re
from typing import TYPE_CHECKING, Any

from chalicelib.agents.here import Here
from chalicelib.agents.prototype.history import Json, bytes_of, clean
from chalicelib.agents.prototype.tool_servers import Connections, ServerFailed
from chalicelib.domain import prototypes
from chalicelib.domain.errors import BadRequest
from chalicelib.domain.prototypes import BadPrototype
from chalicelib.wire.prototype import BearerAuth, HeaderAuth, PrototypeRuntime
from chalicelib.wire.threads import MAX_WAIT_MS
from chalicelib.wire.waits import PausedWait

if TYPE_CHECKING:
    from mcp_types import CallToolResult

    from chalicelib.services import Services

#: The longest that a prototype waits for a message, in one call: nothing runs meanwhile.
LONGEST_WAIT_MS = 86_400_000
#: How large (bytes of JSON) the description of all servers' tools may be: it is kept with the history.
_LISTED_BYTES = 48_000
#: How many tools a request may have (OpenAI's limit).
_MOST_TOOLS = 128
#: How long (ms) the call of a server's tool may take.
_CALL_MS = 60_000

_WAITS = ("coral_wait_for_message", "coral_wait_for_mention", "coral_wait_for_agent")
_LONGER = f"The longest time to wait in milliseconds, up to {LONGEST_WAIT_MS}. A long wait costs nothing."


class Toolbox:
    """The tools of one agent in one turn."""

    def __init__(
        self, services: "Services", here: Here, runtime: PrototypeRuntime, listed: list[Json], until_ms: int
    ) -> None:
        """
        Parameters
        ----------
        listed
            The tools of servers, as `list_servers` has returned them in the first turn.
        until_ms
            When (epoch ms) what it does must have ended.
        """
        self._services, self._here, self._listed = services, here, listed
        self._until_ms = until_ms
        self._servers = [
            {"type": server.type, "url": self._text(server.url), "headers": self._headers(server.auth)}
            for server in runtime.tools
        ]
        self._connections = Connections(services.http, services.clock, self._servers, self._until_ms)
        self._names: dict[str, Json] = {}

    def _text(self, string: Any) -> str:
        return prototypes.text_of(string, self._here.turn.agent.options)

    def _headers(self, auth: Any) -> dict[str, str]:
        if isinstance(auth, BearerAuth):
            return {"Authorization": f"Bearer {self._text(auth.token)}"}
        return {"Authorization": self._text(auth.header)} if isinstance(auth, HeaderAuth) else {}

    def close(self) -> None:
        """End what is connected."""
        self._connections.close()

    # What there is

    def list_servers(self) -> list[Json]:
        """Ask all servers for their tools; raise `BadPrototype` for one that fails."""
        found: list[Json] = []
        for number in range(len(self._servers)):
            try:
                for tool in self._connections.to(number).tools():
                    schema = tool.get("inputSchema")
                    found.append(
                        {
                            "server": number,
                            "tool": clean(str(tool.get("name"))),
                            "description": clean(str(tool.get("description") or "")),
                            "schema": schema if isinstance(schema, dict) else {"type": "object"},
                        }
                    )
            except ServerFailed as error:
                raise BadPrototype(f"runtimes.prototype.tools.{number}: {error}") from None
        if (size := bytes_of(found)) > _LISTED_BYTES:
            raise BadPrototype(f"the tools of its servers take {size} bytes: at most {_LISTED_BYTES} are kept")
        return found

    def described(self) -> list[Json]:
        """Return all tools for the model, under names that its API takes; of two of one name the first."""
        from chalicelib.mcp import tools

        own = [
            {"tool": tool.name, "description": tool.description or "", "schema": _schema_of(tool)}
            for tool in tools.listed(self._services, self._here.actor.agent)
        ]
        found: list[Json] = []
        for tool in [*own, *self._listed]:
            name = re.sub(r"[^A-Za-z0-9_-]", "_", tool["tool"])[:64] or "_"
            if name not in self._names and len(found) < _MOST_TOOLS:
                self._names[name] = tool
                found.append({"name": name, "description": tool["description"][:1_024], "schema": tool["schema"]})
        return found

    def resource(self, uri: str) -> str:
        """Return the text of a resource of the agent's own server; raise `BadRequest` for an unknown one."""
        from chalicelib.mcp import resources

        if uri not in resources.URIS:
            raise BadRequest(f"the system prompt names the resource {uri[:100]!r}, and there is none")
        return resources.read(self._services, self._here.actor, uri)

    # What it does

    def call(self, call: Json) -> tuple[str, bool]:
        """Make a call; return what came of it, and whether that is a failure. Raises `waits.Paused` and `Stopped`."""
        if not self._names:
            self.described()
        tool = self._names.get(call["name"])
        if fault := call.get("fault"):
            return str(fault), True
        if tool is None:
            return f"there is no tool {call['name'][:64]!r}", True
        if "server" in tool:
            self._here.acting()
            return self._call_of_server(tool, call["arguments"])
        return self._own(tool["tool"], call["arguments"])

    def _call_of_server(self, tool: Json, arguments: Json) -> tuple[str, bool]:
        left_ms = self._until_ms - self._services.clock.now_ms()
        try:
            connection = self._connections.to(tool["server"])
            return connection.call(tool["tool"], arguments, max(1.0, min(_CALL_MS, left_ms - 10_000) / 1000))
        except ServerFailed as error:
            return f"the server of the tool has failed: {error}", True

    def _own(self, name: str, arguments: Json) -> tuple[str, bool]:
        from chalicelib.mcp import tools

        services = self._services
        waiting = name in _WAITS
        deadline_ms = services.clock.now_ms() + services.settings.mcp_wait_limit_ms if waiting else self._until_ms
        hold_ms = 0 if waiting else None
        try:
            actor = self._here.acting(name, arguments)
            return _said(tools.call(services, actor, name, arguments, deadline_ms, hold_ms=hold_ms))
        except tools.UnknownTool as error:
            return str(error), True

    def resume(self, paused: PausedWait) -> tuple[str, bool]:
        """Look once more for what a wait is for; raise `waits.Paused` when it is not over."""
        from chalicelib.mcp import tools

        return _said(tools.resume(self._services, self._here.actor, paused))

    def until_ms(self, call: Json, wait: PausedWait) -> int:
        """Return until when a wait lasts: as long as the model has asked for, be that longer than others may wait."""
        asked = call["arguments"].get("maxWaitMs")
        if not isinstance(asked, int) or isinstance(asked, bool) or asked <= MAX_WAIT_MS:
            return wait.deadline_ms
        return wait.started_ms + min(asked, LONGEST_WAIT_MS)


def _schema_of(tool: Any) -> Json:
    if tool.name not in _WAITS:
        return dict(tool.input_schema)
    schema = copy.deepcopy(dict(tool.input_schema))
    schema["properties"]["maxWaitMs"]["description"] = _LONGER
    return schema


def _said(result: "CallToolResult") -> tuple[str, bool]:
    texts = [getattr(block, "text", "") for block in result.content]
    if not texts and result.structured_content is not None:
        texts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return "\n".join(texts), bool(result.is_error)
