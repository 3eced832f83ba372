"""Which AWS actions the functions of a local stack call on which resources, and what their policies allow."""

import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping
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

#: Actions that AWS performs or checks in a function's name without a call of the function.
#: Logs: Lambda writes them. Streams, queues and dead letters: Lambda's pollers use the role of the function that they
#: feed.
#: PassRole: asked when a task definition or a task names a role. TagResource: asked when a task is run with tags.
ON_BEHALF = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
    "sqs:SendMessage",
    "iam:PassRole",
    "ecs:TagResource",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
}

_caller: ContextVar[tuple[str, ...]] = ContextVar("caller", default=())


@dataclasses.dataclass(frozen=True, order=True)
class Use:
    """One action of one function on one resource."""

    function: str
    action: str
    resource: str


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
            Use(function, action, resource)
            for function in _caller.get()
            for action, resource in _asked(service, operation, parameters)
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


def _asked(service: str, operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
            yield f"s3:{action}", f"arn:aws:s3:::{parameters['Bucket']}/{key}"
    elif service == "Secrets Manager":
        yield f"secretsmanager:{operation}", f"arn:aws:secretsmanager:{place}:secret:{parameters['SecretId']}-AbCdEf"
    elif service == "EventBridge":
        for entry in parameters["Entries"]:
            yield f"events:{operation}", f"arn:aws:events:{place}:event-bus/{entry['EventBusName']}"
    elif service == "SFN":
        # An answer to a task token is asked of the machine that issued it.
        machine = f"arn:aws:states:{place}:stateMachine:atoll-{STAGE}-session-lifecycle"
        yield f"states:{operation}", parameters.get("stateMachineArn") or parameters.get("executionArn") or machine
    elif service == "ECS":
        resource = {
            "RunTask": parameters.get("taskDefinition", ""),
            "StopTask": parameters.get("task", ""),
            "DescribeTasks": f"arn:aws:ecs:{place}:task/{parameters.get('cluster')}/any",
        }
        yield f"ecs:{operation}", resource.get(operation, "*")
    elif service == "CloudWatch Logs":
        yield f"logs:{operation}", f"arn:aws:logs:{place}:log-group:{parameters['logGroupName']}:log-stream:"
    elif service == "ApiGatewayManagementApi":
        connection = parameters["ConnectionId"]
        yield "execute-api:ManageConnections", f"arn:aws:execute-api:{place}:api/{STAGE}/POST/@connections/{connection}"
    elif service == "SQS":
        action = operation.removesuffix("Batch")
        yield f"sqs:{action}", f"arn:aws:sqs:{place}:{parameters['QueueUrl'].rpartition('/')[2]}"
    elif service == "Lambda":
        yield "lambda:InvokeFunction", f"arn:aws:lambda:{place}:function:{parameters['FunctionName']}"
    elif service == "SSM":
        yield f"ssm:{operation}", f"arn:aws:ssm:{place}:parameter{parameters['Name']}"
    else:
        yield f"{service}:{operation}", "*"


def _asked_of_tables(operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    prefix = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/"
    if operation == "TransactWriteItems":  # is asked for as what it consists of
        for item in parameters["TransactItems"]:
            for kind, change in item.items():
                yield f"dynamodb:{_IN_TRANSACTION[kind]}", prefix + change["TableName"]
    elif "RequestItems" in parameters:
        for table in parameters["RequestItems"]:
            yield f"dynamodb:{operation}", prefix + table
    else:
        index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
        yield f"dynamodb:{operation}", prefix + parameters["TableName"] + index


_IN_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
