"""What a process remembers of API keys is bounded, however many of them it is asked with."""

import pytest

from chalicelib.domain import api_keys, sign_ins
from chalicelib.domain.errors import Unauthorized
from tests.mcp_world import World, world

BOUND = 3


def test_the_cache_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_keys._CACHE_SIZE <= 10_000, "a record takes about a kilobyte"
    monkeypatch.setattr(api_keys, "_CACHE_SIZE", BOUND)
    with world() as here:
        names = [f"key {number}" for number in range(3 * BOUND)]
        for name in names:
            api_keys.put(here.services, name, name)
        for name in [*names, *names]:
            assert api_keys.authenticate(here.services, name).name == name
            assert 0 < len(here.services.known_keys) <= BOUND


def test_a_wrong_key_is_looked_for_once_in_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "_CACHE_SIZE", BOUND)
    with world() as here:
        with here.counting() as calls:
            for _ in range(2):
                refused(here, "wrong")
        assert calls == ["BatchGetItem"]
        now_ms = here.services.clock.now_ms()
        monkeypatch.setattr(here.services.clock, "now_ms", lambda: now_ms + api_keys.WRONG_MS)
        with here.counting() as calls:
            refused(here, "wrong")
        assert calls == ["BatchGetItem"]
        for number in range(3 * BOUND):
            refused(here, f"wrong {number}")
            assert len(here.services.wrong_keys) <= BOUND


def test_a_wrong_sign_in_is_looked_for_once_in_a_minute() -> None:
    with world() as here, here.counting() as calls:
        for _ in range(2):
            with pytest.raises(Unauthorized):
                sign_ins.authenticate(here.services, "wrong")
        assert calls == ["GetItem"]


def test_a_key_that_is_made_after_it_was_tried_works_at_once() -> None:
    with world() as here:
        refused(here, "key")
        api_keys.put(here.services, "key", "ann")
        assert api_keys.authenticate(here.services, "key").name == "ann"


def refused(here: World, key: str) -> None:
    with pytest.raises(Unauthorized):
        api_keys.authenticate(here.services, key)


def test_a_key_that_is_known_is_not_read_again() -> None:
    with world() as here:
        api_keys.put(here.services, "key", "ann")
        api_keys.authenticate(here.services, "key")
        with here.counting() as calls:
            api_keys.authenticate(here.services, "key")
        assert calls == []


def test_a_use_is_noted_once_in_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    with world() as here:
        key_hash = api_keys.put(here.services, "key", "ann").key_hash
        now_ms = here.services.clock.now_ms()
        for later_ms, calls_made in ((0, ["BatchGetItem", "PutItem"]), (1, ["BatchGetItem"])):
            monkeypatch.setattr(here.services.clock, "now_ms", lambda later_ms=later_ms: now_ms + later_ms)
            with here.counting() as calls:
                api_keys.read(here.services, key_hash)
            assert calls == calls_made
        monkeypatch.setattr(here.services.clock, "now_ms", lambda: now_ms + api_keys.LAST_USE_MS)
        api_keys.read(here.services, key_hash)
        assert here.services.api_keys.last_uses() == {key_hash: now_ms + api_keys.LAST_USE_MS}
