"""Answers messages that mention it, in their threads."""

import asyncio
import os
from datetime import datetime
from typing import Any

from mcp import Client

WAIT_MS = 58_000


async def main() -> None:
    """Connect to the session and answer until there is nothing left to do."""
    answers_left = int(os.environ.get("ANSWERS") or 0) or None
    since_ms = 0
    async with Client(os.environ["CORAL_CONNECTION_URL"]) as coral:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            result = await coral.call_tool(tool, arguments)
            if result.is_error:
                raise RuntimeError((result.structured_content or {}).get("error", result.content))
            return result.structured_content or {}

        while answers_left is None or answers_left > 0:
            waited = await call("coral_wait_for_mention", currentUnixTime=since_ms, maxWaitMs=WAIT_MS)
            message = waited.get("message")
            if message is None:  # nothing came within this wait
                continue
            since_ms = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000) + 1
            text = answer(message["senderName"], message["text"])
            print(f"{message['senderName']} asks: {message['text']}", flush=True)
            await call(
                "coral_send_message", threadId=message["threadId"], content=text, mentions=[message["senderName"]]
            )
            answers_left = None if answers_left is None else answers_left - 1


def answer(sender: str, text: str) -> str:
    """Return what is answered: here is the place for your own."""
    return f"You said {text!r}, {sender}."


if __name__ == "__main__":
    asyncio.run(main())
