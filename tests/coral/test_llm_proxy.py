"""Coral's LlmProxyTest: what an agent asks of a model reaches its provider, and what the session is told of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from infra.local.stack import LocalStack
from tests.agents import THINKER
from tests.client import Client, agent, eventually, session
from tests.contract.coral import Coral
from tests.integration.live.conftest import Socket, session_of, url_of
from tests.integration.models.conftest import secret_of
from tests.offline_models import Answers, Asked, OfflineModels, Says

pytestmark = pytest.mark.xdist_group("coral")

REQUEST = {"model": "gpt-test", "messages": [{"role": "user", "content": "test"}]}
ANY = "Bearer should-be-stripped"


@pytest.fixture(scope="module", autouse=True)
def thinker(stack: LocalStack) -> None:
    """The agent that has a model."""
    stack.register(THINKER)


@contextmanager
def proxied(stack: LocalStack, namespace: str) -> Iterator[tuple[str, Socket]]:
    """A session whose agent runs and has a model: where that is, and what the session tells."""
    client = Client(stack.url, stack.key)
    path = client.create(session(agent("agent", "thinker"), namespace=namespace))
    eventually(lambda: client.call("GET", f"{path}/agent").body[0]["status"]["type"] == "running")
    with connect(url_of(stack, session_of(path), stack.key)) as connection:
        yield f"/llm-proxy/{secret_of(stack, path, 'agent')}/MAIN", Socket(connection)


def last_of(provider: OfflineModels) -> Asked:
    return provider.asked[-1]


@pytest.mark.coral("LlmProxyTest.proxyForwardsBufferedRequestToUpstreamAndExtractsTokens")
def test_a_buffered_request_is_forwarded(
    stack: LocalStack, provider: OfflineModels, client: Client, namespace: str
) -> None:
    with proxied(stack, namespace) as (path, socket):
        provider.next(Says(input_tokens=15, output_tokens=5))
        answer = client.call("POST", path, REQUEST, {"Authorization": ANY})
        assert answer.status == 200
        assert answer.body["choices"][0]["message"]["content"] == "Hello from upstream"
        assert last_of(provider).header("authorization") == "Bearer sk-openai-hunter22"
        events: list[dict[str, Any]] = socket.until("llm_proxy_call")
    assert list(Coral().faults("SessionEvent", events[-1])) == []
    assert (events[-1]["modelName"], events[-1]["providerRequestName"]) == ("large", "MAIN")
    assert (events[-1]["statusCode"], events[-1]["usage"]) == (200, {"inputTokens": 15, "outputTokens": 5})


@pytest.mark.coral("LlmProxyTest.proxyForwardsQueryParametersToUpstream")
def test_query_parameters_are_forwarded(
    stack: LocalStack, provider: OfflineModels, client: Client, namespace: str
) -> None:
    with proxied(stack, namespace) as (path, _):
        assert client.call("POST", f"{path}?limit=20&after=abc&tag=x&tag=y", REQUEST).status == 200
    assert last_of(provider).target == "/?limit=20&after=abc&tag=x&tag=y"


@pytest.mark.coral("LlmProxyTest.proxyStripsBadHeadersAndPreservesIncomingJsonContentType")
def test_bad_headers_are_stripped_and_the_type_is_kept(
    stack: LocalStack, provider: OfflineModels, client: Client, namespace: str
) -> None:
    kind = "application/json; charset=utf-8"
    with proxied(stack, namespace) as (path, _):
        headers = {"Content-Type": kind, "Cookie": "session=abc", "x-api-key": "should-be-stripped"}
        assert client.call("POST", path, REQUEST, headers).status == 200
    asked = last_of(provider)
    assert (asked.header("content-type"), asked.header("cookie"), asked.header("x-api-key")) == (kind, None, None)


@pytest.mark.coral("LlmProxyTest.proxyRejectsNonJsonBodyRequests")
def test_what_is_no_json_is_rejected(
    stack: LocalStack, provider: OfflineModels, client: Client, namespace: str
) -> None:
    with proxied(stack, namespace) as (path, _):
        assert client.call("POST", path, b"not-json", {"Content-Type": "text/plain"}).status == 415


@pytest.mark.coral("LlmProxyTest.proxyAllowsGetRequestsAndRejectsUnsupportedMethods")
def test_a_get_is_allowed_and_other_methods_are_not(
    stack: LocalStack, provider: OfflineModels, client: Client, namespace: str
) -> None:
    with proxied(stack, namespace) as (path, _):
        provider.next(Answers())
        assert client.call("GET", path).status == 200
        assert client.call("PUT", path, REQUEST).status == 405
