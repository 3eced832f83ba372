"""An hour of one waiting agent, by the client that it uses: real clients wait once, and what they ask for is priced.

Each is a program of ``tests/clients``, connected to the MCP endpoint of a local stack that pauses waits as a deployment
does and polls as on AWS. What each request calls, and how long it is held, is counted there.
"""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from bench.meter import Counted, Meter
from bench.money import DOOR, HOLD_MS, WAIT_S, Lambda, of_wait
from chalicelib.domain import agent_secrets
from chalicelib.mcp import endpoint
from chalicelib.stores import Stores
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, eventually, session, sleeper
from tests.environments import NotInstallable
from tests.mcp_clients import CLIENTS, Kind, named

#: The clients: those that an agent is likely to have, and at the end some that are held.
KINDS = (
    "mcp-2-auto",
    "mcp-2-legacy",
    "mcp-1-last",
    "fastmcp-4",
    "fastmcp-3",
    "langchain",
    "pydantic-ai",
    "openai-agents",
    "google-adk",
    "typescript-sdk-1",
    "typescript-sdk-2",
    "typescript-sdk-2-auto",
    "typescript-ai-sdk",
    "mcp-1",
)
#: A request that takes longer is held: its function is there for as long. What others take is computed.
HELD_S = 1.0
#: The longest that a program may take to connect; some frameworks take seconds of CPU to be imported.
START_S = 120


@dataclass(frozen=True)
class Request:
    """What one request of a client took."""

    seconds: float
    counted: Counted

    def cost(self, function: Lambda, price: dict[str, float]) -> float:
        """Return what it costs as deployed."""
        if self.seconds > HELD_S:
            return of_wait(self.counted, function, self.seconds, price)
        return function.request(self.counted, price)


@dataclass(frozen=True)
class Waited:
    """One wait of one client; `missing` says why there is none."""

    client: str
    comes_back: bool
    seconds: float = 0.0
    requests: tuple[Request, ...] = ()
    missing: str = ""

    @property
    def held_s(self) -> float:
        """How long its function was there for it."""
        return sum(request.seconds for request in self.requests if request.seconds > HELD_S)

    def row(self) -> dict[str, Any]:
        """Return what was counted as a row of results."""
        counted = [request.counted for request in self.requests]
        return {
            "comes_back": self.comes_back,
            "seconds": self.seconds,
            "requests": len(counted),
            "calls": sum(len(each.calls) for each in counted),
            "read_units": sum(each.read_units for each in counted),
            "write_units": sum(each.write_units for each in counted),
        }

    def hour(self, price: dict[str, float]) -> float:
        """Return what an hour of such waits costs."""
        return 3600 / self.seconds * sum(request.cost(DOOR, price) for request in self.requests)


class _Meter(Meter):
    """Counts for each thread apart: a request is served in one."""

    def __init__(self) -> None:
        self._here = threading.local()

    @property
    def counted(self) -> Counted:
        return getattr(self._here, "counted", None) or Counted()

    @counted.setter
    def counted(self, counted: Counted) -> None:
        self._here.counted = counted


def measure() -> list[Waited]:
    """Have each client that can be installed wait once, beside each other: it takes a minute."""
    commands: dict[str, list[str] | NotInstallable] = {}
    for name in KINDS:
        try:
            commands[name] = named(name).command()
        except NotInstallable as error:
            commands[name] = error
    seen: dict[str, list[Request]] = {}
    with _stack(seen) as stack, ThreadPoolExecutor(len(KINDS)) as pool:
        return list(pool.map(lambda name: _waited(stack, named(name), commands[name], seen), KINDS))


@contextmanager
def _stack(seen: dict[str, list[Request]]) -> Iterator[LocalStack]:
    """Run a stack that notes each request to the MCP endpoint by its secret."""
    meter, handle = _Meter(), endpoint.handle

    def noted(stores: Stores, request: endpoint.Request) -> endpoint.Response:
        began = time.monotonic()
        with meter.counting() as counted:
            answer = handle(stores, request)
        seen.setdefault(request.secret, []).append(Request(time.monotonic() - began, counted))
        return answer

    with LocalStack(agents=[SLEEPER], settings={"mcp_wait_hold_ms": HOLD_MS}) as stack:
        meter.follow(stack.services.dynamodb)
        # On AWS nothing wakes who waits: it polls.
        with patch.object(type(stack.services), "watch", Stores.watch), patch.object(endpoint, "handle", noted):
            yield stack


def _waited(
    stack: LocalStack, kind: Kind, command: list[str] | NotInstallable, seen: dict[str, list[Request]]
) -> Waited:
    if isinstance(command, NotInstallable):
        return Waited(kind.name, kind.comes_back, missing=str(command))
    secret = _agent(stack)
    url = f"{stack.url}/mcp/v1/{secret}/mcp"
    with subprocess.Popen(
        [*command, url, *kind.arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CLIENTS)},
    ) as program:
        try:
            _outcome(program, START_S)
            before = len(seen[secret])
            wanted = {"currentUnixTime": stack.services.clock.now_ms(), "maxWaitMs": WAIT_S * 1000}
            _tell(program, {"do": "call", "tool": "coral_wait_for_mention", "arguments": wanted})
            outcome = _outcome(program, 2 * WAIT_S)
            if outcome["value"] != {"status": "Timeout reached"}:
                raise RuntimeError(f"{kind.name}: {outcome}")
            return Waited(kind.name, kind.comes_back, outcome["seconds"], tuple(seen[secret][before:]))
        finally:
            program.kill()


def _agent(stack: LocalStack) -> str:
    """Have an agent started that does nothing, and return its secret: the client acts in its place."""
    api = Client(stack.url, stack.key)
    path = api.create(session(sleeper("ann", 600), namespace="waiting"))
    *_, namespace, session_id = path.split("/")

    def runs() -> bool:
        [ann] = api.call("GET", f"{path}/extended").body["agents"]
        return bool(ann["status"]["type"] == "running")

    eventually(runs, START_S, "the agent runs")
    return agent_secrets.mint(stack.services.secrets.get("agent-key"), namespace, session_id, "ann")


def _tell(program: "subprocess.Popen[str]", wanted: dict[str, Any]) -> None:
    assert program.stdin is not None
    program.stdin.write(json.dumps(wanted) + "\n")
    program.stdin.flush()


def _outcome(program: "subprocess.Popen[str]", within_s: float) -> dict[str, Any]:
    """Return the next outcome, which must be a success."""
    assert program.stdout is not None
    timer = threading.Timer(within_s, program.kill)
    timer.start()
    try:
        line = program.stdout.readline()
    finally:
        timer.cancel()
    outcome: dict[str, Any] = json.loads(line or "{}")
    if not outcome.get("ok"):
        raise RuntimeError(f"{program.args!r}: {outcome or f'it ended, or said nothing within {within_s} s'}")
    return outcome
