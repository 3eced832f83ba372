"""What the LLM proxy adds to a call of a model: CPU, DynamoDB calls, and how late the first byte of a stream is."""

import gc
import http.client
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from chalicelib.domain import agent_secrets
from chalicelib.models import endpoint
from chalicelib.models.calls import Reach
from chalicelib.wire.llm_proxy import LlmProxyConfig
from infra.local.stack import LocalStack
from tests.agents import THINKER
from tests.client import Client, agent, eventually, session
from tests.offline_models import OfflineModels, Says

#: Calls of each kind, after some that warm up.
CALLS, WARM = 100, 20
#: What a stream consists of.
PIECES = 20
CHAT = "MAIN/v1/chat/completions"
JSON = ("Content-Type", "application/json")


@dataclass(frozen=True)
class Added:
    """Medians of one kind of call."""

    cpu_ms: float
    #: DynamoDB calls beside the read of who calls.
    dynamodb_calls: int


@dataclass(frozen=True)
class Measured:
    """All of it."""

    buffered: Added
    streamed: Added
    with_budget: Added
    first_byte_ms: float

    def row(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def measure() -> Measured:
    """Measure on a local stack, against a provider of this process."""
    with OfflineModels() as provider, LocalStack(agents=[THINKER], llm_proxy=_config(provider)) as stack:
        free, paid = _url(stack, None), _url(stack, {"usd": "1000"})
        provider.usual = Says(pieces=("word",) * PIECES)
        return Measured(
            buffered=_added(stack, free, stream=False),
            streamed=_added(stack, free, stream=True),
            with_budget=_added(stack, paid, stream=False),
            first_byte_ms=_first_byte_ms(stack, free, provider),
        )


def _config(provider: OfflineModels) -> LlmProxyConfig:
    about = {"apiKey": "k", "baseUrl": provider.url}
    formats = {"one": "OpenAI", "two": "Anthropic"}
    providers = [{"name": name, "format": {"type": kind}, **about} for name, kind in formats.items()]
    price = {"model": "large", "input": 1, "output": 1}
    return LlmProxyConfig.model_validate({"providers": providers, "prices": [price]})


def _url(stack: LocalStack, budget: dict[str, str] | None) -> str:
    """Make a session whose agent runs; return the path of its models."""
    client = Client(stack.url, stack.key)
    namespace = "paid" if budget else "free"
    request = session(agent("a", "thinker"), namespace=namespace)
    request["agentGraphRequest"] |= {"budget": budget} if budget else {}
    path = client.create(request)
    eventually(lambda: client.call("GET", f"{path}/agent").body[0]["status"]["type"] == "running")
    key = stack.services.secrets.get("agent-key")
    return f"/llm-proxy/{agent_secrets.mint(key, namespace, path.rsplit('/', 1)[1], 'a')}"


def _body(*, stream: bool) -> bytes:
    asked = {"role": "user", "content": "x" * 500}
    return json.dumps({"model": "large", "max_tokens": 100, "stream": stream, "messages": [asked]}).encode()


def _added(stack: LocalStack, path: str, *, stream: bool) -> Added:
    services, body, count = stack.services, _body(stream=stream), [0]

    def note(**_: Any) -> None:
        count[0] += 1

    def call() -> None:
        admitted = endpoint.admit(services, endpoint.Head("POST", f"{path}/{CHAT}", "", [JSON]))
        assert isinstance(admitted, endpoint.Admitted)
        answer = admitted.answer(body, Reach(services.clock.now_ms() + 60_000))
        assert answer.status == 200
        answer.read()

    cpu_ms = statistics.median(_times(call, time.thread_time))
    events = services.dynamodb.meta.events
    events.register("before-parameter-build.dynamodb", note)
    call()
    events.unregister("before-parameter-build.dynamodb", note)
    return Added(cpu_ms, count[0] - 1)


def _times(call: Callable[[], Any], clock: Callable[[], float]) -> list[float]:
    """Return how long each of many calls took by a clock of seconds, in ms."""
    found = []
    gc.collect()
    for number in range(WARM + CALLS):
        started_s = clock()
        call()
        if number >= WARM:
            found.append((clock() - started_s) * 1000)
    return found


def _first_byte_ms(stack: LocalStack, path: str, provider: OfflineModels) -> float:
    """Return how long after the provider sent the first byte of a stream the agent has it."""
    sent_s: list[float] = []
    late_ms = []
    # The provider sends its first event just before it asks for the first piece.
    provider.usual = Says(pieces=("word",), before=lambda _: sent_s.append(time.perf_counter()))
    parts = urlsplit(stack.url)
    for number in range(WARM + CALLS):
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        connection.request("POST", f"{path}/{CHAT}", _body(stream=True), dict([JSON]))
        answer = connection.getresponse()
        answer.read1(1)
        arrived_s = time.perf_counter()
        answer.read()
        connection.close()
        if number >= WARM:
            late_ms.append((arrived_s - sent_s[-1]) * 1000)
    return statistics.median(late_ms)
