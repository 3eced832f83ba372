"""The registry table: agents by name and version, and the ECS task definitions that were registered for them."""

import dataclasses
from collections.abc import Iterator
from functools import cached_property

from chalicelib.store.record import Record
from chalicelib.store.table import Item, Key, Table, decode, encode
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
    #: ARN of the task definition of each runtime, by a word for all that it is made of.
    task_definitions: dict[str, str] = dataclasses.field(default_factory=dict)

    @cached_property
    def definition(self) -> RegistryAgent:
        """The agent, parsed."""
        return RegistryAgent.model_validate_json(self.agent)


class Registry(Table):
    """The registry table. An agent that is ``deleting`` does not exist for a reader, whichever way it is read."""

    def alive(self, item: Item) -> bool:
        """Tell whether an agent still exists for a reader."""
        return super().alive(item) and not item.get("deleting", False)

    @staticmethod
    def key(name: str, version: str) -> Key:
        """Return the key of an agent."""
        return {"name": name, "version": version}

    def find(self, name: str, version: str) -> RegistryAgentRecord | None:
        """Read an agent."""
        item = self.get(self.key(name, version))
        return RegistryAgentRecord.from_item(item) if item else None

    def find_for_launch(self, name: str, version: str) -> RegistryAgentRecord | None:
        """Read an agent, one that is deleting too: whether sessions have it is just being looked up."""
        found = self._client.get_item(TableName=self.name, Key=encode(self.key(name, version)), ConsistentRead=True)
        return RegistryAgentRecord.from_item(decode(found["Item"])) if "Item" in found else None

    def register(self, record: RegistryAgentRecord) -> bool:
        """Write an agent, replacing what was there; ``False`` when just this is there already."""
        return self.put(
            record.to_item(),
            when="attribute_not_exists(#name) OR #digest <> :digest OR #deleting = :yes",
            values={":digest": record.digest, ":yes": True},
        )

    def keep_task_definition(self, record: RegistryAgentRecord, word: str, arn: str) -> str:
        """Remember a task definition by its word and return the one to use: of two registered at once, the first kept.

        A launch that is tried again must name the same one, or ECS refuses its client token.
        """
        kept = self.update(
            self.key(record.name, record.version),
            f"SET #taskDefinitions.#{word} = :arn",
            when=f"#digest = :digest AND attribute_not_exists(#taskDefinitions.#{word})",
            values={":arn": arn, ":digest": record.digest},
        )
        if kept is not None:
            return arn
        found = self.find_for_launch(record.name, record.version)
        return found.task_definitions.get(word, arn) if found and found.digest == record.digest else arn

    def names(self) -> Iterator[tuple[str, str]]:
        """Read name and version of all agents, in no order."""
        return ((item["name"], item["version"]) for item in self.scan(project="#name, #version, #deleting"))

    def start_deleting(self, name: str, version: str) -> bool:
        """Hide an agent from new sessions; ``False`` when there is none."""
        return self._mark(name, version, deleting=True)

    def stop_deleting(self, name: str, version: str) -> bool:
        """Show an agent to new sessions again; ``False`` when there is none."""
        return self._mark(name, version, deleting=False)

    def remove(self, name: str, version: str) -> bool:
        """Delete an agent that is on its way out; ``False`` when it was registered anew meanwhile."""
        return self.delete(
            self.key(name, version), when="attribute_not_exists(#name) OR #deleting = :yes", values={":yes": True}
        )

    def _mark(self, name: str, version: str, *, deleting: bool) -> bool:
        changed = self.update(
            self.key(name, version),
            "SET #deleting = :deleting",
            when="attribute_exists(#name)",
            values={":deleting": deleting},
        )
        return changed is not None
