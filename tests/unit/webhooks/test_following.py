"""What follows from an attempt: the schedule, ``Retry-After``, and what ends it."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.reactions.deliveries import MAX_RETRY_AFTER_MS, Result, follow, retry_after_ms
from chalicelib.settings import Settings
from chalicelib.store.deliveries import AttemptRecord

NOW_MS = 1_790_000_000_000
SCHEDULE_S = Settings().webhook_retry_schedule_s


def result(status: int | None, *, final: bool = False, retry_after_ms: int = 0) -> Result:
    attempt = AttemptRecord(time_ms=NOW_MS - 100, round=1, duration_ms=100, status=status)
    return Result(attempt, final=final, retry_after_ms=retry_after_ms)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert follow(result(status), 1, SCHEDULE_S, 0) == ("delivered", None)


@pytest.mark.parametrize("status", [None, 199, 300, 302, 400, 401, 404, 429, 500, 503])
def test_anything_else_is_tried_again(status: int | None) -> None:
    assert follow(result(status), 1, SCHEDULE_S, 0) == ("pending", NOW_MS + 5_000)


def test_the_schedule_is_that_of_standard_webhooks_and_then_it_fails() -> None:
    pauses_s = []
    for tries in range(1, 10):
        state, next_ms = follow(result(500), tries, SCHEDULE_S, 0)
        assert (state, next_ms is not None) == ("pending", True)
        pauses_s.append(((next_ms or 0) - NOW_MS) // 1000)
    assert pauses_s == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert follow(result(500), 10, SCHEDULE_S, 0) == ("failed", None)


def test_a_final_result_is_not_tried_again() -> None:
    assert follow(result(410, final=True), 1, SCHEDULE_S, 0) == ("failed", None)


@given(st.integers(1, 9), st.integers(0, MAX_RETRY_AFTER_MS), st.floats(0, 0.1))
def test_retry_after_makes_an_attempt_later_and_never_earlier(tries: int, asked_ms: int, jitter: float) -> None:
    _, next_ms = follow(result(503, retry_after_ms=asked_ms), tries, SCHEDULE_S, jitter)
    assert next_ms is not None
    assert next_ms >= NOW_MS + asked_ms
    assert next_ms >= NOW_MS + SCHEDULE_S[tries - 1] * 1000
    assert next_ms <= NOW_MS + max(asked_ms, SCHEDULE_S[tries - 1] * 1100)


@given(st.integers(0, 10**30))
def test_seconds_are_read_and_capped_at_a_day(seconds: int) -> None:
    expected = min(seconds * 1000, MAX_RETRY_AFTER_MS)
    assert retry_after_ms({"retry-after": str(seconds)}, NOW_MS) == expected


@given(st.integers(-(10**6), 10**6))
def test_dates_are_read_capped_and_never_negative(seconds: int) -> None:
    moment = datetime.fromtimestamp(NOW_MS // 1000 + seconds, UTC)
    expected = min(max(seconds, 0) * 1000, MAX_RETRY_AFTER_MS)
    assert retry_after_ms({"retry-after": format_datetime(moment, usegmt=True)}, NOW_MS) == expected


@pytest.mark.parametrize("value", ["-5", "1.5", "soon", "", "٣", "Wed, 99 Foo 2026", "Wed, 21 Oct 99999 07:28:00 GMT"])
def test_what_makes_no_sense_is_ignored(value: str) -> None:
    assert retry_after_ms({"retry-after": value}, NOW_MS) == 0


@given(st.text())
def test_no_value_whatsoever_raises(value: str) -> None:
    assert 0 <= retry_after_ms({"retry-after": value}, NOW_MS) <= MAX_RETRY_AFTER_MS


def test_the_schedule_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_WEBHOOK_RETRY_SCHEDULE_S", "0.1, 2")
    assert Settings.from_environment().webhook_retry_schedule_s == (0.1, 2.0)
