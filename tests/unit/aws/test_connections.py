"""Pushes to WebSocket connections through API Gateway's management."""

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from chalicelib.aws.connections import ManagedConnections
from chalicelib.clock import Clock


class Napless(Clock):
    """A clock that notes its naps."""

    def __init__(self) -> None:
        self.naps_s: list[float] = []

    def sleep(self, delay_s: float) -> None:
        self.naps_s.append(delay_s)


class Api:
    """API Gateway's management: what each connection was sent, and what it answers instead."""

    def __init__(self) -> None:
        self.sent: dict[str, list[bytes]] = {}
        self.closed: list[str] = []
        self.answers: dict[str, list[Exception | None]] = {}

    def post_to_connection(self, **call: Any) -> None:
        connection = call["ConnectionId"]
        answer = self.answers[connection].pop(0) if self.answers.get(connection) else None
        if answer is not None:
            raise answer
        self.sent.setdefault(connection, []).append(call["Data"])

    def delete_connection(self, **call: Any) -> None:
        self.closed.append(call["ConnectionId"])
        raise refused("GoneException")


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "PostToConnection")


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def clock() -> Napless:
    return Napless()


@pytest.fixture
def connections(api: Api, clock: Napless) -> ManagedConnections:
    return ManagedConnections(api, clock)  # type: ignore[arg-type]


def test_each_connection_gets_its_frames_in_order(connections: ManagedConnections, api: Api) -> None:
    frames = {f"c{number}": [f"{number} {frame}" for frame in range(20)] for number in range(40)}

    assert connections.push(frames) == set()

    assert api.sent == {name: [frame.encode() for frame in wanted] for name, wanted in frames.items()}
    assert connections.push({}) == set()


def test_who_takes_no_more_is_returned_and_closed(connections: ManagedConnections, api: Api) -> None:
    slow = ReadTimeoutError(endpoint_url="https://api")
    api.answers = {"gone": [refused("GoneException")] * 2, "slow": [None, slow], "busy": [refused("LimitExceeded")]}

    lost = connections.push(dict.fromkeys(("gone", "slow", "busy", "fine"), ("1", "2", "3")))

    assert lost == {"gone", "slow", "busy"} == set(api.closed)
    assert api.sent == {"slow": [b"1"], "fine": [b"1", b"2", b"3"]}


def test_a_connection_that_is_just_being_made_is_given_a_moment(
    connections: ManagedConnections, api: Api, clock: Napless
) -> None:
    """API Gateway calls it gone until its ``$connect`` has been answered."""
    api.answers = {"new": [refused("GoneException")]}

    assert connections.push({"new": ["1", "2"]}) == set()

    assert api.sent == {"new": [b"1", b"2"]}
    assert len(clock.naps_s) == 1


def test_one_that_is_slow_does_not_hold_up_the_others(connections: ManagedConnections, api: Api) -> None:
    others = threading.Barrier(4, timeout=10)
    post = api.post_to_connection

    def slowly(**call: Any) -> None:
        others.wait()  # passed only when all are pushed to at the same time
        post(**call)

    api.post_to_connection = slowly  # type: ignore[method-assign]

    assert connections.push({f"c{number}": ["1"] for number in range(4)}) == set()
