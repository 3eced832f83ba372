"""What a soak says of the figures that it sees."""

import dataclasses
import os

import pytest

from bench import soak
from bench.soak import Sample

STEADY = [
    Sample(at_s=5.0 * at, sessions=10 * at, memory_mb=200.0, descriptors=50, threads=20, children=2)
    for at in range(1, 41)
]
IDLE = dataclasses.replace(STEADY[0], at_s=0.0, sessions=0, children=0)
REST = dataclasses.replace(STEADY[-1], children=1)


def growing(name: str, by: float) -> list[Sample]:
    """Samples in which a figure grows by so much each time, at rest at last."""
    grown = [
        dataclasses.replace(each, **{name: type(getattr(each, name))(getattr(each, name) + by * at)})
        for at, each in enumerate(STEADY)
    ]
    return [IDLE, *grown, REST]


def test_a_stack_that_holds_on_to_nothing_is_right() -> None:
    assert soak.faults([IDLE, *STEADY, REST]) == []


def test_what_grows_at_first_alone_is_a_cache() -> None:
    first = [dataclasses.replace(each, memory_mb=50.0, threads=1) for each in STEADY[:10]]
    assert soak.faults([IDLE, *first, *STEADY[10:], REST]) == []


@pytest.mark.parametrize(
    ("name", "by", "said"),
    [
        ("memory_mb", 2.0, "memory grows by 205 KB a session, more than 100"),
        ("descriptors", 2, "descriptors grow by 30, more than 20"),
        ("threads", 2, "threads grow by 30, more than 20"),
    ],
)
def test_growth_beyond_its_bound_is_said(name: str, by: float, said: str) -> None:
    assert soak.faults(growing(name, by)) == [said]


def test_growth_within_its_bound_is_none() -> None:
    assert soak.faults(growing("memory_mb", 0.5)) == []


def test_processes_that_are_left_are_said() -> None:
    assert soak.faults([IDLE, *STEADY, STEADY[-1]]) == ["agents left behind: 1 processes"]


def test_a_soak_without_sessions_says_nothing_good() -> None:
    assert soak.faults([IDLE, *(dataclasses.replace(each, sessions=0) for each in STEADY), REST]) != []


def test_a_process_is_looked_at() -> None:
    found = soak.sampled(os.getpid(), at_s=1.0, sessions=2)
    assert found.memory_mb > 10
    assert found.descriptors > 2
    assert found.threads >= 1
