"""The two resources: how to use the tools that an agent has, and the state of things as it sees them."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from mcp_types import Resource

from chalicelib.domain import agents, budgets, threads
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import TooLarge, TryLater
from chalicelib.mcp import tools
from chalicelib.store.agents import AgentRecord
from chalicelib.store.budgets import Budget
from chalicelib.store.log import LogEntry
from chalicelib.store.threads import ThreadRecord
from chalicelib.wire.agents import Connected, Running, Waiting, WaitingMessage
from chalicelib.wire.base import iso_from_ms
from chalicelib.wire.budgets import usd_of
from chalicelib.wire.threads import ClosedThread, SessionThread, SessionThreadMessage

if TYPE_CHECKING:
    from chalicelib.stores import Stores

INSTRUCTION = "coral://instruction"
STATE = "coral://state"
URIS = (INSTRUCTION, STATE)

#: How much of messages the state shows, the latest first, in bytes of JSON, and how much of threads besides; how many
#: threads, and how much of one text.
STATE_BYTES = 100_000
STATE_THREADS = 100
TEXT_BYTES = 20_000
#: How much of the log is looked through for messages, in entries.
_LOOKED_THROUGH = 5_000
#: How long messages are counted for what is said of those that are left out.
_COUNTING_MS = 5_000

_ALWAYS = """\
# Working with other agents

You are an agent in a Coral session. Other agents see nothing of what you write unless you send it with a tool. \
Agents talk in threads: a thread has a name, participants and messages, and only its participants read it."""

#: What the instruction says of tools, each part only to an agent that has one of them.
_PARTS: list[tuple[set[str], str]] = [
    (
        {"coral_create_thread", "coral_send_message"},
        """\
## Talking
- Create a thread with `coral_create_thread` for each topic, with the agents that it needs. You are in it yourself.
- Send with `coral_send_message`. Mention (`mentions`) every agent that is to react: many agents wait only for mentions.
- You can mention only agents that take part in the thread, and not yourself.""",
    ),
    (
        {"coral_wait_for_message", "coral_wait_for_mention", "coral_wait_for_agent"},
        """\
## Waiting
- When you have nothing to do until somebody answers, wait: `coral_wait_for_mention` for messages that mention you, \
`coral_wait_for_agent` for one agent's, `coral_wait_for_message` for any.
- `currentUnixTime` is in milliseconds: give that of the state, or one millisecond more than the latest timestamp of \
the messages that you were given. What was sent since then is returned first, so nothing is missed between two waits.
- A wait that ends with `Timeout reached` is no error: wait again if there still is something to wait for.""",
    ),
    (
        {"coral_add_participant", "coral_remove_participant", "coral_close_thread"},
        """\
## Looking after threads
- Bring an agent into a thread with `coral_add_participant`, take one out with `coral_remove_participant`.
- Close a thread with `coral_close_thread` when its topic is settled. Its messages are gone then: put all that matters \
into the summary.""",
    ),
    (
        {"coral_close_session"},
        """\
## Ending
- `coral_close_session` ends the session for every agent. Call it only when all work is done and said.""",
    ),
]


def listed() -> list[Resource]:
    """Return both resources as ``resources/list`` shows them, under Coral's names."""
    return [
        Resource(
            name="Instructions",
            uri=INSTRUCTION,
            description="How to use the tools of this server",
            mime_type="text/markdown",
        ),
        Resource(
            name="State",
            uri=STATE,
            description="Who you are, the time, the agents you know, and your threads with their messages",
            mime_type="text/markdown",
        ),
    ]


def read(stores: "Stores", actor: Actor, uri: str) -> str:
    """Return the text of a resource, one of `URIS`."""
    return instruction(actor.agent) if uri == INSTRUCTION else state(stores, actor)


def instruction(agent: AgentRecord) -> str:
    """Say how to use the tools that an agent has."""
    names = {tool.name for tool in tools.coral_tools_of(agent)}
    return "\n\n".join([_ALWAYS, *(text for wanted, text in _PARTS if wanted & names)])


def state(stores: "Stores", actor: Actor) -> str:
    """Return the state that an agent reads: who it is, the time, its budget, the agents it knows, and its threads.

    Sections and JSON are laid out as Coral Server's; the words are Atoll's.
    """
    now_ms = stores.clock.now_ms()
    # The log first, and then the threads: a wait from the time below on begins behind all that is shown here.
    entries = stores.log.latest_first(actor.session_id)
    newest = list(islice(entries, 1))
    known = [other for other in stores.agents.of_session(actor.session_id) if other.name in actor.agent.links]
    mine = [thread for thread in stores.threads.of_session(actor.session_id) if actor.name in thread.participants]
    shown, notes = _threads(stores, actor, mine, chain(newest, entries))
    parts = [
        "# General",
        f"Your name is {_json(actor.name)}, your session {actor.session_id}. It is {iso_from_ms(now_ms)}. "
        f"Waits with the `currentUnixTime` {newest[0].stamp_ms + 1 if newest else now_ms} return what is sent after "
        "all that is shown here.",
    ]
    parts += _budget(budgets.find(stores, actor.session_id), actor.name)
    if known:
        parts += ["# Agents", "The agents that you know:", _block([_agent(other, now_ms) for other in known])]
    if shown:
        parts += ["# Threads and messages", " ".join(["The threads that you take part in:", *notes]), _block(shown)]
    return "\n\n".join(parts)


