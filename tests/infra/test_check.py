"""``--check``: what it says of an account in which a deployment would fail, and that it only reads."""

import functools
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from rich.console import Console

from infra.deploy import app, running
from infra.deploy import command as deploy
from infra.deploy.plan import Found
from infra.deploy.preflight import network, place, quotas
from tests.infra.readable_account import ReadableAccount, log_group_of_a_late_invocation
from tests.infra.test_command import play_chalice, run

READS = re.compile(r"[a-z0-9]+:(Describe|List|Get|Head|Simulate|GET$)")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ReadableAccount:
    account = ReadableAccount()
    monkeypatch.setattr(boto3, "Session", account.session)
    monkeypatch.setattr(deploy, "BUILD", tmp_path)
    monkeypatch.setattr(app, "chalice", functools.partial(play_chalice, account))
    monkeypatch.setattr(running, "PAUSE_S", 0.0)
    monkeypatch.setattr(deploy, "console", Console(width=1000))  # no line is broken
    return account


def check(*arguments: str, exit_code: int) -> str:
    answer = run("--check", *arguments)
    assert answer.exit_code == exit_code, answer.output
    return " ".join(answer.output.split())


def test_a_good_account_passes_and_is_only_read(aws: ReadableAccount) -> None:
    said = check(exit_code=0)
    assert "✗" not in said
    assert "!" not in said
    assert "mcp gets 50, that is 50 agents, or 1.7 sessions a minute of 3 agents and 10 minutes" in said
    assert "4,000 at once, that is 16,000 agents, or 533 sessions a minute" in said
    assert [action for action in sorted(aws.actions) if not READS.match(action)] == []
    assert (aws.stacks, aws.resources) == ({}, {})


def test_a_stage_that_runs_passes(aws: ReadableAccount) -> None:
    assert run().exit_code == 0
    aws.tagged |= aws.functions
    assert "this updates atoll-dev, atoll-dev-events" in check(exit_code=0)


def test_what_an_earlier_stage_kept_is_no_obstacle(aws: ReadableAccount) -> None:
    assert run().exit_code == 0
    assert run("--destroy", "--yes").exit_code == 0
    assert "that an earlier stage kept are imported" in check(exit_code=0)


def test_a_name_that_is_taken_is_a_problem(aws: ReadableAccount) -> None:
    aws.resources[log_group_of_a_late_invocation()] = -1
    aws.resources["AWS::SNS::Topic", "atoll-dev-alarms"] = -2
    said = check(exit_code=1)
    assert "2 are taken: LogGroup /aws/lambda/atoll-dev-reconcile, Topic atoll-dev-alarms." in said


def test_secrets_that_are_being_deleted_are_a_problem(aws: ReadableAccount) -> None:
    aws.deleted_secrets.add("atoll-dev/agent-key")
    assert "atoll-dev/agent-key wait for their deletion" in check(exit_code=1)


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED"])
def test_a_stack_that_takes_no_change_is_a_problem(aws: ReadableAccount, status: str) -> None:
    assert run().exit_code == 0
    aws.stacks["atoll-dev-events"]["StackStatus"] = status
    assert f"atoll-dev-events is {status}" in check(exit_code=1)


def test_the_stage_of_a_pipeline_is_not_for_this_command(aws: ReadableAccount) -> None:
    assert run().exit_code == 0
    aws.stacks["atoll-dev"]["template"]["Resources"]["Mcp"] = {"Type": "AWS::Lambda::Function"}
    assert "a pipeline has made it" in check(exit_code=1)


def test_functions_of_somebody_else_are_named(aws: ReadableAccount) -> None:
    aws.functions.add("atoll-dev-mcp")
    assert "atoll-dev-mcp are not Chalice's by their tags" in check(exit_code=0)


def test_missing_permissions_are_named_by_statement(aws: ReadableAccount) -> None:
    aws.lacks |= {"ecs:CreateCluster", "iam:PassRole"}
    said = check(exit_code=1)
    assert "lacks 1 of the statement Cluster: ecs:CreateCluster" in said
    assert "lacks 1 of the statement PassRoles: iam:PassRole" in said


def test_a_new_account_is_told_what_its_quotas_mean(aws: ReadableAccount) -> None:
    aws.executions_at_once, aws.vcpus = 10, None
    said = check(exit_code=0)
    assert "too few to reserve any, so 10 waiting agents stop everything else" in said
    assert "6 at once, that is 24 agents, or 0.8 sessions a minute" in said


