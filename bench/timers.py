"""Timers and wake-ups of the local stack: how late, and how soon."""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import talking
from bench.growth import free_port
from chalicelib.domain import agent_secrets
from infra.local.stack import LocalStack

ROOT = Path(__file__).parents[1]
SLEEPER = ROOT / "tests" / "agents" / "sleeper"
ECHO = ROOT / "agents" / "echo"
NAMESPACE = "timers"
TTL_MS, HOLD_MS = 2_000, 1_000
ENDED_SESSIONS, CONNECTED_SESSIONS, ANSWERS, STARTS = 12, 5, 30, 3


@dataclass(frozen=True)
class Timed:
    """Several measurements of one thing, in ms, and the goals for their median and their worst."""

    name: str
    ms: list[float]
    median_limit: float | None = None
    worst_limit: float | None = None

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.ms)

    @property
    def p99(self) -> float:
        """The 99th percentile; of few measurements the worst."""
        return sorted(self.ms)[min(len(self.ms) - 1, int(len(self.ms) * 0.99))]

    @property
    def holds(self) -> bool:
        """Whether it is as promised."""
        return self.median <= (self.median_limit or 1e12) and max(self.ms) <= (self.worst_limit or 1e12)


@dataclass(frozen=True)
class Crowd:
    """What became of many senders at once, and what sending to a long thread costs."""

    senders: int
    sent: int
    acknowledged: int
    #: Messages with ids of their own in the log, and whether its positions have no hole.
    logged: int
    in_order: bool
    empty_ms: float
    long_ms: float

    @property
    def whole(self) -> bool:
        """Whether no message was lost or doubled, and no position left out."""
        return self.acknowledged == self.logged == self.sent and self.in_order


def measure() -> tuple[list[Timed], Crowd]:
    """Measure everything on one local stack."""
    found = [Timed("`make run` is ready", [_start() for _ in range(STARTS)], worst_limit=5_000)]
    seen: dict[tuple[str, str], float] = {}

    def note(event: dict[str, Any]) -> None:
        detail = event.get("detail", {})
        state = detail.get("sessionState") or detail.get("finalSessionState") or {}
        seen.setdefault((event.get("detail-type", ""), state.get("id", "")), time.time() * 1000)

    with LocalStack(agents=[SLEEPER, ECHO], on_event=note) as stack:
        found += _ends(stack, seen)
        found.append(_connected(stack))
        found.append(_answers(stack))
        wakes = [wake_s * 1000 for wake_s in talking.wakes(stack)]
        found.append(Timed(f"{len(wakes)} agents wait, a message to each", wakes, 150, 1_000))
        acknowledged, ids, in_order = talking.crowd(stack)
        empty_s, long_s = talking.sending(stack)
        sent = talking.SENDERS * talking.MESSAGES_EACH
        crowd = Crowd(talking.SENDERS, sent, acknowledged, len(set(ids)), in_order, empty_s * 1000, long_s * 1000)
    return found, crowd


def _start() -> float:
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "AGENTS": "", "DATA": ""}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.local"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/registry", timeout=5)
            except urllib.error.HTTPError:  # 401: it answers
                return (time.perf_counter() - started) * 1000
            except urllib.error.URLError:
                time.sleep(0.02)
    finally:
        process.terminate()
        process.wait()


