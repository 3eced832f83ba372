"""What a request is answered that cannot be served now, so that its client outlives it and can ask again.

In the handshake era clients take an HTTP error for the end of the connection (Python's `mcp` 1.x for good), so the
answer is a 200: a tool's error, or JSON-RPC's. In the stateless era no request ends another, and there is a status.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from mcp_types import INTERNAL_ERROR

from chalicelib.mcp import envelope, protocol, tools
from chalicelib.mcp.protocol import Message, ProtocolError

RETRY_AFTER_S = 1
TEXT = f"Atoll is busy: try again in {RETRY_AFTER_S} s"


def answer_to(message: Any, text: str = TEXT) -> Message | None:
    """Return the answer to one message of the handshake era; ``None`` when it expects none."""
    request_id = protocol.id_of(message)
    if request_id is None or protocol.is_answer(message):
        return None
    params = message.get("params")
    if message.get("method") == "tools/call" and isinstance(params, dict):
        return protocol.answer_of(request_id, tools.not_now(str(params.get("name")), text), "handshake")
    return _error(request_id, text)


def answer_to_body(
    body: bytes,
    headers: Mapping[str, str],
    *,
    at_most: int,
    text: str = TEXT,
    status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE,
) -> tuple[HTTPStatus, Any]:
    """Return the status and the answer to a body of one message or ``at_most`` so many; ``None`` for an empty one.

    ``status`` is that of the stateless era.
    """
    try:
        message = protocol.parse(body)
    except ProtocolError as error:
        return HTTPStatus.BAD_REQUEST, error.answer(None)
    if isinstance(message, list):
        answers = [answer for each in message[:at_most] if (answer := answer_to(each, text)) is not None]
        return (HTTPStatus.OK, answers) if answers else (HTTPStatus.ACCEPTED, None)
    if envelope.speaks_stateless(message, headers):
        return status, _error(protocol.id_of(message), text)
    answer = answer_to(message, text)
    return (HTTPStatus.OK if answer else HTTPStatus.ACCEPTED), answer


def _error(request_id: protocol.Id, text: str) -> Message:
    return ProtocolError(INTERNAL_ERROR, text).answer(request_id)
