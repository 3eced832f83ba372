"""The Lambda of the LLM proxy: events of its Function URL, and that its answers fit through."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.services import use
from chalicelib.workers.models import ANSWER_BYTES, models
from infra.local.functions.functions import Context
from tests.integration.models.conftest import Agents
from tests.offline_models import Answers, Says

pytestmark = pytest.mark.xdist_group("models")

#: The largest answer of a function (Lambda quotas, "Invocation payload").
LARGEST = 6 * 2**20


def call_of(secret: str, body: Any, path: str = "CLAUDE/v1/messages", method: str = "POST") -> dict[str, Any]:
    """Return the event of an agent's request."""
    return {
        "rawPath": f"/llm-proxy/{secret}/{path}",
        "rawQueryString": "a=b%20c",
        "requestContext": {"http": {"method": method}},
        "headers": {
            "content-type": "application/json",
            "x-own": "agents",
            "x-amzn-trace-id": "Root=1",
            "x-forwarded-for": "203.0.113.1",
            "host": "id.lambda-url.us-east-1.on.aws",
        },
        "body": body if isinstance(body, str) else json.dumps(body),
    }


@pytest.fixture
def serving(agents: Agents) -> Iterator[Agents]:
    use(agents.world.services)
    yield agents
    use(None)


def answer(event: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = models(event, Context("atoll-test-models", "arn"))
    assert len(json.dumps(found)) < LARGEST
    return found


def test_a_request_of_a_function_url_is_served(serving: Agents) -> None:
    found = answer(call_of(serving.world.secret("ann"), {"model": "any"}))
    assert found["statusCode"] == 200
    assert json.loads(found["body"])["content"][0]["text"] == "Hello from upstream"
    [asked] = serving.provider.asked
    assert (asked.target, asked.json["model"]) == ("/v1/messages?a=b%20c", "claude")
    assert asked.header("x-own") == "agents"
    assert asked.header("x-forwarded-for") is None
    assert asked.header("x-amzn-trace-id") is None


def test_a_stream_is_handed_on_whole(serving: Agents) -> None:
    event = call_of(serving.world.secret("ann"), base64.b64encode(b'{"stream": true}').decode())
    found = answer({**event, "isBase64Encoded": True})
    assert found["headers"]["Content-Type"] == "text/event-stream"
    assert found["body"].startswith("event: message_start\n")
    assert found["body"].endswith("\n\n")


def test_what_is_no_text_is_handed_on_as_it_is(serving: Agents) -> None:
    serving.provider.next(Answers(200, b"\xff\x00"))
    found = answer(call_of(serving.world.secret("ann"), {}))
    assert (found["isBase64Encoded"], base64.b64decode(found["body"])) == (True, b"\xff\x00")


def test_the_largest_answer_fits_and_a_larger_one_is_said_to_be_so(serving: Agents) -> None:
    for size, status in ((ANSWER_BYTES, 200), (ANSWER_BYTES + 1, 502)):
        serving.provider.next(Answers(200, b'"' * size))
        assert answer(call_of(serving.world.secret("ann"), {}))["statusCode"] == status
    serving.provider.next(Says(pieces=("\0" * 1000,) * 6_000))
    stream = answer(call_of(serving.world.secret("ann"), {"stream": True}))
    assert stream["statusCode"] == 200


@pytest.mark.parametrize(("path", "method", "status"), [("", "POST", 404), ("MAIN", "PATCH", 405)])
def test_a_refusal_is_one(serving: Agents, path: str, method: str, status: int) -> None:
    assert answer(call_of(serving.world.secret("ann"), {}, path, method))["statusCode"] == status