def _agent(kind: str, name: str, **options: Any) -> dict[str, Any]:
    return {
        "id": {"name": kind, "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "name": name,
        "provider": {"type": "local", "runtime": "executable"},
        "options": {key: {"type": kind_, "value": value} for key, (kind_, value) in options.items()},
    }


def _sleeper(name: str) -> dict[str, Any]:
    return _agent("sleeper", name, SECONDS_TO_LIVE=("f64", 60.0))


def _post(stack: LocalStack, agents: list[dict[str, Any]], **settings: Any) -> str:
    body = {
        "agentGraphRequest": {"agents": agents, "groups": [[agent["name"] for agent in agents]]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": NAMESPACE}},
        "execution": {"mode": "immediate", "runtimeSettings": settings},
    }
    return str(_call(stack, "POST", "/api/v1/local/session", body)["sessionId"])


def _call(stack: LocalStack, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(stack.url + path, json.dumps(body).encode() if body else None, method=method)
    request.add_header("Authorization", f"Bearer {stack.key}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def _ends(stack: LocalStack, seen: dict[tuple[str, str], float]) -> list[Timed]:
    """Run sessions into their TTL and out of their hold."""
    found: dict[str, list[float]] = defaultdict(list)

    def one(_: int) -> None:
        started = time.time() * 1000
        hold = {"mode": "hold_after_exit", "duration": HOLD_MS}
        session = _post(stack, [_sleeper("a"), _sleeper("b")], ttl=TTL_MS, persistenceMode=hold)
        path = f"/api/v1/local/session/{NAMESPACE}/{session}"
        status = _call(stack, "GET", path)["status"]
        while status["type"] != "executed":
            status = _call(stack, "GET", path)["status"]
        found["executed after the POST"].append(time.time() * 1000 - started)
        closing_at = _until(seen, ("session_closing", session))
        found["TTL ends late by"].append(closing_at - _ms(status["executionTime"]) - TTL_MS)
        closed = _ms(_call(stack, "GET", path)["status"]["closingTime"])
        found["hold ends late by"].append(_until(seen, ("session_closed", session)) - closed - HOLD_MS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(ENDED_SESSIONS)))
    limits = {"executed after the POST": 1_000, "TTL ends late by": 1_500, "hold ends late by": 1_500}
    return [Timed(name, found[name], worst_limit=limit) for name, limit in limits.items()]


def _connected(stack: LocalStack) -> Timed:
    taken = []
    for _ in range(CONNECTED_SESSIONS):
        started = time.time() * 1000
        session = _post(stack, [_agent("echo", "echo")], ttl=60_000)
        taken.append(_first(stack, session, "agent_connected") - started)
        _call(stack, "DELETE", f"/api/v1/local/session/{NAMESPACE}/{session}")
    return Timed("POST to first agent connected (a Python program that starts)", taken)


def _answers(stack: LocalStack) -> Timed:
    session = _post(stack, [_agent("echo", "echo", ITERATION_COUNT=("u32", ANSWERS)), _sleeper("me")], ttl=60_000)
    _first(stack, session, "agent_connected")
    secret = agent_secrets.mint(stack.services.secrets.get("agent-key"), NAMESPACE, session, "me")
    me = talking.Agent(f"{stack.url}/mcp/v1/{secret}/mcp")
    thread = me.call("coral_create_thread", threadName="bench", participantNames=["echo"])["thread"]["id"]
    taken = []
    for number in range(ANSWERS):
        started = time.time() * 1000
        me.call("coral_send_message", threadId=thread, content=str(number), mentions=["echo"])
        answer = me.call("coral_wait_for_agent", agentName="echo", currentUnixTime=int(started), maxWaitMs=10_000)
        taken.append(time.time() * 1000 - started)
        if "message" not in answer:
            raise RuntimeError(f"no answer to message {number}")
    _call(stack, "DELETE", f"/api/v1/local/session/{NAMESPACE}/{session}")
    return Timed("a message to a waiting agent, and its answer back", taken, median_limit=300)


def _first(stack: LocalStack, session: str, kind: str) -> float:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for entry in stack.services.log.read(session):
            if entry.event["type"] == kind:
                return float(entry.stamp_ms)
        time.sleep(0.01)
    raise RuntimeError(f"no {kind} in the session {session}")


def _until(seen: dict[tuple[str, str], float], what: tuple[str, str]) -> float:
    deadline = time.monotonic() + 30
    while what not in seen:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not happen")
        time.sleep(0.005)
    return seen[what]


def _ms(time_text: str) -> float:
    return datetime.fromisoformat(time_text).timestamp() * 1000


if __name__ == "__main__":
    times, all_of_them = measure()
    for timed in times:
        print(f"{timed.name:60} {timed.median:8.1f} {timed.p99:8.1f} {timed.holds}")
    print(all_of_them.whole, all_of_them.acknowledged, all_of_them.empty_ms, all_of_them.long_ms)
