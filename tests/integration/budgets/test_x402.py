"""An agent's call of a resource that may ask to be paid by x402: it is made, and nobody pays."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.aws.http import OutgoingHttp
from chalicelib.domain import x402 as budgeted
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import BadGateway, BadRequest, NotConfigured
from chalicelib.reactions import x402
from chalicelib.store.agents import AgentRecord
from chalicelib.wire.graph import X402BudgetedResource
from chalicelib.wire.payments import METHODS, WITHOUT_BODY, X402ProxiedResponse, X402ProxyRequest
from tests.integration.webhooks.receivers import Receiver, receiving
from tests.mcp_world import World

WEATHER = "https://weather.example/now"


@pytest.fixture(scope="module")
def _serving() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def resource(_serving: Receiver) -> Receiver:
    """A resource that answers from a script."""
    _serving.script.clear()
    _serving.received.clear()
    return _serving


@pytest.fixture
def here(_deployment: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A deployment with nobody in it that may call this machine."""
    _deployment.clear()
    monkeypatch.setattr(_deployment.services, "http", OutgoingHttp(allow_private=True), raising=False)
    return _deployment


def budgets(*each: tuple[int, str, int]) -> str:
    return json.dumps([{"priority": p, "resource": r, "remainingBudget": left} for p, r, left in each])


def agent(here: World, x402_budgets: str | None = None) -> Actor:
    here.session("a", x402_budgets=x402_budgets)
    return here.actor("a")


def forward(
    here: World, endpoint: str, method: str = "POST", *, x402_budgets: str | None = None
) -> X402ProxiedResponse:
    asked = X402ProxyRequest(endpoint=endpoint, method=method, body={"city": "Köln"})
    return x402.forward(here.services, agent(here, x402_budgets), asked)


@pytest.mark.parametrize("method", METHODS)
def test_the_call_is_made_with_its_method_and_nothing_of_the_agent(
    here: World, resource: Receiver, method: str
) -> None:
    resource.answer(201, {"content-type": "text/plain"}, "sonnig ☀".encode())

    answer = forward(here, f"{resource.url}?q=1", method)

    (received,) = resource.received
    body = b"" if method in WITHOUT_BODY else '{"city":"Köln"}'.encode()
    assert (received.method, received.path, received.body) == (method, "/hook?q=1", body)
    assert set(received.headers) <= {"host", "accept", "accept-encoding", "content-type", "content-length"}
    assert answer.to_wire() == {"code": 201, "body": "" if method == "HEAD" else "sonnig ☀"}


@pytest.mark.parametrize("status", [204, 302, 400, 401, 500])
def test_any_status_but_402_is_passed_on(here: World, resource: Receiver, status: int) -> None:
    resource.answer(status, {"location": "http://127.0.0.1:1/"})

    assert forward(here, resource.url).code == status
    assert len(resource.received) == 1  # a redirection is not followed


def asking(*ways: tuple[Any, Any]) -> bytes:
    accepts = [{"scheme": "exact", "resource": resource, "maxAmountRequired": amount} for resource, amount in ways]
    return json.dumps({"x402Version": 1, "accepts": accepts, "error": "pay"}).encode()


@pytest.mark.parametrize("x402_budgets", [None, budgets((1, "https://other.example", 10**9)), budgets((1, WEATHER, 9))])
def test_without_funds_for_it_a_402_is_refused(here: World, resource: Receiver, x402_budgets: str | None) -> None:
    resource.answer(402, {}, asking((WEATHER, "10")))

    with pytest.raises(BadRequest, match=r"^This agent does not have funds budgeted for this request$"):
        forward(here, resource.url, x402_budgets=x402_budgets)


def test_with_funds_a_402_is_refused_because_nobody_pays(here: World, resource: Receiver) -> None:
    resource.answer(402, {}, asking((WEATHER, "10")))

    with pytest.raises(BadRequest, match=r"has funds for 'https://weather.example/now', and nobody pays"):
        forward(here, resource.url, x402_budgets=budgets((1, WEATHER, 10)))
    assert len(resource.received) == 1


