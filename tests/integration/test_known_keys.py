"""What a process remembers of API keys is bounded, however many of them it is asked with."""

import pytest

from chalicelib.domain import api_keys
from tests.mcp_world import world

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


def test_a_key_that_is_known_is_not_read_again() -> None:
    with world() as here:
        api_keys.put(here.services, "key", "ann")
        api_keys.authenticate(here.services, "key")
        with here.counting() as calls:
            api_keys.authenticate(here.services, "key")
        assert calls == []
