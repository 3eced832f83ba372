"""Looks at an account before anything is done in it. Nothing here changes anything."""

from typing import Any

import boto3
from botocore.exceptions import ClientError

from infra.aws import kept
from infra.aws.plan import Found

#: A stack that is in one of these states was never made.
NEVER_MADE = ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_COMPLETE")


def look(session: boto3.Session, stage: str) -> Found:
    """Return what deploying a stage depends on."""
    identity = session.client("sts").get_caller_identity()
    reserved_elsewhere, concurrency = _concurrency(session, stage)
    vpc, subnets = default_network(session)
    stack = describe(session, f"atoll-{stage}")
    names = {"Stage": stage, "AWS::AccountId": identity["Account"], "AWS::Region": str(session.region_name)}
    return Found(
        account=identity["Account"],
        region=str(session.region_name),
        partition=identity["Arn"].split(":")[1],
        # One that has only taken in what was left has no outputs yet.
        deployed=bool(outputs(session, f"atoll-{stage}")),
        kept=kept.find(session, names) if stack is None or stack["StackStatus"] in NEVER_MADE else (),
        concurrency=concurrency,
        reserved_elsewhere=reserved_elsewhere,
        default_vpc=vpc,
        default_subnets=subnets,
    )


def outputs(session: boto3.Session, stack: str) -> dict[str, str] | None:
    """Return the outputs of a stack; ``None`` when it is not there, or was never finished."""
    found = describe(session, stack)
    if found is None or found["StackStatus"] in NEVER_MADE:
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}


def describe(session: boto3.Session, stack: str) -> dict[str, Any] | None:
    """Return a stack as CloudFormation describes it; ``None`` when there is none."""
    try:
        return dict(session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0])
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def default_network(session: boto3.Session) -> tuple[str, tuple[str, ...]]:
    """Return the default VPC and its public subnets; nothing when there is none."""
    ec2 = session.client("ec2")
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        return "", ()
    vpc = vpcs[0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    return vpc, tuple(sorted(subnet["SubnetId"] for subnet in subnets if subnet["MapPublicIpOnLaunch"]))


def vpc_of(session: boto3.Session, subnets: list[str]) -> str:
    """Return the VPC of subnets; ``ValueError`` when they are not of one."""
    found = session.client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
    vpcs = {subnet["VpcId"] for subnet in found}
    if len(vpcs) != 1:
        raise ValueError(f"the subnets {', '.join(subnets)} are of {len(vpcs)} VPCs: name those of one")
    return str(vpcs.pop())


def _concurrency(session: boto3.Session, stage: str) -> tuple[int, int]:
    """Return what others have reserved, and the limit of the account."""
    client = session.client("lambda")
    limits = client.get_account_settings()["AccountLimit"]
    total = limits["ConcurrentExecutions"]
    reserved = total - limits.get("UnreservedConcurrentExecutions", total)
    ours = 0
    for name in (f"atoll-{stage}-mcp", f"atoll-{stage}-reconcile"):
        try:
            ours += client.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions", 0)
        except client.exceptions.ResourceNotFoundException:
            continue
    return max(0, reserved - ours), total
