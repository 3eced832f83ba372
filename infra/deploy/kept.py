"""What outlives the stack of a stage, and how the next stack takes it in.

CloudFormation takes in by itself only what has a literal name in its template and is known by that name: nothing that
is named after a stage, and neither secrets (known by their ARNs) nor queues (by their URLs). See its User Guide,
"Import AWS resources into a CloudFormation stack automatically".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import boto3
from botocore.exceptions import ClientError

from infra.deploy import description
from infra.deploy.description import Template
from infra.deploy.plan import Kept

#: How the services say that something is not there.
_MISSING = ("ResourceNotFoundException", "404", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def find(session: boto3.Session, names: Mapping[str, str]) -> tuple[Kept, ...]:
    """Return what is there of all that outlives a stack; ``names`` are the values of the placeholders in names."""
    found = []
    for logical_id, resource in description.stack()["Resources"].items():
        if not description.outlives_its_stack(resource):
            continue
        name = description.name_of(resource, names)
        identifier = _identifier(session, resource["Type"], name)
        if identifier is not None:
            found.append(Kept(logical_id, resource["Type"], name, identifier))
    return tuple(found)


def template(kept: Sequence[Kept]) -> Template:
    """Return the template that takes them in: an import may bring nothing else, not even outputs."""
    whole = description.stack()
    return {
        "AWSTemplateFormatVersion": whole["AWSTemplateFormatVersion"],
        "Parameters": {"Stage": whole["Parameters"]["Stage"]},
        "Resources": {each.logical_id: whole["Resources"][each.logical_id] for each in kept},
    }


def imports(kept: Sequence[Kept]) -> list[dict[str, Any]]:
    """Return what an import is told of them."""
    return [
        {"ResourceType": each.type, "LogicalResourceId": each.logical_id, "ResourceIdentifier": dict(each.identifier)}
        for each in kept
    ]


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
                # One that waits for its deletion can be neither taken in nor made: CloudFormation will say so.
                return None if "DeletedDate" in secret else {"Id": secret["ARN"]}
            case "AWS::SQS::Queue":
                return {"QueueUrl": session.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]}
            case _:
                raise TypeError(f"{kind} outlives its stack, and nothing here finds it")
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise
