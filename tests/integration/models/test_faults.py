"""Providers that fail: what the agent is told, what is tried again, and that nothing waits for ever (contract, C.3)."""

import json
import time
from typing import Any

import pytest

from chalicelib.aws.http import OutgoingHttp
from chalicelib.models import endpoint
from chalicelib.models.calls import Reach
from tests.integration.models.conftest import JSON, Agents, config_of
from tests.mcp_world import TestClock
from tests.offline_models import (
    Answers,
    Asked,
    HangUp,
    OfflineModels,
    Says,
    garbage_stream,
    lies_about_length,
    overloaded,
)

pytestmark = pytest.mark.xdist_group("models")

CHAT, MESSAGES = "MAIN/v1/chat/completions", "CLAUDE/v1/messages"
BODY, STREAM = b'{"model": "large"}', b'{"model": "large", "stream": true}'


def hangs_up(asked: Asked) -> Answers:
    raise HangUp


def said(answer: Any) -> Any:
    return json.loads(answer.read())


def hanging(provider: OfflineModels) -> Any:
    """A reply that never comes."""
    return lambda asked: provider.hang()


# Without an answer


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_provider_that_hangs_is_a_504_in_time(agents: Agents, body: bytes) -> None:
    agents.configure(timeout="100ms")
    agents.provider.next(hanging(agents.provider))
    started_s = time.monotonic()
    answer = agents.ask(CHAT, body)
    assert time.monotonic() - started_s < 2
    assert answer.status == 504
    assert "'one'" in said(answer)["message"]
    assert agents.events() == []


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_a_provider_that_hangs_up_is_a_502(agents: Agents, body: bytes) -> None:
    agents.provider.next(hangs_up)
    assert agents.ask(CHAT, body).status == 502
    assert agents.events() == []


def test_one_that_lies_about_its_length_is_a_502(agents: Agents) -> None:
    agents.provider.next(lies_about_length())
    answer = agents.ask(CHAT, BODY)
    assert answer.status == 502
    assert "before its end" in said(answer)["message"]
    assert agents.events() == []


def test_a_refused_connection_is_a_502_and_an_address_that_must_not_be_called_too(agents: Agents) -> None:
    with OfflineModels() as gone:
        url = gone.url
    config = config_of(agents.provider)
    providers = [provider.model_copy(update={"base_url": url}) for provider in config.providers]
    agents.world.services.llm_proxy.write(config.model_copy(update={"providers": providers}))
    agents.world.services.llm_proxy._known = None
    assert agents.ask(CHAT, BODY).status == 502
    agents.configure()
    strict, usual = OutgoingHttp(allow_private=False), agents.world.services.http
    try:
        agents.world.services.http = strict
        answer = agents.ask(CHAT, BODY)
    finally:
        agents.world.services.http = usual
    assert answer.status == 502
    assert "must not be called" in said(answer)["message"]
    assert agents.provider.asked == []


def test_a_large_answer_is_a_502_and_a_large_refusal_of_a_stream_too(agents: Agents) -> None:
    agents.configure(maxResponseSize=1000)
    for body, status in ((BODY, 200), (STREAM, 400)):
        agents.provider.next(Answers(status, b"x" * 1000), Answers(status, b"x" * 1001))
        assert agents.ask(CHAT, body).status == status
        assert agents.ask(CHAT, body).status == 502


def test_an_answer_that_is_encoded_though_nobody_asked_for_it_is_a_502(agents: Agents) -> None:
    agents.provider.next(Answers(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}))
    assert agents.ask(CHAT, BODY).status == 502


def test_a_call_ends_when_its_place_does(agents: Agents) -> None:
    """A Lambda that is about to end says so, instead of being cut off."""
    agents.provider.next(hanging(agents.provider))
    services = agents.world.services
    head = endpoint.Head("POST", f"/llm-proxy/{agents.world.secret('ann')}/{CHAT}", "", [JSON])
    admitted = endpoint.admit(services, head)
    assert isinstance(admitted, endpoint.Admitted)
    answer = admitted.answer(BODY, Reach(services.clock.now_ms() + 100))
    assert answer.status == 504


