"""A session for tests of threads and MCP: real stores over moto, agents that are there at once, no lifecycle."""

import heapq
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.responses import DynamoHandler

from chalicelib.clock import Clock
from chalicelib.domain import actors, agent_secrets
from chalicelib.domain.agents import state_of
from chalicelib.mcp.endpoint import Request, Response, handle
from chalicelib.services import Services
from chalicelib.settings import Settings
from chalicelib.store.agents import AgentRecord
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import SessionRecord
from infra.local.cloudformation.templates import load

NAMESPACE, SESSION = "ns", "11111111-2222-4333-8444-555555555555"
NEVER_S = 1 << 40
AGENT_KEY = "key"


class World:
    """One deployment with one session."""

    def __init__(self, services: Services, agent_key: str = AGENT_KEY) -> None:
        self.services = services
        self._agent_key = agent_key
        #: Names of the DynamoDB calls made since the last `counting`.
        self.calls: list[str] = []
        self.before_call: Callable[[str, dict[str, Any]], None] = lambda name, params: None
        services.dynamodb.meta.events.register("before-parameter-build.dynamodb", self._note)

    def clear(self) -> None:
        """Forget everything, and what was to happen at calls."""
        self.before_call = lambda name, params: None
        for table in dynamodb_backends["123456789012"]["us-east-1"].tables.values():
            table.items.clear()

    @contextmanager
    def on(self, clock: Clock, **settings: Any) -> Iterator[None]:
        """Go by another clock and other settings for a while."""
        usual = self.services
        self.services = Services(Settings(stage="test", **settings), clock)
        self.services.dynamodb, self.services.agent_keys = usual.dynamodb, usual.agent_keys
        try:
            yield
        finally:
            self.services = usual

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.calls.append(model.name)
        self.before_call(model.name, params)

    def session(
        self,
        *names: str,
        groups: list[list[str]] | None = None,
        session_id: str = SESSION,
        namespace: str = NAMESPACE,
        custom_tools: str = "{}",
        **agent: Any,
    ) -> None:
        """Make an executed session of these agents; all are linked unless groups say who is.

        All have the ``custom_tools``: a JSON object of them by name.
        """
        tools = {tool: json.dumps(described) for tool, described in json.loads(custom_tools).items()}
        now_ms = self.services.clock.now_ms()
        linked = groups if groups is not None else [list(names)]
        self.services.namespaces.create(NamespaceRecord(name=namespace, created_at_ms=now_ms))
        self.services.sessions.create(
            SessionRecord(
                namespace=namespace,
                session_id=session_id,
                status="executed",
                created_at_ms=now_ms,
                executed_at_ms=now_ms,
                expires_at=NEVER_S,
                namespace_state={},
                groups=linked,
                runtime_settings={},
            )
        )
        self.services.agents.create_all(
            [
                AgentRecord(
                    session_id=session_id,
                    namespace=namespace,
                    name=name,
                    position=position,
                    registry_agent_identifier={"name": name, "version": "1.0.0", "registrySourceId": {"type": "local"}},
                    runtime="executable",
                    expires_at=NEVER_S,
                    status="running",
                    links=sorted({other for group in linked if name in group for other in group} - {name}),
                    secret_hash=agent_secrets.hash_of(self.secret(name, session_id, namespace)),
                    custom_tool_names=list(tools),
                    **agent,
                )
                for position, name in enumerate(names)
            ],
            {},
            tools,
        )

    def secret(self, name: str, session_id: str = SESSION, namespace: str = NAMESPACE) -> str:
        """Return an agent's secret."""
        return agent_secrets.mint(self._agent_key, namespace, session_id, name)

    def actor(self, name: str, session_id: str = SESSION) -> actors.Actor:
        """Return an agent as it is now."""
        return actors.by_secret(self.services, self.secret(name, session_id))

    def post(
        self, name: str, body: Any, headers: dict[str, str] | None = None, *, secret: str | None = None
    ) -> Response:
        """POST to an agent's MCP endpoint; what is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", "accept": "application/json", **(headers or {})}
        return handle(self.services, Request("POST", secret or self.secret(name), sent, raw))

    def rpc(self, name: str, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make one request of the 2025 era and return the JSON-RPC answer."""
        headers = {"mcp-protocol-version": "2025-06-18"}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, **({"params": params} if params is not None else {})}
        answer = self.post(name, message, headers)
        assert answer.status == 200, answer
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def tool(self, name: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed and return its structured answer."""
        result = self.rpc(name, "tools/call", {"name": tool, "arguments": arguments})["result"]
        assert not result.get("isError"), result
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        found: dict[str, Any] = result["structuredContent"]
        return found

    def refusal(self, name: str, tool: str, **arguments: Any) -> str:
        """Call a tool that must refuse and return what it says."""
        result = self.rpc(name, "tools/call", {"name": tool, "arguments": arguments})["result"]
        assert result["isError"], result
        return str(result["structuredContent"]["error"])

    def thread(self, creator: str, *participants: str, name: str = "topic") -> str:
        """Create a thread and return its id."""
        answer = self.tool(creator, "coral_create_thread", threadName=name, participantNames=list(participants))
        return str(answer["thread"]["id"])

    def send(self, sender: str, thread: str, content: str, *mentions: str) -> dict[str, Any]:
        """Send a message and return it."""
        answer = self.tool(sender, "coral_send_message", threadId=thread, content=content, mentions=list(mentions))
        found: dict[str, Any] = answer["message"]
        return found

    def communication(self, name: str) -> str | None:
        """Return what an agent is seen doing."""
        agent = self.services.agents.find(SESSION, name)
        assert agent is not None
        status = state_of(agent, self.services.clock.now_ms()).to_wire()["status"]
        found: str | None = status["connectionStatus"].get("communicationStatus", {}).get("type")
        return found

    @contextmanager
    def counting(self) -> Iterator[list[str]]:
        """Collect the names of the DynamoDB calls that are made meanwhile."""
        self.calls = []
        yield self.calls


class TestClock(Clock):
    """A clock that stands still but for pauses, in which what is planned happens at its time."""

    __test__ = False

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms
        self.start()

    def start(self) -> None:
        """Count from now on, with nothing planned."""
        self.start_ms = self._now_ms
        self._plans: list[tuple[int, int, Callable[[], Any]]] = []

    def now_ms(self) -> int:
        return self._now_ms

    def sleep(self, seconds: float) -> None:
        self.pass_ms(round(seconds * 1000))

    def plan(self, after_ms: int, call: Callable[[], Any]) -> None:
        """Have something happen so long after the start."""
        heapq.heappush(self._plans, (self.start_ms + after_ms, len(self._plans), call))

    def pass_ms(self, duration_ms: int) -> None:
        """Let time pass."""
        end_ms = self._now_ms + duration_ms
        while self._plans and self._plans[0][0] <= end_ms:
            at_ms, _, call = heapq.heappop(self._plans)
            self._now_ms = max(self._now_ms, at_ms)
            call()
        self._now_ms = max(self._now_ms, end_ms)


class Later:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._outcome: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self._outcome = call()
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def result(self, within_s: float = 5) -> Any:
        """Return what the call returned, or raise what it raised."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "it still has not ended"
        if self._error is not None:
            raise self._error
        return self._outcome


@contextmanager
def world(clock: Clock | None = None, **settings: Any) -> Iterator[World]:
    """Make an empty deployment on moto."""
    template = load(Path(__file__).parents[1] / "infra/templates/stack.yaml")
    # moto holds no lock: two threads could both win one conditional write.
    lock, call_action = threading.RLock(), DynamoHandler.call_action

    def call_alone(handler: DynamoHandler) -> Any:
        with lock:
            return call_action(handler)

    with (
        pytest.MonkeyPatch.context() as environment,
        mock_aws(),
        patch.object(DynamoHandler, "call_action", call_alone),
    ):
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        services = Services(Settings(stage="test", **settings), clock)
        services.client("secretsmanager").create_secret(Name="atoll-test/agent-key", SecretString=AGENT_KEY)
        for resource in ("NamespacesTable", "SessionsTable", "SessionItemsTable", "ApiKeysTable"):
            properties = template["Resources"][resource]["Properties"]
            services.dynamodb.create_table(
                TableName=properties["TableName"]["Fn::Sub"].replace("${Stage}", "test"),
                AttributeDefinitions=properties["AttributeDefinitions"],
                KeySchema=properties["KeySchema"],
                BillingMode="PAY_PER_REQUEST",
            )
        yield World(services)
