"""The OpenAI Agents SDK."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import driver
from agents.mcp import MCPServerStreamableHttp


class Connection:
    """A server as the SDK's agents use it."""

    protocol = None

    def __init__(self, server: MCPServerStreamableHttp) -> None:
        self._server = server

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._server.list_tools()]

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in (await self._server.list_resources()).resources]

    async def read(self, uri: str) -> str:
        return (await self._server.read_resource(uri)).contents[0].text

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self._server.call_tool(tool, arguments)
        if result.is_error:
            raise driver.Refused(result.content[0].text)
        return result.structured_content


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    # By default a call has 5 s; a wait of Coral's may last a minute.
    async with MCPServerStreamableHttp({"url": url}, client_session_timeout_seconds=90) as server:
        yield Connection(server)


driver.run(connect)
