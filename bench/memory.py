"""AWS answered from memory: what botocore would send is answered on the spot, so that only our own CPU is left.

It is put where botocore hands a request to HTTP. Everything above that runs as ever: serializing, signing, parsing.
"""

import json
from collections.abc import Callable
from typing import Any

import botocore.endpoint
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

#: What answers a call: its parameters, as they would be sent, to the body of the answer.
Answer = Callable[[dict[str, Any]], dict[str, Any]]

#: The environment in which nothing is asked for credentials or a region.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "ATOLL_STAGE": "bench",
    # One agent's request is repeated as often as it can be.
    "ATOLL_MCP_CALLS_PER_S": "1000000",
    # What only happens in a Lambda belongs to the measurement.
    "AWS_LAMBDA_FUNCTION_NAME": "atoll-bench",
}


def answer_from_memory(answers: dict[str, Answer]) -> None:
    """Answer the calls of this process by the operation's name; one that is not there raises ``KeyError``."""

    headers: Any = {"Content-Type": "application/x-amz-json-1.0"}  # any mapping will do; the stubs want more

    def send(_endpoint: Any, request: AWSPreparedRequest) -> AWSResponse:
        target: Any = request.headers["X-Amz-Target"]  # bytes by then
        operation = target.decode().rpartition(".")[2]
        assert isinstance(request.body, bytes)
        body = json.dumps(answers[operation](json.loads(request.body))).encode()
        response = AWSResponse(request.url, 200, headers, None)
        response._content = body  # type: ignore[attr-defined]  # private: what is read of the network
        return response

    botocore.endpoint.Endpoint._send = send  # type: ignore[attr-defined]  # private: the way to the network


NAMESPACE, SESSION = "bench", "11111111-2222-4333-8444-555555555555"
KEY = "bench-key"
_NEVER = str(1 << 40)
_NOW_MS = "1800000000000"

_ITEMS: dict[str, dict[str, Any]] = {
    "api-keys": {
        "name": {"S": "bench"},
        "namespaces": {"L": [{"S": "*"}]},
        "createdAtMs": {"N": _NOW_MS},
        # Of the items that are read beside a key: its last use, and the quotas of namespaces.
        "usedAtMs": {"N": _NOW_MS},
        "limits": {"M": {}},
    },
    "namespaces": {
        "name": {"S": NAMESPACE},
        "state": {"S": "active"},
        "createdAtMs": {"N": _NOW_MS},
        "deleteOnLastSessionExit": {"BOOL": True},
        "annotations": {"M": {}},
    },
    "sessions": {
        "namespace": {"S": NAMESPACE},
        "sessionId": {"S": SESSION},
        "status": {"S": "executed"},
        "createdAtMs": {"N": _NOW_MS},
        "executedAtMs": {"N": _NOW_MS},
        "expiresAt": {"N": _NEVER},
        "annotations": {"M": {"project": {"S": "atoll"}}},
        "groups": {"L": [{"L": [{"S": "a"}, {"S": "b"}, {"S": "c"}]}]},
        "registryAgents": {"L": [{"S": "echo 1.0.0"}]},
        "namespaceState": {
            "M": {"name": {"S": NAMESPACE}, "deleteOnLastSessionExit": {"BOOL": True}, "annotations": {"M": {}}}
        },
        "runtimeSettings": {
            "M": {
                "ttl": {"N": "600000"},
                "extendedEndReport": {"BOOL": False},
                "persistenceMode": {"M": {"mode": {"S": "none"}}},
                "webhooks": {"M": {}},
            }
        },
    },
}


def add_agent(name: str, secret_hash: str) -> None:
    """Have the session's items hold an agent with this secret."""
    _ITEMS["session-items"] = {
        "sessionId": {"S": SESSION},
        "item": {"S": f"AGENT#{name}"},
        "namespace": {"S": NAMESPACE},
        "name": {"S": name},
        "position": {"N": "0"},
        "runtime": {"S": "docker"},
        "registryAgentIdentifier": {"M": {}},
        "expiresAt": {"N": _NEVER},
        "status": {"S": "running"},
        "connectedAtMs": {"N": _NOW_MS},
        "secretHash": {"S": secret_hash},
    }


def item_of(table: str) -> dict[str, Any]:
    """Return the item that a table answers with, by the full name of the table."""
    return _ITEMS[table.removeprefix("atoll-bench-")]


def get_item(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a GetItem."""
    return {"Item": item_of(request["TableName"])}


def batch_get_item(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a BatchGetItem."""
    asked = request["RequestItems"].items()
    found = {table: [item_of(table) | key for key in each["Keys"]] for table, each in asked}
    return {"Responses": found, "UnprocessedKeys": {}}


def event(method: str, path: str, resource: str, body: str | None = None, **parameters: str) -> dict[str, Any]:
    """Return the event with which API Gateway calls a REST API's Lambda (payload of a proxy integration)."""
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": {"authorization": f"Bearer {KEY}", "content-type": "application/json", "accept": "*/*"},
        "multiValueHeaders": {
            "authorization": [f"Bearer {KEY}"],
            "content-type": ["application/json"],
            "accept": ["*/*"],
        },
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": parameters or None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": path,
            "stage": "bench",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": body,
        "isBase64Encoded": False,
    }
