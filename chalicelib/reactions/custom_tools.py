"""Calling a custom tool of a graph: a POST, signed, to the URL that the graph names (contract, "MCP tools").

The one service besides DynamoDB that an MCP request uses: the secret that signs the call, and the call itself.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import BadRequest
from chalicelib.wire.custom_tools import GraphAgentTool

if TYPE_CHECKING:
    from chalicelib.services import Services

#: How long a custom tool may take, and how much of an answer is taken: an answer of the Lambda has at most 6 MB.
LIMIT_MS = 30_000
MAX_ANSWER_BYTES = 1_000_000

#: Coral's signature, over the body alone; a transport may name another header for it.
SIGNATURE_HEADER = "X-Coral-Signature"

#: Ours, over the time and the agent that calls too.
ADDRESSED_HEADER = "X-Atoll-Signature"

#: Printable ASCII but ``%``, and the space.
_HEADER_SAFE = "".join(chr(code) for code in range(32, 127)).replace("%", "")


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
    if actor.name in (".", ".."):
        raise BadRequest(
            f"the tool {name!r} cannot be called by an agent named {actor.name!r}: a URL reads it as a step"
        )
    # Not at the top: most agents have no custom tool.
    from chalicelib.aws.http import AddressRefused, CallFailed

    body = json.dumps(arguments, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    secret = services.secrets.get("custom-tool-secret").encode()
    caller = {
        "X-Coral-Namespace": _in_header(actor.session.namespace),
        "X-Coral-SessionId": actor.session_id,
        "X-Coral-AgentName": _in_header(actor.name),
    }
    headers = {
        "Content-Type": "application/json",
        tool.transport.signature_header or SIGNATURE_HEADER: hmac.new(secret, body, hashlib.sha256).hexdigest(),
        **caller,
        ADDRESSED_HEADER: _addressed(secret, services.clock.now_ms() // 1000, caller.values(), body),
    }
    url = _url_of(tool.transport.url, actor)
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


def _addressed(secret: bytes, time_s: int, caller: Iterable[str], body: bytes) -> str:
    """Return the signature of one agent's call at one time; no header has a line feed, so the parts are told apart."""
    signed = "".join(f"{part}\n" for part in (time_s, *caller)).encode() + body
    return f"t={time_s},v1={hmac.new(secret, signed, hashlib.sha256).hexdigest()}"


def _url_of(url: str, actor: Actor) -> str:
    """Return a tool's URL with session and agent behind its path; its query stays as it is."""
    parts = urlsplit(url)
    path = f"{parts.path.rstrip('/')}/{quote(actor.session_id, safe='')}/{quote(actor.name, safe='')}"
    return parts._replace(path=path, fragment="").geturl()


def _in_header(name: str) -> str:
    """Write a name as a header can carry it: percent-encoded UTF-8, printable ASCII but ``%`` as it is.

    Spaces at either end are encoded too: HTTP drops them.
    """
    inner = quote(name.strip(" "), safe=_HEADER_SAFE)
    before, after = len(name) - len(name.lstrip(" ")), len(name) - len(name.rstrip(" "))
    return f"{'%20' * before}{inner}{'%20' * after}" if inner else "%20" * len(name)
