"""One delivery from its freezing to its end: the same bytes always, no attempt lost, none out of turn."""

import base64
import json
import logging
import random
import threading
from email.utils import formatdate
from typing import IO, Any

import pytest
from standardwebhooks.webhooks import Webhook

from chalicelib.aws.http import CallFailed, OutgoingHttp
from chalicelib.domain import deliveries as asked
from chalicelib.domain import webhooks
from chalicelib.domain.errors import Conflict, NotFound
from chalicelib.reactions import deliveries
from chalicelib.reactions.deliveries import MAX_ANSWER_BYTES, MAX_ITEM_BODY_BYTES, Outcome
from chalicelib.services import Services, use
from chalicelib.settings import DAY_S
from chalicelib.store.deliveries import KEPT_ATTEMPTS, AttemptRecord, DeliveryRecord
from chalicelib.workers.deliveries import deliver_webhook
from tests.integration.webhooks.conftest import SECRET, HeldClock
from tests.integration.webhooks.receivers import Receiver, dripping

BODY = '{"text":  "exactly these bytes ☃"}\n'.encode()


def freeze(services: Services, url: str, delivery_id: str = "d1", body: bytes = BODY, namespace: str = "demo") -> bool:
    return deliveries.freeze(
        services, delivery_id=delivery_id, namespace=namespace, session_id=f"s-{delivery_id}", url=url, body=body
    )


def attempt(services: Services, delivery_id: str = "d1", round_: int = 1, execution: str = "x") -> Outcome:
    return deliveries.attempt(services, delivery_id, round_, execution)


def run(services: Services, clock: HeldClock, delivery_id: str = "d1", round_: int = 1, execution: str = "x") -> str:
    """Do what the state machine does, without its pauses; return the state at the end."""
    while True:
        outcome = attempt(services, delivery_id, round_, execution)
        if outcome.state != "retry":
            return outcome.state
        assert outcome.next_attempt_at_ms is not None
        clock.time_ms = max(clock.time_ms, outcome.next_attempt_at_ms)


# Freezing


def test_the_first_body_holds_for_ever(services: Services, receiver: Receiver) -> None:
    assert freeze(services, receiver.url)
    assert not freeze(services, receiver.url, body=b'{"another": 1}')
    assert attempt(services) == Outcome("delivered")
    assert [received.body for received in receiver.received] == [BODY]


