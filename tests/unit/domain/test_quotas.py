"""Quotas: what is admitted, counted and given back; by the arithmetic alone, and against tables in memory."""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chalicelib.clock import Clock
from chalicelib.domain import api_keys, quotas
from chalicelib.domain.errors import BadRequest, NotFound, TooManyRequests
from chalicelib.domain.quotas import Meter
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.usage import Opening, Usage
from tests.mcp_world import World, world

DAY_MS, HOUR_MS = quotas.DAY_MS, quotas.HOUR_MS
NOW_MS = 20_000 * DAY_MS + 6 * HOUR_MS


def meter(**limits: int) -> Meter:
    return Meter("key#k", "this API key", limits)


def opening(agents: int = 1, since_ms: int | None = NOW_MS) -> Opening:
    return Opening("ns", agents, NOW_MS, since_ms)


def admit(usage: Usage, wanted: Meter, name: str, agents: int = 1, now_ms: int = NOW_MS) -> Usage:
    return quotas.admit(usage, wanted, name, opening(agents), now_ms)


def refusal(usage: Usage, wanted: Meter, agents: int = 1, now_ms: int = NOW_MS) -> TooManyRequests:
    with pytest.raises(TooManyRequests) as refused:
        admit(usage, wanted, "one more", agents, now_ms)
    assert refused.value.limit in str(refused.value)
    return refused.value


def test_as_many_sessions_as_the_quota_says_are_open() -> None:
    usage = Usage()
    for name in "abc":
        usage = admit(usage, meter(sessions=3), name)
    assert refusal(usage, meter(sessions=3)).limit == "sessions"
    assert admit(usage, meter(sessions=3), "c") is usage, "asked again, because the answer was lost"


def test_as_many_agents_as_the_quota_says_are_in_open_sessions() -> None:
    usage = admit(Usage(), meter(agents=5), "a", agents=3)
    assert refusal(usage, meter(agents=5), agents=3).limit == "agents"
    assert admit(usage, meter(agents=5), "b", agents=2)


def test_creations_come_from_a_bucket_that_fills_in_a_minute() -> None:
    usage, wanted = Usage(), meter(creations_per_minute=4)
    for name in "abcd":
        usage = admit(usage, wanted, name)
    refused = refusal(usage, wanted)
    assert (refused.limit, refused.retry_after_s) == ("creations_per_minute", 15)
    usage = admit(usage, wanted, "e", now_ms=NOW_MS + 15_000)
    assert refusal(usage, wanted, now_ms=NOW_MS + 15_000).retry_after_s == 15
    for name in "fghi":
        usage = admit(usage, wanted, name, now_ms=NOW_MS + DAY_MS)
    assert refusal(usage, wanted, now_ms=NOW_MS + DAY_MS)


def test_agent_hours_are_those_of_today() -> None:
    wanted = meter(agent_hours_per_day=10)
    usage = Usage({"a": opening(2, NOW_MS - 12 * HOUR_MS)})  # since before midnight: 6 h each today
    assert quotas.agent_ms_today(usage, NOW_MS) == 12 * HOUR_MS
    refused = refusal(usage, wanted)
    assert (refused.limit, refused.retry_after_s) == ("agent_hours_per_day", 18 * 3600)
    assert admit(usage, wanted, "b", now_ms=NOW_MS + 18 * HOUR_MS + 1), "a new day"
    assert admit(Usage({"a": opening(2, None)}), wanted, "b"), "none of its agents runs yet"
    assert refusal(Usage(day=20_000, used_ms=10 * HOUR_MS), wanted)
    assert admit(Usage(day=19_999, used_ms=10 * HOUR_MS), wanted, "b")


def test_what_agents_ran_is_counted_once_when_their_session_ends() -> None:
    usage = Usage({"a": opening(2, NOW_MS - HOUR_MS), "b": opening()}, day=20_000, used_ms=5)
    ended = quotas._settled(usage, {"a": (NOW_MS - HOUR_MS, NOW_MS)}, NOW_MS)
    assert (ended.used_ms, set(ended.openings)) == (5 + 2 * HOUR_MS, {"b"})
    assert quotas._settled(ended, {"a": (NOW_MS - HOUR_MS, NOW_MS)}, NOW_MS) is ended
    only_today = quotas._settled(usage, {"a": (NOW_MS - DAY_MS, NOW_MS)}, NOW_MS)
    assert only_today.used_ms == 5 + 2 * 6 * HOUR_MS


def test_a_usage_is_stored_as_it_is() -> None:
    usage = Usage({"a": opening(2, None), "b": opening()}, 1, 2, 3, 4, 5)
    assert Usage.from_item(usage.to_item()) == usage


@pytest.fixture(scope="module")
def module_world() -> Iterator[World]:
    with world() as made:
        yield made


class Standing(Clock):
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        pass


@pytest.fixture
def here(module_world: World) -> Iterator[World]:
    module_world.clear()
    with module_world.on(Standing()):
        yield module_world


def later(here: World, ms: int) -> None:
    here.services.clock.ms += ms  # type: ignore[attr-defined]


def take(here: World, wanted: Meter, name: str, *, runs: bool = True) -> None:
    """Admit a session and write its record."""
    with quotas.admitted(here.services, [wanted], "ns", name, agents=1, runs=runs) as scopes:
        here.services.sessions.create(session(name, scopes))


def session(name: str, scopes: list[str]) -> SessionRecord:
    return SessionRecord(
        namespace="ns",
        session_id=name,
        status="executed",
        created_at_ms=NOW_MS,
        executed_at_ms=NOW_MS,
        expires_at=1 << 40,
        namespace_state={},
        metered_by=scopes,
    )