def _budget(budget: Budget | None, name: str) -> list[str]:
    """Say what an agent may still spend on models: nothing to one without a limit."""
    left = budgets.left_for(budget, name)
    if budget is None or left is None:
        return []
    whose = {"agent": "your own limit", "session": "the limit of all agents together"}
    of = [f"{whose[each]} is {usd_of(level.limit)}" for each, level in budget.levels_of(name).items()]
    return ["# Budget", f"You may still spend {usd_of(left)} US dollars on calls of models: {', and '.join(of)}."]


def _agent(agent: AgentRecord, now_ms: int) -> dict[str, Any]:
    status = agents.state_of(agent, now_ms).status
    connection = status.connection_status if isinstance(status, Running) else None
    waits = isinstance(connection, Connected) and isinstance(connection.communication_status, WaitingMessage)
    shown: dict[str, Any] = {
        "agentName": agent.name,
        "agentDescription": agent.description or "",
        "agentConnected": isinstance(connection, Connected),
        "agentWaiting": waits,
        "agentSleeping": False,  # no agent sleeps: Coral Server has the word for later
        "agentRunning": isinstance(status, Running),
    }
    if not isinstance(status, Waiting) and status.start_time is not None:
        shown["agentStartTime"] = iso_from_ms(status.start_time)
    return shown


def _threads(
    stores: "Stores", actor: Actor, mine: list[ThreadRecord], entries: Iterator[LogEntry]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the agent's latest threads with their latest messages, and what is to be said of those left out."""
    notes = []
    latest = _latest_threads(mine)
    if len(latest) < len(mine):
        notes.append(f"Of your {len(mine)} threads the {len(latest)} latest are shown.")
        mine = latest
    wanted = {thread.thread_id for thread in mine if thread.state == "open"}
    found, whole = _latest_messages(entries, wanted) if wanted else ([], True)
    views = [_thread(view) for view in threads.with_messages(mine, reversed(found))]
    if not whole:
        there = _counted(stores, actor, wanted)
        if there is None:
            notes.append(f"Of more messages than can be counted now the {len(found)} latest are shown.")
        elif there > len(found):
            notes.append(f"Of {there} messages the {len(found)} latest are shown.")
    return views, notes


def _counted(stores: "Stores", actor: Actor, wanted: set[str]) -> int | None:
    """Return how many messages some threads have; ``None`` when counting them takes too long for now."""
    try:
        counts = threads.message_counts(stores, actor.session, stores.clock.now_ms() + _COUNTING_MS)
    except (TryLater, TooLarge):
        return None
    return sum(counts.get(thread, 0) for thread in wanted)


def _latest_threads(mine: list[ThreadRecord]) -> list[ThreadRecord]:
    shown = 0
    left = STATE_BYTES
    for view in reversed(threads.with_messages(mine[-STATE_THREADS:], [])):
        left -= _size(_thread(view))
        if left < 0:
            break
        shown += 1
    return mine[len(mine) - shown :]


def _thread(thread: SessionThread) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "threadId": thread.id,
        "threadName": thread.name,
        "owningAgentName": thread.creator_name,
        "participatingAgents": thread.participants,
        "state": thread.state.state,
    }
    if isinstance(thread.state, ClosedThread):
        return {**shown, "summary": _cut(thread.state.summary)}
    return {**shown, "messages": [_message(message) for message in thread.messages]}


def _message(message: SessionThreadMessage) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "messageText": _cut(message.text),
        "sendingAgentName": message.sender_name,
        "messageTimestamp": iso_from_ms(message.timestamp),
    }
    return {**shown, "mentionAgentNames": message.mention_names} if message.mention_names else shown


def _cut(text: str) -> str:
    size = len(text.encode())
    return (
        text
        if size <= TEXT_BYTES
        else f"{text.encode()[:TEXT_BYTES].decode('utf-8', 'ignore')} […cut: {size} bytes in all]"
    )


def _size(value: Any) -> int:
    return len(_json(value).encode())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _latest_messages(entries: Iterator[LogEntry], wanted: set[str]) -> tuple[list[LogEntry], bool]:
    """Return the latest messages of some threads, latest first, and whether these are all."""
    found: list[LogEntry] = []
    left = STATE_BYTES
    for looked, entry in enumerate(entries):
        if looked >= _LOOKED_THROUGH:
            return found, False
        if entry.event["type"] != "thread_message_sent" or entry.event["message"]["threadId"] not in wanted:
            continue
        left -= _size(_message(SessionThreadMessage.model_validate(entry.event["message"])))
        if left <= 0:
            return found, False
        found.append(entry)
    return found, True


def _block(value: Any) -> str:
    """Write a JSON block. A fence longer than any in it cannot be closed by what agents say."""
    text = _json(value)
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}json\n{text}\n{fence}"
