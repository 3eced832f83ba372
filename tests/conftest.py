"""What holds for all tests: how hypothesis searches, that AWS calls are checked, and who calls a local stack."""

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from botocore import serialize

if TYPE_CHECKING:
    from infra.local.stack import LocalStack
    from tests.client import Client

# No example has a deadline: how long one takes says more about the machine than about the code. `quick` is for
# `make unit`, which is run after every change; `make test` looks at as many examples as hypothesis usually does.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def checked_aws_calls() -> Iterator[None]:
    """Check the parameters of every AWS call against the service's model for as long as the tests run.

    The app makes its clients with ``parameter_validation=False`` and leaves that to AWS; moto does not do it. A client
    takes its serializer when it is made, so every client of a test has one that checks.
    """
    create_serializer = serialize.create_serializer

    def create_checking_serializer(protocol_name: str, include_validation: bool = True, **rest: Any) -> Any:
        return create_serializer(protocol_name, include_validation=True, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialize, "create_serializer", create_checking_serializer)
        yield


@pytest.fixture
def client(stack: "LocalStack") -> "Client":
    """A client of the test's local stack, whose key reaches everything."""
    from tests.client import Client  # what has no stack need not load it

    return Client(stack.url, stack.key)


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """A namespace of its own for each test."""
    return re.sub(r"\W", "-", request.node.name)[:100]
