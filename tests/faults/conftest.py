"""One emulated account for a module's tests, and an empty world for each."""

from collections.abc import Iterator

import pytest

from tests.faults.platform import Emulator, World


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as made:
        yield made


@pytest.fixture
def world(emulator: Emulator) -> World:
    return emulator.new_world()
