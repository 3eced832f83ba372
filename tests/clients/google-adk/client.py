"""Google's Agent Development Kit: its toolset, and the tools that it gives an agent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import driver
from google.adk.agents import LlmAgent
from google.adk.agents.invocation_context import InvocationContext
from google.adk.sessions import InMemorySessionService
from google.adk.tools.mcp_tool import McpToolset, StreamableHTTPConnectionParams
from google.adk.tools.tool_context import ToolContext


class Connection:
    """A toolset, and the context in which an agent calls its tools."""

    protocol = None

    def __init__(self, toolset: McpToolset, context: ToolContext) -> None:
        self._toolset = toolset
        self._context = context

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._toolset.get_tools()]

    async def resources(self) -> list[str]:
        return list(await self._names())

    async def read(self, uri: str) -> str:
        (content,) = await self._toolset.read_resource((await self._names())[uri])
        return content.text

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self._tools[tool].run_async(args=arguments, tool_context=self._context)
        # What went wrong on the way has a shape of its own, beside that of MCP's results.
        if result.get("isError") or "error" in result:
            raise driver.Refused(str(result.get("error") or result["content"]))
        return result["structuredContent"]

    async def load(self) -> None:
        """Make the tools, as an agent has them made before each call of its model."""
        self._tools = {tool.name: tool for tool in await self._toolset.get_tools()}

    async def _names(self) -> dict[str, str]:
        """Return the toolset's names of the resources by their addresses."""
        names = await self._toolset.list_resources()
        return {(await self._toolset.get_resource_info(name))["uri"]: name for name in names}


async def _context() -> ToolContext:
    service = InMemorySessionService()
    session = await service.create_session(app_name="atoll", user_id="ann")
    agent = LlmAgent(name="ann", model="none")
    return ToolContext(InvocationContext(invocation_id="1", agent=agent, session=session, session_service=service))


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    toolset = McpToolset(connection_params=StreamableHTTPConnectionParams(url=url))
    try:
        connection = Connection(toolset, await _context())
        await connection.load()
        yield connection
    finally:
        await toolset.close()


driver.run(connect)
