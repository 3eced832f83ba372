"""A deployment on moto whose handlers are called as AWS calls them, one at a time: nothing else goes on meanwhile."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from moto import mock_aws

from bench.memory import ENVIRONMENT, event
from bench.meter import Meter
from chalicelib.clock import Clock
from chalicelib.domain import agent_secrets, api_keys
from chalicelib.mcp import endpoint
from chalicelib.services import Services, use
from chalicelib.settings import Settings
from infra.local.cloudformation.templates import load

ROOT = Path(__file__).parents[1]
KEY = "bench"
AGENT_KEY = "key"
AGENT = """
edition = 4
[agent]
name = "echo"
version = "1.0.0"
description = "Says what it hears."
readme = "An agent."
summary = "Echo"
license = { type = "spdx", expression = "MIT" }
[runtimes.docker]
image = "example/echo:1"
transport = "streamable_http"
"""


class SkippingClock(Clock):
    """A clock in which a pause takes no time."""

    def __init__(self) -> None:
        self.skipped_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.skipped_ms

    def sleep(self, seconds: float) -> None:
        self.skipped_ms += round(seconds * 1000)


class Scene:
    """One deployment, a key for it, and the ways in."""

    def __init__(self, services: Services, clock: SkippingClock) -> None:
        from app import app

        self.services = services
        self.clock = clock
        self.app = app
        self.meter = Meter()
        self.meter.follow(services.dynamodb)

    def rest(
        self, method: str, resource: str, body: Any = None, *, query: dict[str, str] | None = None, **parameters: str
    ) -> Any:
        """Make a request of the REST API and return the body of its answer."""
        answer = self.answer(method, resource, body, query=query, **parameters)
        return json.loads(answer["body"]) if answer["body"] else None

    def answer(
        self, method: str, resource: str, body: Any = None, *, query: dict[str, str] | None = None, **parameters: str
    ) -> dict[str, Any]:
        """Make a request of the REST API and return its answer as a Lambda gives it."""
        request = event(method, resource.format(**parameters), resource, **parameters)
        if query:
            request["queryStringParameters"] = query
            request["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        request["body"] = json.dumps(body) if body is not None else None
        request["headers"]["authorization"] = f"Bearer {KEY}"
        request["multiValueHeaders"]["authorization"] = [f"Bearer {KEY}"]
        answer: dict[str, Any] = self.app(request, None)
        if answer["statusCode"] != 200:
            raise RuntimeError(f"{method} {resource}: {answer['statusCode']} {answer['body']}")
        return answer

    def know_key(self) -> None:
        """Look the key up, as the process does once a minute."""
        api_keys.authenticate(self.services, KEY)

    def create(self, namespace: str = "bench", agents: int = 3, **execution: Any) -> str:
        """Create a session and return its id."""
        created = self.rest("POST", "/api/v1/local/session", session(namespace, agents, **execution))
        return str(created["sessionId"])

    def admit(self, session_id: str, namespace: str = "bench") -> dict[str, str]:
        """Give each agent its secret, as a launch does, and return the secrets by name."""
        secrets = {}
        for agent in self.services.agents.of_session(session_id):
            secret = agent_secrets.mint(AGENT_KEY, namespace, session_id, agent.name)
            self.services.agents.admit(session_id, agent.name, secret_hash=agent_secrets.hash_of(secret))
            self.services.agents.start(session_id, agent.name, task_arn="arn", now_ms=self.clock.now_ms())
            secrets[agent.name] = secret
        return secrets

    def post(self, secret: str, method: str, params: Any, **headers: str) -> endpoint.Response:
        """Make an MCP request."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        sent = {"content-type": "application/json", "accept": "application/json"}
        sent |= {"mcp-protocol-version": "2025-06-18", **headers}
        return endpoint.handle(self.services, endpoint.Request("POST", secret, sent, json.dumps(message).encode()))

    def mcp(self, secret: str, method: str, **params: Any) -> Any:
        """Make an MCP request and return its result."""
        answer = self.post(secret, method, params)
        result = json.loads(answer.body).get("result")
        if result is None or result.get("isError"):
            raise RuntimeError(f"{method} {params}: {answer.status} {answer.body!r}")
        return result

    def tool(self, secret: str, name: str, **arguments: Any) -> Any:
        """Call a tool and return its structured answer."""
        return self.mcp(secret, "tools/call", name=name, arguments=arguments)["structuredContent"]


def session(namespace: str = "bench", agents: int = 3, **execution: Any) -> dict[str, Any]:
    """Ask for a session of so many agents that know each other."""
    names = [f"agent-{number}" for number in range(agents)]
    return {
        "agentGraphRequest": {
            "agents": [
                {
                    "id": {"name": "echo", "version": "1.0.0", "registrySourceId": {"type": "local"}},
                    "name": name,
                    "provider": {"type": "local", "runtime": "docker"},
                }
                for name in names
            ],
            "groups": [names],
        },
        "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": namespace}},
        "execution": {"mode": "immediate", "runtimeSettings": execution or {"ttl": 600_000}},
    }


@contextmanager
def scene(dynamodb_url: str | None = None, **settings: Any) -> Iterator[Scene]:
    """Make an empty deployment, on moto or on a DynamoDB of that address."""
    template = load(ROOT / "infra/templates/stack.yaml")
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "AWS_LAMBDA_FUNCTION_NAME"}
    if dynamodb_url is not None:
        environment["AWS_ENDPOINT_URL_DYNAMODB"] = dynamodb_url
    with patch.dict(os.environ, environment), mock_aws() if dynamodb_url is None else nullcontext():
        clock = SkippingClock()
        addresses = {"api_url": "https://api.example", "mcp_url": "https://mcp.example"}
        services = Services(Settings(stage="bench", **addresses, **settings), clock)
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::DynamoDB::Table":
                _make(services, resource["Properties"])
        services.agent_keys.known["AWSCURRENT"] = services.clock.now_ms(), AGENT_KEY
        use(services)
        try:
            from chalicelib.domain import registry

            registry.put(services, AGENT, "echo", "1.0.0")
            # Its use is noted, as it is in all requests but one an hour.
            services.api_keys.note_use(api_keys.put(services, KEY, "bench").key_hash)
            yield Scene(services, clock)
        finally:
            use(None)


def _make(services: Services, properties: dict[str, Any]) -> None:
    made_of = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    services.dynamodb.create_table(
        TableName=properties["TableName"]["Fn::Sub"].replace("${Stage}", "bench"),
        BillingMode="PAY_PER_REQUEST",
        **{part: properties[part] for part in made_of if part in properties},
    )
