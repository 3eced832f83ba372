"""Agents with models: in a deployment on moto, for what needs no process, and on a local stack."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from chalicelib.aws.http import OutgoingHttp
from chalicelib.domain import agent_secrets
from chalicelib.models import endpoint
from chalicelib.models.calls import Reach
from chalicelib.models.forwarding import ModelAnswer
from chalicelib.wire.llm_proxy import NOTHING, LlmProxyConfig
from infra.local.stack import LocalStack
from tests.agents import THINKER
from tests.client import Client, agent, eventually, session
from tests.mcp_world import SESSION, World, world
from tests.offline_models import OfflineModels

OPENAI_KEY, ANTHROPIC_KEY = "sk-openai-hunter22", "sk-ant-hunter22"

#: What an agent of these tests declares and got, by the names of its proxies.
PROXIES = {
    "MAIN": {"configurationName": "one", "modelName": "large", "format": "OpenAI"},
    "CLAUDE": {"configurationName": "two", "modelName": "claude", "format": "Anthropic"},
}
JSON = ("Content-Type", "application/json")


def config_of(provider: OfflineModels, *, timeout: str = "5s", **changes: Any) -> LlmProxyConfig:
    """Return a configuration whose providers are this one."""
    both = [
        {"name": "one", "format": {"type": "OpenAI"}, "apiKey": OPENAI_KEY, "models": ["large"]},
        {"name": "two", "format": {"type": "Anthropic"}, "apiKey": ANTHROPIC_KEY},
    ]
    providers = [{**each, "baseUrl": provider.url, "timeout": timeout} for each in both]
    prices = [{"model": "claude", "input": 1, "output": 10, "outputTokens": 1_000}]
    return LlmProxyConfig.model_validate({"providers": providers, "prices": prices, **changes})


class Agents:
    """A session whose agents have the models of a provider."""

    def __init__(self, here: World, provider: OfflineModels) -> None:
        self.world = here
        self.provider = provider
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Take a configuration in place of the one before."""
        self.world.services.llm_proxy.write(config_of(self.provider, **changes))
        self.world.services.llm_proxy._known = None

    def session(self, *names: str, **agent: Any) -> None:
        self.world.session(*names, proxies=PROXIES, **agent)

    def ask(
        self,
        target: str,
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (JSON,),
        *,
        name: str = "ann",
        method: str = "POST",
        secret: str | None = None,
    ) -> ModelAnswer:
        """Make a request to ``<NAME>/<path>?<query>`` of an agent."""
        path, _, query = target.partition("?")
        secret = self.world.secret(name) if secret is None else secret
        services = self.world.services
        admitted = endpoint.admit(services, endpoint.Head(method, f"/llm-proxy/{secret}/{path}", query, headers))
        if isinstance(admitted, ModelAnswer):
            return admitted
        return admitted.answer(body or b"", Reach(services.clock.now_ms() + 60_000))

    def events(self) -> list[dict[str, Any]]:
        """Return the calls of models that the session's log has."""
        found = [entry.event for entry in self.world.services.log.read(SESSION)]
        return [event for event in found if event["type"] == "llm_proxy_call"]


@pytest.fixture(scope="package")
def _provider() -> Iterator[OfflineModels]:
    with OfflineModels() as running:
        yield running


@pytest.fixture
def provider(_provider: OfflineModels) -> OfflineModels:
    """A provider without a script."""
    _provider.forget()
    return _provider


@pytest.fixture(scope="module")
def _deployment() -> Iterator[World]:
    with world() as made:
        made.services.client("secretsmanager").create_secret(Name="atoll-test/llm-proxy", SecretString=NOTHING)
        made.services.http = OutgoingHttp(allow_private=True)
        yield made


@pytest.fixture
def agents(_deployment: World, provider: OfflineModels) -> Agents:
    """A session of one agent, ``ann``."""
    _deployment.clear()
    found = Agents(_deployment, provider)
    found.session("ann", "bob")
    return found


@pytest.fixture(scope="module")
def stack(_provider: OfflineModels) -> Iterator[LocalStack]:
    with LocalStack(agents=[THINKER], llm_proxy=config_of(_provider, timeout="30s")) as running:
        yield running


def secret_of(stack: LocalStack, path: str, name: str) -> str:
    """Return an agent's secret, by the path of its session."""
    *_, namespace, session_id = path.split("/")
    return agent_secrets.mint(stack.services.secrets.get("agent-key"), namespace, session_id, name)


@pytest.fixture(scope="module")
def thinking(stack: LocalStack) -> str:
    """The path of a session on the stack whose agent ``ann`` runs, and may call its models."""
    client = Client(stack.url, stack.key)
    path = client.create(session(agent("ann", "thinker"), namespace="thinking"))

    def runs() -> bool:
        [ann] = client.call("GET", f"{path}/agent").body
        return bool(ann["status"]["type"] == "running")

    eventually(runs)
    return path


@pytest.fixture
def url(stack: LocalStack, thinking: str, provider: OfflineModels) -> str:
    """Where ``ann`` reaches its models: its provider has no script."""
    return f"{stack.url}/llm-proxy/{secret_of(stack, thinking, 'ann')}"
