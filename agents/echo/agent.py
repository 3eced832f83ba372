"""echo: wait for messages, answer each, exit after so many answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from coral_agent import Session, ToolRefused, flag_option, number_option, say, text_option

ANSWER = "nice message!"
WAIT_MS = 60_000


async def work(session: Session) -> None:
    """Answer `ITERATION_COUNT` messages in their threads, mentioning their senders.

    `FROM_AGENT` and `MENTIONS` say which messages: of that agent only, and only those that mention this agent.
    """
    inbox = Inbox(session, text_option("FROM_AGENT"), flag_option("MENTIONS"))
    answers_left = number_option("ITERATION_COUNT", 20)
    while answers_left:
        message = await inbox.next()
        sender = message["senderName"]
        answer = {"threadId": message["threadId"], "content": ANSWER, "mentions": [sender]}
        try:
            await session.call("coral_send_message", answer)
        except ToolRefused as refusal:  # its thread was closed, or its sender left it, in the meantime
            say(f"could not answer {sender}: {refusal}")
            continue
        answers_left -= 1
        say(f"answered {sender}: {message['text']}")


class Inbox:
    """The messages of a session, each once.

    A wait returns the first message that is stamped at or after a time. Starting from 0 finds what was said before this
    agent was up, and going on from just after the message that came last misses nothing. Being added to a thread brings
    up its past, so that the time can go back: ids identify what was seen already.
    """

    def __init__(self, session: Session, from_agent: str, only_mentions: bool) -> None:
        self._session = session
        self._from_agent = from_agent
        self._only_mentions = only_mentions
        self._seen: set[str] = set()
        self._since_ms = 0

    async def next(self) -> dict[str, Any]:
        """Wait for the next message that passes the filters, however long it takes."""
        while True:
            message = await self._wait()
            if message is None:  # nothing within one wait: once more
                continue
            stamp_ms = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000)
            self._since_ms = stamp_ms + 1
            if message["id"] not in self._seen and self._passes(message):
                self._seen.add(message["id"])
                return message

    async def _wait(self) -> dict[str, Any] | None:
        """One call of the waiting tool that fits the filters; None when it timed out."""
        arguments: dict[str, Any] = {"currentUnixTime": self._since_ms, "maxWaitMs": WAIT_MS}
        if self._from_agent:
            tool, arguments["agentName"] = "coral_wait_for_agent", self._from_agent
        elif self._only_mentions:
            tool = "coral_wait_for_mention"
        else:
            tool = "coral_wait_for_message"
        result: dict[str, Any] = await self._session.call(tool, arguments)
        return result.get("message")

    def _passes(self, message: dict[str, Any]) -> bool:
        """Whether a message passes the filter that the tool does not apply: no waiting tool applies both."""
        me = text_option("CORAL_AGENT_ID")
        return not (self._from_agent and self._only_mentions) or me in message["mentionNames"]