def test_a_body_of_20_mb_goes_through_s3_byte_for_byte(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    body = json.dumps({"random": base64.b64encode(random.Random(1).randbytes(15_000_000)).decode()}).encode()
    assert len(body) > 20_000_000
    receiver.answer(500)
    assert freeze(services, receiver.url, body=body)
    assert not freeze(services, receiver.url, body=b"{}" + b" " * 400_000)
    assert not freeze(services, receiver.url)
    assert run(services, clock) == "delivered"
    assert [received.body == body for received in receiver.received] == [True, True]
    delivery = asked.find(services, "demo", "d1")
    assert (delivery.body, delivery.body_bytes) == (None, len(body))


def test_the_loser_of_a_race_to_freeze_leaves_the_large_body_alone(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (letter * 400_000 for letter in (b"1", b"2"))
    put = services.bodies.put_file

    def overtaken(key: str, body: IO[bytes]) -> None:
        monkeypatch.undo()
        assert freeze(services, receiver.url, body=first)
        put(key, body)

    monkeypatch.setattr(services.bodies, "put_file", overtaken)
    assert not freeze(services, receiver.url, body=second)
    attempt(services)
    assert receiver.received[0].body == first


def test_what_is_said_of_a_body_beside_it_is_in_headers(services: Services, receiver: Receiver) -> None:
    about = {"delivery_id": "d1", "namespace": "demo", "session_id": "s", "url": receiver.url, "body": BODY}
    deliveries.freeze(services, **about, reduced="too large", history_path="/the/history")  # type: ignore[arg-type]
    attempt(services)
    headers = receiver.received[0].headers
    assert (headers["x-atoll-report-reduced"], headers["x-atoll-history"]) == ("too large", "/the/history")
    assert receiver.received[0].body == BODY


@pytest.mark.parametrize("size", [0, 1, 300_000, 300_001])
def test_bodies_at_the_edge_between_item_and_s3(services: Services, receiver: Receiver, size: int) -> None:
    freeze(services, receiver.url, body=b"1" * size)
    assert attempt(services) == Outcome("delivered")
    assert receiver.received[0].body == b"1" * size
    stored = services.client("s3").list_objects_v2(Bucket=services.settings.bodies_bucket)["KeyCount"]
    assert stored == (1 if size > 300_000 else 0)


# Attempts


def test_a_receiver_that_is_down_at_first_gets_the_same_bytes_later(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(503, {}, b"not yet")
    receiver.answer(302, {"Location": receiver.url + "/elsewhere"})
    receiver.answer(404)
    freeze(services, receiver.url)
    assert run(services, clock) == "delivered"
    assert {received.body for received in receiver.received} == {BODY}
    assert {received.headers["webhook-id"] for received in receiver.received} == {"d1"}
    assert {received.path for received in receiver.received} == {"/hook"}
    delivery = asked.find(services, "demo", "d1")
    assert [(made.status, made.answer) for made in delivery.attempts] == [
        (503, "not yet"),
        (302, ""),
        (404, ""),
        (200, ""),
    ]
    assert (delivery.state, delivery.next_attempt_at_ms) == ("delivered", None)
    for received in receiver.received:
        assert int(received.headers["webhook-timestamp"]) * 1000 <= clock.now_ms()


def test_it_fails_after_ten_attempts_in_about_three_days(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    for _ in range(20):
        receiver.answer(500)
    start_ms = clock.now_ms()
    freeze(services, receiver.url)
    assert run(services, clock) == "failed"
    assert len(receiver.received) == 10
    hours = (clock.now_ms() - start_ms) / 3_600_000
    assert 75 < hours < 84
    assert attempt(services) == Outcome("failed")
    assert len(receiver.received) == 10


def test_gone_stops_it(services: Services, receiver: Receiver, clock: HeldClock) -> None:
    receiver.answer(410)
    freeze(services, receiver.url)
    assert (run(services, clock), len(receiver.received)) == ("failed", 1)


def test_a_refused_address_stops_it(services: Services, receiver: Receiver, clock: HeldClock) -> None:
    services.http = OutgoingHttp(allow_private=False)
    freeze(services, receiver.url)
    assert (run(services, clock), len(receiver.received)) == ("failed", 0)
    [made] = asked.find(services, "demo", "d1").attempts
    assert made.status is None
    assert "must not be called" in (made.error or "")


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed(services: Services, receiver: Receiver, clock: HeldClock, form: str) -> None:
    value = "3600" if form == "seconds" else formatdate(clock.now_ms() / 1000 + 3600, usegmt=True)
    receiver.answer(429, {"Retry-After": value})
    freeze(services, receiver.url)
    outcome = attempt(services)
    assert outcome.state == "retry"
    assert abs((outcome.next_attempt_at_ms or 0) - clock.now_ms() - 3_600_000) <= 1000


def test_an_attempt_before_its_time_is_sent_back_to_wait(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(500)
    freeze(services, receiver.url)
    outcome = attempt(services)
    assert attempt(services) == outcome
    assert len(receiver.received) == 1
    # A little early is waited out, so that no execution goes round in circles.
    clock.time_ms = (outcome.next_attempt_at_ms or 0) - 300
    assert attempt(services) == Outcome("delivered")
    assert receiver.received[1].headers["webhook-timestamp"] == str((outcome.next_attempt_at_ms or 0) // 1000)


def test_what_an_answer_says_is_kept_as_at_most_1_kb_of_text(services: Services, receiver: Receiver) -> None:
    receiver.answer(500, {}, b"\xff\xfe" * 5000)
    freeze(services, receiver.url)
    attempt(services)
    [made] = asked.find(services, "demo", "d1").attempts
    assert 1020 <= len((made.answer or "").encode()) <= 1024


def test_a_failing_receiver_never_delays_another(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "TIMEOUT_S", 60.0)
    with dripping(b"", b"") as port:
        freeze(services, f"http://127.0.0.1:{port}/", "hanging")
        hanging = threading.Thread(target=attempt, args=(services, "hanging"), daemon=True)
        hanging.start()
        for number in range(5):
            freeze(services, receiver.url, f"good{number}")
            assert attempt(services, f"good{number}") == Outcome("delivered")
        assert hanging.is_alive()
    hanging.join(10)
    assert not hanging.is_alive()
    assert asked.find(services, "demo", "hanging").attempts[0].status is None


def test_a_receiver_has_ten_seconds(services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts: list[float] = []

    def out_of_time(*_: object, timeout_s: float, **__: object) -> None:
        timeouts.append(timeout_s)
        raise CallFailed("no complete answer within 10 s")

    monkeypatch.setattr(services.http, "post", out_of_time)
    freeze(services, receiver.url)
    assert attempt(services).state == "retry"
    assert timeouts == [10.0]


# Twice, late, and crashed in between


def test_a_second_execution_of_the_same_round_ends_at_once(services: Services, receiver: Receiver) -> None:
    receiver.answer(500)
    freeze(services, receiver.url)
    assert attempt(services, execution="one").state == "retry"
    assert attempt(services, execution="two") == Outcome("superseded")
    assert attempt(services, round_=2, execution="two") == Outcome("superseded")
    assert attempt(services, "unknown") == Outcome("superseded")
    assert len(receiver.received) == 1


def test_a_lambda_that_is_retried_after_its_answer_was_lost_does_not_post_again(
    services: Services, receiver: Receiver
) -> None:
    freeze(services, receiver.url)
    assert [attempt(services), attempt(services), attempt(services)] == [Outcome("delivered")] * 3
    assert len(receiver.received) == 1


@pytest.mark.parametrize("call", ["find", "claim", "record"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_anywhere_loses_nothing(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, call: str, moment: str
) -> None:
    freeze(services, receiver.url)
    real = getattr(services.deliveries, call)

    def crash(*arguments: object, **named: object) -> None:
        if moment == "after":
            real(*arguments, **named)
        raise ConnectionError("lost")

    monkeypatch.setattr(services.deliveries, call, crash)
    with pytest.raises(ConnectionError):
        attempt(services)
    monkeypatch.undo()
    assert attempt(services) == Outcome("delivered")
    delivery = asked.find(services, "demo", "d1")
    assert (delivery.state, len(delivery.attempts)) == ("delivered", 1)
    assert len(receiver.received) == (2 if (call, moment) == ("record", "before") else 1)
    assert {received.body for received in receiver.received} == {BODY}


def test_twins_of_one_attempt_record_it_once(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer(500)
    receiver.answer(200)
    freeze(services, receiver.url)
    post, outcomes = services.http.post, []

    def overtaken(*arguments: object, **named: object) -> object:
        answer = post(*arguments, **named)  # type: ignore[arg-type]
        monkeypatch.undo()
        outcomes.append(attempt(services))  # the twin is through before this one records
        return answer

    monkeypatch.setattr(services.http, "post", overtaken)
    assert attempt(services) == Outcome("delivered")
    assert outcomes == [Outcome("delivered")]
    delivery = asked.find(services, "demo", "d1")
    assert [(made.status) for made in delivery.attempts] == [200]


def test_a_twin_that_comes_late_does_not_undo_what_was_recorded_since(
    services: Services, receiver: Receiver, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status in (500, 501, 502):
        receiver.answer(status)
    freeze(services, receiver.url)
    post, outcomes = services.http.post, []

    def overtaken(*arguments: object, **named: object) -> object:
        answer = post(*arguments, **named)  # type: ignore[arg-type]
        monkeypatch.undo()
        for _ in range(2):
            outcomes.append(attempt(services))
            clock.time_ms = outcomes[-1].next_attempt_at_ms or 0
        return answer

    monkeypatch.setattr(services.http, "post", overtaken)
    assert attempt(services) == outcomes[-1]
    delivery = asked.find(services, "demo", "d1")
    assert ([made.status for made in delivery.attempts], delivery.tries) == ([501, 502], 2)


def test_of_two_executions_that_claim_at_once_one_ends(
    services: Services, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze(services, receiver.url)
    claim = services.deliveries.claim

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert attempt(services, execution="one") == Outcome("delivered")
        asked.resend(services, "demo", "d1")
        assert attempt(services, round_=2, execution="three") == Outcome("delivered")
        return claim(*arguments)

    monkeypatch.setattr(services.deliveries, "claim", overtaken)
    assert attempt(services, execution="two") == Outcome("superseded")
    assert len(receiver.received) == 2


def test_of_two_executions_the_first_to_claim_keeps_the_round(services: Services, receiver: Receiver) -> None:
    freeze(services, receiver.url)
    assert services.deliveries.claim("d1", 1, "one") is not None
    assert services.deliveries.claim("d1", 1, "two") is None
    assert services.deliveries.claim("d1", 1, "one") is not None
    assert attempt(services, execution="two") == Outcome("superseded")
    assert receiver.received == []


def test_a_delivery_that_has_expired_is_not_brought_back(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    freeze(services, receiver.url)
    clock.time_ms += 31 * 24 * 3600 * 1000
    assert attempt(services) == Outcome("superseded")
    assert receiver.received == []


# Sending again


def test_a_failed_delivery_is_sent_again_with_the_same_bytes_and_a_new_schedule(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(410)
    freeze(services, receiver.url)
    assert run(services, clock) == "failed"
    again = asked.resend(services, "demo", "d1")
    assert (again.state, again.round, again.tries) == ("pending", 2, 0)
    receiver.answer(500)
    assert attempt(services, execution="x") == Outcome("superseded")
    assert run(services, clock, round_=2, execution="y") == "delivered"
    delivery = asked.find(services, "demo", "d1")
    assert [(made.round, made.status) for made in delivery.attempts] == [(1, 410), (2, 500), (2, 200)]
    assert {(received.body, received.headers["webhook-id"]) for received in receiver.received} == {(BODY, "d1")}


def test_it_cannot_be_sent_again_while_it_is_pending(services: Services, receiver: Receiver) -> None:
    freeze(services, receiver.url)
    with pytest.raises(Conflict):
        asked.resend(services, "demo", "d1")
    attempt(services)
    asked.resend(services, "demo", "d1")
    with pytest.raises(Conflict):
        asked.resend(services, "demo", "d1")
    with pytest.raises(NotFound):
        asked.resend(services, "another", "d1")


def test_of_two_requests_to_send_again_the_late_one_begins_nothing(services: Services, receiver: Receiver) -> None:
    freeze(services, receiver.url)
    attempt(services)
    seen = asked.find(services, "demo", "d1")
    asked.resend(services, "demo", "d1")
    attempt(services, round_=2, execution="y")
    assert services.deliveries.start_again(seen, now_ms=services.clock.now_ms()) is None
    assert asked.find(services, "demo", "d1").state == "delivered"


def test_of_many_attempts_the_latest_are_kept_beside_the_largest_body(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    answer = "é" * (MAX_ANSWER_BYTES // 2)
    made = [AttemptRecord(time_ms=number, round=1, duration_ms=1, answer=answer) for number in range(KEPT_ATTEMPTS)]
    record = DeliveryRecord(
        delivery_id="d1",
        namespace="demo",
        session_id="s",
        url=receiver.url + "?" + "x" * 2000,
        created_at_ms=clock.now_ms(),
        next_attempt_at_ms=clock.now_ms(),
        expires_at=clock.now_ms() // 1000 + 1000,
        body="x" * MAX_ITEM_BODY_BYTES,
        body_bytes=MAX_ITEM_BODY_BYTES,
        attempts=made,
    )
    services.deliveries.create(record)
    receiver.answer(410, {}, answer.encode())
    assert attempt(services) == Outcome("failed")
    kept = asked.find(services, "demo", "d1").attempts
    assert [made.time_ms for made in kept] == [*range(1, KEPT_ATTEMPTS), clock.now_ms()]


def test_a_delivery_without_an_execution_is_resumed_where_its_schedule_was(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(500)
    freeze(services, receiver.url)
    freeze(services, receiver.url, "settled")
    attempt(services)
    attempt(services, "settled")
    assert deliveries.take_over_forgotten(services) == []
    clock.time_ms += deliveries.FORGOTTEN_MS + 10_000
    assert deliveries.take_over_forgotten(services) == ["d1"]
    assert deliveries.take_over_forgotten(services) == []
    assert attempt(services, round_=1) == Outcome("superseded")
    assert attempt(services, round_=2, execution="y") == Outcome("delivered")
    assert asked.find(services, "demo", "d1").tries == 2


# Endpoints that fail


def fail_once(services: Services, receiver: Receiver, delivery_id: str) -> str:
    """Make one attempt of a new delivery that the receiver refuses; return what follows."""
    receiver.answer(500)
    freeze(services, receiver.url, delivery_id)
    return attempt(services, delivery_id).state


def test_an_endpoint_that_fails_for_days_gets_nothing_more_until_it_is_enabled(
    services: Services, receiver: Receiver, clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    for day in range(5):
        assert fail_once(services, receiver, f"d{day}") == "retry"
        clock.time_ms += DAY_S * 1000
    assert "disabled" not in caplog.text
    assert fail_once(services, receiver, "d5") == "retry"
    [told] = [record for record in caplog.records if record.getMessage() == "webhook endpoint disabled"]
    assert told.levelno == logging.ERROR
    assert receiver.url not in caplog.text, "a URL may have a secret in it"

    sent = len(receiver.received)
    freeze(services, receiver.url, "d6")
    assert attempt(services, "d6") == Outcome("failed")
    clock.time_ms += DAY_S * 1000
    assert attempt(services, "d5") == Outcome("failed"), "what is under way ends, too"
    assert len(receiver.received) == sent
    [made] = asked.find(services, "demo", "d6").attempts
    [endpoint] = webhooks.listing(services, "demo", page=None, start=None)
    assert f"the endpoint {endpoint.endpoint_id} failed since " in str(made.error)

    freeze(services, receiver.url, "elsewhere", namespace="another")
    assert attempt(services, "elsewhere") == Outcome("delivered"), "each namespace has its own"
    webhooks.enable(services, "demo", endpoint.endpoint_id)
    asked.resend(services, "demo", "d6")
    assert attempt(services, "d6", round_=2) == Outcome("delivered")
    with pytest.raises(NotFound, match=endpoint.endpoint_id):
        webhooks.enable(services, "demo", endpoint.endpoint_id)


def test_one_success_is_enough_to_begin_anew(services: Services, receiver: Receiver, clock: HeldClock) -> None:
    for number in range(6):
        fail_once(services, receiver, f"d{number}")
        clock.time_ms += DAY_S * 1000
        if number == 3:
            freeze(services, receiver.url, "well")
            assert attempt(services, "well") == Outcome("delivered")
            assert list(webhooks.listing(services, "demo", page=None, start=None)) == []
    assert fail_once(services, receiver, "d6") == "retry"
    [endpoint] = webhooks.listing(services, "demo", page=None, start=None)
    assert (endpoint.failures, endpoint.disabled_at_ms) == (3, None)


def test_failures_that_are_days_apart_are_not_one_failure_for_days(
    services: Services, receiver: Receiver, clock: HeldClock
) -> None:
    for number in range(4):
        assert fail_once(services, receiver, f"d{number}") == "retry"
        clock.time_ms += 3 * DAY_S * 1000
    assert list(webhooks.listing(services, "demo", page=None, start=None)) == []


def test_a_deployment_may_disable_none(services: Services, receiver: Receiver, clock: HeldClock) -> None:
    services.settings = services.settings.model_copy(update={"webhook_disable_after_s": 0})
    for number in range(9):
        assert fail_once(services, receiver, f"d{number}") == "retry"
        clock.time_ms += DAY_S * 1000


def test_an_endpoint_that_was_enabled_meanwhile_stays_so(
    services: Services, receiver: Receiver, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(5):
        fail_once(services, receiver, f"d{day}")
        clock.time_ms += DAY_S * 1000
    [endpoint] = webhooks.listing(services, "demo", page=None, start=None)
    post = services.http.post

    def enabling(*given: Any, **named: Any) -> Any:
        webhooks.enable(services, "demo", endpoint.endpoint_id)
        return post(*given, **named)

    monkeypatch.setattr(services.http, "post", enabling)
    fail_once(services, receiver, "d5")
    assert list(webhooks.listing(services, "demo", page=None, start=None)) == []


# Secrets


def test_receivers_of_both_secrets_verify_while_one_is_rotated(services: Services, receiver: Receiver) -> None:
    services.secrets.webhook_secrets.update(current="new", previous=SECRET)  # type: ignore[attr-defined]
    freeze(services, receiver.url)
    # standardwebhooks' verify looks at the wall clock, which the held one was set by.
    attempt(services)
    [received] = receiver.received
    for secret in ("new", SECRET):
        key = "whsec_" + base64.b64encode(secret.encode()).decode()
        assert Webhook(key).verify(received.body, received.headers) == json.loads(BODY)


def test_neither_secrets_nor_bodies_are_logged(
    services: Services, receiver: Receiver, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer(500)
    freeze(services, receiver.url + "?token=hush")
    use(services)
    try:
        answer = deliver_webhook({"deliveryId": "d1", "round": 1, "execution": "x"}, None)
    finally:
        use(None)
    assert answer["state"] == "retry"
    assert answer["nextAttemptAt"].endswith("Z")
    # botocore's own debug output, off in a Lambda, shows requests; Atoll's must not.
    own = [record.getMessage() for record in caplog.records if not record.name.startswith(("botocore", "urllib3"))]
    written = capsys.readouterr()
    text = "\n".join([*own, written.out, written.err])
    for hidden in (SECRET, "exactly these bytes", "hush"):
        assert hidden not in text
