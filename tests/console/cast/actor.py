"""An agent of the pictures: answers each message that mentions it with the next line of its part.

One that has a model asks it before each line, and says the line whatever comes of that.
"""

import asyncio
import json
import os
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "agents"))

import coral_agent
import httpx2


async def work(session: coral_agent.Session) -> None:
    """Say every line of the part, then wait until the session ends."""
    part = json.loads(os.environ["PART"])
    since_ms = 0
    while True:
        answer = await session.call("coral_wait_for_mention", {"currentUnixTime": since_ms, "maxWaitMs": 55_000})
        message = answer.get("message")
        if message is None:
            continue
        since_ms = stamp_ms(message["timestamp"]) + 1
        if not part:
            continue
        line = part.pop(0)
        coral_agent.say(f"thinking about {message['senderName']}'s message for {line['thinkMs']} ms")
        await coral_agent.sleep_ms(line["thinkMs"])
        if "CORAL_PROXY_URL_MAIN" in os.environ:
            await ask_model(message["text"])
        spoken = {"threadId": message["threadId"], "content": line["text"], "mentions": line["to"]}
        await session.call("coral_send_message", spoken)
        coral_agent.say(f"answered {', '.join(line['to'])}")


async def ask_model(text: str) -> None:
    """Ask the model that the agent has about a text."""
    body = {
        "model": os.environ["CORAL_PROXY_MODEL_MAIN"],
        "max_tokens": 400,
        "messages": [{"role": "user", "content": text}],
    }
    async with httpx2.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{os.environ['CORAL_PROXY_URL_MAIN']}/v1/chat/completions", json=body)
    coral_agent.say(f"its model answered {answer.status_code}")


def stamp_ms(timestamp: str) -> int:
    """Return a time of the wire in ms."""
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


if __name__ == "__main__":
    sys.exit(asyncio.run(coral_agent.run(work)))
