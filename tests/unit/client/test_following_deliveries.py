"""Following the deliveries of a namespace: each one once, whatever the listing and the network do meanwhile."""

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from atoll import flows
from atoll.calls import Answer, Call
from atoll.errors import AtollError, AtollWarning, Forbidden, Refused, Unauthorized, Unreachable
from atoll.flows import FollowedDelivery, Out, Pause
from chalicelib.wire.base import iso_from_ms

NOW_MS = 1_800_000_000_000
#: Entries of a page.
PAGE = 100


def listed(number: int, made_ms: int) -> dict[str, Any]:
    return {
        "deliveryId": f"d{number}",
        "namespace": "n",
        "sessionId": "s",
        "url": "http://receiver.test/",
        "state": "delivered",
        "round": 1,
        "bodyBytes": 2,
        "createdAt": iso_from_ms(made_ms),
        "expiresAt": iso_from_ms(made_ms),
        "attempts": [],
    }


class Server:
    """Has deliveries, newest first, and errors that come before the next answers."""

    def __init__(self, *made_ms: int) -> None:
        self.deliveries: list[dict[str, Any]] = []
        self.errors: list[AtollError] = []
        self.unsigned: dict[str, int] = {}
        self.paths: list[str] = []
        for each in made_ms:
            self.make(each)

    def make(self, made_ms: int) -> str:
        made = listed(len(self.deliveries), made_ms)
        self.deliveries = sorted([*self.deliveries, made], key=lambda each: each["createdAt"], reverse=True)
        return str(made["deliveryId"])

    def answer(self, call: Call[Any]) -> Any:
        self.paths.append(call.path)
        if self.errors:
            raise self.errors.pop(0)
        if call.path.endswith("/sign"):
            delivery_id = call.path.split("/")[-2]
            if status := self.unsigned.get(delivery_id):
                return call.result(Answer(status, {}, b'{"message": "why"}'))
            signed = {"deliveryId": delivery_id, "headers": {}, "body": delivery_id}
            return call.result(Answer(200, {}, json.dumps(signed).encode()))
        start = int(str(call.query.get("cursor", "0")))
        page = self.deliveries[start : start + PAGE]
        more = {"next-cursor": str(start + PAGE)} if start + PAGE < len(self.deliveries) else {}
        return call.result(Answer(200, more, json.dumps(page).encode()))


class Following:
    """Drives a flow, and does something in each of its pauses; it ends when there is no more to do."""

    def __init__(self, server: Server, *steps: Callable[[], Any], since_ms: int | None = None) -> None:
        self.given: list[FollowedDelivery] = []
        self.pauses_s: list[float] = []
        self.told: list[AtollError] = []
        flow = flows.deliveries("n", since_ms, self.told.append)
        waiting, step = list(steps), next(flow)
        while True:
            match step:
                case Call():
                    try:
                        value = server.answer(step)
                    except AtollError as error:
                        step = flow.throw(error)
                        continue
                    step = flow.send(value)
                case Pause(s):
                    self.pauses_s.append(s)
                    self.remembered = len(inspect.getgeneratorlocals(flow)["seen"])
                    if not waiting:
                        return
                    waiting.pop(0)()
                    step = next(flow)
                case Out(value):
                    self.given.append(value)
                    step = next(flow)

    @property
    def ids(self) -> list[str]:
        return [each.delivery.delivery_id for each in self.given]


def nothing() -> None:
    pass


def test_what_comes_is_given_once_and_in_its_order() -> None:
    server = Server(NOW_MS - 500, NOW_MS)

    def two() -> None:
        server.make(NOW_MS + 2)
        server.make(NOW_MS + 1)

    following = Following(server, nothing, two, nothing, lambda: server.make(NOW_MS + 3), nothing)
    assert following.ids == ["d3", "d2", "d4"]
    assert [each.signed and each.signed.body for each in following.given] == ["d3", "d2", "d4"]


def test_the_first_of_a_namespace_is_given() -> None:
    server = Server()
    assert Following(server, lambda: server.make(NOW_MS), nothing).ids == ["d0"]


def test_one_that_is_listed_late_is_given_too() -> None:
    server = Server(NOW_MS)
    later: Sequence[Callable[[], Any]] = (
        lambda: server.make(NOW_MS + 5_000),
        lambda: server.make(NOW_MS + 1_000),
        lambda: server.make(NOW_MS - flows.LATEST_MS + 5_000),
        nothing,
    )
    assert Following(server, *later).ids == ["d1", "d2", "d3"]


