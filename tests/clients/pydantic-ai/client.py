"""Pydantic AI's toolset for MCP servers, which FastMCP's client is below."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import driver
from pydantic_ai.exceptions import ModelRetry
from pydantic_ai.mcp import MCPToolset


class Connection:
    """A server as the library's agents use it."""

    protocol = None

    def __init__(self, toolset: MCPToolset) -> None:
        self._toolset = toolset

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._toolset.list_tools()]

    async def resources(self) -> list[str]:
        return [resource.uri for resource in await self._toolset.list_resources()]

    async def read(self, uri: str) -> str:
        return str(await self._toolset.read_resource(uri))

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        try:
            answer = await self._toolset.direct_call_tool(tool, arguments)
        except ModelRetry as error:
            # What a model is told: that the tool refused, or that the protocol did.
            raise driver.Refused(error.message) from error
        return json.loads(answer) if isinstance(answer, str) else answer


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    async with MCPToolset(url, cache_tools=False, cache_resources=False) as toolset:
        yield Connection(toolset)


driver.run(connect)
