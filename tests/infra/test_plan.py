"""What deploying and destroying take, decided before anything is done."""

import dataclasses

import pytest

from infra.deploy import Failed, description, plan
from infra.deploy.app import App
from infra.deploy.plan import DeleteApp, DeleteStack, DeployApp, DeployStack, EndRunning, Found, Kept

FOUND = Found(
    account="123456789012",
    region="us-east-1",
    partition="aws",
    outputs={},
    concurrency=1000,
    default_vpc="vpc-1",
    default_subnets=("subnet-1", "subnet-2"),
)


def test_a_new_stage_runs_its_agents_in_the_default_vpc() -> None:
    first, *_ = plan.to_deploy("prod", {}, FOUND)
    assert isinstance(first, DeployStack)
    assert first.parameters == {"Stage": "prod", "VpcId": "vpc-1", "Subnets": "subnet-1,subnet-2"}


def test_named_subnets_come_before_the_default_ones() -> None:
    first, *_ = plan.to_deploy("prod", {"VpcId": "vpc-2", "Subnets": "subnet-9"}, FOUND)
    assert isinstance(first, DeployStack)
    assert first.parameters["Subnets"] == "subnet-9"


def test_an_update_keeps_the_parameters_that_are_left_out() -> None:
    first, *_ = plan.to_deploy("prod", {}, dataclasses.replace(FOUND, outputs={"Tracing": "off"}))
    assert isinstance(first, DeployStack)
    assert first.parameters == {"Stage": "prod"}


def test_functions_come_between_the_templates_once() -> None:
    steps = plan.to_deploy("dev", {}, FOUND)
    assert [type(step) for step in steps] == [DeployStack, DeployStack, DeployApp, DeployStack]


def test_a_stage_gets_an_address_when_it_is_asked_for_and_keeps_it() -> None:
    domain = {"DomainName": "agents.example.com", "CertificateArn": "arn:of-a-certificate"}
    having = dataclasses.replace(FOUND, address=True)
    assert plan.to_deploy("prod", {}, FOUND)[-1] == DeployStack(
        "atoll-prod-events", "events", {"Stage": "prod", "FunctionUrls": "on"}
    )
    for found, address in ((FOUND, {}), (having, None)):
        last = plan.to_deploy("prod", {}, found, address)[-1]
        assert last == DeployStack("atoll-prod-address", "address", {"Stage": "prod"})
    last = plan.to_deploy("prod", {}, having, domain)[-1]
    assert last == DeployStack("atoll-prod-address", "address", {"Stage": "prod", **domain})


@pytest.mark.parametrize(
    ("region", "there", "asked", "reserved"),
    [
        ("us-east-1", True, {}, True),
        ("us-east-1", True, {"FunctionUrls": "off"}, False),
        ("us-east-1", False, {}, False),
        ("us-east-1", False, {"FunctionUrls": "on"}, True),
        ("eu-central-2", True, {}, False),
    ],
)
def test_without_a_function_url_nothing_is_reserved_for_it(
    region: str, there: bool, asked: dict[str, str], reserved: bool
) -> None:
    found = dataclasses.replace(FOUND, region=region, function_urls=there)
    steps = plan.to_deploy("prod", asked, found)
    [app] = [step for step in steps if isinstance(step, DeployApp)]
    assert ("mcp" in app.limits) is reserved
    first, *_, last = steps
    assert isinstance(first, DeployStack)
    assert isinstance(last, DeployStack)
    assert "FunctionUrls" not in first.parameters
    assert last.parameters["FunctionUrls"] == asked.get("FunctionUrls", "on" if there else "off")


@pytest.mark.parametrize(
    ("asked", "there", "shown"),
    [
        ({}, {}, (7, 365)),
        ({"MaxSessionDays": "30"}, {"SessionDays": "3", "MaxSessionDays": "5"}, (3, 30)),
        ({"SessionDays": "1"}, {}, (1, 365)),
    ],
)
def test_the_plan_says_how_long_sessions_live(
    asked: dict[str, str], there: dict[str, str], shown: tuple[int, int]
) -> None:
    found = dataclasses.replace(FOUND, outputs=there)
    step = next(step for step in plan.to_deploy("prod", {"Subnets": "s", **asked}, found) if type(step) is DeployApp)
    assert f"a session without a TTL ends after {shown[0]} days, none may live longer than {shown[1]}" in step.title


def test_the_default_ttl_is_not_above_the_longest() -> None:
    with pytest.raises(Failed, match="after 7 days when none may live longer than 5"):
        plan.to_deploy("prod", {"MaxSessionDays": "5"}, FOUND)