def test_without_quotas_no_call_is_made(here: World) -> None:
    key = api_keys.put(here.services, "key", "ann")
    with here.counting() as calls:
        meters = [*quotas.of_key(key), *quotas.of_namespace(here.services, "ns")]
        quotas.count_request(here.services, meters)
        with quotas.admitted(here.services, meters, "ns", "a", agents=1, runs=True) as scopes:
            assert scopes == []
        quotas.settle(here.services, session("a", []))
    assert (meters, calls) == ([], [])


def test_parallel_creations_do_not_overrun_a_quota(here: World) -> None:
    def tries(name: str) -> bool:
        try:
            take(here, meter(sessions=5), name)
        except TooManyRequests:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(tries, map(str, range(16)))) == 5


def test_parallel_requests_do_not_overrun_a_rate(here: World) -> None:
    def asks(_: int) -> bool:
        here.services.refused_until_ms.clear()
        try:
            quotas.count_request(here.services, [meter(requests_per_second=5)])
        except TooManyRequests:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(asks, range(16))) == 5
        later(here, 400)
        assert sum(pool.map(asks, range(16))) == 2
        later(here, 60_000)
        assert sum(pool.map(asks, range(16))) == 5, "a bucket that was full for long has no more than it holds"


def test_a_request_within_its_rate_is_one_call_and_a_refused_one_soon_none(here: World) -> None:
    wanted = [meter(requests_per_second=1)]
    with here.counting() as calls:
        quotas.count_request(here.services, wanted)
    assert calls == ["UpdateItem"]
    for _ in range(2):
        with here.counting() as calls, pytest.raises(TooManyRequests) as refused:
            quotas.count_request(here.services, wanted)
        assert (refused.value.limit, refused.value.retry_after_s) == ("requests_per_second", 1)
    assert calls == []


def test_a_session_that_is_not_created_is_given_back(here: World) -> None:
    wanted = meter(sessions=1)
    with (
        pytest.raises(NotFound),
        quotas.admitted(here.services, [wanted], "ns", "a", agents=1, runs=True),
    ):
        raise NotFound("its namespace is not there")
    take(here, wanted, "b")


def test_what_the_first_meter_took_is_given_back_when_the_second_refuses(here: World) -> None:
    mine, full = meter(sessions=1), Meter("namespace#ns", "the namespace 'ns'", {"sessions": 1})
    take(here, full, "a")
    with (
        pytest.raises(TooManyRequests, match="the namespace 'ns' has reached its limit sessions = 1"),
        quotas.admitted(here.services, [mine, full], "ns", "b", agents=1, runs=True),
    ):
        pass
    take(here, mine, "c")


def test_an_end_makes_room_and_counts_its_agents_hours(here: World) -> None:
    wanted = meter(sessions=1, agent_hours_per_day=2)
    take(here, wanted, "a")
    later(here, HOUR_MS)
    ended = dataclasses.replace(session("a", [wanted.scope]), closing_at_ms=NOW_MS + HOUR_MS)
    for _ in range(2):
        quotas.settle(here.services, ended)
    assert here.services.usages.change(wanted.scope, lambda usage: usage).used_ms == HOUR_MS
    take(here, wanted, "b")


def test_a_creation_that_was_cut_off_takes_room_for_a_minute(here: World) -> None:
    wanted = meter(sessions=1)
    with quotas.admitted(here.services, [wanted], "ns", "cut off", agents=1, runs=True):
        pass  # the process ends here, before the record
    for later_ms, admitted in ((0, False), (quotas.CREATION_MS, False), (quotas.COMPARE_EVERY_MS, True)):
        later(here, later_ms)
        if admitted:
            take(here, wanted, "b")
        else:
            with pytest.raises(TooManyRequests):
                take(here, wanted, "b")


def test_an_end_whose_reaction_is_still_to_come_makes_room_too(here: World) -> None:
    wanted = meter(sessions=1, agent_hours_per_day=100)
    take(here, wanted, "a")
    here.services.sessions.close("ns", "a", now_ms=NOW_MS + HOUR_MS, reason="closed_by_user")
    later(here, 2 * HOUR_MS)
    take(here, wanted, "b")
    usage = here.services.usages.change(wanted.scope, lambda found: found)
    assert (set(usage.openings), usage.used_ms) == ({"b"}, HOUR_MS)


def test_who_is_refused_again_and_again_does_not_have_the_sessions_read_each_time(here: World) -> None:
    take(here, meter(sessions=1), "a")
    reads = []
    for name in "bcd":
        with here.counting() as calls, pytest.raises(TooManyRequests):
            take(here, meter(sessions=1), name)
        reads.append(calls.count("BatchGetItem"))
    assert reads == [1, 0, 0]


def test_the_closest_name_says_which_quotas_a_namespace_has(here: World) -> None:
    for number, pattern in enumerate(("*", "shop*", "shop-eu*", "shop-eu"), 1):
        quotas.limit_namespace(here.services, pattern, {"sessions": number})
    here.services.namespace_limits = here.services.api_keys.namespace_limits()
    found = {
        name: meter.limits["sessions"]
        for name in ("other", "shop", "shop-eu", "shop-eu-1")
        for meter in quotas.of_namespace(here.services, name)
    }
    assert found == {"other": 1, "shop": 2, "shop-eu": 4, "shop-eu-1": 3}
    quotas.limit_namespace(here.services, "*", {})
    assert "*" not in here.services.api_keys.namespace_limits()


def test_as_many_namespaces_have_quotas_as_fit_an_item(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "MOST_NAMESPACES", 1)
    quotas.limit_namespace(here.services, "a", {"sessions": 1})
    quotas.limit_namespace(here.services, "a", {"sessions": 2})
    with pytest.raises(BadRequest, match="1 namespaces have limits already"):
        quotas.limit_namespace(here.services, "b", {"sessions": 1})
