"""The policies of a stage as AWS gets them: their placeholders and CloudFormation's functions resolved."""

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.deploy import description
from infra.deploy.preflight import permissions as deployer
from infra.local.cloudformation.templates import Resource, Stack
from infra.local.environment import ACCOUNT, REGION, STAGE
from tests.permissions import NAMES

PLACE = f"{REGION}:{ACCOUNT}"
_PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}

Policy = dict[str, Any]

#: Where each type's resources are, as ARNs; ``{name}`` is the resource's name.
_ARNS = {
    "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{PLACE}:table/{{name}}",
    "AWS::EC2::SecurityGroup": f"arn:aws:ec2:{PLACE}:security-group/{{name}}",
    "AWS::ECS::Cluster": f"arn:aws:ecs:{PLACE}:cluster/{{name}}",
    "AWS::Events::EventBus": f"arn:aws:events:{PLACE}:event-bus/{{name}}",
    "AWS::Events::Rule": f"arn:aws:events:{PLACE}:rule/{{name}}",
    "AWS::IAM::ManagedPolicy": f"arn:aws:iam::{ACCOUNT}:policy/{{name}}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{name}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{PLACE}:log-group:{{name}}:*",
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::SNS::Topic": f"arn:aws:sns:{PLACE}:{{name}}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{PLACE}:{{name}}",
    "AWS::SecretsManager::Secret": f"arn:aws:secretsmanager:{PLACE}:secret:{{name}}-AbCdEf",
    "AWS::StepFunctions::StateMachine": f"arn:aws:states:{PLACE}:stateMachine:{{name}}",
}

#: Types that `Ref` names by their ARNs.
_KNOWN_BY_ARN = {"AWS::IAM::ManagedPolicy", "AWS::SNS::Topic", "AWS::SecretsManager::Secret"} | {
    "AWS::StepFunctions::StateMachine"
}


@dataclass
class Role:
    """A role: who may assume it, and what it may do."""

    arn: str
    trust: Policy
    policies: list[Policy] = field(default_factory=list)


@dataclass
class Made:
    """A template with all of its functions resolved: the properties of its resources, and its outputs."""

    properties: dict[str, tuple[str, dict[str, Any]]]
    outputs: dict[str, str]
    arns: dict[str, str]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a type."""
        return {name: each for name, (found, each) in self.properties.items() if found == kind}


def made(template: Mapping[str, Any], parameters: Mapping[str, str]) -> Made:
    """Resolve a template as CloudFormation does, with names in the place of what it would number."""
    properties: dict[str, tuple[str, dict[str, Any]]] = {}
    arns: dict[str, str] = {}

    def make(kind: str, logical_id: str, resolved: dict[str, Any]) -> Resource:
        properties[logical_id] = (kind, resolved)
        name = description.name_of({"Properties": resolved}, {}) or _name(resolved) or f"atoll-{STAGE}-{logical_id}"
        if kind == "AWS::Events::Rule" and "EventBusName" in resolved:
            arn = f"arn:aws:events:{PLACE}:rule/{resolved['EventBusName']}/{name}"
        else:
            arn = _ARNS.get(kind, "arn:aws:any:{name}").format(name=name)
        arns[logical_id] = arn
        attributes = {
            "Arn": arn,
            "StreamArn": f"{arn}/stream/2027-01-15T08:00:00.000",
            "QueueName": name,
            "GroupId": "sg-1",
            "FunctionUrl": f"https://{logical_id.lower()}.lambda-url.{REGION}.on.aws/",
        }
        return Resource(arn if kind in _KNOWN_BY_ARN else name, attributes)

    stack = Stack(
        template,
        parameters={**_PSEUDO, **parameters},
        imports={},
        maker=lambda kind: functools.partial(make, kind),
    )
    stack.make()
    return Made(properties, {name: value for name, value, _ in stack.outputs()}, arns)


def _name(properties: Mapping[str, Any]) -> str:
    names = (properties.get(key) for key in ("TableName", "BucketName", "QueueName", "RoleName", "LogGroupName"))
    return str(next(filter(None, names), ""))


@functools.cache
def stack() -> Made:
    """Return what is not code, traced: it has more policies then."""
    return made(description.stack(), {"Stage": STAGE, "Tracing": "on", "VpcId": "vpc-1", "Subnets": "subnet-1"})


@functools.cache
def events() -> Made:
    """Return what calls the functions."""
    return made(description.events(), {"Stage": STAGE, "RestAPI": "api", **stack().outputs})


@functools.cache
def roles() -> dict[str, Role]:
    """Return all roles of a stage: by the logical ids of templates, and those of functions by the functions' names."""
    found = dict(_roles_of(stack()))
    functions = dict(_roles_of(made(description.roles(STAGE), {"Tracing": "on"})))
    return found | {name: functions[f"{description.logical_id(name)}Role"] for name in description.functions()}