def test_agents_without_a_function_url_wait_in_the_rest_api() -> None:
    found = Found("1", "eu-central-2", "aws", {}, 1000)
    [finding] = quotas.concurrency(found, "prod")
    assert "waiting agents share 1,000, that is 1,000 agents" in finding.text


def test_a_role_of_ecs_that_is_not_there_is_named(aws: ReadableAccount) -> None:
    aws.roles.remove("AWSServiceRoleForECS")
    assert "ECS makes it with the first cluster" in check(exit_code=0)


def test_what_may_not_be_read_is_said_and_the_rest_is_checked(aws: ReadableAccount) -> None:
    aws.unreadable = {"DescribeRouteTables", "GetServiceQuota"}
    aws.deleted_secrets.add("atoll-dev/agent-key")
    said = check(exit_code=1)
    assert "not authorized to perform DescribeRouteTables" in said
    assert "not authorized to perform GetServiceQuota" in said
    assert "atoll-dev/agent-key wait" in said


def test_the_root_user_cannot_be_judged(aws: ReadableAccount) -> None:
    aws.caller = "arn:aws:iam::123456789012:root"
    assert "deploy with a role instead" in check(exit_code=0)


@pytest.mark.parametrize(
    ("routes", "asked", "level", "expected"),
    [
        ({"": "igw-1"}, {}, "ok", "agents get out by igw-1"),
        ({"": "igw-1"}, {"public_ip": False}, "problem", "which takes nobody without a public address along"),
        ({"": "igw-1", "subnet-1": "nat-1", "subnet-2": "nat-2"}, {"public_ip": False}, "ok", "out by nat-1, nat-2"),
        ({"": "nat-1"}, {}, "warning", "public addresses do nothing"),
        ({"": ""}, {"public_ip": False}, "problem", "--private needs a NAT gateway"),
        ({"": "igw-1", "subnet-2": ""}, {}, "problem", "no default route leads out of subnet-2"),
        ({"": "vgw-1"}, {"public_ip": False}, "warning", "vgw-1, which may or may not reach the internet"),
        ({"": "igw-1"}, {"subnets": "subnet-1,subnet-9"}, "problem", "subnet-9 are not there"),
        ({"": "igw-1"}, {"security_groups": "sg-1,sg-2"}, "problem", "sg-2 are not there"),
        ({"": "igw-1"}, {"security_groups": "sg-1"}, "ok", "sg-1"),
    ],
)
def test_the_network_of_agents(routes: dict[str, str], asked: dict[str, Any], level: str, expected: str) -> None:
    aws = ReadableAccount()
    aws.routes = routes
    found = Found("1", "us-east-1", "aws", {}, 1000, default_subnets=("subnet-1", "subnet-2"))
    options = {"subnets": "", "security_groups": "", "public_ip": None} | asked
    findings = list(network.check(aws.session(), found, network.wanted(found, **options)))
    assert [each.level for each in findings if expected in each.text] == [level]


def subnet(number: int, **changes: Any) -> dict[str, Any]:
    usual = {"VpcId": "vpc-1", "AvailabilityZoneId": "usw1-az1", "AvailableIpAddressCount": 4}
    return {"SubnetId": f"subnet-{number}", **usual, **changes}


def test_subnets_that_ecs_refuses() -> None:
    def levels(*subnets: dict[str, Any]) -> list[str]:
        return [each.level for each in network.judged_subnets(subnets, "us-west-1")]

    assert levels(*map(subnet, range(16))) == ["ok"]
    assert levels(*map(subnet, range(17))) == ["problem", "ok"]
    assert levels(subnet(1), subnet(2)) == ["warning"]
    assert levels(subnet(1, AvailableIpAddressCount=100), subnet(2, VpcId="vpc-2")) == ["problem", "ok"]
    assert levels(subnet(1, AvailabilityZoneId="usw1-az2", AvailableIpAddressCount=100)) == ["problem", "ok"]


def test_an_account_without_a_default_vpc_needs_subnets(aws: ReadableAccount) -> None:
    aws.subnets = []
    assert "name the agents' (--subnets)" in check(exit_code=1)


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), "problem"), ((3, 11), "ok"), ((3, 15), "ok"), ((3, 16), "problem")]
)
def test_the_python_has_to_be_one_of_lambdas(version: tuple[int, int], level: str) -> None:
    assert place.python(version).level == level


def test_the_arithmetic_is_that_of_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs/scale.md").read_text()
    assert f"sessions are of {quotas.AGENTS_OF_A_SESSION}\nagents" in text.lower()
    assert "a waiting agent holds one for 4 % of its time" in text
    assert quotas.PAUSED_SHARE == 0.04
