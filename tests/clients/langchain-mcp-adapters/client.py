"""LangChain: the tools that its adapters make, each call of which is an MCP session of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import driver
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.client import MultiServerMCPClient


class Connection:
    """What the adapters make of one server."""

    protocol = None

    def __init__(self, client: MultiServerMCPClient, tools: list[BaseTool]) -> None:
        self._client = client
        self._tools = {tool.name: tool for tool in tools}

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self._client.get_tools()]

    async def resources(self) -> list[str]:
        return [str(blob.metadata["uri"]) for blob in await self._client.get_resources("coral")]

    async def read(self, uri: str) -> str:
        (blob,) = await self._client.get_resources("coral", uris=[uri])
        return blob.as_string()

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        # As a model calls it: the answer then says whether it is an error, and holds the structured content.
        wanted = {"type": "tool_call", "id": "1", "name": tool, "args": arguments}
        message = await self._tools[tool].ainvoke(wanted)
        if message.status == "error":
            raise driver.Refused(str(message.content))
        return message.artifact["structured_content"]


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    client = MultiServerMCPClient({"coral": {"transport": "streamable_http", "url": url}})
    yield Connection(client, await client.get_tools())


driver.run(connect)
