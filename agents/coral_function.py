"""An agent as a function: it is called once a turn, and nothing of it runs between its turns.

    from coral_function import Turn, agent

    @agent
    def take(turn: Turn) -> None:
        if turn.message:
            turn.reply(f"you said: {turn.message.text}")
        turn.wait_for_mention()

`take` is what AWS Lambda calls (the function's handler is `agent.take`), and what Atoll calls on one machine
(`handler = "agent:take"`). Nothing but Python's own library is needed, so the file can be put beside an agent's own.
"""

from __future__ import annotations

import functools
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A tool answers at once but for those that wait, which a function has no use for: its turn ends with a wait.
TIMEOUT_S = 60
# Pauses before a call is made again that was refused for now.
PAUSES_S = (0.5, 1, 2, 4)
FOR_NOW = (429, 503)


class ToolRefused(Exception):
    """The session would not do what a tool call asked for; the text is its reason."""


class SessionEnded(Exception):
    """The session is over, or this agent was ended: what the turn still does has no effect."""


@dataclass(frozen=True)
class Message:
    """A message to the agent, or one that it has sent."""

    id: str
    thread_id: str
    sender: str
    text: str
    mentions: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Message:
        """A message as it is on the wire."""
        return cls(found["id"], found["threadId"], found["senderName"], found["text"], found.get("mentionNames", []))


class Turn:
    """One turn: why it is taken, what the last one has left, and the tools of the agent."""

    def __init__(self, event: Mapping[str, Any]) -> None:
        agent = event["agent"]
        self.name: str = agent["name"]
        self.session_id: str = agent["sessionId"]
        # By name: numbers, texts, booleans and lists of them; what is binary is in base64.
        self.options: dict[str, Any] = agent["options"]
        self.system_prompt: str | None = agent.get("systemPrompt")
        # Counts from 1. A turn that is tried again, because it failed or its answer was lost, has the same number.
        self.number: int = event["turn"]
        # "started", "message" or "timeout".
        self.reason: str = event["reason"]
        self.message = Message.of(event["message"]) if "message" in event else None
        # Any JSON of up to 256 KB: what is here at the end of the turn is here at the beginning of the next.
        self.state: Any = event.get("state")
        self._url: str = agent["connectionUrl"]
        self._wait: dict[str, Any] = {}
        self._exit = False

    # Tools

    def send(self, thread_id: str, content: str, mentions: Sequence[str] = ()) -> Message:
        """Send a message to a thread."""
        arguments = {"threadId": thread_id, "content": content, "mentions": list(mentions)}
        return Message.of(self.call("coral_send_message", arguments)["message"])

    def reply(self, content: str) -> Message:
        """Answer the message of this turn in its thread, mentioning its sender."""
        if self.message is None:
            raise ValueError(f"this turn has no message to reply to: it was taken because of {self.reason!r}")
        return self.send(self.message.thread_id, content, [self.message.sender])

    def create_thread(self, name: str, participants: Sequence[str] = ()) -> str:
        """Open a thread and return its id."""
        arguments = {"threadName": name, "participantNames": list(participants)}
        thread_id: str = self.call("coral_create_thread", arguments)["thread"]["id"]
        return thread_id

    def close_thread(self, thread_id: str, summary: str) -> None:
        """Close a thread."""
        self.call("coral_close_thread", {"threadId": thread_id, "summary": summary})

    def add_participant(self, thread_id: str, name: str) -> None:
        """Add an agent to a thread."""
        self.call("coral_add_participant", {"threadId": thread_id, "participantName": name})

    def remove_participant(self, thread_id: str, name: str) -> None:
        """Remove an agent from a thread."""
        self.call("coral_remove_participant", {"threadId": thread_id, "participantName": name})

    def close_session(self, reason: str) -> None:
        """End the session; for an agent with the plugin `close_session_tool`."""
        self.call("coral_close_session", {"reason": reason})

    def resource(self, uri: str = "coral://state") -> str:
        """Read `coral://state` (other agents, threads, messages) or `coral://instruction`, for a model's context."""
        contents = self._request("resources/read", {"uri": uri})["contents"]
        return "\n".join(part["text"] for part in contents)

    def call(self, tool: str, arguments: Mapping[str, Any]) -> Any:
        """Call any tool, custom ones too; its structured result, or its text where it has none.

        Raises:
            ToolRefused: The call was answered with an error.
            SessionEnded: There is no session any more.
        """
        result = self._request("tools/call", {"name": tool, "arguments": dict(arguments)})
        text = "\n".join(block["text"] for block in result["content"] if block["type"] == "text")
        if result.get("isError"):
            raise ToolRefused(f"{tool}: {(result.get('structuredContent') or {}).get('error', text)}")
        return result.get("structuredContent", text)

    # The end of the turn

    def wait_for_mention(self, max_wait_ms: int | None = None) -> None:
        """Be called for the next message that mentions this agent: what a turn without a wait does."""
        self._wait = _without_none({"for": "mention", "maxWaitMs": max_wait_ms})

    def wait_for_message(self, max_wait_ms: int | None = None) -> None:
        """Be called for the next message in any thread that this agent takes part in."""
        self._wait = _without_none({"for": "message", "maxWaitMs": max_wait_ms})

    def wait_for_agent(self, name: str, max_wait_ms: int | None = None) -> None:
        """Be called for the next message of one agent."""
        self._wait = _without_none({"for": "agent", "agentName": name, "maxWaitMs": max_wait_ms})

    def exit(self) -> None:
        """Be called no more: the agent has done its work."""
        self._exit = True

    def answer(self) -> dict[str, Any]:
        """What Atoll is answered."""
        if self._exit:
            return {"exit": True}
        return {"state": self.state, **({"wait": self._wait} if self._wait else {})}

    def _request(self, method: str, params: Mapping[str, Any]) -> Any:
        """Make one request of MCP. Its URL has the agent's secret: no error names it."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self._url, body, headers)
        for pause_s in (*PAUSES_S, None):
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                    answer = json.load(response)
                break
            except urllib.error.HTTPError as error:
                if error.code in (401, 404):
                    raise SessionEnded from None
                if error.code not in FOR_NOW or pause_s is None:
                    raise ToolRefused(f"{method}: the session has answered {error.code}") from None
                time.sleep(pause_s)
        if "error" in answer:
            raise ToolRefused(f"{method}: {answer['error'].get('message')}")
        return answer["result"]


def agent(work: Callable[[Turn], None]) -> Callable[..., dict[str, Any]]:
    """Make a function that takes a `Turn` what Lambda calls with an event and a context."""

    @functools.wraps(work)
    def handler(event: Mapping[str, Any], _context: Any = None) -> dict[str, Any]:
        turn = Turn(event)
        try:
            work(turn)
        except SessionEnded:  # nobody takes the answer
            print("the session has ended")
        return turn.answer()

    return handler


def _without_none(wait: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wait.items() if value is not None}
