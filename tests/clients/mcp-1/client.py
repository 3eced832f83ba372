"""The official Python SDK, 1.x."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import driver
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


class Connection:
    """A session of the SDK."""

    def __init__(self, session: ClientSession, protocol: str) -> None:
        self._session = session
        self.protocol = protocol

    async def tools(self) -> list[str]:
        return [tool.name for tool in (await self._session.list_tools()).tools]

    async def resources(self) -> list[str]:
        return [str(resource.uri) for resource in (await self._session.list_resources()).resources]

    async def read(self, uri: str) -> str:
        return (await self._session.read_resource(uri)).contents[0].text

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        result = await self._session.call_tool(tool, arguments)
        if result.isError:
            raise driver.Refused(result.content[0].text)
        return result.structuredContent


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        yield Connection(session, (await session.initialize()).protocolVersion)


driver.run(connect)
