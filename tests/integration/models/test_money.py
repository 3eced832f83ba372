"""What a call of a model costs its agent's budget, however it ends."""

import json
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from chalicelib.aws.http import OutgoingHttp
from chalicelib.domain import budgets
from chalicelib.models import booking, bounds
from chalicelib.models.calls import ModelCall
from chalicelib.store.budgets import Budget, Level, ModelTotals
from tests.integration.models.conftest import Agents
from tests.mcp_world import NAMESPACE, NEVER_S, SESSION
from tests.offline_models import Answers, Asked, HangUp, Says, overloaded

pytestmark = pytest.mark.xdist_group("models")

CHAT, MESSAGES = "MAIN/v1/chat/completions", "CLAUDE/v1/messages"
LIMIT = 1_000_000
#: US dollars for a million tokens of input and output: so many millionths for one.
IN, OUT = 10, 1_000
PRICES = [{"model": name, "input": IN, "output": OUT} for name in ("large", "claude")]
BODY: dict[str, Any] = {"model": "large", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def paid(agents: Agents) -> Agents:
    """A session with a limit of a dollar, half of which its agent ``ann`` may spend."""
    half = Level.of(LIMIT // 2)
    made = Budget(SESSION, NAMESPACE, NEVER_S, session=Level.of(LIMIT), agents={"ann": half})
    agents.world.services.budgets.create(made)
    agents.configure(prices=PRICES)
    return agents


def budget_of(agents: Agents) -> Budget:
    found = agents.world.services.budgets.find(SESSION)
    assert found is not None
    for level in (found.session, *found.agents.values()):
        assert level is not None
        assert level.available + level.held + level.spent == level.limit
    return found


def spent(agents: Agents) -> int:
    """Return what is spent, on both limits; nothing is held."""
    budget = budget_of(agents)
    assert budget.session is not None
    assert (budget.holds, budget.session.held) == ({}, 0)
    assert budget.agents["ann"].spent == budget.session.spent
    return budget.session.spent


def ask(agents: Agents, target: str = CHAT, **changes: Any) -> tuple[int, Any]:
    answer = agents.ask(target, json.dumps({**BODY, **changes}).encode())
    body = answer.read()
    return answer.status, body


def hangs_up(asked: Asked) -> Answers:
    raise HangUp


def held_at(agents: Agents, seen: list[int], reply: Any = None) -> Any:
    """Answer, and note what is held while the provider works."""

    def answer(asked: Asked) -> Any:
        budget = budget_of(agents)
        assert budget.session is not None
        seen.append(budget.session.held)
        if isinstance(reply, Exception):
            raise reply
        return reply or Says()

    return answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("target", [CHAT, MESSAGES])
def test_a_call_is_booked_by_its_usage(paid: Agents, target: str, stream: bool) -> None:
    held: list[int] = []
    paid.provider.next(held_at(paid, held, Says(input_tokens=15, output_tokens=5)))
    assert ask(paid, target, stream=stream)[0] == 200
    assert spent(paid) == 15 * IN + 5 * OUT
    [most] = held
    assert most >= 100 * OUT + len(json.dumps(BODY)) * IN // 2
    [totals] = [each for each in budget_of(paid).models.values() if each.calls]
    assert totals == ModelTotals(1, 15, 5, 15 * IN + 5 * OUT)


def test_a_usage_beyond_what_was_held_is_booked_as_it_is(paid: Agents) -> None:
    paid.provider.next(Says(input_tokens=10_000, output_tokens=300))
    ask(paid)
    assert spent(paid) == 10_000 * IN + 300 * OUT


def test_an_answer_without_usage_costs_what_was_held(paid: Agents) -> None:
    held: list[int] = []
    paid.provider.next(held_at(paid, held, Says(tells_usage=False)))
    ask(paid)
    assert [spent(paid)] == held


@pytest.mark.parametrize("reply", [overloaded(), Answers(400, b"{}"), Answers(401, b"not json")])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_costs_nothing(paid: Agents, reply: Answers, stream: bool) -> None:
    paid.provider.next(reply)
    assert ask(paid, stream=stream)[0] == reply.status
    assert spent(paid) == 0


def test_what_was_never_sent_costs_nothing(paid: Agents) -> None:
    strict, usual = OutgoingHttp(allow_private=False), paid.world.services.http
    paid.world.services.http = strict
    try:
        assert ask(paid)[0] == 502
    finally:
        paid.world.services.http = usual
    assert spent(paid) == 0
    assert paid.provider.asked == []


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_sent_and_not_answered_costs_its_input(paid: Agents, stream: bool) -> None:
    paid.provider.next(hangs_up)
    assert ask(paid, stream=stream)[0] == 502
    sent = paid.provider.asked[0].body
    assert spent(paid) == (len(sent) + bounds.HIDDEN_TOKENS) * IN


@pytest.mark.parametrize(
    ("target", "tokens"),
    [
        # Of OpenAI nothing is told before the end: the input as it was counted, a token for each byte that was seen.
        (CHAT, lambda sent: (len(sent) + bounds.HIDDEN_TOKENS, len(b"Hello"))),
        # Anthropic tells the input first.
        (MESSAGES, lambda sent: (15, len(b"Hello"))),
    ],
)
def test_a_stream_that_breaks_off_costs_what_was_seen(paid: Agents, target: str, tokens: Any) -> None:
    def break_off(number: int) -> None:
        if number == 1:
            raise HangUp

    paid.provider.next(Says(before=break_off))
    ask(paid, target, stream=True)
    read, written = tokens(paid.provider.asked[0].body)
    assert spent(paid) == read * IN + written * OUT


def test_a_stream_that_its_agent_leaves_costs_what_was_seen(paid: Agents) -> None:
    answer = paid.ask(MESSAGES, json.dumps({**BODY, "stream": True}).encode())
    pieces = iter(answer)
    while b"Hello" not in next(pieces):
        pass
    answer.close()
    # Some more may have come in the same piece.
    assert 15 * IN + 5 * OUT <= spent(paid) <= 15 * IN + 100 * OUT


@pytest.mark.parametrize(
    ("target", "error"),
    [(CHAT, {"type": "insufficient_quota", "code": "402"}), (MESSAGES, {"type": "billing_error"})],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_budget_does_not_pay_is_refused_in_its_providers_form(
    paid: Agents, target: str, error: dict[str, str], stream: bool
) -> None:
    status, said = ask(paid, target, max_tokens=500, stream=stream)
    refusal = json.loads(said)
    assert status == 402
    assert refusal["error"].items() >= error.items()
    assert refusal["error"]["message"] == refusal["message"]
    assert "the budget of the agent 'ann' is reached" in refusal["message"]
    assert refusal["availableMicroUsd"] == LIMIT // 2
    assert refusal["neededMicroUsd"] > LIMIT // 2
    assert (paid.provider.asked, paid.events(), spent(paid)) == ([], [], 0)


def test_a_model_without_a_price_is_refused_unless_the_operator_names_one_for_such(paid: Agents) -> None:
    paid.configure(prices=[])
    status, said = ask(paid)
    assert status == 402
    assert "no price is known of the model 'large'" in json.loads(said)["error"]["message"]
    assert paid.provider.asked == []
    paid.configure(prices=[], unknownModelPrice={"input": IN, "output": OUT})
    assert ask(paid)[0] == 200
    assert spent(paid) == 15 * IN + 5 * OUT


def test_what_has_another_price_is_refused(paid: Agents) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [(CHAT, {"web_search_options": {}}), ("MAIN/v1/images/generations", {})]
    for target, changes in cases:
        assert ask(paid, target, **changes)[0] == 402
    assert paid.provider.asked == []


def test_a_get_is_free(paid: Agents) -> None:
    assert paid.ask("MAIN/v1/models", method="GET").status == 200
    assert spent(paid) == 0


def test_who_has_no_limit_pays_nothing_and_needs_no_price(agents: Agents) -> None:
    agents.configure(prices=[])
    made = Budget(SESSION, NAMESPACE, NEVER_S, agents={"ann": Level.of(1)})
    agents.world.services.budgets.create(made)
    assert agents.ask(CHAT, json.dumps(BODY).encode(), name="bob").status == 200
    assert agents.ask(CHAT, json.dumps(BODY).encode()).status == 402


def test_a_call_with_a_budget_makes_four_dynamodb_calls_besides_the_read(paid: Agents) -> None:
    ask(paid)
    with paid.world.counting() as calls:
        ask(paid)
    # Who calls, with the budget; reserve; settle; the position of the event and its entry.
    assert calls == ["BatchGetItem", "UpdateItem", "UpdateItem", "UpdateItem", "PutItem"]


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("lost", ["call", "answer"])
def test_a_call_whose_aws_fails_is_booked_once_or_held(paid: Agents, at: int, lost: str) -> None:
    """Each DynamoDB call of a call fails, or is made and its answer lost: then the sums are right, and it is booked."""
    paid.ask("MAIN/v1/models", method="GET")  # the log has its head, and the process knows who may call
    paid.provider.asked.clear()
    services, counted = paid.world.services, iter(range(100))
    transient = ConnectTimeoutError(endpoint_url="https://dynamodb")

    def fail(**_: Any) -> None:
        if next(counted) == at:
            raise transient

    event = "before-parameter-build.dynamodb" if lost == "call" else "after-call.dynamodb"
    services.dynamodb.meta.events.register(event, fail)
    try:
        status, _ = ask(paid)
    finally:
        services.dynamodb.meta.events.unregister(event, fail)
    # The read and the reserve fail before anything is sent; what comes later leaves the answer as it is.
    assert status == (503 if at < 2 else 200)
    assert len(paid.provider.asked) == (status == 200)
    budget = budget_of(paid)
    assert budget.session is not None
    cost = 15 * IN + 5 * OUT
    settled = status == 200 and not (at == 2 and lost == "call")
    assert budget.session.spent == (cost if settled else 0)
    assert len(budget.holds) == (not settled and (at == 2 or (at == 1 and lost == "answer")))
    assert len(paid.events()) == 1 + (at == 2 or (at, lost) == (4, "answer"))
    # What nobody settled is booked whole, once, by the reconciler.
    held = budget.session.held
    session = services.sessions.find(NAMESPACE, SESSION)
    assert session is not None
    budgets.conclude(services, session)
    assert spent(paid) == (cost if settled else held)


def test_a_call_that_has_ended_ends_no_more(paid: Agents, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[booking.Booking] = []
    begin = booking.begin

    def noted(call: ModelCall) -> booking.Booking:
        begun.append(begin(call))
        return begun[-1]

    monkeypatch.setattr(booking, "begin", noted)
    ask(paid)
    for _ in range(2):
        begun[0].answered(booking.Outcome(200, {"prompt_tokens": 9}))
        begun[0].failed(was_sent=True)
    assert spent(paid) == 15 * IN + 5 * OUT
    assert len(paid.events()) == 1
