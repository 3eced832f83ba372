"""What both eras of MCP share and where they differ: versions, error codes with their HTTP statuses, envelopes.

The handshake era (2024-11-05 to 2025-11-25) opens with ``initialize``; the stateless era (2026-07-28) sends client and
version with each request, in ``_meta`` and in headers. Its errors have HTTP statuses of their own.
"""

import json
from http import HTTPStatus
from typing import Any, Literal

from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    SERVER_INFO_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    Implementation,
    Result,
)
from pydantic_core import PydanticSerializationError, to_json

from chalicelib.wire import strict_json

HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS_VERSIONS = ("2026-07-28",)
#: What a request without a version header speaks (transports, 2025-06-18, "Protocol Version Header"), and the only
#: version that has batches.
UNNAMED_VERSION = "2025-03-26"

#: "Resource not found" of the handshake era; the stateless era calls it invalid parameters and never uses this code.
RESOURCE_NOT_FOUND = -32002

SERVER_INFO = Implementation(name="Coral Agent Server", title="Coral Agent Server on Atoll", version="1.2.0")

_STATUS = {
    PARSE_ERROR: HTTPStatus.BAD_REQUEST,
    INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    INVALID_PARAMS: HTTPStatus.BAD_REQUEST,
    HEADER_MISMATCH: HTTPStatus.BAD_REQUEST,
    UNSUPPORTED_PROTOCOL_VERSION: HTTPStatus.BAD_REQUEST,
    METHOD_NOT_FOUND: HTTPStatus.NOT_FOUND,
}

#: What only the stateless era's results carry.
_STATELESS_FIELDS = {"result_type", "ttl_ms", "cache_scope"}

Id = str | int | None
#: The handshake era, which opens with ``initialize``, and that of 2026-07-28.
Era = Literal["handshake", "stateless"]
Message = dict[str, Any]


class ProtocolError(Exception):
    """A JSON-RPC error: the request is malformed or breaks the protocol."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data

    def answer(self, request_id: Id) -> Message:
        """Return the JSON-RPC answer."""
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        if self.data is not None:
            error["data"] = self.data
        return {"jsonrpc": "2.0", "id": request_id, "error": error}


def encoded(answer: Any) -> bytes:
    """Return an answer as JSON."""
    try:
        return to_json(answer)  # four times as fast as json: a tenth of the time of tools/list
    except PydanticSerializationError:  # a lone surrogate, which no UTF-8 can hold
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def status_of(answer: Message, era: Era) -> HTTPStatus:
    """Return the HTTP status of an answer.

    In the handshake era an answer to a request that was understood is a 200, whatever it says.
    """
    code = answer.get("error", {}).get("code")
    if code is None or not (era == "stateless" or code in (PARSE_ERROR, INVALID_REQUEST)):
        return HTTPStatus.OK
    return _STATUS.get(code, HTTPStatus.OK)


def answer_of(request_id: Id, result: Result, era: Era) -> Message:
    """Put a result into its envelope, in the shape of its era."""
    dumped = result.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude=None if era == "stateless" else _STATELESS_FIELDS
    )
    if era == "stateless":
        info = SERVER_INFO.model_dump(mode="json", by_alias=True, exclude_none=True)
        dumped = {"resultType": "complete", **dumped, "_meta": {SERVER_INFO_META_KEY: info, **dumped.get("_meta", {})}}
    return {"jsonrpc": "2.0", "id": request_id, "result": dumped}


def parse(body: bytes) -> Any:
    """Read a JSON body; raise `ProtocolError` for what is not JSON."""
    try:
        return strict_json.loads(body.decode("utf-8-sig"))
    except ValueError as error:
        raise ProtocolError(PARSE_ERROR, f"the body is not JSON: {error}") from None


def method_of(message: Any) -> str:
    """Return the method of a request or notification; raise `ProtocolError` when it is not formed like one."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise ProtocolError(INVALID_REQUEST, "not a JSON-RPC 2.0 request or notification")
    if not is_notification(message) and id_of(message) is None:
        raise ProtocolError(INVALID_REQUEST, "the id of a request must be a string or an integer")
    if not isinstance(message.get("params", {}), dict):
        raise ProtocolError(INVALID_PARAMS, "params must be an object")
    return str(message["method"])


def is_notification(message: Message) -> bool:
    """Return whether a message expects no answer: it has no id at all (JSON-RPC 2.0, section 4.1)."""
    return "id" not in message


def is_answer(message: Any) -> bool:
    """Return whether a message answers a request of the server's; Atoll makes none."""
    return isinstance(message, dict) and "method" not in message and ("result" in message or "error" in message)


def id_of(message: Any) -> Id:
    """Return the id of a request; ``None`` when it has none that is valid."""
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None


def internal_error(request_id: Id) -> Message:
    """Return the error for an internal failure, without its cause."""
    return ProtocolError(INTERNAL_ERROR, "internal error").answer(request_id)
