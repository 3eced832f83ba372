"""FastMCP's client: one program for its 2.x and 3.x, above the SDK's 1.x, and its 4.x, above 2.x."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import driver
from fastmcp import Client
from fastmcp.exceptions import ToolError


class Connection:
    """A client of FastMCP."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # 4.x has it where the SDK's 2.x has it; 2.x keeps the answer to initialize.
        found = getattr(client, "protocol_version", None) or getattr(client.initialize_result, "protocolVersion", None)
        self.protocol = found

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._client.list_tools()]

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in await self._client.list_resources()]

    async def read(self, uri: str) -> str:
        return (await self._client.read_resource(uri))[0].text

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        try:
            return (await self._client.call_tool(tool, arguments)).structured_content
        except ToolError as error:
            raise driver.Refused(str(error)) from error


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    async with Client(url) as client:
        yield Connection(client)


driver.run(connect)
