"""``--check``: what it says of an account in which a deployment would fail, and that it only reads."""

import functools
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.deploy import app, running
from infra.deploy import command as deploy
from infra.deploy.plan import Found
from infra.deploy.preflight import address, network, place, quotas
from tests.infra.readable_account import ACCOUNT, ReadableAccount, log_group_of_a_late_invocation
from tests.infra.test_command import play_chalice, run

READS = re.compile(r"[a-z0-9]+:(Describe|List|Get|Head|Simulate|GET$)")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ReadableAccount:
    account = ReadableAccount()
    monkeypatch.setattr(boto3, "Session", account.session)
    monkeypatch.setattr(deploy, "BUILD", tmp_path)
    monkeypatch.setattr(app, "chalice", functools.partial(play_chalice, account))
    monkeypatch.setattr(running, "PAUSE_S", 0.0)
    monkeypatch.setattr(address, "canonical_name", lambda _: "")
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


CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1"
WEB_ACL = f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/acl/11111111-2222-4333-8444-555555555555"
AT = ("--domain", "agents.example.com", "--certificate", CERTIFICATE)


@pytest.fixture
def issued(aws: ReadableAccount) -> dict[str, Any]:
    """A certificate for the domain, as ACM describes it."""
    names = ["example.com", "*.example.com"]
    certificate = {"Status": "ISSUED", "DomainName": names[0], "SubjectAlternativeNames": names}
    aws.certificates[CERTIFICATE] = certificate
    return certificate


def distribution(number: int, *aliases: str) -> dict[str, Any]:
    names = {"Quantity": len(aliases), **({"Items": list(aliases)} if aliases else {})}
    return {"Id": f"E{number}", "DomainName": f"d{number}.cloudfront.net", "Comment": f"no. {number}", "Aliases": names}


def test_an_address_that_cloudfront_takes_passes_and_is_only_read(aws: ReadableAccount, issued: dict[str, Any]) -> None:
    aws.web_acls.add(WEB_ACL)
    aws.distributions = [distribution(n, "*.example.com") for n in range(3)]
    said = check(*AT, "--web-acl", WEB_ACL, exit_code=0)
    assert "it is issued, for example.com, *.example.com" in said
    assert "no distribution of this account has agents.example.com" in said
    assert "acl is there" in said
    assert [action for action in sorted(aws.actions) if not READS.match(action)] == []


def test_a_stage_without_a_domain_is_asked_for_none(aws: ReadableAccount) -> None:
    said = check("--address", exit_code=0)
    assert not [each for each in ("certificate", "domain", "web ACL", "access log") if f"│ {each} │" in said]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Status": "PENDING_VALIDATION"}, "it is PENDING_VALIDATION: CloudFront takes one that is ISSUED"),
        ({"SubjectAlternativeNames": ["example.com", "*.agents.example.com"]}, "not for agents.example.com"),
        ({"KeyAlgorithm": "EC_secp384r1"}, "its key is EC_secp384r1: CloudFront takes EC_prime256v1, RSA_1024"),
    ],
)
def test_a_certificate_that_cloudfront_refuses(
    aws: ReadableAccount, issued: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    issued.update(changes)
    assert expected in check(*AT, exit_code=1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (AT, f"{CERTIFICATE} is not there"),
        (AT[:2], "--domain and --certificate go together"),
        (AT[2:], "--domain and --certificate go together"),
        ((*AT[:3], CERTIFICATE.replace("us-east-1", "eu-west-1")), "is not one of this account in us-east-1"),
        ((*AT[:3], CERTIFICATE.replace(ACCOUNT, "999999999999")), "is not one of this account in us-east-1"),
        (("--web-acl", WEB_ACL), f"acl is not there: {WEB_ACL}"),
        (("--web-acl", WEB_ACL.replace("global", "regional")), "is none of this account with the scope CLOUDFRONT"),
        (("--web-acl", WEB_ACL[:-1]), "is none of this account with the scope CLOUDFRONT"),
        (("--web-acl", WEB_ACL.replace("us-east-1", "eu-west-1")), "is none of this account with the scope CLOUDFRONT"),
    ],
)
def test_what_an_address_names_has_to_be_there(aws: ReadableAccount, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in check(*arguments, exit_code=1)


@pytest.mark.parametrize(
    ("name", "domain", "covered"),
    [
        ("a.example.com", "a.example.com", True),
        ("A.Example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "*.example.com", True),
        ("a.example.com", "*.example.com", False),
        ("example.com", "a.example.com", False),
    ],
)
def test_a_star_of_a_certificate_is_one_part_of_a_name(name: str, domain: str, covered: bool) -> None:
    assert address.covers(name, domain) is covered


@pytest.mark.usefixtures("issued")
def test_a_domain_of_another_distribution_is_a_problem(aws: ReadableAccount) -> None:
    aws.distributions = [distribution(n) for n in range(4)] + [distribution(4, "agents.example.com")]
    assert "the distribution E4 (no. 4) has agents.example.com" in check(*AT, exit_code=1)


@pytest.mark.usefixtures("issued")
def test_a_stage_keeps_its_own_domain(aws: ReadableAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--address", *AT).exit_code == 0
    aws.tagged |= aws.functions
    aws.distributions = [{**distribution(1, "agents.example.com"), "DomainName": "addresshost"}]
    monkeypatch.setattr(address, "canonical_name", lambda _: "addresshost")
    said = check(exit_code=0)
    assert "its DNS record is a CNAME to addresshost" in said
    assert "it is issued" in said


@pytest.mark.usefixtures("issued")
@pytest.mark.parametrize(
    ("leads_to", "expected"),
    [
        ("d9.cloudfront.net", "leads to d9.cloudfront.net, a distribution of another account"),
        ("d1.cloudfront.net", "leads to d1.cloudfront.net, another distribution of this account"),
        ("elsewhere.example", "its DNS record is a CNAME to the output AddressHost"),
    ],
)
def test_where_a_domain_leads_is_said(
    aws: ReadableAccount, monkeypatch: pytest.MonkeyPatch, leads_to: str, expected: str
) -> None:
    aws.distributions = [distribution(1)]
    monkeypatch.setattr(address, "canonical_name", lambda _: leads_to)
    assert expected in check(*AT, exit_code=0)


def test_an_access_log_needs_a_role_of_the_account(aws: ReadableAccount) -> None:
    logs = f"arn:aws:iam::{ACCOUNT}:role/logs"
    assert f"API Gateway writes with {logs}" in check("--access-log", exit_code=0)
    aws.log_role = ""
    said = check("--access-log", exit_code=1)
    assert "API Gateway has no role to write logs with" in said
    assert f"Set one ({logs} may be one)" in said
    assert "access log" not in check("--no-access-log", exit_code=0)


@pytest.mark.parametrize("there", [[], ["other"]])
def test_the_role_of_the_access_log_has_to_be_there(aws: ReadableAccount, there: list[str]) -> None:
    assert run("--access-log").exit_code == 0
    aws.tagged |= aws.functions
    aws.of_api_gateway = there
    said = check(exit_code=1)
    assert "role/logs, which is not there or does not let apigateway.amazonaws.com assume it" in said
    assert ("role/other may be one" in said) is bool(there)


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
