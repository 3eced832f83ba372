"""Scale on paper: which quota breaks first at so many sessions a minute, and the same by simulation.

On paper each quota's load follows from what a session needs of it. The simulation lets sessions arrive second by
second, takes what they need from token buckets as AWS does, and lets what finds none wait its turn: what has a queue
when the time is over is what broke.
"""

import math
from dataclasses import dataclass

from bench.money import AGENTS, CPU_MS_OF_CALL, HOLD_MS, MESSAGES, MINUTES, NETWORK_MS_OF_CALL, WAIT_S

RATES = (10, 1_000, 100_000)
SIMULATED_S = 3 * MINUTES * 60


@dataclass(frozen=True)
class Quota:
    """A limit: a rate with its burst, or (`held_s`) how much there may be at once and how long each is held."""

    name: str
    #: What a session takes of it.
    each: float
    #: Per second, or at once.
    limit: float
    burst: float
    held_s: float
    what_atoll_does: str
    what_an_operator_raises: str
    #: Whether it can be raised.
    raised: bool = True

    def load(self, per_minute: float) -> float:
        """Return what is used of it, of 1."""
        per_s = per_minute / 60 * self.each
        return (per_s * self.held_s if self.held_s else per_s) / self.limit


def quotas(calls: int, transitions: int, events: int, writes: float, requests_of_wait: int) -> list[Quota]:
    """Return the quotas that sessions meet, with what one session takes as it was counted."""
    life_s = MINUTES * 60.0
    request_s = 4 * (CPU_MS_OF_CALL + NETWORK_MS_OF_CALL) / 1000
    held = (HOLD_MS / 1000 + requests_of_wait * request_s) / WAIT_S
    return [
        Quota(
            "Fargate: vCPUs at once (a new account has few)",
            AGENTS * 0.25,
            4_000,
            0,
            life_s,
            "`RunTask` that finds no room is tried again by the lifecycle's Retry; the session is `executed` and its "
            "agents `waiting` meanwhile",
            "quota `Fargate On-Demand vCPU resource count`",
        ),
        Quota(
            "Fargate: launches a second",
            AGENTS,
            20,
            100,
            0,
            "the same: throttled launches are tried again, each agent by its client token, so none starts twice",
            "quota `Fargate resource rate`, and RunTask's own rate of the same size",
        ),
        Quota(
            "Lambda: waits at once of clients that are held (reserved concurrency of `mcp`)",
            AGENTS,
            500,
            0,
            life_s,
            "`mcp` answers 429, and the agent must ask again; the REST API keeps its own concurrency",
            "reserved concurrency of `mcp` in .chalice/config.json, and the account's concurrency; or agents' clients, "
            "to such as come back (docs/agents.md)",
        ),
        Quota(
            "Lambda: waits at once that are paused",
            AGENTS * held,
            500,
            0,
            life_s,
            "the same",
            "reserved concurrency of `mcp`, and the account's concurrency",
        ),
        Quota(
            "Lambda: other functions at once",
            (calls / 4 + 2 * MESSAGES / 4) * request_s,
            500,
            0,
            1,
            "API Gateway answers 429; streams and state machines try again",
            "the account's concurrency",
        ),
        Quota(
            "Step Functions: starts a second",
            1,
            300,
            1_300,
            0,
            "`on_change` fails its record alone, and the stream brings it again, for half a day",
            "quota `StartExecution`",
        ),
        Quota(
            "Step Functions: transitions a second",
            transitions,
            1_500,
            5_000,
            0,
            "executions are slowed down, not failed",
            "quota `StateTransition`",
        ),
        Quota(
            "Step Functions: open executions",
            1,
            1_000_000,
            0,
            life_s,
            "`on_change` tries again until there is room",
            "quota `Open executions`",
        ),
        Quota(
            "EventBridge: events a second",
            events,
            10_000,
            10_000,
            0,
            "`on_change` fails its record alone, and the stream brings it again",
            "quota `PutEvents`",
        ),
        Quota(
            "DynamoDB: writes a second of one table",
            writes + 2 * MESSAGES,
            40_000,
            0,
            0,
            "botocore tries throttled calls again, then the API answers 503 with `Retry-After`",
            "table quota, and warm throughput before a known rush",
        ),
        Quota(
            "DynamoDB: reads of one namespace's item (one partition)",
            2,
            3_000,
            0,
            0,
            "creates into that one namespace answer 503 with `Retry-After`; others go on",
            "nothing: spread sessions over namespaces",
            raised=False,
        ),
        Quota(
            "DynamoDB: writes of one namespace's sessions (one partition key)",
            4,
            1_000,
            0,
            0,
            "DynamoDB splits the partition by session id under sustained load; until then 503 with `Retry-After`",
            "nothing: spread sessions over namespaces, or warm the table",
            raised=False,
        ),
        Quota(
            "DynamoDB: one session's items (one partition key)",
            0,
            1_000,
            0,
            0,
            "a session of 500 messages a second meets it, no rate of sessions does",
            "nothing",
            raised=False,
        ),
    ]


@dataclass(frozen=True)
class Outcome:
    """What became of one quota at one rate."""

    quota: Quota
    per_minute: int
    load: float
    #: How long the last session had to wait for it when the time was over, in s; simulated.
    delay_s: float

    @property
    def breaks(self) -> bool:
        """Whether it cannot keep up."""
        return self.load > 1


def measure(every: list[Quota]) -> list[Outcome]:
    """Return each quota at each rate, the fullest first."""
    found = [Outcome(quota, rate, quota.load(rate), _simulated(quota, rate)) for rate in RATES for quota in every]
    return sorted(found, key=lambda outcome: (outcome.per_minute, -outcome.load))


def _simulated(quota: Quota, per_minute: float) -> float:
    """Let sessions arrive for half an hour; return how long what they need of a quota is queued in the end."""
    if not quota.each:
        return 0.0
    arriving = per_minute / 60 * quota.each
    tokens, queue, freed = float(quota.burst or quota.limit), 0.0, dict[int, float]()
    for second in range(SIMULATED_S):
        queue += arriving
        if quota.held_s:
            tokens += freed.pop(second, 0.0)
        else:
            tokens = min(max(quota.burst, quota.limit), tokens + quota.limit)
        taken = min(queue, tokens)
        queue -= taken
        tokens -= taken
        if quota.held_s and taken:
            back = second + math.ceil(quota.held_s)
            freed[back] = freed.get(back, 0.0) + taken
    served = quota.limit / quota.held_s if quota.held_s else quota.limit
    return queue / served if queue > arriving else 0.0


def broken_at(every: list[Quota]) -> dict[str, float]:
    """Return, by quota, from how many sessions a minute it cannot keep up."""
    return {quota.name: 1 / quota.load(1) for quota in every if quota.each}