def _roles_of(template: Made) -> Iterator[tuple[str, Role]]:
    managed = {
        template.arns[name]: each["PolicyDocument"]
        for name, each in template.of_type("AWS::IAM::ManagedPolicy").items()
    }
    for name, each in template.of_type("AWS::IAM::Role").items():
        policies = [policy["PolicyDocument"] for policy in each.get("Policies", [])]
        policies += [managed[arn] for arn in each.get("ManagedPolicyArns", [])]
        yield name, Role(template.arns[name], each["AssumeRolePolicyDocument"], policies)


@functools.cache
def of_resources() -> dict[str, Policy]:
    """Return the policies of queues, buckets and functions, by the resources' ARNs."""
    found: dict[str, Policy] = {}
    for each in stack().of_type("AWS::SQS::QueuePolicy").values():
        for url in each["Queues"]:
            found[f"arn:aws:sqs:{PLACE}:{url}"] = each["PolicyDocument"]
    for each in stack().of_type("AWS::S3::BucketPolicy").values():
        found[f"arn:aws:s3:::{each['Bucket']}"] = each["PolicyDocument"]
    for name, each in events().of_type("AWS::Lambda::Permission").items():
        arn = f"arn:aws:lambda:{PLACE}:function:{each['FunctionName']}"
        policy = found.setdefault(arn, {"Version": "2012-10-17", "Id": "default", "Statement": []})
        policy["Statement"].append(_permission(name, arn, each))
    return found


def _permission(name: str, arn: str, asked: Mapping[str, Any]) -> Policy:
    """Return the statement that Lambda makes of a permission (its Developer Guide, "Resource-based policies")."""
    conditions: dict[str, dict[str, str]] = {}
    for given, operator, key in (
        ("SourceArn", "ArnLike", "aws:SourceArn"),
        ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
        ("InvokedViaFunctionUrl", "Bool", "lambda:InvokedViaFunctionUrl"),
    ):
        if given in asked:
            conditions[operator] = {key: "true" if asked[given] is True else asked[given]}
    who = asked["Principal"] if asked["Principal"] == "*" else {"Service": asked["Principal"]}
    statement = {"Sid": name, "Effect": "Allow", "Principal": who, "Action": asked["Action"], "Resource": arn}
    return {**statement, **({"Condition": conditions} if conditions else {})}


def of_deployer() -> Policy:
    """Return all that a deployer is allowed, as one policy."""
    return {"Version": "2012-10-17", "Statement": list(deployer.statements(NAMES))}


def statements() -> Iterator[tuple[str, Policy]]:
    """Yield every statement of a stage and of its deployer, each with a name that leads to it."""
    for name, role in roles().items():
        for policy in (*role.policies, role.trust):
            for statement in policy["Statement"]:
                yield f"{name}/{statement.get('Sid', json.dumps(statement['Action']))}", statement
    for arn, policy in of_resources().items():
        for statement in policy["Statement"]:
            yield f"{arn}/{statement['Sid']}", statement
    for statement in of_deployer()["Statement"]:
        yield f"deployer/{statement['Sid']}", statement
