"""ECS's answers to `RunTask`, and how Atoll maps them."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from chalicelib.aws.task_overrides import overrides
from chalicelib.aws.tasks import NoCapacity, TaskRefused, Tasks, TaskState
from chalicelib.reactions import launches
from chalicelib.settings import Settings

FIRST = "arn:aws:ecs:us-east-1:123456789012:task/atoll-dev/1"


@pytest.fixture
def ecs() -> Iterator[Stubber]:
    client = boto3.client("ecs", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stubber:
        yield stubber


def run(ecs: Stubber, *, launch: int = 0) -> str:
    client: Any = ecs.client
    asked = overrides({"agent": {"A": "b"}}, {})
    return Tasks(client, Settings()).run("echo:2", asked, started_by="s/0", launch=launch)


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
        "You've reached the limit on the number of vCPUs you can run concurrently",
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


def test_the_client_token_follows_from_the_launch(ecs: Stubber) -> None:
    wanted = dict.fromkeys(
        ("cluster", "taskDefinition", "launchType", "count", "networkConfiguration", "overrides"), ANY
    )
    seen: list[str] = []
    ecs.client.meta.events.register(
        "provide-client-params.ecs.RunTask", lambda params, **_: seen.append(params["clientToken"])
    )
    for launch in (0, 0, 1, 2):
        ecs.add_response(
            "run_task", {"tasks": [{"taskArn": FIRST}]}, {**wanted, "startedBy": "s/0", "clientToken": ANY}
        )
        run(ecs, launch=launch)
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert {len(token) for token in seen} == {64}  # as long as ECS allows


@pytest.mark.parametrize("spot", [False, True])
def test_a_task_has_its_tags_and_runs_on_spare_capacity_where_that_is_asked(ecs: Stubber, spot: bool) -> None:
    seen: list[dict[str, Any]] = []
    ecs.client.meta.events.register("provide-client-params.ecs.RunTask", lambda params, **_: seen.append(params))
    ecs.add_response("run_task", {"tasks": [{"taskArn": FIRST}]})
    client: Any = ecs.client
    tags = {"atoll:namespace": "shop <über> 1/2"}
    Tasks(client, Settings()).run("echo:2", overrides({}, {}), started_by="s/0", spot=spot, tags=tags)
    assert seen[0]["tags"] == [{"key": "atoll:namespace", "value": "shop _über_ 1/2"}]
    assert ("launchType" in seen[0]) is not spot
    spare = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    assert seen[0].get("capacityProviderStrategy") == (spare if spot else None)


def stopped(*containers: dict[str, Any], **task: Any) -> TaskState:
    told = {"taskArn": FIRST, "lastStatus": "STOPPED", "stoppedReason": "Essential container exited"}
    return TaskState.of({**told, "containers": list(containers), **task})


OPTIONS = {"name": "options", "exitCode": 0}
GUARD = {"name": "aws-guardduty-agent", "exitCode": 137, "reason": "ended"}
RAN = {"startedAt": "2026-01-01T00:00:00Z", "stopCode": "EssentialContainerExited"}


@pytest.mark.parametrize(
    ("containers", "reason"),
    [
        ([OPTIONS, GUARD, {"name": "agent", "exitCode": 3}], "exited with code 3"),
        ([OPTIONS, {"name": "agent", "exitCode": 137, "reason": "OutOfMemoryError"}], "OutOfMemoryError"),
        ([OPTIONS, GUARD, {"name": "agent"}], "Essential container exited"),
        ([GUARD, {"name": "agent"}, {**OPTIONS, "exitCode": 22}], "its options: exited with code 22"),
        ([], "Essential container exited"),
    ],
)
def test_the_reason_is_that_of_the_container_of_the_agent(containers: list[dict[str, Any]], reason: str) -> None:
    assert stopped(*containers, **RAN).reason.endswith(reason)


@pytest.mark.parametrize(
    ("task", "container", "never"),
    [
        ({"stopCode": "TaskFailedToStart"}, {"reason": "CannotPullContainerError"}, True),
        ({"stopCode": "SpotInterruption"}, {}, True),
        ({"stopCode": "EssentialContainerExited"}, {"exitCode": 0}, False),
        ({"stopCode": "UserInitiated"}, {}, False),
        (RAN, {"exitCode": 1}, False),
        ({"lastStatus": "PENDING"}, {}, False),
    ],
)
def test_a_task_never_started_whose_agent_did_not_run(task: Any, container: dict[str, Any], never: bool) -> None:
    assert stopped(OPTIONS, {"name": "agent", **container}, **task).never_started is never


#: The event of a task that never started, as the rule passes it on: what ECS did not say is an empty text.
PASSED_ON = {
    "taskArn": FIRST,
    "startedBy": "s/0",
    "lastStatus": "STOPPED",
    "startedAt": "",
    "stopCode": "TaskFailedToStart",
}


def explained(ecs: Stubber, **event: Any) -> TaskState:
    client: Any = ecs.client
    services: Any = SimpleNamespace(tasks=Tasks(client, Settings()))
    return launches.explained(services, TaskState.of({**PASSED_ON, **event}))


def test_a_reason_that_events_leave_out_is_asked_for(ecs: Stubber) -> None:
    known = {"taskArn": FIRST, "lastStatus": "STOPPED", "stoppedReason": 'no "image"'}
    ecs.add_response("describe_tasks", {"tasks": [known]})
    found = explained(ecs)
    assert (found.reason, found.never_started, found.started_at_ms) == ('no "image"', True, None)


def test_one_that_the_container_says_is_not(ecs: Stubber) -> None:
    assert explained(ecs, containers=[{"name": "agent", "exitCode": 3}]).reason == "exited with code 3"


@pytest.mark.parametrize("error", ["ThrottlingException", ""])
def test_without_an_answer_the_code_is_the_reason(ecs: Stubber, error: str) -> None:
    if error:
        ecs.add_client_error("describe_tasks", error)
    else:
        ecs.add_response("describe_tasks", {"tasks": []})
    found = explained(ecs)
    assert (found.reason, found.never_started) == ("TaskFailedToStart", True)
