"""Every AWS call of every scenario fails once, in each way that a call can fail; afterwards all promises are kept."""

import pytest

from tests.faults.forks import play_all
from tests.faults.platform import Emulator
from tests.faults.scenarios import SCENARIOS, Scenario

#: Kinds of faults that are tried together: two parts of a scenario may run beside each other.
PARTS = {
    "before": ("refused", "died before"),
    "after": ("died after", "answer lost", "asked twice"),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nothing_is_lost_when_any_call_fails(emulator: Emulator, scenario: Scenario, part: str) -> None:
    copies = play_all(emulator, scenario, PARTS[part])
    assert not copies.broken, f"{len(copies.broken)} of {copies.tried} faults:\n" + "\n".join(map(str, copies.broken))
    assert copies.tried, "the scenario makes no call that could fail"
