"""Following a session on the local stack: how soon events are pushed, whether all arrive, and what sending costs.

The stack runs in a process of its own, the followers in a second, and whoever sends in a third.
"""

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench import talking
from chalicelib.domain import threads
from chalicelib.wire.base import ms_from_iso
from infra.local.stack import LocalStack

ROOT = Path(__file__).parents[1]

FOLLOWERS, RATE_PER_S, SECONDS = 100, 200, 10
#: Who sends beside each other.
SENDERS = 8
#: How often sending is timed with and without the stream, by turns.
ROUNDS = 4

_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Followed:
    """What followers of one session saw."""

    followers: int
    #: Messages that were sent and acknowledged, in how many seconds.
    sent: int
    seconds: float
    #: Events that each follower got, the fewest and the most.
    fewest: int
    most: int
    #: From the stamp of a message until a follower had it.
    median_ms: float
    p99_ms: float
    #: Whether each follower got every event in the same order.
    in_order: bool


@dataclass(frozen=True)
class Sending:
    """Messages sent a second to sessions that nobody follows, with the stream and without it."""

    with_stream: float
    without: float


def measure() -> tuple[list[Followed], Sending]:
    """Return what one and many followers saw, and what the stream costs those who send."""
    with _stack() as stack:
        one = _follow(stack, 1)
        many = _follow(stack, FOLLOWERS)
        return [one, many], _sending(stack)


@contextmanager
def _stack() -> Iterator[Connection]:
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield ours
    finally:
        ours.send("end")
        process.join()


def _serve(pipe: Connection) -> None:
    """Run a stack and do what the other end of the pipe asks for: new sessions, the stream on and off."""
    with LocalStack(agents=[ROOT / "tests/agents/sleeper"], settings={"mcp_calls_per_s": 0}) as stack:
        pumps = stack.pumps.pop("atoll-local-session-items")
        while (asked := pipe.recv()) != "end":
            if asked == "stream":
                stack.pumps["atoll-local-session-items"] = pumps
            elif asked == "no stream":
                del stack.pumps["atoll-local-session-items"]
            session = talking.Session(stack, SENDERS)
            thread = threads.create(session.services, session.actor(session.names[0]), "t", session.names[1:])
            where = f"{stack.url.replace('http', 'ws', 1)}/ws/v1/events/{stack.key}/session/{talking.NAMESPACE}"
            pipe.send((f"{where}/{session.id}", list(session.endpoints.values()), thread.id))


def _each(seconds: float, rate_per_s: float) -> int:
    """Return how many messages each sender sends."""
    return int(seconds * rate_per_s / SENDERS)


def _asked(stack: Connection, what: str) -> tuple[str, list[str], str]:
    stack.send(what)
    answer: tuple[str, list[str], str] = stack.recv()
    return answer


def _follow(stack: Connection, followers: int) -> Followed:
    url, endpoints, thread = _asked(stack, "stream" if followers == 1 else "a session")
    results = _processes.Queue()
    watching = _processes.Process(target=_watch, args=(url, followers, _each(SECONDS, RATE_PER_S) * SENDERS, results))
    watching.start()
    results.get()  # all are connected
    began = time.monotonic()
    sent = _send(endpoints, thread, SECONDS, RATE_PER_S)
    seconds = time.monotonic() - began
    found = results.get(timeout=120)
    watching.join()
    return Followed(followers, sent, seconds, **found)


def _watch(url: str, followers: int, events: int, results: Any) -> None:
    results.put(asyncio.run(_watch_all(url, followers, events, results)))


async def _watch_all(url: str, followers: int, events: int, results: Any) -> dict[str, Any]:
    from websockets.asyncio.client import connect

    late_ms: list[float] = []
    orders: list[tuple[str, ...]] = []

    async def watch(connection: Any) -> None:
        ids: list[str] = []
        try:
            while len(ids) < events:
                text = await asyncio.wait_for(connection.recv(), 20)
                event = json.loads(text)
                if event["type"] == "thread_message_sent":
                    late_ms.append(time.time() * 1000 - ms_from_iso(event["timestamp"]))
                    ids.append(event["message"]["id"])
        finally:
            orders.append(tuple(ids))

    connections = [await connect(url, compression=None) for _ in range(followers)]
    results.put("connected")
    await asyncio.gather(*map(watch, connections), return_exceptions=True)
    for connection in connections:
        await connection.close()
    return {
        "fewest": min(map(len, orders)),
        "most": max(map(len, orders)),
        "median_ms": statistics.median(late_ms),
        "p99_ms": sorted(late_ms)[int(len(late_ms) * 0.99)],
        "in_order": len(set(orders)) == 1,
    }


def _send(endpoints: list[str], thread: str, seconds: float, rate_per_s: float | None) -> int:
    """Send from every endpoint, together at a rate or as fast as they can; return how many were acknowledged."""
    results = _processes.Queue()
    sender = _processes.Process(target=_send_all, args=(endpoints, thread, seconds, rate_per_s, results))
    sender.start()
    sent: int = results.get()
    sender.join()
    return sent


def _send_all(endpoints: list[str], thread: str, seconds: float, rate_per_s: float | None, results: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    began = time.monotonic()
    each = None if rate_per_s is None else _each(seconds, rate_per_s)

    def send(number: int) -> int:
        agent, sent = talking.Agent(endpoints[number]), 0
        while sent < each if each is not None else time.monotonic() < began + seconds:
            if rate_per_s is not None:
                due = began + (sent * len(endpoints) + number) / rate_per_s
                time.sleep(max(0.0, due - time.monotonic()))
            agent.call("coral_send_message", threadId=thread, content="x" * 100, mentions=[])
            sent += 1
        return sent

    with ThreadPoolExecutor(len(endpoints)) as pool:
        results.put(sum(pool.map(send, range(len(endpoints)))))


def _sending(stack: Connection) -> Sending:
    rates: dict[str, list[float]] = {"stream": [], "no stream": []}
    for number in range(2 * ROUNDS):
        what = ("no stream", "stream")[number % 2]
        _, endpoints, thread = _asked(stack, what)
        rates[what].append(_send(endpoints, thread, 3, None) / 3)
    return Sending(statistics.median(rates["stream"]), statistics.median(rates["no stream"]))
