"""What a run and its checks are given: an AWS account, and one stage in it."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol
from urllib.parse import quote

import boto3
import httpx2

from chalicelib.domain import agent_secrets
from infra.smoke.outcomes import CheckFailed, expect

#: How long a request may take, in s: the longest wait is 58 s, and a cold start comes on top.
REQUEST_S = 90.0

Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long things take, in s. A test on an emulator has less patience."""

    #: The wait that must outlive API Gateway's 29 s and Lambda's default timeouts; a wait's own limit is 58 s.
    long_wait_s: float = 60.0
    #: The longest that an agent's task takes from RunTask to its first request: an image is pulled.
    task_s: float = 240.0
    #: The longest that CloudWatch takes to list a metric after its first value.
    metrics_s: float = 960.0
    #: Between two looks at what is waited for.
    look_s: float = 1.0


class Delivery(Protocol):
    """A webhook as it came in."""

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers, their names in lower case."""

    @property
    def body(self) -> bytes:
        """Return the body as it came."""


class Receiver(Protocol):
    """Somewhere on the internet that takes webhooks."""

    @property
    def url(self) -> str:
        """Return where it is."""

    def next(self, within_s: float) -> Delivery | None:
        """Return what has come in, or ``None`` in time."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A stage that is deployed, as its operator reaches it."""

    stage: str
    client: Callable[[str], Any]
    api_url: str
    mcp_url: str
    sockets_url: str
    #: The one address in front of it; empty without one.
    address: str
    key: str
    receiver: Callable[[], AbstractContextManager[Receiver]]
    #: The image of agents: any with Python.
    image: str
    pace: Pace = dataclasses.field(default_factory=Pace)

    @property
    def has_function_url(self) -> bool:
        """Whether agents have an endpoint beside the REST API."""
        return self.mcp_url != self.api_url

    def call(self, method: str, path: str, body: Any = None, *, base: str = "") -> tuple[int, Any]:
        """Make a request of the REST API; return its status and what it answers as JSON."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx2.request(method, (base or self.api_url) + path, json=body, headers=headers, timeout=REQUEST_S)
        return answer.status_code, _json(answer)

    def put_agent(self, name: str, text: str) -> None:
        """Add an agent to the registry."""
        answer = httpx2.put(
            f"{self.api_url}/api/v1/registry/local/{name}/1.0.0",
            content=text.encode(),
            headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/toml"},
            timeout=REQUEST_S,
        )
        expect(answer.status_code == 200, f"the agent {name} is refused with {answer.status_code}: {answer.text[:300]}")

    def create(self, request: Json) -> str:
        """Create a session and return its path."""
        status, answer = self.call("POST", "/api/v1/local/session", request)
        expect(status == 200, f"creating a session is answered with {status}: {answer}")
        return f"/api/v1/local/session/{quote(answer['namespace'], safe='')}/{answer['sessionId']}"

    def status(self, path: str) -> str | None:
        """Return a session's status; ``None`` when it is gone."""
        status, answer = self.call("GET", path)
        return str(answer["status"]["type"]) if status == 200 else None

    def until(self, condition: Callable[[], Any], within_s: float, what: str) -> Any:
        """Look until a condition holds and return what it gave; raise `CheckFailed` when it does not in time."""
        deadline = time.monotonic() + within_s
        while True:
            if found := condition():
                return found
            if time.monotonic() > deadline:
                raise CheckFailed(f"not within {within_s:.0f} s: {what}")
            time.sleep(self.pace.look_s)

    def secret(self, name: str) -> str:
        """Return a secret of the stage."""
        found = self.client("secretsmanager").get_secret_value(SecretId=f"atoll-{self.stage}/{name}")
        return str(found["SecretString"])

    def endpoint(self, path: str, agent: str) -> str:
        """Return an agent's endpoint, so that a check can do what the agent would."""
        namespace, session_id = path.rsplit("/", 2)[1:]
        secret = agent_secrets.mint(self.secret("agent-key"), namespace, session_id, agent)
        return f"{self.mcp_url.rstrip('/')}/mcp/v1/{secret}/mcp"


def _json(answer: httpx2.Response) -> Any:
    try:
        return json.loads(answer.content) if answer.content else None
    except ValueError:
        return answer.text[:300]


class Place:
    """An AWS account and region; an emulator is another one."""

    def __init__(self, session: boto3.Session, pace: Pace | None = None) -> None:
        self.session = session
        self.pace = pace or Pace()

    def lacks(self, way: str) -> Mapping[str, str]:
        """Return what is not here after a way of deploying, with the reason: checks that need it are skipped."""
        return {}

    def reach(self, url: str) -> str:
        """Return where a stage's URL is reached from here."""
        return url

    def adapted(self, template: Json) -> Json:
        """Return a packaged template as this place takes it."""
        return template