def test_a_listing_that_forgets_for_a_moment_gives_nothing_twice() -> None:
    server = Server(NOW_MS)
    kept = list(server.deliveries)

    def forget() -> None:
        server.deliveries = []

    def remember() -> None:
        server.deliveries = kept

    assert Following(server, forget, remember, nothing).ids == []


def test_those_since_a_time_come_before() -> None:
    server = Server(*range(NOW_MS, NOW_MS + 250))
    following = Following(server, lambda: server.make(NOW_MS + 900), nothing, since_ms=NOW_MS + 30)
    assert following.ids == [f"d{number}" for number in [*range(30, 250), 250]]


def test_a_look_reads_no_further_than_it_must() -> None:
    server = Server(*range(NOW_MS - 1_000 * flows.LATEST_MS, NOW_MS + 1, flows.LATEST_MS))
    Following(server, nothing, nothing)
    assert len(server.paths) == 1 + 1 + 3, "where it begins, what was there, and three looks"


def test_what_was_seen_long_ago_is_forgotten() -> None:
    server = Server(NOW_MS)
    times = iter(range(NOW_MS + flows.LATEST_MS, NOW_MS + 50 * flows.LATEST_MS, flows.LATEST_MS))
    following = Following(server, *[lambda: server.make(next(times))] * 40)
    assert (len(following.ids), following.remembered) == (40, 2)


def test_of_too_many_the_newest_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MOST_DELIVERIES", 2 * PAGE)
    server = Server(*range(NOW_MS, NOW_MS + 450))
    with pytest.warns(AtollWarning, match="more than 200 deliveries"):
        following = Following(server, since_ms=NOW_MS)
    assert following.ids == [f"d{number}" for number in range(250, 450)]


PASSING = [
    Unreachable("the connection was lost"),
    Refused(429, "too many", {}),
    Refused(500, "broken", {}),
    Refused(503, "busy", {}),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_an_error_that_passes_loses_nothing_and_repeats_nothing(error: AtollError) -> None:
    server = Server(*range(NOW_MS, NOW_MS + 150))

    def come() -> None:
        for number in range(150):
            server.make(NOW_MS + 1_000 + number)
        server.errors += [error, error]

    def fail() -> None:
        server.errors += [error]

    following = Following(server, nothing, come, fail, nothing, nothing, nothing)
    assert following.ids == [f"d{number}" for number in range(150, 300)]
    assert following.told == [error, error, error]


def test_an_error_between_two_signatures_loses_nothing() -> None:
    server = Server(NOW_MS)
    answered = server.answer

    def answer(call: Call[Any]) -> Any:
        if call.path.endswith("/sign") and server.paths[-1] != call.path:
            server.errors.append(PASSING[0])
        return answered(call)

    server.answer = answer  # type: ignore[method-assign]

    def come() -> None:
        server.make(NOW_MS + 1)
        server.make(NOW_MS + 2)

    assert Following(server, come, *[nothing] * 4).ids == ["d1", "d2"]


def test_pauses_grow_to_an_end() -> None:
    server = Server(NOW_MS)
    idle = Following(server, *[nothing] * 20).pauses_s
    assert idle == sorted(idle)
    assert (idle[0] < 1, idle[-1]) == (True, flows.LONGEST_PAUSE_S)

    def fail() -> None:
        server.errors += [PASSING[0]] * 10

    failing = Following(server, fail, *[nothing] * 10).pauses_s[1:]
    assert failing[:3] == [1.0, 2.0, 4.0]
    assert max(failing) == flows.LONGEST_ERROR_PAUSE_S


def test_what_will_not_pass_is_raised() -> None:
    server = Server(NOW_MS)
    with pytest.raises(Unauthorized):
        Following(server, lambda: server.errors.append(Unauthorized(401, "revoked", {})))
    for error in PASSING[:2]:
        server.errors = [error]
        with pytest.raises(type(error)):  # before anything was followed: it may be the wrong address
            Following(server)
    server.unsigned = {"d1": 403}
    with pytest.raises(Forbidden):
        Following(server, lambda: server.make(NOW_MS + 1))


@pytest.mark.parametrize("status", flows.NOT_SIGNED)
def test_one_that_cannot_be_signed_is_given_with_the_reason(status: int) -> None:
    server = Server(NOW_MS)
    server.unsigned = {"d1": status}

    def come() -> None:
        server.make(NOW_MS + 1)
        server.make(NOW_MS + 2)

    first, second = Following(server, come, nothing).given
    assert (first.signed, str(first.refusal)) == (None, "why")
    assert (second.signed and second.signed.body, second.refusal) == ("d2", None)
