"""``FOLLOWED-BY#`` and ``STATE#`` of the session-items table: agents that run as functions, between and in their turns.

``FOLLOWED-BY#<agent>`` is how many turns an agent has had, how far it has read the log, and what it waits for. Its key
lets the one Query that finds who follows a session find who waits in it, too. It is made with the session and goes
when the agent stops: then no turn can begin any more, and none that is under way can be stored.

A turn is *claimed* before the function is called, which is where the agent begins to think, and *stored* after that:
its state, what it waits for and how far it has read, in one write, on condition that the claim is still its own.

A state that is larger than `INLINE_BYTES` is in ``STATE#<agent>#0`` or ``…#1``: a turn writes the one that the last
turn did not, and what counts is which the turn names as it is stored.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.store.items import Item, Key
from chalicelib.store.record import Record
from chalicelib.store.table import Table

_PREFIX = "FOLLOWED-BY#"
_STATE_PREFIX = "STATE#"

#: How large (bytes of JSON) a state may be in the item that each batch of entries reads.
INLINE_BYTES = 4_000

#: How many of the messages that an agent was told last are remembered: who is added to a thread hears its past.
MOST_TOLD = 16

#: A time (epoch ms) that never comes: until when a wait lasts that has no end.
NEVER_MS = 1 << 53


@dataclasses.dataclass(frozen=True, kw_only=True)
class TurnRecord(Record):
    """An agent that runs as a function, between or in its turns; times in epoch ms, ``expires_at`` in epoch s."""

    session_id: str
    name: str
    namespace: str
    #: The agent's place in the graph.
    agent_position: int
    expires_at: int
    #: Whether its first turn waits until other agents have connected.
    blocking: bool | None = None
    #: How many turns were stored.
    turn: int = 0
    #: All of the log up to here was looked at for it.
    position: int = 0
    #: Positions of the messages that it was told last.
    told: list[int] = dataclasses.field(default_factory=list)
    #: What it waits for (`WaitsFor`) once it has had a turn, whose messages those are, and until when.
    waits_for: str | None = None
    from_agent: str | None = None
    deadline_ms: int | None = None
    #: Its state as JSON, or in which of the two items that is.
    state: str | None = None
    state_slot: int | None = None
    #: The version of the Lambda function that an alias has named at its first turn.
    version: str | None = None
    #: How many claims there were; who has claimed the turn that is under way, and until when (it is dead by then).
    claims: int = 0
    claim_id: str | None = None
    busy_until_ms: int | None = None
    #: The turn that is claimed or to be tried again: its reason, the position of its message, how far it reads.
    reason: str | None = None
    message_position: int | None = None
    reads_to: int | None = None
    #: How often it was tried, and put off, and when it may be tried again.
    attempts: int = 0
    put_off: int = 0
    again_at_ms: int | None = None
    #: Why the last try failed.
    error: str | None = None
    #: The claim by which the last turn was stored.
    stored_by: str | None = None
    #: Whether it has said that it is at its end.
    exited: bool | None = None

    @property
    def in_turn(self) -> bool:
        """Whether a turn is under way, or to be tried again."""
        return self.reason is not None

    @property
    def waiting_until_ms(self) -> int | None:
        """Until when it waits for a message; ``None`` when it does not."""
        return None if self.in_turn or self.waits_for is None else self.deadline_ms or NEVER_MS

    def to_item(self) -> Item:
        """Return the attributes of the item, its sort key among them."""
        return {**super().to_item(), "item": _PREFIX + self.name}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A turn that is begun."""

    claim_id: str
    busy_until_ms: int
    reason: str
    message_position: int | None
    #: How far the log was looked at to find that the turn is due.
    reads_to: int
    attempts: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """What a turn leaves."""

    claim_id: str
    position: int
    told: Sequence[int]
    waits_for: str
    from_agent: str | None
    deadline_ms: int | None
    #: JSON; ``None`` when the state is to stay as it was.
    state: str | None
    version: str | None
    exited: bool


def key_of(session_id: str, name: str) -> Key:
    """Return the key of an agent's turns."""
    return {"sessionId": session_id, "item": _PREFIX + name}


def state_key_of(session_id: str, name: str, slot: int) -> Key:
    """Return the key of one of an agent's two large states."""
    return {"sessionId": session_id, "item": f"{_STATE_PREFIX}{name}#{slot}"}


def is_turn(item: Item) -> bool:
    """Return whether an item is of the turns of an agent."""
    return str(item["item"]).startswith(_PREFIX)


