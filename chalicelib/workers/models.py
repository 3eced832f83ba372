"""The Lambda of the LLM proxy, behind a Function URL of its own: a call of a model lasts for minutes.

The event is that of a Function URL (AWS Lambda Developer Guide, "Invoking Lambda function URLs"; payload format 2.0). A
function in Python answers when it has all of it: a provider's stream is handed on whole.
"""

import base64
from typing import Any

from chalice.app import Blueprint

from chalicelib.services import current

lambdas = Blueprint(__name__)

#: The largest answer, in bytes: Lambda takes 6 MB (quota "Invocation payload"), and base64 makes it a third larger.
ANSWER_BYTES = 4_400_000
#: How long before the function's end a call has ended: what it cost is still to be written down.
_MARGIN_MS = 5_000
#: Answers up to this size are written as text where they are text: quotes in JSON grow.
_TEXT_BYTES = 500_000

#: Headers that the edge of AWS has added are not the agent's.
_OF_THE_EDGE = ("x-amzn-", "x-amz-", "x-forwarded-")


@lambdas.lambda_function(name="models")
def models(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Serve one HTTP request of an agent to a model."""
    from chalicelib.models import endpoint
    from chalicelib.models.calls import Reach

    services = current()
    headers = [
        (name, value) for name, value in event.get("headers", {}).items() if not name.lower().startswith(_OF_THE_EDGE)
    ]
    method = event["requestContext"]["http"]["method"]
    admitted = endpoint.admit(
        services, endpoint.Head(method, event["rawPath"], event.get("rawQueryString", ""), headers)
    )
    if isinstance(admitted, endpoint.Admitted):
        body = event.get("body") or ""
        sent = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
        until_ms = services.clock.now_ms() + context.get_remaining_time_in_millis() - _MARGIN_MS
        answer = admitted.answer(sent, Reach(until_ms, ANSWER_BYTES))
    else:
        answer = admitted
    content = answer.read()
    whole = {"statusCode": answer.status, "headers": dict(answer.headers)}
    try:
        if len(content) <= _TEXT_BYTES:
            return {**whole, "body": content.decode()}
    except UnicodeDecodeError:
        pass
    return {**whole, "body": base64.b64encode(content).decode(), "isBase64Encoded": True}
