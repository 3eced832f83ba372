"""A session in numbers: what counts as waiting, and prices that are those of docs/costs.md."""

import dataclasses
import json
from typing import Any

import pytest

from bench.money import prices
from chalicelib.domain import summaries
from chalicelib.domain.summaries import Tally
from chalicelib.settings import Settings
from chalicelib.store.agents import AgentRecord
from chalicelib.store.log import LogEntry
from chalicelib.wire.history import AgentSummary
from chalicelib.wire.threads import MAX_WAIT_MS


def agent(name: str, started_ms: int | None = 0, stopped_ms: int | None = None) -> AgentRecord:
    return AgentRecord(
        session_id="s",
        namespace="n",
        name=name,
        position=0,
        registry_agent_identifier={},
        runtime="executable",
        expires_at=0,
        started_at_ms=started_ms,
        stopped_at_ms=stopped_ms,
    )


def tally(*events: tuple[int, dict[str, Any]]) -> Tally:
    """Count events at their times, kept and read again in between."""
    found = Tally()
    for position, (at_ms, event) in enumerate(events, 1):
        found.note(LogEntry(str(position), position, at_ms, event, 0))
        found = Tally.of(json.loads(json.dumps(dataclasses.asdict(found))))
    return found


def starts(name: str = "a") -> dict[str, Any]:
    return {"type": "agent_wait_start", "name": name}


def gets(name: str = "a") -> dict[str, Any]:
    return {"type": "agent_wait_stop", "name": name}


def says(name: str = "a", text: str = "x") -> dict[str, Any]:
    return {"type": "thread_message_sent", "message": {"senderName": name, "text": text}}


@pytest.mark.parametrize(
    ("events", "waited_ms"),
    [
        ([], 0),
        ([(1_000, starts()), (4_000, gets())], 3_000),
        ([(1_000, starts()), (4_000, gets()), (9_000, says())], 3_000),
        # Without an entry for its end: until the agent's next own entry, and no longer than any wait.
        ([(1_000, starts()), (5_000, says())], 4_000),
        ([(1_000, starts()), (5_000, {"type": "thread_created", "thread": {"creatorName": "a"}})], 4_000),
        ([(1_000, starts()), (31_000, starts()), (41_000, gets())], 40_000),
        ([(1_000, starts()), (100_000, says())], MAX_WAIT_MS),
        ([(1_000, starts()), (5_000, {"type": "runtime_stopped", "name": "a"})], 4_000),
        # Under way: until now, or until the session has closed.
        ([(1_000, starts())], MAX_WAIT_MS),
        ([(190_000, starts())], 10_000),
        # What others do ends no wait.
        ([(1_000, starts()), (2_000, says("b")), (3_000, starts("b")), (4_000, gets())], 3_000),
        ([(1_000, starts()), (2_000, {"type": "thread_participant_added", "name": "a"}), (4_000, gets())], 3_000),
    ],
)
def test_how_long_an_agent_has_waited(events: list[tuple[int, dict[str, Any]]], waited_ms: int) -> None:
    [found] = tally(*events).agents([agent("a")], 200_000)
    assert found == AgentSummary(name="a", runtime="executable", running_ms=200_000, waiting_ms=waited_ms)


@pytest.mark.parametrize(("runtime", "waited_ms"), [("function", 3_599_000), ("prototype", MAX_WAIT_MS)])
def test_a_function_may_wait_for_longer_than_a_tool(runtime: str, waited_ms: int) -> None:
    record = dataclasses.replace(agent("a"), runtime=runtime)
    [under_way] = tally((1_000, starts())).agents([record], 3_600_000)
    [over] = tally((1_000, starts()), (3_600_000, gets())).agents([record], 9_000_000)
    assert (under_way.waiting_ms, over.waiting_ms) == (waited_ms, waited_ms)


def test_how_long_agents_have_run() -> None:
    records = [agent("a", 1_000, 5_000), agent("b", 2_000), agent("c", None, 3_000), agent("d", None)]
    assert [each.running_ms for each in Tally().agents(records, 10_000)] == [4_000, 8_000, 0, 0]


def test_what_is_counted() -> None:
    found = tally((1, says(text="ä")), (2, says("b", "xy")), (3, starts()), (4, {"type": "void"}))
    assert (found.messages, found.message_bytes, found.threads, found.waits) == (2, 4, 0, 1)


def test_prices_are_those_of_the_page() -> None:
    of_page = prices()
    assert {key: of_page[key] for key in summaries.PRICES} == summaries.PRICES


@pytest.mark.parametrize(("hold_ms", "micro_usd"), [(None, 17_380), (2_000, 10_420)])
def test_the_estimate_is_near_what_the_benchmark_counts(hold_ms: int | None, micro_usd: int) -> None:
    """3 agents, 50 messages, 10 minutes (docs/costs.md): 1,000 with their tasks, their waits held or paused."""
    agents = [AgentSummary(name=name, running_ms=600_000, waiting_ms=600_000) for name in "abc"]
    settings = Settings(mcp_wait_hold_ms=hold_ms)
    found = summaries.estimated(settings, messages=50, message_bytes=25_000, threads=1, waits=80, agents=agents)
    assert micro_usd * 0.9 < found.micro_usd < micro_usd * 1.1
    assert found.aws_calls > found.write_units > 0


@pytest.mark.parametrize("runtime", ["function", "prototype"])
def test_agents_that_are_functions_cost_nothing_while_they_wait(runtime: str) -> None:
    def estimated(runtime: str, ms: int) -> int:
        agents = [AgentSummary(name="a", runtime=runtime, running_ms=ms, waiting_ms=ms)]
        counts = {"messages": 50, "message_bytes": 25_000, "threads": 1, "waits": 50}
        return summaries.estimated(Settings(), **counts, agents=agents).micro_usd

    assert estimated(runtime, 3_600_000) == estimated(runtime, 0)
    assert estimated("docker", 3_600_000) > estimated("docker", 0) + 12_000