# Errors of the provider


@pytest.mark.parametrize("body", [BODY, STREAM])
def test_an_error_passes_as_it_is(agents: Agents, body: bytes) -> None:
    agents.provider.next(overloaded(7))
    answer = agents.ask(MESSAGES, body)
    headers = {name.lower(): value for name, value in answer.headers}
    assert answer.status == 529
    assert headers["content-type"] == "application/json"
    assert headers.get("retry-after") == (None if body == STREAM else "7")
    assert said(answer)["error"]["type"] == "overloaded_error"
    assert [event["statusCode"] for event in agents.events()] == [529]


# Streams


def streamed(agents: Agents, target: str = CHAT) -> tuple[list[bytes], bytes]:
    """Ask for a stream; return its pieces, and all of them."""
    answer = agents.ask(target, STREAM)
    assert answer.status == 200
    assert answer.streams
    headers = {name.lower(): value for name, value in answer.headers}
    assert headers == {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    pieces = list(answer)
    return pieces, b"".join(pieces)


@pytest.mark.parametrize("target", [CHAT, MESSAGES, "MAIN/v1/responses"])
def test_a_stream_is_handed_on_and_its_usage_is_noted(agents: Agents, target: str) -> None:
    agents.provider.next(Says(input_tokens=150, output_tokens=50))
    _, whole = streamed(agents, target)
    assert b"upstream" in whole
    [event] = agents.events()
    assert (event["statusCode"], event["usage"]) == (200, {"inputTokens": 150, "outputTokens": 50})


def test_the_ends_of_lines_become_one(agents: Agents) -> None:
    agents.provider.next(Answers(200, b"data: 1\r\ndata: 2\n\r\n\rx\r\n\nlast"))
    _, whole = streamed(agents)
    assert whole == b"data: 1\ndata: 2\n\n\rx\n\nlast\n"


def test_garbage_is_handed_on_and_says_nothing(agents: Agents) -> None:
    for target in (CHAT, MESSAGES):
        agents.provider.next(garbage_stream())
        _, whole = streamed(agents, target)
        assert b"data: {not json}\ndata: [[[[\n" in whole
    assert [event["usage"] for event in agents.events()] == [{}, {}]


def test_a_line_without_end_takes_no_memory_and_the_next_is_read(agents: Agents) -> None:
    usage = b'data: {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n'
    agents.provider.next(Answers(200, b"data: " + b"x" * 3_000_000 + b"\n" + usage))
    pieces, whole = streamed(agents)
    assert len(whole) == 3_000_007 + len(usage)
    assert max(map(len, pieces)) < 2_000_000
    assert agents.events()[0]["usage"] == {"inputTokens": 3, "outputTokens": 4}


def test_a_stream_beyond_its_size_just_ends(agents: Agents) -> None:
    agents.configure(maxStreamSize=1000)
    agents.provider.next(Says(pieces=("word",) * 100))
    _, whole = streamed(agents)
    assert len(whole) <= 1000
    assert b"error" not in whole
    assert len(agents.events()) == 1


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (CHAT, {"error": {"type": "proxy_error", "param": None}}),
        (MESSAGES, {"type": "error", "error": {"type": "api_error"}}),
    ],
)
def test_a_stream_that_breaks_off_ends_with_an_error_in_its_providers_form(
    agents: Agents, target: str, error: dict[str, Any]
) -> None:
    def break_off(number: int) -> None:
        if number == 1:
            raise HangUp

    agents.provider.next(Says(before=break_off))
    _, whole = streamed(agents, target)
    last = json.loads(whole.strip().rsplit(b"data: ", 1)[1])
    assert "broke off" in last["error"]["message"]
    assert last["error"].items() >= error["error"].items()
    # What was told of the usage until then is known.
    usage = {} if target == CHAT else {"inputTokens": 15, "outputTokens": 1}
    assert [event["usage"] for event in agents.events()] == [usage]


