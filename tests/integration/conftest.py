"""A deployment on moto, for what needs the tables and no local stack."""

from collections.abc import Iterator

import pytest

from tests.mcp_world import World, world


@pytest.fixture(scope="module")
def _deployment() -> Iterator[World]:
    """One deployment for a whole module: making it takes longer than a test."""
    with world() as made:
        yield made
