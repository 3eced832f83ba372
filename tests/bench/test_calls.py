"""How many AWS calls an operation makes: these numbers do not jitter, so they are held."""

import pytest

from bench import calls
from bench.meter import Counted
from bench.scene import scene


@pytest.fixture(scope="module")
def measured() -> dict[str, Counted]:
    return {operation.name: operation.counted for operation in calls.measure()}


@pytest.fixture(scope="module")
def counted(measured: dict[str, Counted]) -> dict[str, list[str]]:
    return {name: counted.calls for name, counted in measured.items()}


@pytest.mark.parametrize("name", calls.LIMITS)
def test_an_operation_makes_no_more_calls_than_are_promised(counted: dict[str, list[str]], name: str) -> None:
    assert len(counted[name]) <= calls.LIMITS[name], counted[name]


@pytest.mark.parametrize("name", calls.WRITE_LIMITS)
def test_an_operation_takes_no_more_write_units_than_are_promised(measured: dict[str, Counted], name: str) -> None:
    assert measured[name].write_units <= calls.WRITE_LIMITS[name]


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
