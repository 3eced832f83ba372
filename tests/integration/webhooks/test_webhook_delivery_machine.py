"""The whole way of a webhook in the local stack: table, stream, bus, state machine, Lambda, receiver, and back."""

import base64
import time
from collections.abc import Callable, Iterator

import pytest
from standardwebhooks.webhooks import Webhook

from chalicelib.domain import deliveries as asked
from chalicelib.reactions import deliveries
from infra.local.stack import LocalStack
from tests.integration.webhooks.receivers import Receiver, dripping

SECRET = "a secret of the local stack"


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(webhook_secret=SECRET, settings={"webhook_retry_schedule_s": (0.1, 0.2)}) as running:
        yield running


def freeze(stack: LocalStack, url: str, delivery_id: str, body: bytes = b'{"a": 1}') -> None:
    deliveries.freeze(stack.services, delivery_id=delivery_id, namespace="demo", session_id="s", url=url, body=body)


def until(condition: Callable[[], bool], what: str, *, within_s: float = 15) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.02)


def state(stack: LocalStack, delivery_id: str) -> tuple[str, int, int]:
    delivery = asked.find(stack.services, "demo", delivery_id)
    return delivery.state, delivery.round, len(delivery.attempts)


def test_what_is_frozen_arrives_signed(stack: LocalStack, receiver: Receiver) -> None:
    freeze(stack, receiver.url, "arrives")
    until(lambda: bool(receiver.received), "the webhook arrives", within_s=5)
    [received] = receiver.received
    key = "whsec_" + base64.b64encode(SECRET.encode()).decode()
    assert Webhook(key).verify(received.body, received.headers) == {"a": 1}
    until(lambda: state(stack, "arrives") == ("delivered", 1, 1), "the attempt is recorded")


def test_a_receiver_that_is_down_gets_it_later_once(stack: LocalStack, receiver: Receiver) -> None:
    receiver.answer(500)
    receiver.answer(500)
    freeze(stack, receiver.url, "later")
    until(lambda: state(stack, "later") == ("delivered", 1, 3), "the third attempt is taken")
    assert len(receiver.received) == 3


def test_a_failed_delivery_is_sent_again_by_the_stream(stack: LocalStack, receiver: Receiver) -> None:
    for _ in range(3):
        receiver.answer(500)
    freeze(stack, receiver.url, "again")
    until(lambda: state(stack, "again") == ("failed", 1, 3), "it fails")
    asked.resend(stack.services, "demo", "again")
    until(lambda: state(stack, "again") == ("delivered", 2, 4), "the second round delivers")


def test_a_large_body_makes_the_whole_way(stack: LocalStack, receiver: Receiver) -> None:
    body = b'"' + b"x" * 20_000_000 + b'"'
    freeze(stack, receiver.url, "large", body)
    until(lambda: state(stack, "large") == ("delivered", 1, 1), "it is delivered")
    assert receiver.received[0].body == body


def test_receivers_that_hang_do_not_delay_another(stack: LocalStack, receiver: Receiver) -> None:
    with dripping(b"", b"") as port:
        for number in range(8):
            freeze(stack, f"http://127.0.0.1:{port}/", f"hangs{number}")
        freeze(stack, receiver.url, "beside")
        until(lambda: state(stack, "beside") == ("delivered", 1, 1), "the other is delivered", within_s=5)
