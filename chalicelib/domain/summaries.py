"""A session in numbers: counted in one pass over its log, in memory that does not grow with it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chalicelib.domain import budgets, sessions, threads
from chalicelib.domain.errors import TooLarge
from chalicelib.settings import Settings
from chalicelib.store.agents import FUNCTION, FUNCTIONS, AgentRecord
from chalicelib.store.log import LogEntry
from chalicelib.wire.history import AgentSummary, AwsEstimate, SessionSummary
from chalicelib.wire.threads import MAX_WAIT_MS

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: Prices in USD, named and explained in docs/costs.md. A test compares them.
PRICES = {
    "dynamodb_read": 0.000000125,
    "dynamodb_write": 0.000000625,
    "lambda_gb_s_x86": 0.0000166667,
    "transition": 0.000025,
    "fargate_vcpu_hour_x86": 0.04048,
    "fargate_gb_hour_x86": 0.004445,
    "public_ipv4_hour": 0.005,
}


@dataclasses.dataclass(frozen=True)
class _Cost:
    """What one of something takes: calls of AWS, read and write units of DynamoDB."""

    calls: float
    reads: float
    writes: float


#: As `make bench ONLY=money` counts them, rounded: a session from its creation to its end, an agent with its first
#: request, a thread, a message of up to 500 bytes, a wait, and a second of it while it polls; as `make bench
#: ONLY=waiting` does, a second of one that is paused.
_LIFE, _AGENT, _THREAD = _Cost(60, 28, 22), _Cost(24, 5, 23), _Cost(4, 2, 3)
_MESSAGE, _WAIT, _WAITED_S, _PAUSED_S = _Cost(3, 3, 2), _Cost(7, 5, 4), _Cost(2.3, 2.3, 0), _Cost(0.7, 1, 0)
#: A write unit is so many bytes.
_WRITE_BYTES = 1_024
#: State transitions of a session.
_TRANSITIONS = 6
#: Of a function for each call of AWS, and of one that waits for as long as it does, in GB-seconds.
_GB_S_OF_CALL, _GB_S_OF_WAITED_S = 0.01 * 0.5, 0.25
_HOUR_MS = 3_600_000


@dataclasses.dataclass
class _Waiting:
    """The waits of an agent: how long those that are over lasted, and since when (epoch ms) one is under way."""

    #: As those of an agent that calls a tool to wait: none lasts longer than the longest.
    lasted_ms: int = 0
    #: As those of an agent that runs as a function, which may wait for as long as its session lasts.
    unbounded_ms: int = 0
    since_ms: int | None = None

    def end(self, at_ms: int) -> None:
        """End the wait that is under way, if there is one."""
        self.lasted_ms, self.unbounded_ms = (self.until(at_ms, bounded=bounded) for bounded in (True, False))
        self.since_ms = None

    def until(self, at_ms: int, *, bounded: bool) -> int:
        """Return how long it has waited until a time."""
        under_way_ms = 0 if self.since_ms is None else max(0, at_ms - self.since_ms)
        return self.lasted_ms + min(under_way_ms, MAX_WAIT_MS) if bounded else self.unbounded_ms + under_way_ms


@dataclasses.dataclass
class Tally:
    """What is counted up to a position of a log.

    A wait that ends without a message has no entry for its end. It is taken to last until the agent's next own entry:
    another wait, a message, a thread, its stop. With a tool it never lasts longer than any wait. That of a function
    may, and the turn at its end is counted with it.
    """

    messages: int = 0
    message_bytes: int = 0
    threads: int = 0
    waits: int = 0
    waiting: dict[str, _Waiting] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, counted: dict[str, object]) -> "Tally":
        """Return what ``dataclasses.asdict`` has made of a tally."""
        tally = cls(**counted)  # type: ignore[arg-type]
        tally.waiting = {name: _Waiting(**each) for name, each in tally.waiting.items()}  # type: ignore[arg-type]
        return tally

    def note(self, entry: LogEntry) -> None:
        """Count the next entry."""
        event, at_ms = entry.event, entry.stamp_ms
        match event["type"]:
            case "thread_message_sent":
                self.messages += 1
                self.message_bytes += len(event["message"]["text"].encode())
                self._of(event["message"]["senderName"]).end(at_ms)
            case "thread_created":
                self.threads += 1
                self._of(event["thread"]["creatorName"]).end(at_ms)
            case "agent_wait_start":
                self.waits += 1
                self._of(event["name"]).end(at_ms)
                self._of(event["name"]).since_ms = at_ms
            case "agent_wait_stop" | "runtime_stopped":
                self._of(event["name"]).end(at_ms)

    def agents(self, records: Sequence[AgentRecord], until_ms: int) -> list[AgentSummary]:
        """Return how long the agents of a session have run and waited, until a time."""
        found = []
        for record in records:
            running_ms = 0
            if record.started_at_ms is not None:
                running_ms = max(0, (record.stopped_at_ms or until_ms) - record.started_at_ms)
            # A prototype waits with tools, too.
            bounded = record.runtime != FUNCTION
            waiting_ms = self._of(record.name).until(record.stopped_at_ms or until_ms, bounded=bounded)
            found.append(
                AgentSummary(name=record.name, runtime=record.runtime, running_ms=running_ms, waiting_ms=waiting_ms)
            )
        return found

    def _of(self, name: str) -> _Waiting:
        return self.waiting.setdefault(name, _Waiting())


def of_session(stores: "Stores", namespace: str, session_id: str, deadline_ms: int) -> SessionSummary:
    """Sum up a session that is there.

    Raises `NotFound` for an unknown session, `TooLarge` when its log cannot be read until a time (epoch ms).
    """
    _, session = sessions.read(stores, namespace, session_id)
    tally, begun_ms = Tally(), stores.clock.now_ms()
    for entry in stores.log.read(session_id, live=threads.is_live(session), past_end=True):
        if stores.clock.now_ms() > deadline_ms:
            raise TooLarge(
                f"the log of the session takes more than {deadline_ms - begun_ms} ms to read: its summary is in the "
                "history of its namespace once it has ended"
            )
        tally.note(entry)
    now_ms = stores.clock.now_ms()
    executed_ms, closing_ms = session.executed_at_ms, session.closing_at_ms
    agents = tally.agents(stores.agents.of_session(session_id), closing_ms or now_ms)
    budget = budgets.find(stores, session_id)
    return SessionSummary(
        created_at=session.created_at_ms,
        executed_at=executed_ms,
        closing_at=closing_ms,
        run_ms=None if executed_ms is None else (closing_ms or now_ms) - executed_ms,
        hold_ms=None if closing_ms is None else now_ms - closing_ms,
        messages=tally.messages,
        threads=tally.threads,
        waits=tally.waits,
        agents=agents,
        estimate=estimated(
            stores.settings,
            messages=tally.messages,
            message_bytes=tally.message_bytes,
            threads=tally.threads,
            waits=tally.waits,
            agents=agents,
        ),
        budget=budgets.view(budget) if budget is not None else None,
    )


def estimated(
    settings: Settings, *, messages: int, message_bytes: int, threads: int, waits: int, agents: Sequence[AgentSummary]
) -> AwsEstimate:
    """Estimate what a session has taken of AWS: its life, its agents' tasks and calls.

    Left out: what users ask of the REST API, and logs. Where waits are paused, all count as if they were. Agents that
    are functions have no task, and nothing runs while they wait; a turn is about what a wait is without its duration.
    """
    with_tasks = [agent for agent in agents if agent.runtime not in FUNCTIONS]
    waited_s = sum(agent.waiting_ms for agent in with_tasks) / 1000
    hold_ms = settings.mcp_wait_hold_ms
    held_s = waited_s if hold_ms is None else min(waited_s, waits * hold_ms / 1000)
    parts = [
        (1, _LIFE), (len(agents), _AGENT), (threads, _THREAD), (messages, _MESSAGE), (waits, _WAIT),
        (held_s, _WAITED_S), (waited_s - held_s, _PAUSED_S),
    ]  # fmt: skip
    calls = sum(many * cost.calls for many, cost in parts)
    reads = sum(many * cost.reads for many, cost in parts)
    writes = sum(many * cost.writes for many, cost in parts) + message_bytes / _WRITE_BYTES
    task_hours = sum(agent.running_ms for agent in with_tasks) / _HOUR_MS
    dollars = (
        reads * PRICES["dynamodb_read"]
        + writes * PRICES["dynamodb_write"]
        + (calls * _GB_S_OF_CALL + held_s * _GB_S_OF_WAITED_S) * PRICES["lambda_gb_s_x86"]
        + _TRANSITIONS * PRICES["transition"]
        + task_hours * _task_hour(settings)
    )
    return AwsEstimate(
        aws_calls=round(calls), read_units=round(reads), write_units=round(writes), micro_usd=round(dollars * 1e6)
    )


def _task_hour(settings: Settings) -> float:
    return (
        settings.agent_cpu / 1024 * PRICES["fargate_vcpu_hour_x86"]
        + settings.agent_memory_mib / 1024 * PRICES["fargate_gb_hour_x86"]
        + settings.assign_public_ip * PRICES["public_ipv4_hour"]
    )
