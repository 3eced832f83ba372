"""Reads what a deployment depends on from an account; changes nothing."""

from collections.abc import Mapping

import boto3
from botocore.exceptions import ClientError

from infra.deploy import Failed, app, description
from infra.deploy.plan import Found, Kept
from infra.deploy.preflight.network import MAX_SUBNETS, has_fargate
from infra.deploy.stacks import Stacks


def look(session: boto3.Session, stage: str) -> Found:
    """Return what deploying a stage depends on."""
    identity = session.client("sts").get_caller_identity()
    reserved_elsewhere, concurrency = _concurrency(session, stage)
    vpc, subnets = _default_network(session)
    stacks = Stacks(session, stage)
    names = {"Stage": stage, "AWS::AccountId": identity["Account"], "AWS::Region": str(session.region_name)}
    return Found(
        account=identity["Account"],
        region=str(session.region_name),
        partition=identity["Arn"].split(":")[1],
        # A stack that has only imported kept resources has none yet.
        outputs=stacks.outputs(f"atoll-{stage}"),
        kept=() if stacks.made(f"atoll-{stage}") else _kept(session, names),
        concurrency=concurrency,
        reserved_elsewhere=reserved_elsewhere,
        default_vpc=vpc,
        default_subnets=subnets,
        app=app.find(session, stage),
        address=stacks.made(f"atoll-{stage}-address") is not None,
        function_urls=stacks.parameters(f"atoll-{stage}-events").get("FunctionUrls") != "off",
    )


def vpc_of(session: boto3.Session, subnets: list[str]) -> str:
    """Return the VPC of subnets; raises `Failed` when they are not of one."""
    found = session.client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
    vpcs = {subnet["VpcId"] for subnet in found}
    if len(vpcs) != 1:
        raise Failed(f"the subnets {', '.join(subnets)} are of {len(vpcs)} VPCs: name those of one")
    return str(vpcs.pop())


def _default_network(session: boto3.Session) -> tuple[str, tuple[str, ...]]:
    """Return the default VPC and its public subnets; nothing when the account has no default VPC."""
    ec2 = session.client("ec2")
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        return "", ()
    vpc = vpcs[0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    public = [each for each in subnets if each["MapPublicIpOnLaunch"] and has_fargate(each, str(session.region_name))]
    return vpc, tuple(sorted(subnet["SubnetId"] for subnet in public)[:MAX_SUBNETS])


def _concurrency(session: boto3.Session, stage: str) -> tuple[int, int]:
    """Return the concurrency that other functions have reserved, and the account's limit."""
    client = session.client("lambda")
    limits = client.get_account_settings()["AccountLimit"]
    total = limits["ConcurrentExecutions"]
    reserved = total - limits.get("UnreservedConcurrentExecutions", total)
    ours = 0
    for function in description.reserved(stage):
        try:
            found = client.get_function_concurrency(FunctionName=description.function_name(stage, function))
            ours += found.get("ReservedConcurrentExecutions", 0)
        except client.exceptions.ResourceNotFoundException:
            continue
    return max(0, reserved - ours), total


#: The services' errors for a resource that does not exist.
_MISSING = ("ResourceNotFoundException", "404", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def _kept(session: boto3.Session, names: Mapping[str, str]) -> tuple[Kept, ...]:
    """Return the existing resources that outlive a stack; ``names`` are the values of the placeholders in names.

    CloudFormation imports by itself only what has a literal name in its template and is known by that name: nothing
    that is named after a stage, and neither secrets (known by their ARNs) nor queues (by their URLs). See its User
    Guide, "Import AWS resources into a CloudFormation stack automatically".
    """
    found = []
    for logical_id, resource in description.stack()["Resources"].items():
        if not description.outlives_its_stack(resource):
            continue
        name = description.name_of(resource, names)
        identifier = _identifier(session, resource["Type"], name)
        if identifier is not None:
            found.append(Kept(logical_id, resource["Type"], name, identifier))
    return tuple(found)


def _identifier(session: boto3.Session, kind: str, name: str) -> dict[str, str] | None:
    """Return the primary identifier of a resource, as its type has it; ``None`` when it is not there."""
    try:
        match kind:
            case "AWS::DynamoDB::Table":
                session.client("dynamodb").describe_table(TableName=name)
                return {"TableName": name}
            case "AWS::S3::Bucket":
                session.client("s3").head_bucket(Bucket=name)
                return {"BucketName": name}
            case "AWS::SecretsManager::Secret":
                secret = session.client("secretsmanager").describe_secret(SecretId=name)
                # One that waits for its deletion can be neither imported nor made: CloudFormation will say so.
                return None if "DeletedDate" in secret else {"Id": secret["ARN"]}
            case "AWS::SQS::Queue":
                return {"QueueUrl": session.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]}
            case _:
                raise TypeError(f"{kind} outlives its stack, and nothing here finds it")
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise
