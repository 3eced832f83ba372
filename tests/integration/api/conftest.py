"""A local stack for each module of tests of the REST API, and clients whose keys reach differently far."""

from collections.abc import Iterator

import pytest

from chalicelib.domain import api_keys
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[SLEEPER]) as running:
        api_keys.put(running.services, "narrow", "one tenant's", ["tenant", "tenant-*"])
        yield running


@pytest.fixture
def narrow(stack: LocalStack) -> Client:
    """A client whose key reaches ``tenant`` and ``tenant-*`` only."""
    return Client(stack.url, "narrow")
