"""Throttles, outages and latency under load: what is asked is done or refused with 503, and what was accepted is kept.

`ATOLL_WEATHER_S` makes each fault last longer than the few seconds of a usual run.
"""

import json
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest

from infra.local.functions import invocations
from infra.local.stack import LocalStack
from tests.client import Answer, Client, eventually, session, sleeper
from tests.faults.weather import Weather, stack_in_the_weather
from tests.integration.webhooks.receivers import Receiver, receiving

pytestmark = pytest.mark.xdist_group("weather")

BAD_WEATHER_S = float(os.environ.get("ATOLL_WEATHER_S", "8"))
CLIENTS = 4

THROTTLED = {
    "service": "dynamodb",
    "probability": 0.3,
    "error": {"code": "ProvisionedThroughputExceededException"},
}


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[LocalStack, Weather]]:
    # Lambda's pauses outlast most throttles: here, too, the second call is not throttled.
    pauses_s = (BAD_WEATHER_S, 2 * BAD_WEATHER_S)
    with patch.object(invocations, "PAUSES_S", pauses_s), stack_in_the_weather() as made:
        yield made


@pytest.fixture
def weather(made: tuple[LocalStack, Weather]) -> Iterator[Weather]:
    yield made[1]
    made[1].clear()


@pytest.fixture
def stack(made: tuple[LocalStack, Weather]) -> LocalStack:
    return made[0]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


class Load:
    """Clients that create sessions, one after the other, and repeat what is refused with 503."""

    def __init__(self, stack: LocalStack, url: str, namespace: str) -> None:
        self._stack = stack
        self._url = url
        self._namespace = namespace
        self.answers: list[Answer] = []
        self.accepted: set[str] = set()
        self.unanswered = 0

    def run(self, duration_s: float, pause_s: float = 0.1, seen: Callable[[], bool] = lambda: True) -> None:
        """Go on for so long and until enough is seen (a busy machine takes longer), and every request is answered."""
        began_s = time.monotonic()

        def over() -> bool:
            run_s = time.monotonic() - began_s
            return run_s > duration_s and (run_s > 60 or seen())

        threads = [threading.Thread(target=self._client, args=(over, pause_s)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, over: Callable[[], bool], pause_s: float) -> None:
        client = Client(self._stack.url, self._stack.key)
        while not over():
            self._create(client, {"Idempotency-Key": str(uuid.uuid4())})
            time.sleep(pause_s)

    def _create(self, client: Client, headers: dict[str, str]) -> None:
        settings: dict[str, Any] = {"webhooks": {"sessionEnd": {"url": self._url}}}
        request = session(sleeper(seconds=0.2), namespace=self._namespace, **settings)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                answer = client.call("POST", "/api/v1/local/session", request, headers)
            except (OSError, TimeoutError):
                self.unanswered += 1
                continue
            self.answers.append(answer)
            if answer.status == 200:
                self.accepted.add(answer.body["sessionId"])
                return
            if answer.status != 503:
                return
            time.sleep(min(float(answer.headers["Retry-After"]), 2))

    def statuses(self) -> dict[int, int]:
        """Count the answers by their status."""
        return dict(Counter(answer.status for answer in self.answers))


def check(load: Load, stack: LocalStack, receiver: Receiver, namespace: str) -> None:
    """Each answer was 200, or 503 with Retry-After; each accepted session ran, ended and was reported."""
    client = Client(stack.url, stack.key)
    assert set(load.statuses()) <= {200, 503}, load.statuses()
    assert all("Retry-After" in answer.headers for answer in load.answers if answer.status == 503)
    assert not load.unanswered
    assert load.accepted

    def reported() -> set[str]:
        return {json.loads(got.body)["sessionState"]["state"]["id"] for got in list(receiver.received)}

    def gone() -> bool:
        return client.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404

    eventually(lambda: load.accepted <= reported(), 90, "every accepted session is reported")
    eventually(gone, 30, "the last session takes its namespace with it")
    for got in list(receiver.received):
        report = json.loads(got.body)
        assert [row["name"] for row in report["agentStats"]] == ["a"], "its agent ran"
    assert reported() == load.accepted, "no session ran that no client knows of"


def test_dynamodb_throttles_three_of_ten_calls(stack: LocalStack, weather: Weather, receiver: Receiver) -> None:
    weather.turn(THROTTLED)
    load = Load(stack, receiver.url, "throttled")
    load.run(BAD_WEATHER_S, seen=lambda: weather.fired() > 20)
    assert weather.fired() > 20
    weather.clear()
    check(load, stack, receiver, "throttled")


def test_step_functions_and_ecs_fail_for_a_while(stack: LocalStack, weather: Weather, receiver: Receiver) -> None:
    down = {"error": {"code": "InternalFailure", "status": 500}}
    weather.turn({"service": "states", **down}, {"service": "ecs", **down})
    load = Load(stack, receiver.url, "down")
    load.run(BAD_WEATHER_S / 2, pause_s=0.4)
    assert set(load.statuses()) == {200}, "a request needs DynamoDB and nothing else"
    assert not receiver.received
    weather.clear()
    check(load, stack, receiver, "down")


def test_dynamodb_takes_five_seconds_now_and_then(stack: LocalStack, weather: Weather, receiver: Receiver) -> None:
    weather.turn({"service": "dynamodb", "probability": 0.1, "latency": 5_000})
    load = Load(stack, receiver.url, "slow")
    load.run(BAD_WEATHER_S / 2, pause_s=0.4)
    weather.clear()
    check(load, stack, receiver, "slow")


def test_dynamodb_is_gone_for_a_while(stack: LocalStack, weather: Weather, receiver: Receiver) -> None:
    weather.turn({"service": "dynamodb", "error": {"code": "InternalServerError", "status": 500}})
    load = Load(stack, receiver.url, "gone")
    threading.Timer(BAD_WEATHER_S / 2, weather.clear).start()
    load.run(1)
    assert load.statuses().get(503, 0) > 0
    check(load, stack, receiver, "gone")
