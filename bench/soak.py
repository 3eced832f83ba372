"""A soak: sessions, messages, waits, sockets and closings against a local stack for minutes, and what it holds on to.

    make soak            10 minutes
    make soak MINUTES=3

The stack runs in a process of its own, which is watched. Exits with 1 when its memory grows by more for each session
than is stated, when descriptors or threads grow, when agents' processes are left, or when anything is answered wrongly.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from websockets.sync.client import connect

from bench.talking import Agent
from chalicelib.domain import agent_secrets
from chalicelib.wire.base import ms_from_iso
from infra.local.stack import LocalStack

ROOT = Path(__file__).parents[1]

MINUTES = 10.0
#: Who makes sessions beside each other, and how many messages each session has.
WORKERS, MESSAGES = 3, 10
#: How often the stack is looked at, in s, and how long it may take to come to rest.
EVERY_S, REST_S = 5.0, 30.0
#: The first part of the samples, in which caches fill, is not judged.
WARM_UP = 0.25
#: What the stack may hold on to: memory for each session; descriptors and threads in all, about as many as the sessions
#: have that are under way.
MOST_KB_A_SESSION, MOST_DESCRIPTORS, MOST_THREADS = 100.0, 20, 20
#: The stack's own process, which ends agents when the stack dies: there from its first agent on.
REAPERS = 1
#: Below this, growth is the allocator's.
LEAST_MB = 10.0


@dataclass(frozen=True)
class Sample:
    """The process of a stack at one moment."""

    at_s: float
    #: Sessions that have come and gone until then.
    sessions: int
    memory_mb: float
    descriptors: int
    threads: int
    children: int


@dataclass(frozen=True)
class Deployment:
    """A running stack: its process, and what its users need."""

    pid: int
    url: str
    key: str
    agent_key: str


def serve() -> None:
    """Run a stack until the input ends; the first line of output says where it is."""
    with LocalStack(agents=[ROOT / "tests/agents/sleeper"], settings={"history_days": 0}) as stack:
        agent_key = stack.services.secrets.get("agent-key")
        print(json.dumps({"url": stack.url, "key": stack.key, "agent_key": agent_key}), flush=True)
        sys.stdin.read()


@contextmanager
def served() -> Iterator[Deployment]:
    """Run a stack in a process of its own."""
    command = [sys.executable, "-m", "bench.soak", "serve"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Deployment(pid=process.pid, **json.loads(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(30)


class Load:
    """Sessions that come, talk and go, until they are told to stop."""

    def __init__(self, deployment: Deployment) -> None:
        self._to = deployment
        self._over = threading.Event()
        self._workers = [threading.Thread(target=self._work, args=[number]) for number in range(WORKERS)]
        self.done = 0
        self.failures: Counter[str] = Counter()

    def start(self) -> None:
        """Begin."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Let the sessions that are there come to their ends."""
        self._over.set()
        for worker in self._workers:
            worker.join()

    def _work(self, number: int) -> None:
        while not self._over.is_set():
            try:
                self._life(f"soak-{number}-{uuid.uuid4().hex[:8]}")
                self.done += 1
            except Exception as error:
                own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
                self.failures[f"{own[-1].name}: {type(error).__name__}: {error}"[:200]] += 1

    def _life(self, namespace: str) -> None:
        """Live one session: it is followed, its agents talk and wait, it is looked at and closed."""
        session_id = self._ask("POST", "/api/v1/local/session", _request(namespace))["sessionId"]
        path = f"{namespace}/{session_id}"
        try:
            self._until(path, lambda: self._statuses(path) == {"running"}, "runs")
            self._meet(path, namespace, session_id)
        finally:
            self._ask("DELETE", f"/api/v1/local/session/{path}")
        self._until(path, lambda: self._statuses(path) is None, "is gone")

    def _meet(self, path: str, namespace: str, session_id: str) -> None:
        socket = f"{self._to.url.replace('http', 'ws', 1)}/ws/v1/events/{self._to.key}/session/{path}?after=0"
        secret = agent_secrets.mint(self._to.agent_key, namespace, session_id, "b")
        with connect(socket, proxy=None) as follower, closing(Agent(f"{self._to.url}/mcp/v1/{secret}/mcp")) as waiting:
            self._talk(path, waiting)
            seen = Counter[str]()
            while seen["thread_message_sent"] < MESSAGES:
                seen[json.loads(follower.recv(10))["type"]] += 1
        state = self._ask("GET", f"/api/v1/local/session/{path}/extended")
        assert len(state["threads"][0]["messages"]) == MESSAGES, "messages are missing"

    def _talk(self, path: str, waiting: Agent) -> None:
        puppet = f"/api/v1/puppet/{path}/a/thread"
        opened = self._ask("POST", puppet, {"threadName": "t", "participantNames": ["b"]})["thread"]["id"]
        since_ms = 0
        for number in range(MESSAGES):
            message = {"threadId": opened, "content": f"message {number} " * 50, "mentions": ["b"]}
            self._ask("POST", f"{puppet}/message", message)
            got = waiting.call("coral_wait_for_mention", currentUnixTime=since_ms, maxWaitMs=10_000)
            assert got["status"] == "Message received", got
            since_ms = ms_from_iso(got["message"]["timestamp"]) + 1
        waiting.call("coral_wait_for_mention", currentUnixTime=since_ms, maxWaitMs=200)

    def _until(self, path: str, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + REST_S
        while not condition():
            assert time.monotonic() < deadline, f"after {REST_S:g} s it is not true that {path} {what}"
            time.sleep(0.05)

    def _statuses(self, path: str) -> set[str] | None:
        """Return the statuses of a session's agents; ``None`` when it is gone."""
        try:
            agents = self._ask("GET", f"/api/v1/local/session/{path}/extended")["agents"]
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None
        return {each["status"]["type"] for each in agents}

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._to.key}"}
        request = urllib.request.Request(self._to.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
        return json.loads(text) if text else None


def _request(namespace: str) -> dict[str, Any]:
    agents = [
        {
            "id": {"name": "sleeper", "version": "1.0.0", "registrySourceId": {"type": "local"}},
            "name": name,
            "provider": {"type": "local", "runtime": "executable"},
        }
        for name in ("a", "b")
    ]
    return {
        "agentGraphRequest": {"agents": agents, "groups": [["a", "b"]]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": namespace}},
        "execution": {"mode": "immediate", "runtimeSettings": {"ttl": 600_000}},
    }


def sampled(pid: int, *, at_s: float, sessions: int) -> Sample:
    """Look at a process (Linux's ``/proc``)."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return Sample(
        at_s=at_s,
        sessions=sessions,
        memory_mb=int(fields["VmRSS"].split()[0]) / 1024,
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(fields["Threads"]),
        children=sum(len(each.read_text().split()) for each in children),
    )


def faults(samples: Sequence[Sample]) -> list[str]:
    """Say what a stack held on to: the second half of its samples against the first, after the warm-up.

    The first sample and the last one are of the stack at rest.
    """
    idle, *busy, rest = samples
    judged = busy[int(len(busy) * WARM_UP) :]
    early, late = judged[: len(judged) // 2], judged[len(judged) // 2 :]
    if not early or late[-1].sessions == early[0].sessions:
        return ["no sessions came and went: nothing can be said"]

    def grown(name: str) -> float:
        first, second = (statistics.median(float(getattr(each, name)) for each in half) for half in (early, late))
        return second - first

    kb_a_session = grown("memory_mb") * 1024 / max(1, grown("sessions"))
    found = []
    if grown("memory_mb") > LEAST_MB and kb_a_session > MOST_KB_A_SESSION:
        found.append(f"memory grows by {kb_a_session:.0f} KB a session, more than {MOST_KB_A_SESSION:g}")
    for name, most in (("descriptors", MOST_DESCRIPTORS), ("threads", MOST_THREADS)):
        if grown(name) > most:
            found.append(f"{name} grow by {grown(name):.0f}, more than {most}")
    left = rest.children - idle.children - REAPERS
    if left > 0:
        found.append(f"agents left behind: {left} processes")
    return found


def run(minutes: float) -> tuple[list[Sample], Counter[str]]:
    """Soak a stack for some minutes; return what it was like, at rest at last, and the failures of its users."""
    with served() as deployment:
        load, begun = Load(deployment), time.monotonic()

        def look() -> Sample:
            return sampled(deployment.pid, at_s=time.monotonic() - begun, sessions=load.done)

        samples = [look()]
        load.start()
        while time.monotonic() - begun < minutes * 60:
            time.sleep(EVERY_S)
            samples.append(look())
        load.stop()
        deadline = time.monotonic() + REST_S
        while look().children > samples[0].children + REAPERS and time.monotonic() < deadline:
            time.sleep(0.2)
        return [*samples, look()], load.failures


def shown(samples: Sequence[Sample]) -> Table:
    """Lay out some of the samples, the last one among them."""
    table = Table("s", "sessions", "MB", "descriptors", "threads", "children")
    for each in [*samples[: -1 : max(1, len(samples) // 12)], samples[-1]]:
        table.add_row(
            f"{each.at_s:.0f}",
            str(each.sessions),
            f"{each.memory_mb:.0f}",
            str(each.descriptors),
            str(each.threads),
            str(each.children),
        )
    return table


def main() -> int:
    """Soak, print the figures over time, and return the exit code."""
    console = Console()
    samples, failures = run(float(os.environ.get("MINUTES") or MINUTES))
    console.print(shown(samples))
    found = faults(samples)
    found += [f"{count} times: {what}" for what, count in failures.most_common(5)]
    for fault in found:
        console.print(fault, style="red", markup=False)
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        sys.exit(main())
