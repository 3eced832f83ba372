"""Calling a custom tool of a graph: a POST, signed, to the URL that the graph names (contract, "MCP tools").

The one service besides DynamoDB that an MCP request uses: the secret that signs the call, and the call itself.
"""

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import BadRequest
from chalicelib.wire.custom_tools import GraphAgentTool

if TYPE_CHECKING:
    from chalicelib.services import Services

#: How long a custom tool may take, and how much of an answer is taken: an answer of the Lambda has at most 6 MB.
LIMIT_MS = 30_000
MAX_ANSWER_BYTES = 1_000_000

SIGNATURE_HEADER = "X-Coral-Signature"


def call(
    services: "Services",
    actor: Actor,
    name: str,
    tool: GraphAgentTool,
    arguments: dict[str, Any],
    *,
    limit_ms: int = LIMIT_MS,
) -> str:
    """Call a custom tool and return its answer as text.

    Raises `BadRequest` that says only that it failed: a model must not learn what is behind the URL.
    """
    # Not at the top: most agents have no custom tool.
    from chalicelib.aws.http import AddressRefused, CallFailed

    body = json.dumps(arguments, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    secret = services.secrets.get("custom-tool-secret")
    headers = {
        "Content-Type": "application/json",
        tool.transport.signature_header or SIGNATURE_HEADER: hmac.new(
            secret.encode(), body, hashlib.sha256
        ).hexdigest(),
        "X-Coral-Namespace": actor.session.namespace,
        "X-Coral-SessionId": actor.session_id,
        "X-Coral-AgentName": actor.name,
    }
    url = f"{tool.transport.url.rstrip('/')}/{quote(actor.session_id, safe='')}/{quote(actor.name, safe='')}"
    try:
        answer = services.http.post(url, body, headers, timeout_s=limit_ms / 1000, max_answer_bytes=MAX_ANSWER_BYTES)
    except AddressRefused:
        raise BadRequest(f"the tool {name!r} is at an address that must not be called") from None
    except CallFailed:
        raise BadRequest(f"the tool {name!r} did not answer") from None
    if answer.status != 200:
        raise BadRequest(f"the tool {name!r} failed")
    if answer.truncated:
        raise BadRequest(f"the tool {name!r} answered more than {MAX_ANSWER_BYTES} bytes")
    return answer.body.decode("utf-8", "replace")