@pytest.mark.parametrize("alone", [{"DomainName": "agents.example.com"}, {"CertificateArn": "arn:of-a-certificate"}])
def test_a_domain_needs_its_certificate(alone: dict[str, str]) -> None:
    with pytest.raises(Failed, match="--domain and --certificate go together"):
        plan.to_deploy("prod", {}, FOUND, alone)


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_an_address_needs_cloudfronts_functions(partition: str) -> None:
    found = dataclasses.replace(FOUND, partition=partition)
    with pytest.raises(Failed, match=partition):
        plan.to_deploy("prod", {}, found, {})
    assert plan.to_deploy("prod", {}, found)


def test_what_an_app_lacks_is_made_and_what_it_has_too_much_is_deleted() -> None:
    there = App({"api_handler": "arn:a", "gone": "arn:b"}, {"gone": "arn:role/atoll-dev-gone"}, ("used", "left"))
    changes = DeployApp({}, there).changes()
    assert "~ function api_handler" in changes
    assert "+ function mcp" in changes
    assert "~ REST API used" in changes
    assert [each for each in changes if each[0] == "-"] == ["- function gone", "- role of gone", "- REST API left"]
    assert "+ REST API" in DeployApp({}, App()).changes()


def test_what_an_earlier_stack_has_left_is_taken_in_first() -> None:
    left = Kept("SessionsTable", "AWS::DynamoDB::Table", "atoll-dev-sessions", {"TableName": "atoll-dev-sessions"})
    first, second, *_ = plan.to_deploy("dev", {}, dataclasses.replace(FOUND, kept=(left,)))
    assert first == DeployStack("atoll-dev", "stack", {"Stage": "dev"}, (left,))
    assert first.title.endswith("kept: Table atoll-dev-sessions")
    assert isinstance(second, DeployStack)
    assert second.parameters["Subnets"] == "subnet-1,subnet-2"


def test_an_account_without_a_default_vpc_must_name_subnets() -> None:
    with pytest.raises(Failed, match="--subnets"):
        plan.to_deploy("dev", {}, dataclasses.replace(FOUND, default_subnets=()))


def test_an_unknown_stage_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Failed, match="dev, prod"):
        plan.to_deploy("staging", {}, FOUND)


@pytest.mark.parametrize(
    ("concurrency", "elsewhere", "limits"),
    [
        (1000, 0, {"mcp": 500, "reconcile": 1}),
        (1000, 500, {"mcp": 399, "reconcile": 1}),
        (101, 0, {"mcp": None, "reconcile": 1}),
        (10, 0, {"mcp": None, "reconcile": None}),
    ],
)
def test_waiting_agents_get_what_the_account_can_spare(
    concurrency: int, elsewhere: int, limits: dict[str, int | None]
) -> None:
    found = dataclasses.replace(FOUND, concurrency=concurrency, reserved_elsewhere=elsewhere)
    assert plan.fitting_limits({"mcp": 500, "reconcile": 1}, found) == limits


def test_destroying_names_what_goes_and_what_stays() -> None:
    address, events, running, app, roles, stack = plan.to_destroy("prod", FOUND, executions=2, tasks=3)
    assert isinstance(address, DeleteStack)
    assert isinstance(events, DeleteStack)
    assert isinstance(app, DeleteApp)
    assert isinstance(roles, DeleteStack)
    assert roles.stack == "atoll-prod-roles"
    assert isinstance(stack, DeleteStack)
    assert address.stack == "atoll-prod-address"
    assert address.deleted == ("Function atoll-prod-us-east-1-socket-paths", "Distribution Address")
    assert events.stack == "atoll-prod-events"
    assert running == EndRunning(executions=2, tasks=3)
    assert "Table atoll-prod-sessions" in stack.retained
    assert "Secret atoll-prod/agent-key" in stack.retained
    assert "Bucket atoll-prod-bodies-123456789012-us-east-1" in stack.retained
    assert "StateMachine atoll-prod-session-lifecycle" in stack.deleted
    assert not [name for name in stack.deleted if name.startswith(("Table ", "Bucket ", "Secret ", "Queue "))]


def test_a_policy_is_filled_in_for_one_stage_of_one_account() -> None:
    names = {"Stage": "prod", "Account": "123456789012", "Region": "eu-central-1", "Partition": "aws"}
    [publish] = [each for each in description.policy("on_change", names)["Statement"] if each["Sid"] == "Publish"]
    assert publish["Resource"] == ["arn:aws:events:eu-central-1:123456789012:event-bus/atoll-prod"]
