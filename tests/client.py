"""A small client of the REST API for tests: requests as a user makes them, and waiting for what a user can see."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from httpx2 import Headers


@dataclass
class Answer:
    """An HTTP answer; its headers are found by their names in any case."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=Headers)


class Client:
    """Calls one Atoll with one key."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url
        self.key = key

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Make a request; a body that is not bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        if self.key is not None:
            request.add_header("Authorization", f"Bearer {self.key}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return self._answer(response.status, response.read(), response.headers.items())
        except urllib.error.HTTPError as error:
            return self._answer(error.code, error.read(), error.headers.items())

    @staticmethod
    def _answer(status: int, text: bytes, headers: Iterable[tuple[str, str]]) -> Answer:
        return Answer(status, json.loads(text) if text else None, Headers(list(headers)))

    def create(self, request: dict[str, Any]) -> str:
        """Create a session and return its path."""
        answer = self.call("POST", "/api/v1/local/session", request)
        assert answer.status == 200, answer
        return f"/api/v1/local/session/{answer.body['namespace']}/{answer.body['sessionId']}"

    def status(self, path: str) -> str | None:
        """Return the status of a session; ``None`` when it is gone."""
        answer = self.call("GET", path)
        return answer.body["status"]["type"] if answer.status == 200 else None

    def wait_for_status(self, path: str, status: str | None, within_s: float = 10) -> float:
        """Wait until a session has a status and return how long that took, in seconds."""
        started = time.monotonic()
        eventually(lambda: self.status(path) == status, within_s, f"{path} becomes {status}")
        return time.monotonic() - started


def eventually(condition: Callable[[], Any], within_s: float = 10, what: str = "the condition holds") -> Any:
    """Wait for a condition and return what it gave; fail when it does not hold in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {within_s} s: {what}")


def agent(name: str, kind: str = "sleeper", **options: Any) -> dict[str, Any]:
    """Ask for an agent of the local registry; options are passed as ``NAME=("type", value)``."""
    return {
        "id": {"name": kind, "version": "1.0.0", "registrySourceId": {"type": "local"}},
        "name": name,
        "provider": {"type": "local", "runtime": "executable"},
        "options": {key: {"type": kind_, "value": value} for key, (kind_, value) in options.items()},
    }


def sleeper(name: str = "a", seconds: float = 60) -> dict[str, Any]:
    """Ask for an agent that lives so long."""
    return agent(name, SECONDS_TO_LIVE=("f64", seconds))


def boxed(name: str = "a") -> dict[str, Any]:
    """Ask for an agent that lives in a container."""
    return {**agent(name, "boxed"), "provider": {"type": "local", "runtime": "docker"}}


def function(name: str, kind: str = "turner", **options: Any) -> dict[str, Any]:
    """Ask for an agent that runs as a function."""
    return {**agent(name, kind, **options), "provider": {"type": "local", "runtime": "function"}}


def session(*agents: dict[str, Any], namespace: str = "tests", defer: bool = False, **settings: Any) -> dict[str, Any]:
    """Ask for a session with all its agents in one group."""
    return {
        "agentGraphRequest": {"agents": list(agents), "groups": [[agent["name"] for agent in agents]]},
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": namespace}},
        "execution": {"mode": "defer"} if defer else {"mode": "immediate", "runtimeSettings": settings},
    }
