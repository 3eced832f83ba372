"""Every AWS call that a test makes is checked against the service's model, though the app's clients leave that out."""

from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from tests.mcp_world import world


def test_a_call_that_dynamodb_would_refuse_is_refused_here() -> None:
    with world() as here, pytest.raises(ParamValidationError, match="Unknown parameter in input"):
        here.services.dynamodb.get_item(TableName="t", Key={}, Consistent=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("service", ["ecs", "events", "stepfunctions"])
def test_so_is_one_of_another_service(service: str) -> None:
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "ecs": ("stop_task", {"task": 7}),
        "events": ("put_events", {"Entries": "none"}),
        "stepfunctions": ("start_execution", {}),
    }
    operation, wrong = calls[service]
    with world() as here, pytest.raises(ParamValidationError):
        getattr(here.services.client(service), operation)(**wrong)
