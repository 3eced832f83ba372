"""``AGENT#``, ``OPTIONS#`` and ``TOOL#`` of the session-items table: the agents, their option values, their tools.

A custom tool is an item of its session, however many agents may use it: each of these has its name alone.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from chalicelib.store.items import Item, Key, size_of
from chalicelib.store.record import Record
from chalicelib.store.table import Table
from chalicelib.store.turns import TurnRecord, Turns

_PREFIX = "AGENT#"
_OPTIONS_PREFIX = "OPTIONS#"
_TOOL_PREFIX = "TOOL#"


#: Option values of an agent as JSON text; encrypted (`Stores.seal`) where an option is secret. Those that an earlier
#: version has stored are all text.
StoredOptions = str | bytes

#: The runtime of agents that are called once a turn; their waits are with their turns (`chalicelib.store.turns`).
FUNCTION = "function"
PROTOTYPE = "prototype"
#: Those in which nothing runs between two turns.
FUNCTIONS = (FUNCTION, PROTOTYPE)

#: ``waiting`` for its task, ``running`` in it, ``stopped`` for good.
AgentStatus = Literal["waiting", "running", "stopped"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentRecord(Record):
    """One agent of a session as it is stored; times in epoch ms, ``expires_at`` in epoch s."""

    session_id: str
    namespace: str
    name: str
    #: Its place in the graph: ``startedBy`` of its task is ``<session_id>/<position>``.
    position: int
    #: `RegistryAgentIdentifier` in wire form.
    registry_agent_identifier: dict[str, Any]
    runtime: str
    expires_at: int
    #: When its session was to be created: that may have been broken off afterwards.
    created_at_ms: int | None = None
    status: AgentStatus = "waiting"
    description: str | None = None
    system_prompt: str | None = None
    blocking: bool = False
    links: list[str] = dataclasses.field(default_factory=list)
    annotations: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Names of the custom tools that it may use.
    custom_tool_names: list[str] = dataclasses.field(default_factory=list)
    #: The same tools in sessions of earlier versions: name to `GraphAgentTool` in wire form, as JSON text.
    custom_tools: str | None = None
    #: Types of its plugins.
    plugins: list[str] = dataclasses.field(default_factory=list)
    #: Its `X402BudgetedResource`s in wire form, as JSON text; nothing for one that has none.
    x402_budgets: str | None = None
    #: Whether it has option values, in an item of their own; nothing for one that has none.
    has_options: bool | None = None
    #: The models that it got: `ResolvedProxy` in wire form, by the names of its proxies.
    proxies: dict[str, dict[str, str]] | None = None
    task_definition: str | None = None
    #: What is called, for an agent that runs as a function: as its version in the registry had it when it was started.
    function: dict[str, str] | None = None
    #: SHA-256 of its secret; gone when the session is closed.
    secret_hash: str | None = None
    task_arn: str | None = None
    #: The number of its launch: raised after each answer of ECS that no task was started, and each task that was not.
    launch: int = 0
    #: ARNs of its tasks that never started, and when the last of them was known to.
    failed_task_arns: list[str] = dataclasses.field(default_factory=list)
    failed_at_ms: int | None = None
    #: Its container, once the log tells of it.
    container_id: str | None = None
    #: First MCP request of this agent.
    connected_at_ms: int | None = None
    #: Its waits under way: id of the wait to the time (epoch ms) until which that is believed.
    waits: dict[str, int] = dataclasses.field(default_factory=dict)
    started_at_ms: int | None = None
    stopped_at_ms: int | None = None
    stopped_reason: str | None = None

    @property
    def is_function(self) -> bool:
        """Whether it runs as a function: between its turns nothing runs."""
        return self.runtime in FUNCTIONS

    @property
    def printing_id(self) -> str | None:
        """The last part of the name of the log stream with what it prints; ``None`` while it cannot have printed."""
        if self.is_function:
            return f"{self.session_id}-{self.position}"
        return self.task_arn.rpartition("/")[2] if self.task_arn else None

    @property
    def waiting_until_ms(self) -> int | None:
        """Until when it is believed to wait for a message; past for one whose waits all crashed."""
        return max(self.waits.values(), default=None)

    @property
    def item_bytes(self) -> int:
        """How large its item is."""
        return size_of(self.to_item())

    def to_item(self) -> Item:
        """Return the attributes of the item, its sort key among them."""
        return {**super().to_item(), "item": _PREFIX + self.name}


def key_of(session_id: str, name: str) -> Key:
    """Return the key of an agent."""
    return {"sessionId": session_id, "item": _PREFIX + name}


def options_key_of(session_id: str, name: str) -> Key:
    """Return the key of an agent's option values."""
    return {"sessionId": session_id, "item": _OPTIONS_PREFIX + name}


def options_of(item: Item) -> StoredOptions:
    """Read the option values of an agent."""
    values: StoredOptions = item["options"]
    return values


def tool_key_of(session_id: str, name: str) -> Key:
    """Return the key of a custom tool."""
    return {"sessionId": session_id, "item": _TOOL_PREFIX + name}


