"""Answers what it is asked in a session, with a model."""

import asyncio
import os
from datetime import datetime

from mcp import Client
from openai import AsyncOpenAI

MODEL = os.environ["CORAL_PROXY_MODEL_MAIN"]
openai = AsyncOpenAI(base_url=os.environ["CORAL_PROXY_URL_MAIN"] + "/v1", api_key="any")  # the key is Atoll's


async def main() -> None:
    """Answer each message that mentions this agent, until the session ends."""
    since_ms = 0
    async with Client(os.environ["CORAL_CONNECTION_URL"]) as coral:
        while True:
            waited = await coral.call_tool("coral_wait_for_mention", {"currentUnixTime": since_ms, "maxWaitMs": 58_000})
            if waited.is_error:  # the session has ended
                return
            if message := waited.structured_content.get("message"):
                since_ms = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000) + 1
                state = (await coral.read_resource("coral://state")).contents[0].text
                asked = [{"role": "system", "content": state}, {"role": "user", "content": message["text"]}]
                answer = await openai.chat.completions.create(model=MODEL, messages=asked)
                said = {"content": answer.choices[0].message.content, "mentions": [message["senderName"]]}
                await coral.call_tool("coral_send_message", {"threadId": message["threadId"], **said})


asyncio.run(main())
