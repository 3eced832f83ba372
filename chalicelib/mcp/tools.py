"""The tools of an agent: Coral's nine, as far as it has them, and the custom tools of its graph.

A tool is a wire model that it takes, one that it answers, and a domain function. What is refused is a result with
``isError`` and ``{"error"}``, so that a model can read it and do better.
"""

import dataclasses
import json
import re
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from mcp_types import INVALID_PARAMS, CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import BaseModel, ValidationError

from chalicelib.domain import actors, custom_tools, errors, threads, waits
from chalicelib.domain.actors import Actor
from chalicelib.mcp import protocol
from chalicelib.mcp.protocol import ProtocolError
from chalicelib.store.agents import AgentRecord
from chalicelib.wire import threads as wire
from chalicelib.wire.base import WireModel
from chalicelib.wire.custom_tools import GraphAgentTool
from chalicelib.wire.faults import rule_of
from chalicelib.wire.waits import PausedWait

if TYPE_CHECKING:
    from chalicelib.stores import Stores


class UnknownTool(ProtocolError):
    """The agent has no tool of this name: an error of the protocol, or of the call, as the era has it."""

    def __init__(self, name: str) -> None:
        super().__init__(INVALID_PARAMS, f"Unknown tool: {name[:64]}")


@dataclasses.dataclass(frozen=True)
class Invocation:
    """One call of a tool."""

    stores: "Stores"
    actor: Actor
    #: Until when (epoch ms) it may wait.
    deadline_ms: int
    #: How long a wait is held open for a client that comes back for it; ``None`` for any other client.
    hold_ms: int | None
    #: The id of its request.
    request_id: protocol.Id

    def terms(self, given: wire.WaitInput) -> waits.Terms:
        """Return from when on, and until when, it is waited: a wait that is held to its end ends with the request."""
        now_ms = self.stores.clock.now_ms()
        from_ms = now_ms if given.current_unix_time is None else given.current_unix_time
        asked_ms = now_ms + given.max_wait_ms
        if self.hold_ms is None:
            deadline_ms = min(asked_ms, self.deadline_ms)
            return waits.Terms(from_ms=from_ms, deadline_ms=deadline_ms, request_id=self.request_id)
        # A client counts from its request on, which may have waited for other agents before.
        longest_ms = self.deadline_ms - self.stores.settings.mcp_wait_limit_ms + wire.MAX_WAIT_MS
        return waits.Terms(
            from_ms=from_ms,
            deadline_ms=min(asked_ms, longest_ms),
            hold_until_ms=now_ms + self.hold_ms,
            request_id=self.request_id,
        )


@dataclasses.dataclass(frozen=True)
class _Advised:
    """An answer, and what a model is told beside it: in a text of its own, as Coral's clients refuse unknown keys."""

    answer: WireModel
    advice: str


def _create_thread(at: Invocation, given: wire.CreateThreadInput) -> WireModel:
    return wire.CreateThreadOutput(
        thread=threads.create(at.stores, at.actor, given.thread_name, given.participant_names)
    )


def _close_thread(at: Invocation, given: wire.CloseThreadInput) -> WireModel:
    threads.close(at.stores, at.actor, given.thread_id, given.summary)
    return wire.Done(message=f"Thread {given.thread_id} closed")


def _add_participant(at: Invocation, given: wire.AddParticipantInput) -> WireModel:
    threads.add_participant(at.stores, at.actor, given.thread_id, given.participant_name)
    return wire.Done(message=f"Agent {given.participant_name} added to thread {given.thread_id}")


def _remove_participant(at: Invocation, given: wire.RemoveParticipantInput) -> WireModel:
    threads.remove_participant(at.stores, at.actor, given.thread_id, given.participant_name)
    return wire.Done(message=f"Agent {given.participant_name} removed from thread {given.thread_id}")


def _send_message(at: Invocation, given: wire.SendMessageInput) -> WireModel:
    message = threads.send(at.stores, at.actor, given.thread_id, given.content, given.mentions)
    return wire.SendMessageOutput(status="Message sent", message=message)


def _wait_for_message(at: Invocation, given: wire.WaitInput) -> _Advised:
    return _waited(waits.for_message(at.stores, at.actor, at.terms(given)))


def _wait_for_mention(at: Invocation, given: wire.WaitInput) -> _Advised:
    return _waited(waits.for_mention(at.stores, at.actor, at.terms(given)))


def _wait_for_agent(at: Invocation, given: wire.WaitForAgentInput) -> _Advised:
    return _waited(waits.for_agent(at.stores, at.actor, given.agent_name, at.terms(given)))