def tool_of(item: Item) -> str:
    """Read a custom tool: JSON text."""
    return str(item["tool"])


def _first_turn(agent: AgentRecord) -> TurnRecord:
    """Return what there is of the turns of an agent before its first."""
    return TurnRecord(
        session_id=agent.session_id,
        name=agent.name,
        namespace=agent.namespace,
        agent_position=agent.position,
        expires_at=agent.expires_at,
        blocking=agent.blocking or None,
    )


class Agents:
    """The agents among a session's items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def create_all(
        self,
        agents: Sequence[AgentRecord],
        options: Mapping[str, StoredOptions],
        tools: Mapping[str, str] | None = None,
    ) -> None:
        """Write a new session's agents, and for each its option values in an item of their own.

        ``tools`` are the custom tools of them all (JSON texts), by name.
        """
        items: list[Item] = [agent.to_item() for agent in agents]
        items += [_first_turn(agent).to_item() for agent in agents if agent.is_function]
        for name, tool in (tools or {}).items():
            about = {"tool": tool, "expiresAt": agents[0].expires_at}
            items.append({**tool_key_of(agents[0].session_id, name), **about})
        for agent in agents:
            if agent.name in options:
                items.append(
                    {
                        "sessionId": agent.session_id,
                        "item": _OPTIONS_PREFIX + agent.name,
                        "options": options[agent.name],
                        "expiresAt": agent.expires_at,
                    }
                )
        self._table.write_all(items)

    def of_session(self, session_id: str) -> list[AgentRecord]:
        """Read all agents of a session in the order of the graph."""
        found = self.with_waits(session_id, list(map(AgentRecord.from_item, self._under(session_id, _PREFIX))))
        return sorted(found, key=lambda agent: agent.position)

    def page(self, session_id: str, *, start: str | None, limit: int | None) -> Iterator[AgentRecord]:
        """Read agents of a session in the order of their keys, from behind the one named ``start`` on.

        The waits of those that run as functions are not among what is read (`with_waits`).
        """
        behind = key_of(session_id, start) if start else None
        return map(AgentRecord.from_item, self._under(session_id, _PREFIX, start=behind, limit=limit))

    def with_waits(self, session_id: str, agents: Sequence[AgentRecord]) -> list[AgentRecord]:
        """Return agents of a session with the waits of those that run as functions: one call if there are such."""
        if not any(agent.is_function and agent.status != "stopped" for agent in agents):
            return list(agents)
        found = Turns(self._table).of_session(session_id)
        until_ms = {turn.name: turn.waiting_until_ms for turn in found}
        return [
            dataclasses.replace(agent, waits={**agent.waits, "turn": waits})
            if (waits := until_ms.get(agent.name))
            else agent
            for agent in agents
        ]

    def options_of_session(self, session_id: str) -> dict[str, StoredOptions]:
        """Read the option values of a session's agents, by the agent's name."""
        found = self._under(session_id, _OPTIONS_PREFIX)
        return {item["item"].removeprefix(_OPTIONS_PREFIX): item["options"] for item in found}

    def options_of(self, session_id: str, name: str) -> StoredOptions | None:
        """Read the option values of one agent."""
        item = self._table.get(options_key_of(session_id, name))
        return options_of(item) if item else None

    def find(self, session_id: str, name: str) -> AgentRecord | None:
        """Read one agent."""
        item = self._table.get(key_of(session_id, name))
        return AgentRecord.from_item(item) if item else None

    def admit(self, session_id: str, name: str, *, secret_hash: str, function: Mapping[str, str] | None = None) -> bool:
        """Give a waiting agent its secret before its task is asked for; ``False`` when it is not waiting any more.

        An agent that runs as a ``function`` is told which that is: later versions of the registry do not change it.
        """
        keeps, values = ("", {}) if function is None else (", #function = :function", {":function": function})
        return self._changed(
            session_id,
            name,
            f"SET #secretHash = :hash{keeps}",
            when="#status = :waiting",
            values={":hash": secret_hash, ":waiting": "waiting", **values},
        )

    def run(self, session_id: str, name: str, *, now_ms: int) -> bool:
        """Mark an agent running that has no task, as its turns may begin; ``False`` when it has stopped already."""
        return self._changed(
            session_id,
            name,
            "SET #status = :running, #startedAtMs = if_not_exists(#startedAtMs, :now)",
            when="#status IN (:waiting, :running)",
            values={":running": "running", ":waiting": "waiting", ":now": now_ms},
        )

    def start(self, session_id: str, name: str, *, task_arn: str, now_ms: int) -> bool:
        """Mark an agent running in a task; ``False`` when it has stopped already (its event came first).

        Marking the same task again succeeds too: a launch beside this one does, or the SDK after a lost answer. A task
        that is known never to have started is none that the agent runs in.
        """
        return self._changed(
            session_id,
            name,
            "SET #status = :running, #taskArn = :arn, #startedAtMs = if_not_exists(#startedAtMs, :now)",
            when="(#status = :waiting AND NOT contains(#failedTaskArns, :arn))"
            " OR (#status = :running AND #taskArn = :arn)",
            values={":running": "running", ":waiting": "waiting", ":arn": task_arn, ":now": now_ms},
        )

    def launch_anew(self, agent: AgentRecord) -> bool:
        """Raise the number of a waiting agent's launch by one; ``False`` when another has, or it does not wait."""
        return self._changed(
            agent.session_id,
            agent.name,
            "SET #launch = :next",
            when="#status = :waiting AND (#launch = :this OR (attribute_not_exists(#launch) AND :this = :first))",
            values={":waiting": "waiting", ":this": agent.launch, ":next": agent.launch + 1, ":first": 0},
        )

    def relaunch(self, agent: AgentRecord, *, task_arn: str, now_ms: int) -> bool:
        """Let an agent wait for another launch after its task never started.

        ``False`` when that was done before, or it has stopped, or runs in another task.
        """
        return self._changed(
            agent.session_id,
            agent.name,
            "SET #status = :waiting, #launch = if_not_exists(#launch, :first) + :one, #failedAtMs = :now,"
            " #failedTaskArns = list_append(if_not_exists(#failedTaskArns, :none), :arns) REMOVE #taskArn",
            when="attribute_exists(#sessionId) AND #status <> :stopped AND NOT contains(#failedTaskArns, :arn)"
            " AND (attribute_not_exists(#taskArn) OR #taskArn = :arn)",
            values={
                ":waiting": "waiting",
                ":stopped": "stopped",
                ":first": 0,
                ":one": 1,
                ":now": now_ms,
                ":none": [],
                ":arn": task_arn,
                ":arns": [task_arn],
            },
        )

    def note_start(self, session_id: str, name: str, *, now_ms: int) -> bool:
        """Note when an agent started whose stop is known before its start was."""
        return self._changed(
            session_id,
            name,
            "SET #startedAtMs = :now",
            when="attribute_exists(#sessionId) AND attribute_not_exists(#startedAtMs)",
            values={":now": now_ms},
        )

    def note_container(self, session_id: str, name: str, container_id: str) -> bool:
        """Note the container of an agent; ``False`` when the agent is not there."""
        return self._changed(
            session_id,
            name,
            "SET #containerId = :container",
            when="attribute_exists(#sessionId)",
            values={":container": container_id},
        )

    def stop(self, session_id: str, name: str, *, now_ms: int, reason: str) -> bool:
        """Mark an agent stopped and revoke its secret; ``False`` when it was stopped or never there."""
        return self._changed(
            session_id,
            name,
            "SET #status = :stopped, #stoppedAtMs = :now, #stoppedReason = :reason REMOVE #secretHash",
            when="attribute_exists(#sessionId) AND #status <> :stopped",
            values={":stopped": "stopped", ":now": now_ms, ":reason": reason},
        )

    def connect(self, session_id: str, name: str, *, now_ms: int) -> bool:
        """Note an agent's first MCP request; ``False`` when it was noted before."""
        return self._changed(
            session_id,
            name,
            "SET #connectedAtMs = :now",
            when="attribute_exists(#sessionId) AND attribute_not_exists(#connectedAtMs)",
            values={":now": now_ms},
        )

    def start_wait(self, agent: AgentRecord, wait_id: str, *, until_ms: int, now_ms: int, most: int) -> bool:
        """Note a wait (its id a word) that is believed in until ``until_ms``, and forget those that crashed.

        ``False`` when as many as ``most`` are under way. An agent that is gone waits unnoted.
        """
        crashed = [f"#waits.#{name}" for name, believed_ms in agent.waits.items() if believed_ms < now_ms]
        forget = f" REMOVE {', '.join(crashed)}" if crashed else ""
        made, found = self._table.try_update(
            key_of(agent.session_id, agent.name),
            f"SET #waits.#{wait_id} = :until{forget}",
            when="size(#waits) < :most",
            values={":until": until_ms, ":most": most + len(crashed)},
        )
        # The SDK may have repeated the call after its answer was lost.
        return made or found is None or "waits" not in found or wait_id in found["waits"]

    def end_wait(self, agent: AgentRecord, wait_id: str) -> bool:
        """Forget a wait."""
        return self._changed(
            agent.session_id, agent.name, f"REMOVE #waits.#{wait_id}", when="attribute_exists(#waits)", values={}
        )

    def _changed(self, session_id: str, name: str, change: str, *, when: str, values: dict[str, Any]) -> bool:
        return self._table.update(key_of(session_id, name), change, when=when, values=values) is not None

    def _under(
        self, session_id: str, prefix: str, *, start: Key | None = None, limit: int | None = None
    ) -> Iterator[Item]:
        return self._table.query(
            "#sessionId = :session AND begins_with(#item, :prefix)",
            {":session": session_id, ":prefix": prefix},
            start=start,
            limit=limit,
        )
