"""What holds for all tests: how hypothesis searches, that AWS calls are checked, and who calls a local stack."""

import os
import re
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.aws_calls.plugin import Plugin

if TYPE_CHECKING:
    from infra.local.stack import LocalStack
    from tests.client import Client

# No example has a deadline: how long one takes says more about the machine than about the code. `quick` is for
# `make unit`, which is run after every change; `make test` looks at as many examples as hypothesis usually does.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_configure(config: pytest.Config) -> None:
    """Check every AWS call that tests make."""
    config.pluginmanager.register(Plugin(), "aws-calls")


@pytest.fixture
def client(stack: "LocalStack") -> "Client":
    """A client of the test's local stack, whose key reaches everything."""
    from tests.client import Client  # what has no stack need not load it

    return Client(stack.url, stack.key)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """A namespace of its own for each test."""
    return re.sub(r"\W", "-", request.node.name)[:100]
