"""Agents that talk, on the local stack: how soon waiting agents are woken, and what sending costs.

    python -m bench.talking

The stack runs in this process and the agents are threads of another one, over HTTP, as they are when agents are
programs of their own. Exits with 1 when a number is missed.
"""

import http.client
import json
import multiprocessing
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from bench.filling import fill
from chalicelib.domain import actors, agent_secrets, threads
from chalicelib.services import Services
from chalicelib.store.agents import AgentRecord
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord
from chalicelib.wire.events import ThreadMessageSent
from chalicelib.wire.threads import SessionThreadMessage
from infra.local.stack import LocalStack

WAITING = 100
SENDERS = 50
MESSAGES_EACH = 4
LONG_THREAD = 10_000
SAMPLES = 40

STEADY_SENDERS, STEADY_S = 20, 5

#: The numbers that are promised.
LEAST_RATE, LEAST_SHARE = 150, 0.5
MOST_WAKE_S = 1.0
MEDIAN_WAKE_S = 0.150
MOST_COST = 1.5

NAMESPACE = "bench"
#: What its agents claim to be: no such agent is registered.
REGISTERED = {"name": "bench", "version": "1.0.0", "registrySourceId": {"type": "local"}}
#: What a session keeps of its namespace.
NAMESPACE_STATE = {"name": NAMESPACE, "deleteOnLastSessionExit": False, "annotations": {}}


