"""What Coral's scenarios are played on: a local stack a module, or a session on moto whose agents are there at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.wire.llm_proxy import LlmProxyConfig
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.integration.models.conftest import config_of
from tests.mcp_world import World, world
from tests.offline_models import OfflineModels

#: The example agents, which do what Coral's debug agents do.
EXAMPLES = [Path(__file__).parents[2] / "agents" / kind for kind in ("echo", "seed", "tool", "puppet")]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(agents=[SLEEPER, *EXAMPLES]) as running:
        yield running


@pytest.fixture(scope="module")
def _deployment() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def here(_deployment: World) -> World:
    """A deployment without sessions."""
    _deployment.clear()
    return _deployment


@pytest.fixture(scope="module")
def provider(stack: LocalStack) -> Iterator[OfflineModels]:
    """A provider that the stack has, for as long as the module."""

    def offer(config: LlmProxyConfig) -> None:
        stack.services.llm_proxy.write(config)
        stack.services.llm_proxy._known = None
        stack.services.model_offers.replace(config.offers)

    with OfflineModels() as running:
        offer(config_of(running))
        yield running
        offer(LlmProxyConfig())
