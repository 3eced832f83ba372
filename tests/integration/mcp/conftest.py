"""A session of two agents on moto, and the environment that boto3 wants."""

from collections.abc import Iterator

import pytest

from tests.mcp_world import World, world


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.fixture
def here() -> Iterator[World]:
    """A deployment with one executed session of the linked agents ``ann``, ``bob`` and ``cem``."""
    with world() as made:
        made.session("ann", "bob", "cem")
        yield made
