"""Throughput of the local stack over HTTP, and in the same run of a peer: ADK's server with its sessions in SQLite."""

import contextlib
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.growth import free_port

ROOT = Path(__file__).parents[1]
PEER = Path(__file__).parent / "peer"
CONNECTIONS = (8, 64)
SECONDS = 2
#: How often each is measured, one server after the other; the middle one counts.
ROUNDS = 3
#: Sessions that messages and reads are spread over, so that none grows long on either side.
SESSIONS = 300


@dataclass(frozen=True)
class Throughput:
    """One row: what was done, over how many connections, and how often a second by each."""

    name: str
    connections: int
    atoll: dict[str, Any]
    peer: dict[str, Any] | None


@dataclass(frozen=True)
class Served:
    """A server under load: its port, its process, and the requests of each operation."""

    port: int
    process: int
    requests: dict[str, list[str]]

    def memory_mib(self) -> float:
        """Return the memory that its process has in use."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def measure() -> tuple[list[Throughput], dict[str, float], str | None]:
    """Return the rows, the memory of both after their load (MiB), and why the peer could not run, if so."""
    results: dict[str, dict[tuple[str, int], list[dict[str, Any]]]] = {}
    memory: dict[str, float] = {}
    missing = None
    with contextlib.ExitStack() as both:
        servers = {"atoll": both.enter_context(_atoll())}
        try:
            servers["peer"] = both.enter_context(_peer())
        except NoPeer as error:
            missing = str(error)
        for name, connections, _ in itertools.product(servers["atoll"].requests, CONNECTIONS, range(ROUNDS)):
            for who, served in servers.items():
                runs = results.setdefault(who, {}).setdefault((name, connections), [])
                runs.append(_load(served, name, connections))
        memory = {who: served.memory_mib() for who, served in servers.items()}
    middle = {who: {key: _middle(runs) for key, runs in found.items()} for who, found in results.items()}
    peer = middle.get("peer", {})
    rows = [Throughput(name, many, one, peer.get((name, many))) for (name, many), one in middle["atoll"].items()]
    return rows, memory, missing


class NoPeer(Exception):
    """The peer cannot be installed or started here; the message says why."""


def _middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the run of the median rate, with what went wrong in any."""
    ordered = sorted(runs, key=lambda run: float(run["per_s"]))
    return {**ordered[len(runs) // 2], "wrong": sum(run["wrong"] for run in runs)}


def _load(served: Served, name: str, connections: int) -> dict[str, Any]:
    plan = {
        "host": "127.0.0.1",
        "port": served.port,
        "connections": connections,
        "seconds": SECONDS,
        "requests": served.requests[name],
    }
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(plan), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _request(method: str, path: str, body: Any = None, **headers: str) -> str:
    text = json.dumps(body) if body is not None else ""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(text)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines) + "\r\n\r\n" + text


@contextmanager
def _atoll() -> Iterator[Served]:
    with subprocess.Popen(
        [sys.executable, "-m", "bench.throughput"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        served: dict[str, Any] = json.loads(process.stdout.readline())
        yield Served(process=process.pid, **served)
        process.stdin.close()


def serve() -> None:
    """Be the local stack under load: say where it is, serve until the input ends."""
    from bench import talking
    from chalicelib.domain import threads
    from infra.local.stack import LocalStack

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with LocalStack(agents=[ROOT / "tests" / "agents" / "sleeper"], settings={"mcp_calls_per_s": 0}) as stack:
        reads, sends = [], []
        # Only the endpoints of these sessions are needed: without stream records no lifecycle runs beside the load.
        pumps = dict(stack.pumps)
        stack.pumps.clear()
        key = {"Authorization": f"Bearer {stack.key}"}
        for _ in range(SESSIONS):
            session = talking.Session(stack, 2)
            one, two = session.names
            thread = threads.create(session.services, session.actor(one), "load", [two])
            arguments = {"threadId": thread.id, "content": "x" * 100, "mentions": [two]}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
            message |= {"params": {"name": "coral_send_message", "arguments": arguments}}
            path = session.endpoints[one].removeprefix(stack.url)
            sends.append(_request("POST", path, message, Accept="application/json"))
            reads.append(_request("GET", f"/api/v1/local/session/{talking.NAMESPACE}/{session.id}", **key))
        create = {
            "agentGraphRequest": {
                "agents": [
                    {
                        "id": {"name": "sleeper", "version": "1.0.0", "registrySourceId": {"type": "local"}},
                        "name": "a",
                        "provider": {"type": "local", "runtime": "executable"},
                        "options": {"SECONDS_TO_LIVE": {"type": "f64", "value": 1.0}},
                    }
                ]
            },
            "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": "load"}},
            "execution": {"mode": "defer"},
        }
        requests = {
            "create a session": [_request("POST", "/api/v1/local/session", create, **key)],
            "send a message": sends,
            "read a session's state": reads,
        }
        stack.pumps.update(pumps)
        port = int(stack.url.rsplit(":", 1)[1])
        print(json.dumps({"port": port, "requests": requests}), flush=True)
        sys.stdin.read()


@contextmanager
def _peer() -> Iterator[Served]:
    from tests.environments import NotInstallable, programs

    try:
        adk = programs("adk", PEER / "requirements.txt") / "adk"
    except NotInstallable as error:
        raise NoPeer(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = subprocess.Popen(
            [
                str(adk),
                "api_server",
                f"--port={port}",
                "--log_level=error",
                f"--session_service_uri=sqlite:///{folder}/sessions.db",
                str(PEER / "apps"),
            ],
            cwd=folder,
            env={**os.environ, "GOOGLE_API_KEY": "none"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            base = "/apps/idle/users/bench/sessions"
            ids = _until_it_answers(process, f"http://127.0.0.1:{port}{base}")
            event = {"stateDelta": {"text": "x" * 100}}
            requests = {
                "create a session": [_request("POST", base, {})],
                "send a message": [_request("PATCH", f"{base}/{one}", event) for one in ids],
                "read a session's state": [_request("GET", f"{base}/{one}") for one in ids],
            }
            yield Served(port, process.pid, requests)
        finally:
            process.terminate()
            process.wait()


def _until_it_answers(process: subprocess.Popen[bytes], url: str) -> list[str]:
    def create() -> str:
        request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["id"])

    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return [create() for _ in range(SESSIONS)]
        except urllib.error.URLError:
            time.sleep(0.1)
    raise NoPeer("adk api_server does not answer")


if __name__ == "__main__":
    serve()