class Turns:
    """The turns of agents among a session's items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def of_session(self, session_id: str) -> Iterator[TurnRecord]:
        """Read the agents of a session that run as functions and have not stopped."""
        found = self._table.query(
            "#sessionId = :session AND begins_with(#item, :prefix)", {":session": session_id, ":prefix": _PREFIX}
        )
        return map(TurnRecord.from_item, found)

    def find(self, session_id: str, name: str) -> TurnRecord | None:
        """Read one agent's turns; ``None`` for one that has stopped, or runs otherwise."""
        item = self._table.get(key_of(session_id, name))
        return TurnRecord.from_item(item) if item else None

    def state_of(self, record: TurnRecord) -> str | None:
        """Return the state (JSON) that an agent's last turn has left; one that is large is read."""
        if record.state_slot is None:
            return record.state
        item = self._table.get(state_key_of(record.session_id, record.name, record.state_slot))
        return str(item["state"]) if item else None

    def claim(self, record: TurnRecord, claim: Claim) -> TurnRecord | None:
        """Begin a turn, and return it as it is now.

        ``None`` when another has begun or was stored, or the agent has stopped, since it was read.
        """
        values: dict[str, Any] = {
            ":id": claim.claim_id,
            ":busy": claim.busy_until_ms,
            ":reason": claim.reason,
            ":reads": claim.reads_to,
            ":attempts": claim.attempts,
            ":claims": record.claims + 1,
            ":turn": record.turn,
        }
        message, unclaimed = "", "attribute_not_exists(#claimId)"
        if claim.message_position is not None:
            values[":message"], message = claim.message_position, ", #messagePosition = :message"
        if record.claim_id is not None:  # who had it is dead
            values[":before"], unclaimed = record.claim_id, "#claimId = :before"
        made, found = self._table.try_update(
            key_of(record.session_id, record.name),
            "SET #claims = :claims, #claimId = :id, #busyUntilMs = :busy, #reason = :reason, #readsTo = :reads, "
            f"#attempts = :attempts{message} REMOVE #againAtMs",
            when=f"#turn = :turn AND {unclaimed}",
            values=values,
        )
        # The SDK may have repeated the call after its answer was lost.
        ours = made or (found is not None and found.get("claimId") == claim.claim_id)
        return TurnRecord.from_item(found) if ours and found else None

    def release(self, record: TurnRecord, claim_id: str, *, error: str, again_at_ms: int, put_off: bool) -> bool:
        """Let a turn that has failed be tried again at a time.

        One that is ``put_off`` was not tried: that is counted by itself. ``False`` when the claim is not this one.
        """
        count = "#putOff = :count, #attempts = #attempts - :one" if put_off else "#putOff = :count"
        values = {
            ":id": claim_id,
            ":again": again_at_ms,
            ":error": error,
            ":count": record.put_off + (1 if put_off else 0),
            **({":one": 1} if put_off else {}),
        }
        made, found = self._table.try_update(
            key_of(record.session_id, record.name),
            f"SET #againAtMs = :again, #error = :error, {count} REMOVE #claimId, #busyUntilMs",
            when="#claimId = :id",
            values=values,
        )
        return made or (found is not None and found.get("againAtMs") == again_at_ms)

    def store(self, record: TurnRecord, stored: Stored) -> TurnRecord | None:
        """Store what a turn leaves; ``None`` when its claim is lost: the agent has stopped, or another has it."""
        kept, replaced = self._state(record, stored.state)
        if kept is None:
            return None
        changes = {
            "turn": record.turn + 1,
            "position": stored.position,
            "told": list(stored.told),
            "waitsFor": stored.waits_for,
            "storedBy": stored.claim_id,
            "attempts": 0,
            "putOff": 0,
            **kept,
        }
        optional = {
            "fromAgent": stored.from_agent,
            "deadlineMs": stored.deadline_ms,
            "version": stored.version,
            "exited": True if stored.exited else None,
        }
        changes |= {name: value for name, value in optional.items() if value is not None}
        gone = [name for name, value in optional.items() if value is None]
        gone += ["claimId", "busyUntilMs", "reason", "messagePosition", "readsTo", "againAtMs", "error", *replaced]
        made, found = self._table.try_update(
            key_of(record.session_id, record.name),
            f"SET {', '.join(f'#{name} = :{name}' for name in changes)} "
            f"REMOVE {', '.join(f'#{name}' for name in gone)}",
            when="#claimId = :claim",
            values={**{f":{name}": value for name, value in changes.items()}, ":claim": stored.claim_id},
        )
        if not made and (found is None or found.get("storedBy") != stored.claim_id):
            return None
        return TurnRecord.from_item(found) if found else None

    def _state(self, record: TurnRecord, state: str | None) -> tuple[Mapping[str, Any] | None, list[str]]:
        """Return how a state is stored: attributes, and those that go; a large one is put into its item before.

        ``None`` for attributes when a later claim has put another there. ``record`` is as it was when it was claimed.
        """
        if state is None:
            return {}, []
        if len(state.encode()) <= INLINE_BYTES:
            return {"state": state}, ["stateSlot"]
        slot = 1 - (record.state_slot or 0)
        key = state_key_of(record.session_id, record.name, slot)
        item = {**key, "state": state, "claims": record.claims, "expiresAt": record.expires_at}
        made, found = self._table.try_put(
            item, when="attribute_not_exists(#claims) OR #claims < :claims", values={":claims": record.claims}
        )
        if not made and (found is None or found["claims"] != record.claims):
            return None, []
        return {"stateSlot": slot}, ["state"]

    def forget(self, session_id: str, name: str) -> None:
        """Forget an agent that has stopped: what it waits for, and its state."""
        self._table.write_all(
            deletes=[key_of(session_id, name), *(state_key_of(session_id, name, slot) for slot in (0, 1))]
        )
