"""Joint reads: items of several tables in one strongly consistent BatchGetItem, as records."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from chalicelib.clock import Clock
from chalicelib.store import agents, api_keys, log, namespaces, sessions, threads, turns
from chalicelib.store.agents import AgentRecord
from chalicelib.store.items import BATCH_GET_ITEMS, Item, Key, Unprocessed, decode, encode, tries
from chalicelib.store.log import LogEntry, Ticket
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.table import Table
from chalicelib.store.threads import ThreadRecord
from chalicelib.store.turns import TurnRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from chalicelib.store.budgets import Budget
    from chalicelib.store.registry import RegistryAgentRecord

R = TypeVar("R")


class TurnRead(NamedTuple):
    """What is read for an agent's turn, each as far as it is there."""

    session: SessionRecord | None
    agent: AgentRecord | None
    turn: TurnRecord | None
    options: agents.StoredOptions | None
    thread: ThreadRecord | None
    #: Entries of the log at the positions that were asked for.
    entries: list[LogEntry]


class Reads:
    """Reads items of several tables at once. Each method is one call, ``None`` stands for a missing item.

    Raises `Unprocessed` when DynamoDB is throttled for longer than a call may wait.
    """

    def __init__(self, client: "DynamoDBClient", clock: Clock, name_of: Callable[[str], str]) -> None:
        self._client = client
        self._clock = clock
        self._namespaces, self._sessions, self._session_items, self._registry, self._api_keys = (
            Table(client, name_of(name), clock)
            for name in ("namespaces", "sessions", "session-items", "registry", "api-keys")
        )

    def api_key(self, key_hash: str) -> api_keys.FoundKey | None:
        """Read an API key, its last use and the quotas of namespaces."""
        return api_keys.found(*self._read([(self._api_keys, key) for key in api_keys.keys_of(key_hash)]))

    def session(self, namespace: str, session_id: str) -> tuple[NamespaceRecord | None, SessionRecord | None]:
        """Read a session and its namespace."""
        space, session = self._read(
            [(self._namespaces, namespaces.key_of(namespace)), (self._sessions, sessions.key_of(namespace, session_id))]
        )
        return _as(NamespaceRecord.from_item, space), sessions.record_of(session)

    def is_being_removed(self, namespace: str, session_id: str) -> bool:
        """Return whether a session is gone, or what there is of it is going."""
        session, head = self._read(
            [
                (self._sessions, sessions.key_of(namespace, session_id)),
                (self._session_items, log.head_key_of(session_id)),
            ]
        )
        return session is None or (head is not None and log.is_closed(head))

    def agent_and_budget(
        self, namespace: str, session_id: str, name: str
    ) -> "tuple[SessionRecord | None, AgentRecord | None, Budget | None]":
        """Read an agent, its session and the budgets of that."""
        from chalicelib.store import budgets

        session, agent, budget = self._read(
            [
                (self._sessions, sessions.key_of(namespace, session_id)),
                (self._session_items, agents.key_of(session_id, name)),
                (self._session_items, budgets.key_of(session_id)),
            ]
        )
        return sessions.record_of(session), _as(AgentRecord.from_item, agent), budgets.budget_of(budget)

    def agent(
        self, namespace: str, session_id: str, name: str, thread_id: str | None = None, *, head: bool = False
    ) -> tuple[SessionRecord | None, AgentRecord | None, ThreadRecord | None, Ticket | None]:
        """Read an agent and its session, and where that is wanted a thread, or the head of the session's log."""
        session, agent, *more = self._read(
            [
                (self._sessions, sessions.key_of(namespace, session_id)),
                (self._session_items, agents.key_of(session_id, name)),
                *self._thread(session_id, thread_id),
                *([(self._session_items, log.head_key_of(session_id))] if head else []),
            ]
        )
        return (
            sessions.record_of(session),
            _as(AgentRecord.from_item, agent),
            _as(ThreadRecord.from_item, more[0] if thread_id is not None else None),
            _as(log.head_of, more[-1] if head else None),
        )

    def turn(
        self, namespace: str, session_id: str, name: str, thread_id: str | None, positions: Sequence[int]
    ) -> TurnRead:
        """Read an agent that runs as a function and all that its turn may need: a thread, entries of the log."""
        session, agent, turn, options, *more = self._read(
            [
                (self._sessions, sessions.key_of(namespace, session_id)),
                (self._session_items, agents.key_of(session_id, name)),
                (self._session_items, turns.key_of(session_id, name)),
                (self._session_items, agents.options_key_of(session_id, name)),
                *self._thread(session_id, thread_id),
                *((self._session_items, log.key_of(session_id, position)) for position in positions),
            ]
        )
        return TurnRead(
            sessions.record_of(session),
            _as(AgentRecord.from_item, agent),
            _as(TurnRecord.from_item, turn),
            _as(agents.options_of, options),
            _as(ThreadRecord.from_item, more[0] if thread_id is not None else None),
            [log.entry_of(item) for item in more[0 if thread_id is None else 1 :] if item is not None],
        )

    def agent_in_namespace(
        self, namespace: str, session_id: str, name: str, thread_id: str | None = None
    ) -> tuple[NamespaceRecord | None, SessionRecord | None, AgentRecord | None, ThreadRecord | None]:
        """Read an agent, its session and its namespace, and a thread where one is named."""
        space, session, agent, *thread = self._read(
            [
                (self._namespaces, namespaces.key_of(namespace)),
                (self._sessions, sessions.key_of(namespace, session_id)),
                (self._session_items, agents.key_of(session_id, name)),
                *self._thread(session_id, thread_id),
            ]
        )
        return (
            _as(NamespaceRecord.from_item, space),
            sessions.record_of(session),
            _as(AgentRecord.from_item, agent),
            _as(ThreadRecord.from_item, thread[0] if thread else None),
        )

    def threads(self, session_id: str, ids: Sequence[str]) -> list[ThreadRecord | None]:
        """Read some threads of a session, in the order of the ids."""
        found = self._read([each for thread_id in ids for each in self._thread(session_id, thread_id)])
        return [_as(ThreadRecord.from_item, item) for item in found]

    def _thread(self, session_id: str, thread_id: str | None) -> list[tuple[Table, Key]]:
        return [] if thread_id is None else [(self._session_items, threads.key_of(session_id, thread_id))]

    def agents(self, session_id: str, names: Sequence[str]) -> list[AgentRecord | None]:
        """Read some agents of a session, in the order of the names."""
        found = self._read([(self._session_items, agents.key_of(session_id, name)) for name in names])
        return [_as(AgentRecord.from_item, item) for item in found]

    def custom_tools(self, session_id: str, names: Sequence[str]) -> list[str | None]:
        """Read some custom tools (JSON text) of a session, in the order of the names."""
        found = self._read([(self._session_items, agents.tool_key_of(session_id, name)) for name in names])
        return [_as(agents.tool_of, item) for item in found]

    def sessions(self, wanted: Sequence[tuple[str, str]]) -> list[SessionRecord | None]:
        """Read some sessions by namespace and id, in that order: one call for each hundred of them."""
        found = self._read([(self._sessions, sessions.key_of(*where)) for where in wanted])
        return list(map(sessions.record_of, found))

    def namespaces(self, names: Sequence[str]) -> list[NamespaceRecord | None]:
        """Read some namespaces, in the order of the names."""
        found = self._read([(self._namespaces, namespaces.key_of(name)) for name in names])
        return [_as(NamespaceRecord.from_item, item) for item in found]

    def graph(
        self, namespace: str, versions: Sequence[tuple[str, str]]
    ) -> tuple[NamespaceRecord | None, "list[RegistryAgentRecord | None]"]:
        """Read a namespace and the registry's agents of these names and versions, in their order."""
        from chalicelib.store import registry

        wanted = [(self._registry, registry.key_of(name, version)) for name, version in versions]
        space, *found = self._read([(self._namespaces, namespaces.key_of(namespace)), *wanted])
        return _as(NamespaceRecord.from_item, space), [_as(registry.shown, item) for item in found]

    def _read(self, wanted: Sequence[tuple[Table, Key]]) -> list[Item | None]:
        """Read items in the order they are asked for; one that is asked for twice is read once."""
        found: dict[tuple[str, str], Item] = {}
        for start in range(0, len(wanted), BATCH_GET_ITEMS):
            for table, key in wanted[start : start + BATCH_GET_ITEMS]:
                found.setdefault(_place(table.name, key), {})
            found |= self._read_batch(wanted[start : start + BATCH_GET_ITEMS])
        items = [(table, found[_place(table.name, key)]) for table, key in wanted]
        return [item if item and table.alive(item) else None for table, item in items]

    def _read_batch(self, wanted: Sequence[tuple[Table, Key]]) -> dict[tuple[str, str], Item]:
        pending: dict[str, Any] = {}
        names_of_keys = {table.name: tuple(key) for table, key in wanted}
        for table, key in wanted:
            keys = pending.setdefault(table.name, {"Keys": [], "ConsistentRead": True})["Keys"]
            if encode(key) not in keys:
                keys.append(encode(key))
        found: dict[tuple[str, str], Item] = {}
        for _ in tries(self._clock):
            answer = self._client.batch_get_item(RequestItems=pending)
            for name, items in answer["Responses"].items():
                for item in map(decode, items):
                    found[_place(name, {part: item[part] for part in names_of_keys[name]})] = item
            pending = answer.get("UnprocessedKeys", {})
            if not pending:
                return found
        raise Unprocessed(f"reads of {', '.join(pending)} were throttled")


def _as(record: Callable[[Item], R], item: Item | None) -> R | None:
    return record(item) if item is not None else None


def _place(table: str, key: Key) -> tuple[str, str]:
    return table, "\0".join(key[part] for part in sorted(key))
