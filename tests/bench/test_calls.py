"""How many AWS calls an operation makes: these numbers do not jitter, so they are held."""

import pytest

from bench import calls
from bench.scene import scene


@pytest.fixture(scope="module")
def counted() -> dict[str, list[str]]:
    return {operation.name: operation.counted.calls for operation in calls.measure()}


@pytest.mark.parametrize("name", calls.LIMITS)
def test_an_operation_makes_no_more_calls_than_are_promised(counted: dict[str, list[str]], name: str) -> None:
    assert len(counted[name]) <= calls.LIMITS[name], counted[name]


def test_a_key_is_read_once_a_minute() -> None:
    """Against the table at most once a minute per process."""
    with scene() as here:
        reads = []
        for _ in range(3):
            for _ in range(3):
                with here.meter.counting() as counted:
                    here.rest("GET", "/api/v1/local/namespace")
                reads.append(counted.calls.count("dynamodb:BatchGetItem"))
            here.clock.sleep(20)
        assert reads == [1] + [0] * 8
        here.clock.sleep(1)
        with here.meter.counting() as counted:
            here.rest("GET", "/api/v1/local/namespace")
        assert counted.calls.count("dynamodb:BatchGetItem") == 1


def test_what_is_counted_here_calls_dynamodb_alone(counted: dict[str, list[str]]) -> None:
    assert {call.split(":")[0] for made in counted.values() for call in made} == {"dynamodb"}