class Agent:
    """An agent's connection to its MCP endpoint."""

    def __init__(self, endpoint: str) -> None:
        url = urlsplit(endpoint)
        self._path = url.path
        self._connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=90)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool and return its structured answer."""
        params = {"name": tool, "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200 or not text.startswith(b"{"):
            raise RuntimeError(f"{answer.status}, {dict(answer.getheaders())}: {text[:300]!r}")
        result = json.loads(text)["result"]
        if result.get("isError"):
            raise RuntimeError(str(result["structuredContent"]))
        return result["structuredContent"]


def wait_together(endpoints: list[str], results: Any) -> None:
    """Have an agent at each endpoint wait for a mention; put what it got and when (epoch s) into the queue."""

    def wait(endpoint: str) -> tuple[str, float]:
        agent = Agent(endpoint)
        got = agent.call("coral_wait_for_mention", currentUnixTime=time.time_ns() // 1_000_000, maxWaitMs=60_000)
        return (got["message"]["text"] if "message" in got else "", time.time())

    with ThreadPoolExecutor(len(endpoints)) as pool:
        results.put(list(pool.map(wait, endpoints)))


def send_together(endpoints: list[str], thread: str, each: int, results: Any) -> None:
    """Have an agent at each endpoint send so many messages to one thread; put the number of acknowledged ones."""

    def send(endpoint: str) -> int:
        agent = Agent(endpoint)
        return sum("message" in agent.call("coral_send_message", threadId=thread, content="x") for _ in range(each))

    with ThreadPoolExecutor(len(endpoints)) as pool:
        results.put(sum(pool.map(send, endpoints)))


def send_for_a_while(endpoints: list[str], thread: str, duration_s: float, results: Any) -> None:
    """Have an agent at each endpoint send to one thread for so long; put how many each sent."""
    end_s = time.monotonic() + duration_s

    def send(endpoint: str) -> int:
        agent, sent = Agent(endpoint), 0
        while time.monotonic() < end_s:
            agent.call("coral_send_message", threadId=thread, content="x")
            sent += 1
        return sent

    with ThreadPoolExecutor(len(endpoints)) as pool:
        results.put(list(pool.map(send, endpoints)))


class Session:
    """An executed session of agents that have connected and are not programs: only their secrets are there."""

    def __init__(self, stack: LocalStack, agents: int) -> None:
        self.services: Services = stack.services
        self.id = str(uuid.uuid4())
        self.names = [f"agent-{number}" for number in range(agents)]
        now_ms = self.services.clock.now_ms()
        expires_at = now_ms // 1000 + 3600
        key = stack.services.secrets.get("agent-key")
        self.secrets = {name: agent_secrets.mint(key, NAMESPACE, self.id, name) for name in self.names}
        self.endpoints = {name: f"{stack.url}/mcp/v1/{secret}/mcp" for name, secret in self.secrets.items()}
        self.services.namespaces.create(NamespaceRecord(name=NAMESPACE, created_at_ms=now_ms))
        self.services.agents.create_all([self._agent(name, now_ms, expires_at) for name in self.names], {})
        self.services.sessions.create(
            SessionRecord(
                namespace=NAMESPACE,
                session_id=self.id,
                status="executed",
                created_at_ms=now_ms,
                executed_at_ms=now_ms,
                expires_at=expires_at,
                namespace_state=NAMESPACE_STATE,
                runtime_settings={},
            )
        )

    def _agent(self, name: str, connected_at_ms: int, expires_at: int) -> AgentRecord:
        return AgentRecord(
            session_id=self.id,
            namespace=NAMESPACE,
            name=name,
            position=self.names.index(name),
            registry_agent_identifier=REGISTERED,
            runtime="executable",
            expires_at=expires_at,
            status="running",
            connected_at_ms=connected_at_ms,
            links=[other for other in self.names if other != name],
            secret_hash=agent_secrets.hash_of(self.secrets[name]),
        )

    def actor(self, name: str) -> actors.Actor:
        """Return one of its agents."""
        return actors.by_secret(self.services, self.secrets[name])

    def waiting(self) -> int:
        """Return how many of its agents are seen waiting."""
        now_ms = self.services.clock.now_ms()
        return sum((agent.waiting_until_ms or 0) > now_ms for agent in self.services.agents.of_session(self.id))


def wakes(stack: LocalStack) -> list[float]:
    """Have all but one agent wait, send each a message, and return how long each took to reach its agent, in s."""
    session = Session(stack, WAITING + 1)
    sender, *others = session.names
    thread = threads.create(session.services, session.actor(sender), "all", others)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    child = context.Process(target=wait_together, args=([session.endpoints[name] for name in others], results))
    child.start()
    while session.waiting() < WAITING:
        time.sleep(0.2)
    time.sleep(1)
    agent = Agent(session.endpoints[sender])
    sent = {}
    for name in others:
        sent[name] = time.time()
        agent.call("coral_send_message", threadId=thread.id, content=name, mentions=[name])
    got: list[tuple[str, float]] = results.get(timeout=90)
    child.join()
    assert [text for text, _ in got] == others, "a message was lost"
    return [at - sent[name] for name, at in got]


def sending(stack: LocalStack) -> tuple[float, float]:
    """Return the median times (s) of sending to an empty thread and to a long one."""
    session = Session(stack, 2)
    one, two = session.names
    actor = session.actor(one)
    short, long = (threads.create(session.services, actor, name, [two]) for name in ("short", "long"))
    _fill(session, long.id, LONG_THREAD)
    agent = Agent(session.endpoints[one])

    def once(thread: str) -> float:
        started = time.perf_counter()
        agent.call("coral_send_message", threadId=thread, content="x")
        return time.perf_counter() - started

    samples = [(once(short.id), once(long.id)) for _ in range(SAMPLES)]
    return statistics.median(sample[0] for sample in samples), statistics.median(sample[1] for sample in samples)


def _fill(session: Session, thread: str, messages: int) -> None:
    """Have a thread hold so many messages, without sending each of them."""
    now_ms = session.services.clock.now_ms()

    def event(number: int) -> dict[str, Any]:
        message = SessionThreadMessage(
            id=str(number),
            thread_id=thread,
            text="x",
            sender_name=session.names[0],
            mention_names=[],
            timestamp=now_ms,
        )
        return ThreadMessageSent(timestamp=now_ms, message=message).to_wire()

    fill(session.services, session.id, map(event, range(messages)), expires_at=now_ms // 1000 + 3600)


def crowd(stack: LocalStack) -> tuple[int, list[str], bool]:
    """Have many agents send at once; return how many were acknowledged, all ids, and whether there is no hole."""
    session = Session(stack, SENDERS)
    thread = threads.create(session.services, session.actor(session.names[0]), "crowd", session.names[1:])
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    endpoints = list(session.endpoints.values())
    child = context.Process(target=send_together, args=(endpoints, thread.id, MESSAGES_EACH, results))
    child.start()
    acknowledged = results.get(timeout=120)
    child.join()
    entries = list(session.services.log.read(session.id))
    sent = [entry.event["message"]["id"] for entry in entries if entry.event["type"] == "thread_message_sent"]
    return acknowledged, sent, [entry.position for entry in entries] == list(range(1, len(entries) + 1))


def steadily(stack: LocalStack) -> list[int]:
    """Have some agents send to one thread for a while; return how many messages each sent a second."""
    session = Session(stack, STEADY_SENDERS)
    thread = threads.create(session.services, session.actor(session.names[0]), "steady", session.names[1:])
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    endpoints = list(session.endpoints.values())
    child = context.Process(target=send_for_a_while, args=(endpoints, thread.id, STEADY_S, results))
    child.start()
    sent: list[int] = results.get(timeout=120)
    child.join()
    return sent


def main() -> int:
    """Measure, print, and return 1 when a number is missed."""
    rows: list[tuple[str, str, str, bool]] = []

    def note(what: str, seen: str, promised: str, ok: bool) -> None:
        rows.append((what, seen, promised, ok))

    with LocalStack() as stack:
        measured(stack, note)
    table = Table("", "what", "seen", "promised")
    for what, seen, promised, ok in rows:
        table.add_row("ok" if ok else "missed", what, seen, promised)
    Console().print(table)
    return 0 if all(row[3] for row in rows) else 1


def measured(stack: LocalStack, note: Callable[[str, str, str, bool], None]) -> None:
    """Take all measurements and note each beside what is promised."""
    times = wakes(stack)
    most, median = max(times), statistics.median(times)
    note(f"{WAITING} agents wait, the last is woken after", f"{most:.3f} s", f"≤ {MOST_WAKE_S} s", most <= MOST_WAKE_S)
    note("half of them within", f"{median:.3f} s", f"≤ {MEDIAN_WAKE_S} s", median <= MEDIAN_WAKE_S)
    empty_s, long_s = sending(stack)
    seen = f"{empty_s * 1000:.1f} ms / {long_s * 1000:.1f} ms"
    what = f"sending to an empty thread / to one of {LONG_THREAD} messages"
    note(what, seen, f"a factor ≤ {MOST_COST}", long_s <= MOST_COST * empty_s)
    acknowledged, sent, whole = crowd(stack)
    wanted = SENDERS * MESSAGES_EACH
    what = f"{SENDERS} senders at once, {MESSAGES_EACH} messages each"
    seen = f"{acknowledged} acknowledged, {len(set(sent))} in the log, {'no hole' if whole else 'with a hole'}"
    note(what, seen, "all, without a hole", acknowledged == len(set(sent)) == wanted and whole)
    each = steadily(stack)
    rate, least = sum(each) / STEADY_S, min(each) / max(each)
    what = f"{STEADY_SENDERS} senders for {STEADY_S} s: messages a second"
    note(what, f"{rate:.0f}", f"≥ {LEAST_RATE}", rate >= LEAST_RATE)
    what = "the slowest of them against the quickest"
    note(what, f"{least:.2f}", f"≥ {LEAST_SHARE}", least >= LEAST_SHARE)


if __name__ == "__main__":
    sys.exit(main())
