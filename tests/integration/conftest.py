"""A deployment on moto, for what needs the tables and no local stack."""

from collections.abc import Iterator

import pytest

from chalicelib.domain.actors import Actor
from chalicelib.mcp import resumption
from chalicelib.services import Services
from tests.mcp_world import World, world


@pytest.fixture(scope="module")
def _deployment() -> Iterator[World]:
    """One deployment for a whole module: making it takes longer than a test."""
    with world() as made:
        yield made


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
