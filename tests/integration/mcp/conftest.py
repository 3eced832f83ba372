"""A session of three agents on moto."""

import pytest

from chalicelib.domain.actors import Actor
from chalicelib.mcp import resumption
from chalicelib.services import Services
from tests.mcp_world import World


@pytest.fixture
def here(_deployment: World) -> World:
    """A deployment with one executed session of the linked agents ``ann``, ``bob`` and ``cem``, and nothing else."""
    _deployment.clear()
    _deployment.session("ann", "bob", "cem")
    return _deployment


@pytest.fixture
def comebacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The event ids with which clients come back for their waits, as they do."""
    ids: list[str] = []
    answer = resumption.answer

    def noted(services: Services, actor: Actor, event_id: str) -> bytes:
        ids.append(event_id)
        return answer(services, actor, event_id)

    monkeypatch.setattr(resumption, "answer", noted)
    return ids
