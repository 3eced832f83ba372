"""The registry table: agents by name and version, and the ECS task definitions that were registered for them."""

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.table import Table
from chalicelib.wire.fargate import Fargate
from chalicelib.wire.registry import RegistryAgent


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegistryAgentRecord(Record):
    """An agent as it is stored."""

    name: str
    version: str
    #: `RegistryAgent` in wire form, as JSON text.
    agent: str
    #: SHA-256 of all that its task definitions are made of: they are valid for this digest only.
    digest: str
    registered_at_ms: int
    #: The folder of its ``coral-agent.toml``, where it has one.
    base_path: str | None = None
    #: What its file says of its ECS task (`Fargate`).
    fargate: dict[str, Any] | None = None
    #: ARN of the task definition of each runtime, keyed by the runtime and a digest of its request.
    task_definitions: dict[str, str] = dataclasses.field(default_factory=dict)

    @cached_property
    def definition(self) -> RegistryAgent:
        """The agent, parsed."""
        return RegistryAgent.model_validate_json(self.agent)

    @property
    def task(self) -> Fargate:
        """What its file says of its ECS task; all of it is the deployment's where it says nothing."""
        return Fargate.model_validate(self.fargate or {})


def key_of(name: str, version: str) -> Key:
    """Return the key of an agent."""
    return {"name": name, "version": version}


def shown(item: Item) -> RegistryAgentRecord | None:
    """Return the agent that an item is; ``None`` for one that is being deleted."""
    return None if item.get("deleting", False) else RegistryAgentRecord.from_item(item)


class Registry:
    """The registry table. Only `find_for_launch` reads an agent that is being deleted."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, name: str, version: str) -> RegistryAgentRecord | None:
        """Read an agent."""
        item = self._table.get(key_of(name, version))
        return shown(item) if item else None

    def find_for_launch(self, name: str, version: str) -> RegistryAgentRecord | None:
        """Read an agent, one that is deleting too: whether sessions have it is just being looked up."""
        item = self._table.get(key_of(name, version))
        return RegistryAgentRecord.from_item(item) if item else None

    def register(self, record: RegistryAgentRecord) -> bool:
        """Write an agent, replacing what was there; ``False`` when just this is there already."""
        return self._table.put(
            record.to_item(),
            when="attribute_not_exists(#name) OR #digest <> :digest OR #deleting = :yes",
            values={":digest": record.digest, ":yes": True},
        )

    def keep_task_definition(self, record: RegistryAgentRecord, key: str, arn: str) -> str:
        """Remember a task definition by its key and return the one to use: of two registered at once, the first kept.

        A launch that is tried again must name the same one, or ECS refuses its client token.
        """
        kept = self._table.update(
            key_of(record.name, record.version),
            f"SET #taskDefinitions.#{key} = :arn",
            when=f"#digest = :digest AND attribute_not_exists(#taskDefinitions.#{key})",
            values={":arn": arn, ":digest": record.digest},
        )
        if kept is not None:
            return arn
        found = self.find_for_launch(record.name, record.version)
        return found.task_definitions.get(key, arn) if found and found.digest == record.digest else arn

    def forget_task_definitions(self) -> None:
        """Forget the task definitions of all agents, where ECS does not know them any more: each is registered anew."""
        for key in list(self._table.scan(project="#name, #version")):
            self._table.update(
                key_of(key["name"], key["version"]),
                "SET #taskDefinitions = :none",
                when="attribute_exists(#name)",
                values={":none": {}},
            )

    def names(self) -> Iterator[tuple[str, str]]:
        """Read name and version of all agents, in no order."""
        found = self._table.scan(project="#name, #version, #deleting")
        return ((item["name"], item["version"]) for item in found if not item.get("deleting", False))

    def start_deleting(self, name: str, version: str) -> bool:
        """Hide an agent from new sessions; ``False`` when it is not there."""
        return self._mark(name, version, deleting=True)

    def stop_deleting(self, name: str, version: str) -> bool:
        """Show an agent to new sessions again; ``False`` when it is not there."""
        return self._mark(name, version, deleting=False)

    def remove(self, name: str, version: str) -> bool:
        """Delete an agent that is being deleted; ``False`` when it was registered anew meanwhile."""
        return self._table.delete(
            key_of(name, version), when="attribute_not_exists(#name) OR #deleting = :yes", values={":yes": True}
        )

    def _mark(self, name: str, version: str, *, deleting: bool) -> bool:
        changed = self._table.update(
            key_of(name, version),
            "SET #deleting = :deleting",
            when="attribute_exists(#name)",
            values={":deleting": deleting},
        )
        return changed is not None
