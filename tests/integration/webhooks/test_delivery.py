"""One delivery from its freezing to its end: the same bytes always, no attempt lost, none out of turn."""

import base64
import json
import logging
import random
import threading
from email.utils import formatdate
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from chalicelib import deployment
from chalicelib.aws.http import CallFailed, OutgoingHttp
from chalicelib.deployment import Deployment
from chalicelib.domain import webhooks
from chalicelib.domain.errors import Conflict, NotFound
from chalicelib.domain.webhooks import MAX_ANSWER_BYTES, MAX_ITEM_BODY_BYTES, Outcome
from chalicelib.store.deliveries import KEPT_ATTEMPTS, AttemptRecord, DeliveryRecord
from chalicelib.workers.deliveries import deliver_webhook
from tests.integration.webhooks.conftest import SECRET, HeldClock
from tests.integration.webhooks.receivers import Receiver, dripping

BODY = '{"text":  "exactly these bytes ☃"}\n'.encode()


def freeze(atoll: Deployment, url: str, delivery_id: str = "d1", body: bytes = BODY) -> bool:
    return webhooks.freeze(
        atoll, delivery_id=delivery_id, namespace="demo", session_id=f"s-{delivery_id}", url=url, body=body
    )


def attempt(atoll: Deployment, delivery_id: str = "d1", round_: int = 1, execution: str = "x") -> Outcome:
    return webhooks.attempt(atoll, delivery_id, round_, execution)


def run(atoll: Deployment, clock: HeldClock, delivery_id: str = "d1", round_: int = 1, execution: str = "x") -> str:
    """Do what the state machine does, without its pauses; return the state at the end."""
    while True:
        outcome = attempt(atoll, delivery_id, round_, execution)
        if outcome.state != "retry":
            return outcome.state
        assert outcome.next_attempt_at_ms is not None
        clock.time_ms = max(clock.time_ms, outcome.next_attempt_at_ms)


# Freezing


def test_the_first_body_holds_for_ever(atoll: Deployment, receiver: Receiver) -> None:
    assert freeze(atoll, receiver.url)
    assert not freeze(atoll, receiver.url, body=b'{"another": 1}')
    assert attempt(atoll) == Outcome("delivered")
    assert [received.body for received in receiver.received] == [BODY]


def test_a_body_of_20_mb_goes_through_s3_byte_for_byte(atoll: Deployment, receiver: Receiver, clock: HeldClock) -> None:
    body = json.dumps({"random": base64.b64encode(random.Random(1).randbytes(15_000_000)).decode()}).encode()
    assert len(body) > 20_000_000
    receiver.answer(500)
    assert freeze(atoll, receiver.url, body=body)
    assert not freeze(atoll, receiver.url, body=b"{}" + b" " * 400_000)
    assert not freeze(atoll, receiver.url)
    assert run(atoll, clock) == "delivered"
    assert [received.body == body for received in receiver.received] == [True, True]
    delivery = webhooks.find(atoll, "demo", "d1")
    assert (delivery.body, delivery.body_bytes) == (None, len(body))


