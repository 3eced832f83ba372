"""A session of three agents on moto."""

import pytest

from tests.mcp_world import World


@pytest.fixture
def here(_deployment: World) -> World:
    """A deployment with one executed session of the linked agents ``ann``, ``bob`` and ``cem``, and nothing else."""
    _deployment.clear()
    _deployment.session("ann", "bob", "cem")
    return _deployment
