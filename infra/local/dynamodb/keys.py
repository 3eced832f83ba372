"""DynamoDB's own protocol at the local stack's address, for the table of API keys: ``atoll keys`` uses it.

A key of the stack is needed to sign with; nothing but that table can be reached.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import telemetry

#: Takes a request's headers (their names in lower case) and its body; returns a status and a body.
Endpoint = Callable[[Mapping[str, str], bytes], tuple[int, bytes]]

_TARGET = "DynamoDB_20120810."

_OPERATIONS = {"GetItem", "PutItem", "DeleteItem", "Scan"}


def is_meant(headers: Mapping[str, str]) -> bool:
    """Return whether a request speaks DynamoDB's protocol."""
    return headers.get("x-amz-target", "").startswith(_TARGET)


def endpoint(client: Any, table: str, key: str) -> Endpoint:
    """Return an endpoint of one table for requests signed with an API key as the access key."""

    def answer(headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if not headers.get("authorization", "").startswith(f"AWS4-HMAC-SHA256 Credential={key}/"):
            return _refused("UnrecognizedClientException", "The stack has another API key.")
        try:
            request = json.loads(body)
            operation = headers["x-amz-target"].removeprefix(_TARGET)
            if operation not in _OPERATIONS or request.get("TableName") != table:
                return _refused("AccessDeniedException", f"Only the items of {table} can be reached here.")
            found = getattr(client, xform_name(operation))(**request)
        except ClientError as error:
            return _refused(error.response["Error"]["Code"], error.response["Error"]["Message"])
        except (BotoCoreError, ValueError, AttributeError, TypeError) as error:
            return _refused("ValidationException", str(error))
        found.pop("ResponseMetadata")
        if operation in {"PutItem", "DeleteItem"}:
            changed = request.get("Item", request.get("Key"))["keyHash"]["S"][:12]
            telemetry.audit("change_keys", {"key": "of the stack"}, "done", operation=operation, ofKey=changed)
        return 200, json.dumps(found).encode()

    return answer


def _refused(code: str, message: str) -> tuple[int, bytes]:
    return 400, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()