@pytest.mark.parametrize(
    ("given", "answer", "expected"),
    [
        ([(2, "b", 9), (1, "a", 9)], asking(("b", "5"), ("a", "5")), "a"),  # the lowest priority, not the first way
        ([(1, "b", 9), (1, "a", 9)], asking(("a", "5"), ("b", "5")), "b"),  # as they were given
        ([(-1, "a", 4), (7, "b", 9)], asking(("a", "5"), ("b", "5")), "b"),  # what is too little is passed over
        ([(1, "a", 5)], asking(("a", "6"), ("a", "5")), "a"),
        ([(1, "a", 2**64 - 1)], asking(("a", str(2**64 - 1))), "a"),
        ([(1, "a", 2**64 - 1)], asking(("a", str(2**64))), None),
        ([(1, "a", 9)], asking(("a", 5)), None),
        ([(1, "a", 9)], asking(("a", "-5")), None),
        ([(1, "a", 9)], asking(("a", "\u0665")), None),
        ([(1, "a", 9)], asking(("a", "9" * 10_000)), None),
        ([(1, "a", 9)], asking((None, None)), None),
        ([(1, "a", 9)], asking(*[("b", "1")] * 64, ("a", "1")), None),
        ([(1, "a", 9)], b'{"accepts": [7, null, {}]}', None),
        ([(1, "a", 9)], b'{"accepts": {"a": 1}}', None),
        ([(1, "a", 9)], b"[]", None),
        ([(1, "a", 9)], b"\xff", None),
        ([(1, "a", 9)], b"[" * 100_000, None),
        ([(1, "a", 9)], b"", None),
        ([], asking(("a", "5")), None),
    ],
)
def test_budgets_pay_in_the_order_of_their_priority(
    given: list[tuple[int, str, int]], answer: bytes, expected: str | None
) -> None:
    record = AgentRecord(
        session_id="s",
        namespace="n",
        name="a",
        position=0,
        registry_agent_identifier={},
        runtime="docker",
        expires_at=1,
        x402_budgets=budgets(*given),
    )

    found = budgeted.paying(record, answer)

    assert (found.resource if found else None) == expected


def test_addresses_that_are_not_public_are_refused(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here.services, "http", OutgoingHttp(allow_private=False))
    for host in ("127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.1"):
        here.clear()
        with pytest.raises(BadRequest, match="an address that must not be called"):
            forward(here, f"http://{host}/latest/meta-data/")


def test_a_deployment_may_make_no_such_calls(here: World, resource: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here.services, "settings", here.services.settings.model_copy(update={"x402_calls": False}))
    with pytest.raises(NotConfigured, match="ATOLL_X402_CALLS"):
        forward(here, resource.url)
    assert resource.received == []


def test_a_resource_that_does_not_answer_or_says_too_much_is_a_bad_gateway(here: World, resource: Receiver) -> None:
    with receiving() as gone:
        url = gone.url
    with pytest.raises(BadGateway, match="did not answer within 20 s"):
        forward(here, url)
    here.clear()
    resource.answer(200, {}, b"x" * (x402.MAX_ANSWER_BYTES + 1))
    with pytest.raises(BadGateway, match="more than 1000000 bytes"):
        forward(here, resource.url)


@pytest.mark.parametrize(
    "wrong",
    [{"remainingBudget": -1}, {"remainingBudget": 2**64}, {"priority": 2**31}, {"resource": "x" * 2_049}],
    ids=str,
)
def test_a_budget_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    budget = {"priority": 1, "resource": WEATHER, "remainingBudget": 5}
    X402BudgetedResource.model_validate(budget)
    with pytest.raises(ValidationError):
        X402BudgetedResource.model_validate(budget | wrong)


@pytest.mark.parametrize("wrong", [{"method": 1}, {"method": "connect"}, {"endpoint": "ftp://h"}, {"body": []}])
def test_a_call_that_cannot_be_made_is_refused(wrong: dict[str, Any]) -> None:
    call = {"endpoint": WEATHER, "method": "post", "body": {}}
    assert X402ProxyRequest.model_validate(call).method == "POST"
    with pytest.raises(ValidationError):
        X402ProxyRequest.model_validate(call | wrong)
