"""The official Python SDK, 2.x, as this project pins it; the second argument is its mode."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import driver
from mcp import Client


class Connection:
    """A client of the SDK."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.protocol = client.protocol_version

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._client.list_tools(cache_mode="bypass")).tools]

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in (await self._client.list_resources()).resources]

    async def read(self, uri: str) -> str:
        return (await self._client.read_resource(uri)).contents[0].text

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self._client.call_tool(tool, arguments)
        if result.is_error:
            raise driver.Refused(result.content[0].text)
        return result.structured_content


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    async with Client(url, mode=sys.argv[2]) as client:
        yield Connection(client)


driver.run(connect)
