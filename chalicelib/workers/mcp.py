"""The Lambda of the agents' MCP endpoint, behind a Function URL: waits last their full 58 s here.

The event is that of a Function URL (AWS Lambda Developer Guide, "Invoking Lambda function URLs"; payload format 2.0).
"""

import base64
import os
import re
from typing import Any
from urllib.parse import unquote

from chalice.app import Blueprint

from chalicelib.services import current

lambdas = Blueprint(__name__)

_PATH = re.compile(r"/mcp/v1/([^/]+)/mcp/?")
_NOT_FOUND = '{"message":"Not found: an agent\'s endpoint is /mcp/v1/<secret>/mcp, over Streamable HTTP"}'

if os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "").endswith("-mcp"):
    # This is the function that needs them: load the protocol's models while the sandbox starts, when the CPU is full.
    from chalicelib.mcp import endpoint as _endpoint  # noqa: F401


@lambdas.lambda_function(name="mcp")
def mcp(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Serve one HTTP request of an agent."""
    from chalicelib.mcp import endpoint

    matched = _PATH.fullmatch(event["rawPath"])
    if matched is None:
        return {"statusCode": 404, "headers": {"Content-Type": "application/json"}, "body": _NOT_FOUND}
    body = event.get("body") or ""
    request = endpoint.Request(
        method=event["requestContext"]["http"]["method"],
        secret=unquote(matched[1]),
        headers={name.lower(): value for name, value in event.get("headers", {}).items()},
        body=base64.b64decode(body) if event.get("isBase64Encoded") else body.encode(),
    )
    answer = endpoint.handle(current(), request)
    return {"statusCode": answer.status, "headers": dict(answer.headers), "body": answer.body.decode()}
