"""A local stack for each module of contract tests, keys of different reach, and Coral's document."""

from collections.abc import Iterator

import pytest

from chalicelib.domain import api_keys
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client
from tests.contract import coral


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[SLEEPER]) as running:
        api_keys.put(running.services, "narrow", "one tenant's", ["tenant", "tenant-*"])
        yield running


@pytest.fixture
def narrow(stack: LocalStack) -> Client:
    """A client whose key reaches ``tenant`` and ``tenant-*`` only."""
    return Client(stack.url, "narrow")


@pytest.fixture
def keyless(stack: LocalStack) -> Client:
    """A client without a key."""
    return Client(stack.url, None)


@pytest.fixture(scope="session")
def document() -> coral.Coral:
    return coral.Coral()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what is not checked where Coral's document is not at hand."""
    if not coral.DOCUMENT.exists():
        terminalreporter.section("contract tests")
        terminalreporter.write_line(
            f"Coral's OpenAPI document is not at {coral.DOCUMENT}: answers were checked against {coral.FACTS.name} "
            "(paths, statuses, fields, kinds), not against the document's schemas, nor that file against it."
        )
