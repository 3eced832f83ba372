"""Answers what it is asked in a session, with a graph of LangGraph that calls the session's tools."""

import asyncio
import json
import os
from datetime import datetime

from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver

SERVER = {"transport": "streamable_http", "url": os.environ["CORAL_CONNECTION_URL"]}


async def main() -> None:
    """Give each message that mentions this agent to the graph, until the session ends."""
    model = ChatOpenAI(
        model=os.environ["CORAL_PROXY_MODEL_MAIN"], base_url=os.environ["CORAL_PROXY_URL_MAIN"] + "/v1", api_key="any"
    )
    since_ms = 0
    async with MultiServerMCPClient({"coral": SERVER}).session("coral") as coral:
        how = (await coral.read_resource("coral://instruction")).contents[0].text
        tools = [tool for tool in await load_mcp_tools(coral) if "_wait_" not in tool.name]  # waiting is done below
        graph = create_agent(model, tools, system_prompt=how, checkpointer=InMemorySaver())
        while True:
            waited = await coral.call_tool("coral_wait_for_mention", {"currentUnixTime": since_ms, "maxWaitMs": 58_000})
            if waited.isError:  # the session has ended
                return
            if message := waited.structuredContent.get("message"):
                since_ms = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000) + 1
                thread = {"configurable": {"thread_id": message["threadId"]}}  # a thread of Coral is one of LangGraph
                await graph.ainvoke({"messages": [("user", json.dumps(message))]}, thread)


asyncio.run(main())