def _waited(heard: waits.Heard) -> _Advised:
    status = "Timeout reached" if heard.message is None else "Message received"
    advice = f"To miss nothing, wait next with currentUnixTime {heard.next_ms}."
    return _Advised(wire.WaitOutput(status=status, message=heard.message), advice)


def _close_session(at: Invocation, _given: wire.CloseSessionInput) -> WireModel:
    actors.close_session(at.stores, at.actor)
    return wire.Done(message="The session is closing")


@dataclasses.dataclass(frozen=True)
class CoralTool:
    """One of Coral's tools."""

    name: str
    description: str
    takes: type[WireModel]
    answers: type[WireModel]
    run: Callable[[Invocation, Any], WireModel | _Advised]
    #: The plugin without which an agent does not have it.
    plugin: str | None = None

    @cached_property
    def listed(self) -> Tool:
        """The tool as ``tools/list`` shows it."""
        return Tool(
            name=self.name,
            description=self.description,
            input_schema=_input_schema(self.takes),
            output_schema=_output_schema(self.answers),
        )


CORAL_TOOLS = [
    CoralTool(
        "coral_create_thread",
        "Create a thread to talk with other agents. Returns the thread, whose id the other thread tools take.",
        wire.CreateThreadInput,
        wire.CreateThreadOutput,
        _create_thread,
    ),
    CoralTool(
        "coral_close_thread",
        "Close a thread when its topic is settled. Its messages are gone for everybody; the summary stays.",
        wire.CloseThreadInput,
        wire.Done,
        _close_thread,
    ),
    CoralTool(
        "coral_add_participant",
        "Add an agent to a thread that you take part in.",
        wire.AddParticipantInput,
        wire.Done,
        _add_participant,
    ),
    CoralTool(
        "coral_remove_participant",
        "Remove an agent from a thread that you take part in.",
        wire.RemoveParticipantInput,
        wire.Done,
        _remove_participant,
    ),
    CoralTool(
        "coral_send_message",
        "Send a message to an open thread. Mention every agent of it that is to react.",
        wire.SendMessageInput,
        wire.SendMessageOutput,
        _send_message,
    ),
    CoralTool(
        "coral_wait_for_message",
        "Wait for a message from another agent in any thread that you take part in.",
        wire.WaitInput,
        wire.WaitOutput,
        _wait_for_message,
    ),
    CoralTool(
        "coral_wait_for_mention",
        "Wait for a message from another agent that mentions you.",
        wire.WaitInput,
        wire.WaitOutput,
        _wait_for_mention,
    ),
    CoralTool(
        "coral_wait_for_agent",
        "Wait for a message from one particular agent.",
        wire.WaitForAgentInput,
        wire.WaitOutput,
        _wait_for_agent,
    ),
    CoralTool(
        "coral_close_session",
        "Close the whole session: every agent is stopped, you too. Use it when the work is done.",
        wire.CloseSessionInput,
        wire.Done,
        _close_session,
        plugin="close_session_tool",
    ),
]


_THREAD_ID = re.compile(rb'"threadId"\s*:\s*"([^"\\]{1,256})"')


def read_beside(body: bytes) -> actors.Beside:
    """Return what a request seems to need besides its agent, so that both are read in one call.

    The body is not parsed yet, and its sender not known: this is a guess, and what does not fit is read again.
    """
    thread_id = _THREAD_ID.search(body) if b'"coral_send_message"' in body else None
    return actors.Beside(thread_id[1].decode("utf-8", "replace") if thread_id else None, b'"coral_wait_for_' in body)


def coral_tools_of(agent: AgentRecord) -> list[CoralTool]:
    """Return those of Coral's tools that an agent has."""
    return [tool for tool in CORAL_TOOLS if tool.plugin is None or tool.plugin in agent.plugins]


def listed(stores: "Stores", agent: AgentRecord) -> list[Tool]:
    """Return all tools of an agent as ``tools/list`` shows them; a custom tool cannot hide one of Coral's."""
    own = [tool.listed for tool in coral_tools_of(agent)]
    taken = {tool.name for tool in own}
    custom = custom_tools.of(stores, agent)
    return own + [_listed(name, tool) for name, tool in custom.items() if name not in taken]


def _listed(name: str, tool: GraphAgentTool) -> Tool:
    return Tool(
        name=name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.input_schema.to_wire(),
        output_schema=tool.promises,
        annotations=ToolAnnotations(**tool.annotations.model_dump()) if tool.annotations else None,
    )