def test_the_loser_of_a_race_to_freeze_leaves_the_large_body_alone(
    atoll: Deployment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (letter * 400_000 for letter in (b"1", b"2"))
    put = atoll.bodies.put

    def overtaken(key: str, body: bytes) -> None:
        monkeypatch.undo()
        assert freeze(atoll, receiver.url, body=first)
        put(key, body)

    monkeypatch.setattr(atoll.bodies, "put", overtaken)
    assert not freeze(atoll, receiver.url, body=second)
    attempt(atoll)
    assert receiver.received[0].body == first


@pytest.mark.parametrize("size", [0, 1, 300_000, 300_001])
def test_bodies_at_the_edge_between_item_and_s3(atoll: Deployment, receiver: Receiver, size: int) -> None:
    freeze(atoll, receiver.url, body=b"1" * size)
    assert attempt(atoll) == Outcome("delivered")
    assert receiver.received[0].body == b"1" * size
    stored = atoll.client("s3").list_objects_v2(Bucket=atoll.settings.bodies_bucket)["KeyCount"]
    assert stored == (1 if size > 300_000 else 0)


# Attempts


def test_a_receiver_that_is_down_at_first_gets_the_same_bytes_later(
    atoll: Deployment, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(503, {}, b"not yet")
    receiver.answer(302, {"Location": receiver.url + "/elsewhere"})
    receiver.answer(404)
    freeze(atoll, receiver.url)
    assert run(atoll, clock) == "delivered"
    assert {received.body for received in receiver.received} == {BODY}
    assert {received.headers["webhook-id"] for received in receiver.received} == {"d1"}
    assert {received.path for received in receiver.received} == {"/hook"}
    delivery = webhooks.find(atoll, "demo", "d1")
    assert [(made.status, made.answer) for made in delivery.attempts] == [
        (503, "not yet"),
        (302, ""),
        (404, ""),
        (200, ""),
    ]
    assert (delivery.state, delivery.next_attempt_at_ms) == ("delivered", None)
    for received in receiver.received:
        assert int(received.headers["webhook-timestamp"]) * 1000 <= clock.now_ms()


def test_it_is_given_up_after_ten_attempts_in_about_three_days(
    atoll: Deployment, receiver: Receiver, clock: HeldClock
) -> None:
    for _ in range(20):
        receiver.answer(500)
    start_ms = clock.now_ms()
    freeze(atoll, receiver.url)
    assert run(atoll, clock) == "failed"
    assert len(receiver.received) == 10
    hours = (clock.now_ms() - start_ms) / 3_600_000
    assert 75 < hours < 84
    assert attempt(atoll) == Outcome("failed")
    assert len(receiver.received) == 10


def test_gone_stops_it(atoll: Deployment, receiver: Receiver, clock: HeldClock) -> None:
    receiver.answer(410)
    freeze(atoll, receiver.url)
    assert (run(atoll, clock), len(receiver.received)) == ("failed", 1)


def test_a_refused_address_stops_it(atoll: Deployment, receiver: Receiver, clock: HeldClock) -> None:
    atoll.http = OutgoingHttp(allow_private=False)
    freeze(atoll, receiver.url)
    assert (run(atoll, clock), len(receiver.received)) == ("failed", 0)
    [made] = webhooks.find(atoll, "demo", "d1").attempts
    assert made.status is None
    assert "must not be called" in (made.error or "")


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed(atoll: Deployment, receiver: Receiver, clock: HeldClock, form: str) -> None:
    value = "3600" if form == "seconds" else formatdate(clock.now_ms() / 1000 + 3600, usegmt=True)
    receiver.answer(429, {"Retry-After": value})
    freeze(atoll, receiver.url)
    outcome = attempt(atoll)
    assert outcome.state == "retry"
    assert abs((outcome.next_attempt_at_ms or 0) - clock.now_ms() - 3_600_000) <= 1000


def test_an_attempt_before_its_time_is_sent_back_to_wait(
    atoll: Deployment, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(500)
    freeze(atoll, receiver.url)
    outcome = attempt(atoll)
    assert attempt(atoll) == outcome
    assert len(receiver.received) == 1
    # A little early is waited out, so that no execution goes round in circles.
    clock.time_ms = (outcome.next_attempt_at_ms or 0) - 300
    assert attempt(atoll) == Outcome("delivered")
    assert receiver.received[1].headers["webhook-timestamp"] == str((outcome.next_attempt_at_ms or 0) // 1000)


def test_what_an_answer_says_is_kept_as_at_most_1_kb_of_text(atoll: Deployment, receiver: Receiver) -> None:
    receiver.answer(500, {}, b"\xff\xfe" * 5000)
    freeze(atoll, receiver.url)
    attempt(atoll)
    [made] = webhooks.find(atoll, "demo", "d1").attempts
    assert 1020 <= len((made.answer or "").encode()) <= 1024


def test_a_failing_receiver_never_delays_another(
    atoll: Deployment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 60.0)
    with dripping(b"", b"") as port:
        freeze(atoll, f"http://127.0.0.1:{port}/", "hanging")
        hanging = threading.Thread(target=attempt, args=(atoll, "hanging"), daemon=True)
        hanging.start()
        for number in range(5):
            freeze(atoll, receiver.url, f"good{number}")
            assert attempt(atoll, f"good{number}") == Outcome("delivered")
        assert hanging.is_alive()
    hanging.join(10)
    assert not hanging.is_alive()
    assert webhooks.find(atoll, "demo", "hanging").attempts[0].status is None


def test_a_receiver_has_ten_seconds(atoll: Deployment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def out_of_time(*_: object, timeout_s: float, **__: object) -> None:
        given.append(timeout_s)
        raise CallFailed("no complete answer within 10 s")

    monkeypatch.setattr(atoll.http, "post", out_of_time)
    freeze(atoll, receiver.url)
    assert attempt(atoll).state == "retry"
    assert given == [10.0]


# Twice, late, and crashed in between


def test_a_second_execution_of_the_same_round_ends_at_once(atoll: Deployment, receiver: Receiver) -> None:
    receiver.answer(500)
    freeze(atoll, receiver.url)
    assert attempt(atoll, execution="one").state == "retry"
    assert attempt(atoll, execution="two") == Outcome("superseded")
    assert attempt(atoll, round_=2, execution="two") == Outcome("superseded")
    assert attempt(atoll, "unknown") == Outcome("superseded")
    assert len(receiver.received) == 1


def test_a_lambda_that_is_retried_after_its_answer_was_lost_does_not_post_again(
    atoll: Deployment, receiver: Receiver
) -> None:
    freeze(atoll, receiver.url)
    assert [attempt(atoll), attempt(atoll), attempt(atoll)] == [Outcome("delivered")] * 3
    assert len(receiver.received) == 1


@pytest.mark.parametrize("call", ["find", "claim", "record"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_anywhere_loses_nothing(
    atoll: Deployment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, call: str, moment: str
) -> None:
    freeze(atoll, receiver.url)
    real = getattr(atoll.deliveries, call)

    def crash(*arguments: object, **named: object) -> None:
        if moment == "after":
            real(*arguments, **named)
        raise ConnectionError("lost")

    monkeypatch.setattr(atoll.deliveries, call, crash)
    with pytest.raises(ConnectionError):
        attempt(atoll)
    monkeypatch.undo()
    assert attempt(atoll) == Outcome("delivered")
    delivery = webhooks.find(atoll, "demo", "d1")
    assert (delivery.state, len(delivery.attempts)) == ("delivered", 1)
    assert len(receiver.received) == (2 if (call, moment) == ("record", "before") else 1)
    assert {received.body for received in receiver.received} == {BODY}


def test_twins_of_one_attempt_record_it_once(
    atoll: Deployment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer(500)
    receiver.answer(200)
    freeze(atoll, receiver.url)
    post, outcomes = atoll.http.post, []

    def overtaken(*arguments: object, **named: object) -> object:
        answer = post(*arguments, **named)  # type: ignore[arg-type]
        monkeypatch.undo()
        outcomes.append(attempt(atoll))  # the twin is through before this one records
        return answer

    monkeypatch.setattr(atoll.http, "post", overtaken)
    assert attempt(atoll) == Outcome("delivered")
    assert outcomes == [Outcome("delivered")]
    delivery = webhooks.find(atoll, "demo", "d1")
    assert [(made.status) for made in delivery.attempts] == [200]


def test_a_twin_that_comes_late_does_not_undo_what_was_recorded_since(
    atoll: Deployment, receiver: Receiver, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status in (500, 501, 502):
        receiver.answer(status)
    freeze(atoll, receiver.url)
    post, outcomes = atoll.http.post, []

    def overtaken(*arguments: object, **named: object) -> object:
        answer = post(*arguments, **named)  # type: ignore[arg-type]
        monkeypatch.undo()
        for _ in range(2):
            outcomes.append(attempt(atoll))
            clock.time_ms = outcomes[-1].next_attempt_at_ms or 0
        return answer

    monkeypatch.setattr(atoll.http, "post", overtaken)
    assert attempt(atoll) == outcomes[-1]
    delivery = webhooks.find(atoll, "demo", "d1")
    assert ([made.status for made in delivery.attempts], delivery.tries) == ([501, 502], 2)


def test_of_two_executions_that_claim_at_once_one_ends(
    atoll: Deployment, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze(atoll, receiver.url)
    claim = atoll.deliveries.claim

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert attempt(atoll, execution="one") == Outcome("delivered")
        webhooks.resend(atoll, "demo", "d1")
        assert attempt(atoll, round_=2, execution="three") == Outcome("delivered")
        return claim(*arguments)

    monkeypatch.setattr(atoll.deliveries, "claim", overtaken)
    assert attempt(atoll, execution="two") == Outcome("superseded")
    assert len(receiver.received) == 2


def test_of_two_executions_the_first_to_claim_keeps_the_round(atoll: Deployment, receiver: Receiver) -> None:
    freeze(atoll, receiver.url)
    assert atoll.deliveries.claim("d1", 1, "one") is not None
    assert atoll.deliveries.claim("d1", 1, "two") is None
    assert atoll.deliveries.claim("d1", 1, "one") is not None
    assert attempt(atoll, execution="two") == Outcome("superseded")
    assert receiver.received == []


def test_a_delivery_that_has_expired_is_not_brought_back(
    atoll: Deployment, receiver: Receiver, clock: HeldClock
) -> None:
    freeze(atoll, receiver.url)
    clock.time_ms += 31 * 24 * 3600 * 1000
    assert attempt(atoll) == Outcome("superseded")
    assert receiver.received == []


# Sending again


def test_a_failed_delivery_is_sent_again_with_the_same_bytes_and_a_new_schedule(
    atoll: Deployment, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(410)
    freeze(atoll, receiver.url)
    assert run(atoll, clock) == "failed"
    again = webhooks.resend(atoll, "demo", "d1")
    assert (again.state, again.round, again.tries) == ("pending", 2, 0)
    receiver.answer(500)
    assert attempt(atoll, execution="x") == Outcome("superseded")
    assert run(atoll, clock, round_=2, execution="y") == "delivered"
    delivery = webhooks.find(atoll, "demo", "d1")
    assert [(made.round, made.status) for made in delivery.attempts] == [(1, 410), (2, 500), (2, 200)]
    assert {(received.body, received.headers["webhook-id"]) for received in receiver.received} == {(BODY, "d1")}


def test_it_cannot_be_sent_again_while_it_is_pending(atoll: Deployment, receiver: Receiver) -> None:
    freeze(atoll, receiver.url)
    with pytest.raises(Conflict):
        webhooks.resend(atoll, "demo", "d1")
    attempt(atoll)
    webhooks.resend(atoll, "demo", "d1")
    with pytest.raises(Conflict):
        webhooks.resend(atoll, "demo", "d1")
    with pytest.raises(NotFound):
        webhooks.resend(atoll, "another", "d1")


def test_of_two_requests_to_send_again_the_late_one_begins_nothing(atoll: Deployment, receiver: Receiver) -> None:
    freeze(atoll, receiver.url)
    attempt(atoll)
    seen = webhooks.find(atoll, "demo", "d1")
    webhooks.resend(atoll, "demo", "d1")
    attempt(atoll, round_=2, execution="y")
    assert atoll.deliveries.start_again(seen, now_ms=atoll.clock.now_ms()) is None
    assert webhooks.find(atoll, "demo", "d1").state == "delivered"


def test_of_many_attempts_the_latest_are_kept_beside_the_largest_body(
    atoll: Deployment, receiver: Receiver, clock: HeldClock
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
    atoll.deliveries.create(record)
    receiver.answer(410, {}, answer.encode())
    assert attempt(atoll) == Outcome("failed")
    kept = webhooks.find(atoll, "demo", "d1").attempts
    assert [made.time_ms for made in kept] == [*range(1, KEPT_ATTEMPTS), clock.now_ms()]


def test_a_delivery_that_nobody_is_at_is_taken_over_where_its_schedule_was(
    atoll: Deployment, receiver: Receiver, clock: HeldClock
) -> None:
    receiver.answer(500)
    freeze(atoll, receiver.url)
    freeze(atoll, receiver.url, "settled")
    attempt(atoll)
    attempt(atoll, "settled")
    assert webhooks.take_over_forgotten(atoll) == []
    clock.time_ms += webhooks.FORGOTTEN_MS + 10_000
    assert webhooks.take_over_forgotten(atoll) == ["d1"]
    assert webhooks.take_over_forgotten(atoll) == []
    assert attempt(atoll, round_=1) == Outcome("superseded")
    assert attempt(atoll, round_=2, execution="y") == Outcome("delivered")
    assert webhooks.find(atoll, "demo", "d1").tries == 2


# Secrets


def test_receivers_of_both_secrets_verify_while_one_is_rotated(atoll: Deployment, receiver: Receiver) -> None:
    atoll.secrets.webhook_secrets.update(current="new", previous=SECRET)  # type: ignore[attr-defined]
    freeze(atoll, receiver.url)
    # standardwebhooks' verify looks at the wall clock, which the held one was set by.
    attempt(atoll)
    [received] = receiver.received
    for secret in ("new", SECRET):
        key = "whsec_" + base64.b64encode(secret.encode()).decode()
        assert Webhook(key).verify(received.body, received.headers) == json.loads(BODY)


def test_neither_secrets_nor_bodies_are_logged(
    atoll: Deployment, receiver: Receiver, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer(500)
    freeze(atoll, receiver.url + "?token=hush")
    deployment.use(atoll)
    try:
        answer = deliver_webhook({"deliveryId": "d1", "round": 1, "execution": "x"}, None)
    finally:
        deployment.use(None)
    assert answer["state"] == "retry"
    assert answer["nextAttemptAt"].endswith("Z")
    # botocore's own debug output, off in a Lambda, shows requests; Atoll's must not.
    own = [record.getMessage() for record in caplog.records if not record.name.startswith(("botocore", "urllib3"))]
    written = capsys.readouterr()
    text = "\n".join([*own, written.out, written.err])
    for hidden in (SECRET, "exactly these bytes", "hush"):
        assert hidden not in text