def test_a_stream_that_falls_silent_ends_in_time(agents: Agents) -> None:
    agents.configure(timeout="100ms")
    agents.provider.next(Says(before=lambda number: agents.provider.hang() if number == 1 else None))
    started_s = time.monotonic()
    _, whole = streamed(agents)
    assert time.monotonic() - started_s < 2
    assert b"nothing came for 0.1 s" in whole


def test_a_stream_that_nobody_reads_on_ends_once(agents: Agents) -> None:
    for read in (0, 1):
        agents.provider.next(Says())
        answer = agents.ask(CHAT, STREAM)
        pieces = iter(answer)
        for _ in range(read):
            next(pieces)
        answer.close()
        answer.close()
        pieces.close()  # type: ignore[attr-defined]
    assert len(agents.events()) == 2


# Trying again


@pytest.fixture
def patient(agents: Agents) -> Any:
    """An agent whose proxy tries again, twice, by a clock of its own."""
    agents.configure(retryMaxAttempts=2, retryBaseDelay="2s", retryMaxDelay="3s", timeout="30s")
    return agents


def tried(agents: Agents, *replies: Any, body: bytes = BODY) -> tuple[int, int, int]:
    """Return the status of a call that is answered so, how often it was sent, and how long (ms) that took."""
    agents.provider.next(*replies)
    clock = TestClock()
    with agents.world.on(clock):
        agents.world.services.llm_proxy = agents.world.services.llm_proxy  # a client of its own
        agents.world.services.http = OutgoingHttp(allow_private=True)
        began_ms = clock.now_ms()
        answer = agents.ask(CHAT, body)
        answer.read()
        return answer.status, len(agents.provider.asked), clock.now_ms() - began_ms


@pytest.mark.parametrize("failure", [Answers(409), Answers(500), Answers(503), overloaded(), hangs_up])
def test_what_may_pass_is_tried_again(patient: Agents, failure: Any) -> None:
    status, times, took_ms = tried(patient, failure)
    assert (status, times) == (200, 2)
    assert 2_000 <= took_ms < 3_100


def test_it_is_tried_as_often_as_is_configured_and_no_longer_than_that(patient: Agents) -> None:
    status, times, took_ms = tried(patient, *[Answers(500)] * 5)
    assert (status, times) == (500, 3)
    assert 5_000 <= took_ms < 7_100


@pytest.mark.parametrize("failure", [Answers(429), Answers(400), Answers(401)])
def test_what_will_not_pass_is_not_tried_again(patient: Agents, failure: Any) -> None:
    assert tried(patient, failure)[:2] == (failure.status, 1)


def test_a_time_out_is_not_tried_again(agents: Agents) -> None:
    agents.configure(retryMaxAttempts=2, timeout="100ms")
    agents.provider.next(hanging(agents.provider))
    assert agents.ask(CHAT, BODY).status == 504
    assert len(agents.provider.asked) == 1


def test_nothing_is_tried_again_unless_that_is_configured(agents: Agents) -> None:
    agents.provider.next(Answers(500))
    assert agents.ask(CHAT, BODY).status == 500
    assert len(agents.provider.asked) == 1


@pytest.mark.parametrize(("after", "longest_ms"), [("4", 4_100), ("not a time", 3_100)])
def test_a_provider_says_when(patient: Agents, after: str, longest_ms: int) -> None:
    patient.configure(retryMaxAttempts=1, retryBaseDelay="2s", timeout="30s")
    status, times, took_ms = tried(patient, Answers(503, headers={"Retry-After": after}))
    assert (status, times) == (200, 2)
    assert longest_ms - 1_100 <= took_ms < longest_ms


def test_an_answer_beyond_the_time_of_the_call_is_not_waited_for(patient: Agents) -> None:
    status, times, took_ms = tried(patient, Answers(503, headers={"Retry-After": "60"}))
    assert (status, times) == (503, 1)
    assert took_ms < 100


def test_a_stream_is_tried_again_before_it_begins(patient: Agents) -> None:
    assert tried(patient, overloaded(), body=STREAM)[:2] == (200, 2)
