"""ECS's answers to `RunTask`, and how Atoll maps them."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from chalicelib.aws.task_overrides import overrides
from chalicelib.aws.tasks import NoCapacity, TaskRefused, Tasks
from chalicelib.settings import Settings

FIRST = "arn:aws:ecs:us-east-1:123456789012:task/atoll-dev/1"


@pytest.fixture
def ecs() -> Iterator[Stubber]:
    client = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stubber:
        yield stubber


def run(ecs: Stubber) -> str:
    client: Any = ecs.client
    return Tasks(client, Settings()).run("echo:2", overrides({"agent": {"A": "b"}}, {}), started_by="s/0")


def test_a_repeated_launch_of_an_agent_registered_anew_is_the_task_that_runs(ecs: Stubber) -> None:
    ecs.add_client_error("run_task", "ConflictException", "In use.", modeled_fields={"resourceIds": [FIRST]})
    assert run(ecs) == FIRST


def test_a_conflict_with_no_task_is_refused(ecs: Stubber) -> None:
    ecs.add_client_error("run_task", "ConflictException", "The clientToken is in use with another request.")
    with pytest.raises(TaskRefused, match="clientToken"):
        run(ecs)


def test_what_a_retry_cannot_repair_is_refused(ecs: Stubber) -> None:
    ecs.add_client_error("run_task", "InvalidParameterException", "No such subnet.")
    with pytest.raises(TaskRefused, match="No such subnet"):
        run(ecs)


@pytest.mark.parametrize(
    "message",
    [
        "Error retrieving security group information for [sg-1]: Request limit exceeded. (RequestLimitExceeded)",
        "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
        "Capacity is unavailable at this time. Please try again later.",
        "Too many concurrent attempts to create a new revision of the specified family.",
    ],
)
def test_what_will_pass_is_no_refusal(ecs: Stubber, message: str) -> None:
    ecs.add_client_error("run_task", "InvalidParameterException", message)
    with pytest.raises(ClientError):
        run(ecs)


def test_a_cluster_without_room_may_have_some_later(ecs: Stubber) -> None:
    ecs.add_response("run_task", {"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}]})
    with pytest.raises(NoCapacity, match="RESOURCE:MEMORY"):
        run(ecs)


def test_the_client_token_follows_from_the_agent(ecs: Stubber) -> None:
    wanted = dict.fromkeys(
        ("cluster", "taskDefinition", "launchType", "count", "networkConfiguration", "overrides"), ANY
    )
    seen: list[str] = []
    ecs.client.meta.events.register(
        "provide-client-params.ecs.RunTask", lambda params, **_: seen.append(params["clientToken"])
    )
    for _ in range(2):
        ecs.add_response(
            "run_task", {"tasks": [{"taskArn": FIRST}]}, {**wanted, "startedBy": "s/0", "clientToken": ANY}
        )
        run(ecs)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 64  # as long as ECS allows
