"""Which AWS actions the functions of a local stack call on which resources, and what their policies allow.

With each go the condition keys that AWS supplies, as the Service Authorization Reference lists them. What AWS does in a
function's name is in `infra.iam.on_behalf`.
"""

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient
from chalice.local import LocalGateway

from infra.deploy import description
from infra.local.environment import ACCOUNT, REGION, STAGE
from infra.local.functions import functions

NAMES = {"Stage": STAGE, "Account": ACCOUNT, "Region": REGION, "Partition": "aws"}

#: Condition keys and what AWS says they are in a call.
Context = tuple[tuple[str, tuple[str, ...]], ...]

#: An action, a resource, and the condition keys of a call.
Asked = tuple[str, str, Context]

_caller: ContextVar[tuple[str, ...]] = ContextVar("caller", default=())


@dataclasses.dataclass(frozen=True, order=True)
class Use:
    """One action of one function on one resource."""

    function: str
    action: str
    resource: str
    context: Context = ()


def granted() -> set[Use]:
    """Return what the policy files grant, the resources as the patterns that they are."""
    return {
        Use(function, action, resource)
        for function in description.functions()
        for statement in description.policy(function, NAMES)["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def covers(grant: Use, use: Use) -> bool:
    """Return whether a grant allows a use."""
    same = (grant.function, grant.action) == (use.function, use.action)
    return same and fnmatch.fnmatchcase(use.resource, grant.resource)


@contextmanager
def recorded(invoker: type[Any] = functions.Functions) -> Iterator[set[Use]]:
    """Record what functions call until the end of the context; ``invoker.invoke`` is what calls them."""
    uses: set[Use] = set()
    call_api = BaseClient._make_api_call  # type: ignore[attr-defined]  # private: every call goes through it
    invoke, handle = invoker.invoke, LocalGateway.handle_request

    def calling(client: Any, operation: str, parameters: Mapping[str, Any]) -> Any:
        service = client.meta.service_model.service_id
        uses.update(
            Use(function, *asked) for function in _caller.get() for asked in _asked(service, operation, parameters)
        )
        return call_api(client, operation, parameters)

    def invoking(self: Any, function: str, event: Any) -> Any:
        with _as(function.rsplit(":", 1)[-1].removeprefix(f"atoll-{STAGE}-")):
            return invoke(self, function, event)

    def handling(self: Any, method: str, path: str, headers: Any, body: Any) -> Any:
        # The agents' endpoint is the same code behind the gateway and behind its Function URL.
        with _as(*(["api_handler", "mcp"] if path.startswith("/mcp/") else ["api_handler"])):
            return handle(self, method, path, headers, body)

    with (
        patch.object(BaseClient, "_make_api_call", calling),
        patch.object(invoker, "invoke", invoking),
        patch.object(LocalGateway, "handle_request", handling),
    ):
        yield uses


@contextmanager
def _as(*names: str) -> Iterator[None]:
    token = _caller.set(names)
    try:
        yield
    finally:
        _caller.reset(token)


def _asked(service: str, operation: str, parameters: Mapping[str, Any]) -> Iterator[Asked]:
    """Yield what IAM asks for a call (Service Authorization Reference of each service)."""
    place = f"{REGION}:{ACCOUNT}"
    if service == "DynamoDB":
        yield from _asked_of_tables(operation, parameters)
    elif service == "S3":
        keys = [each["Key"] for each in parameters.get("Delete", {}).get("Objects", [])] or [parameters["Key"]]
        for key in keys:
            # Making an upload, adding to it and ending it are PutObject (S3 User Guide, "Multipart upload API").
            put = operation in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
            action = "PutObject" if put else operation.replace("Objects", "Object")
            yield f"s3:{action}", f"arn:aws:s3:::{parameters['Bucket']}/{key}", ()
    elif service == "Secrets Manager":
        secret = f"arn:aws:secretsmanager:{place}:secret:{parameters['SecretId']}-AbCdEf"
        yield f"secretsmanager:{operation}", secret, ()
    elif service == "EventBridge":
        for entry in parameters["Entries"]:
            about = _context({"events:source": entry["Source"], "events:detail-type": entry["DetailType"]})
            yield f"events:{operation}", f"arn:aws:events:{place}:event-bus/{entry['EventBusName']}", about
    elif service == "SFN":
        # An answer to a task token is asked of the machine that issued it.
        machine = f"arn:aws:states:{place}:stateMachine:atoll-{STAGE}-session-lifecycle"
        yield f"states:{operation}", parameters.get("stateMachineArn") or parameters.get("executionArn") or machine, ()
    elif service == "ECS":
        yield from _asked_of_ecs(operation, parameters)
    elif service == "CloudWatch Logs":
        group = f"arn:aws:logs:{place}:log-group:{parameters['logGroupName']}"
        # Of the group's streams, or of one.
        yield f"logs:{operation}", f"{group}:log-stream:{parameters.get('logStreamName', '')}", ()
    elif service == "ApiGatewayManagementApi":
        path = f"{STAGE}/POST/@connections/{parameters['ConnectionId']}"
        yield "execute-api:ManageConnections", f"arn:aws:execute-api:{place}:api/{path}", ()
    elif service == "SQS":
        action = operation.removesuffix("Batch")
        yield f"sqs:{action}", f"arn:aws:sqs:{place}:{parameters['QueueUrl'].rpartition('/')[2]}", ()
    elif service == "Lambda":
        yield "lambda:InvokeFunction", f"arn:aws:lambda:{place}:function:{parameters['FunctionName']}", ()
    elif service == "SSM":
        yield f"ssm:{operation}", f"arn:aws:ssm:{place}:parameter{parameters['Name']}", ()
    else:
        yield f"{service}:{operation}", "*", ()


def _context(keys: Mapping[str, str | Iterable[str]]) -> Context:
    return tuple(
        (key, (value,) if isinstance(value, str) else tuple(sorted(value))) for key, value in sorted(keys.items())
    )


def _asked_of_ecs(operation: str, parameters: Mapping[str, Any]) -> Iterator[Asked]:
    arns = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
    cluster = parameters.get("cluster", "")
    resource = {
        "RunTask": parameters.get("taskDefinition", ""),
        "StopTask": parameters.get("task", ""),
        "DescribeTasks": f"{arns}:task/{cluster}/any",
        # There are no container instances with Fargate: any of the cluster's is asked for.
        "ListTasks": f"{arns}:container-instance/{cluster}/any",
    }
    tags = {each["key"]: each["value"] for each in parameters.get("tags", [])}
    tagged = {f"aws:RequestTag/{name}": value for name, value in tags.items()}
    about: dict[str, str | Iterable[str]] = {**tagged, **({"aws:TagKeys": tags} if tags else {})}
    on_cluster = {"ecs:cluster": f"{arns}:cluster/{cluster}"} if cluster else {}
    yield f"ecs:{operation}", resource.get(operation, "*"), _context({**about, **on_cluster})
    if tags:  # ECS Developer Guide, "Grant permission to tag resources on creation"
        yield "ecs:TagResource", f"{arns}:task/{cluster}/any", _context({**about, "ecs:CreateAction": operation})
    if operation in ("RegisterTaskDefinition", "RunTask"):
        # RunTask is asked for the roles of the definition.
        for role in ("execution", "task"):
            arn = f"arn:aws:iam::{ACCOUNT}:role/atoll-{STAGE}-{REGION}-agent-{role}"
            name = parameters.get(f"{role}RoleArn", arn)
            given = name if name.startswith("arn:") else f"arn:aws:iam::{ACCOUNT}:role/{name}"
            yield "iam:PassRole", given, _context({"iam:PassedToService": "ecs-tasks.amazonaws.com"})


def _asked_of_tables(operation: str, parameters: Mapping[str, Any]) -> Iterator[Asked]:
    prefix = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/"
    if operation == "TransactWriteItems":  # is asked for as what it consists of
        for item in parameters["TransactItems"]:
            for kind, change in item.items():
                table = change["TableName"]
                yield f"dynamodb:{_IN_TRANSACTION[kind]}", prefix + table, _leading(table, [change])
    elif "RequestItems" in parameters:
        for table, wanted in parameters["RequestItems"].items():
            writes = [change for each in wanted for change in each.values()] if isinstance(wanted, list) else []
            reads = [{"Key": key} for key in wanted["Keys"]] if isinstance(wanted, dict) else []
            yield f"dynamodb:{operation}", prefix + table, _leading(table, [*writes, *reads])
    else:
        table, index = parameters["TableName"], parameters.get("IndexName", "")
        path = f"/index/{index}" if index else ""
        yield f"dynamodb:{operation}", f"{prefix}{table}{path}", _leading(table, [parameters], index)


def _leading(table: str, requests: Iterable[Mapping[str, Any]], index: str = "") -> Context:
    """Return the values of the partition key that a call is about (``dynamodb:LeadingKeys``); none for a scan."""
    [key] = {name for name, place in _partition_keys() if place == (table, index)}
    values = set()
    for request in requests:
        if "KeyConditionExpression" in request:
            condition = re.match(r"(#?\w+) = (:\w+)", request["KeyConditionExpression"])
            assert condition, request["KeyConditionExpression"]
            assert request.get("ExpressionAttributeNames", {}).get(condition[1], condition[1]) == key
            values.add(_text(request["ExpressionAttributeValues"][condition[2]]))
        elif item := request.get("Key", request.get("Item")):
            values.add(_text(item[key]))
    return _context({"dynamodb:LeadingKeys": values}) if values else ()


def _text(value: Mapping[str, Any]) -> str:
    [text] = value.values()
    return str(text)


@functools.cache
def _partition_keys() -> list[tuple[str, tuple[str, str]]]:
    """Return the partition keys of the stage's tables and their indexes, each with the names of both."""
    found = []
    for resource in description.stack()["Resources"].values():
        if resource["Type"] != "AWS::DynamoDB::Table":
            continue
        table = description.name_of(resource, NAMES)
        schemas = {"": resource["Properties"]}
        schemas |= {each["IndexName"]: each for each in resource["Properties"].get("GlobalSecondaryIndexes", [])}
        for index, schema in schemas.items():
            [key] = [each["AttributeName"] for each in schema["KeySchema"] if each["KeyType"] == "HASH"]
            found.append((key, (table, index)))
    return found


_IN_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