def custom(stores: "Stores", agent: AgentRecord, name: str) -> GraphAgentTool | None:
    """Return a custom tool of an agent; ``None`` for any other name, Coral's among them."""
    return None if any(tool.name == name for tool in coral_tools_of(agent)) else _custom(stores, agent, name)


def _custom(stores: "Stores", agent: AgentRecord, name: str) -> GraphAgentTool | None:
    return custom_tools.of(stores, agent, {name}).get(name)


def call(
    stores: "Stores",
    actor: Actor,
    name: str,
    arguments: dict[str, Any],
    deadline_ms: int,
    *,
    hold_ms: int | None = None,
    request_id: protocol.Id = None,
    known: GraphAgentTool | None = None,
) -> CallToolResult:
    """Call a tool; a custom one that was read already is ``known``.

    Raises `UnknownTool` when the agent has none of this name, `waits.Paused` with ``hold_ms`` only.
    """
    tool = next((tool for tool in coral_tools_of(actor.agent) if tool.name == name), None)
    if tool is not None:
        at = Invocation(stores, actor, deadline_ms, hold_ms, request_id)
        return _result_of(lambda: tool.run(at, tool.takes.model_validate(arguments, by_alias=True, by_name=False)))
    custom = known or _custom(stores, actor.agent, name)
    if custom is None:
        raise UnknownTool(name)
    # Not at the top: most agents have no custom tool. The one call of an MCP request beside DynamoDB (rule 1).
    from chalicelib import services
    from chalicelib.reactions import custom_tools as outgoing

    limit_ms = max(1, min(outgoing.LIMIT_MS, deadline_ms - stores.clock.now_ms()))
    try:
        text = outgoing.call(services.current(), actor, name, custom, arguments, limit_ms=limit_ms)
        structured = custom_tools.structured(custom, text)
    except errors.AtollError as error:
        # Clients check structured content against the tool's own schema, an error's too.
        return refused(str(error), structured=custom.promises is None)
    return CallToolResult(content=[TextContent(text=text)], structured_content=structured)


def resume(stores: "Stores", actor: Actor, paused: PausedWait) -> CallToolResult:
    """Go on with the paused wait of a tool; raise `waits.Paused` when it is not over yet."""
    return _result_of(lambda: _waited(waits.resume(stores, actor, paused)))


def refused(message: str, *, structured: bool = True) -> CallToolResult:
    """Return the result of a call that cannot be honoured."""
    error = {"error": message}
    content = [TextContent(text=_json(error))]
    return CallToolResult(content=content, structured_content=error if structured else None, is_error=True)


def not_now(name: str, message: str) -> CallToolResult:
    """Return the result of a call that may succeed later, whoever makes it: a custom tool's schema is not known yet."""
    return refused(message, structured=any(tool.name == name for tool in CORAL_TOOLS))


def _result_of(run: Callable[[], WireModel | _Advised]) -> CallToolResult:
    try:
        answered = run()
    except ValidationError as error:
        return refused("; ".join(_said(fault) for fault in error.errors()[:5]))
    except errors.AtollError as error:
        return refused(str(error))
    answer, *advice = (answered.answer, answered.advice) if isinstance(answered, _Advised) else (answered,)
    found = answer.to_wire()
    texts = [_json(found), *advice]
    return CallToolResult(content=[TextContent(text=text) for text in texts], structured_content=found)


def _said(fault: Any) -> str:
    where = ".".join(map(str, fault["loc"])) or "arguments"
    return f"{where}: {rule_of(fault)}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def _input_schema(model: type[BaseModel]) -> dict[str, Any]:
    """List every property as required, because LLMs omit optional ones; calls that omit them are still accepted."""
    schema = model.model_json_schema(by_alias=True)
    properties = {name: _untitled(part) for name, part in schema["properties"].items()}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@cache
def _output_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a schema that a refusal fits too: the TypeScript SDK checks the structured content of errors as well."""
    schema: dict[str, Any] = _untitled(model.model_json_schema(by_alias=True, mode="serialization"))
    schema["properties"]["error"] = {"type": "string", "description": "Why the call was refused."}
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["error"]}]
    return schema


def _untitled(schema: Any) -> Any:
    """Drop the titles that pydantic makes of names, and the docstrings that are for readers of the code."""
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    is_model = schema.get("type") == "object"
    kept = {
        name: _untitled(part)
        for name, part in schema.items()
        if not (name == "title" and isinstance(part, str)) and not (is_model and name == "description")
    }
    return kept
