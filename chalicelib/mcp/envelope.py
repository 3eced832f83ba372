"""The stateless era's envelope: ``_meta`` says version and client, headers repeat what a proxy routes by.

A request whose headers and body disagree is refused first, so that no proxy on the way can have routed another
request than the one that is served (specification 2026-07-28, "Streamable HTTP", "Standard
request headers").
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    PROTOCOL_VERSION_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
)

from chalicelib.mcp.protocol import STATELESS_VERSIONS, Message, ProtocolError

VERSION_HEADER = "mcp-protocol-version"
_METHOD_HEADER = "mcp-method"
_NAME_HEADER = "mcp-name"
_PARAM_HEADER = "mcp-param-"
#: Methods whose subject is repeated in ``Mcp-Name``, and where the body has it.
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

_SENTINEL = re.compile(r"=\?base64\?(.*)\?=")


def speaks_stateless(message: Any, headers: Mapping[str, str]) -> bool:
    """Return whether a message is of the stateless era: by its header, or by the key in ``_meta`` that only it has."""
    return headers.get(VERSION_HEADER) in STATELESS_VERSIONS or PROTOCOL_VERSION_META_KEY in _meta_of(message)


def check(message: Message, headers: Mapping[str, str]) -> None:
    """Check the envelope of a request; raise `ProtocolError` for the first thing that is wrong with it."""
    meta = _meta_of(message)
    missing = [key for key in (PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY) if key not in meta]
    if missing:
        raise ProtocolError(INVALID_PARAMS, f"params._meta must have {' and '.join(missing)}")
    version = meta[PROTOCOL_VERSION_META_KEY]
    if headers.get(VERSION_HEADER) != version:
        raise ProtocolError(HEADER_MISMATCH, f"the header {VERSION_HEADER} does not match params._meta")
    if headers.get(_METHOD_HEADER) != message["method"]:
        raise ProtocolError(HEADER_MISMATCH, f"the header {_METHOD_HEADER} does not match the method")
    name = message["params"].get(_NAMED[message["method"]]) if message["method"] in _NAMED else None
    if name is not None and decoded(headers.get(_NAME_HEADER)) != name:
        raise ProtocolError(HEADER_MISMATCH, f"the header {_NAME_HEADER} does not match the parameters")
    check_version(version)


def check_version(version: str) -> None:
    """Raise `ProtocolError` for a version of the stateless era that is not served here."""
    if version not in STATELESS_VERSIONS:
        supported = {"supported": list(STATELESS_VERSIONS), "requested": version}
        raise ProtocolError(UNSUPPORTED_PROTOCOL_VERSION, "Unsupported protocol version", supported)


def check_parameters(schema: Mapping[str, Any], arguments: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Check the ``Mcp-Param-*`` headers of a tool call against its arguments.

    A property of the tool's schema asks for one by ``x-mcp-header``: header and argument are both there and equal, or
    neither is. Raises `ProtocolError` for the first that differ.
    """
    for path, name in _mirrored(schema):
        value: Any = arguments
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        header = headers.get(_PARAM_HEADER + name.lower())
        if (header is None) != (value is None) or (header is not None and not _same(decoded(header), value)):
            raise ProtocolError(HEADER_MISMATCH, f"the header Mcp-Param-{name} does not match {'.'.join(path)!r}")


def decoded(header: str | None) -> str | None:
    """Return a header's value, out of ``=?base64?…?=`` when it came so; ``None`` for one that is malformed."""
    wrapped = _SENTINEL.fullmatch(header) if header is not None else None
    if wrapped is None:
        return header
    try:
        raw = base64.b64decode(wrapped[1], validate=True)
        return raw.decode() if base64.b64encode(raw).decode() == wrapped[1] else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _meta_of(message: Any) -> Mapping[str, Any]:
    params = message.get("params") if isinstance(message, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def _mirrored(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    for name, part in properties.items() if isinstance(properties, Mapping) else ():
        if isinstance(part, Mapping):
            if isinstance(part.get("x-mcp-header"), str):
                yield (*path, name), part["x-mcp-header"]
            yield from _mirrored(part, (*path, name))


def _same(header: str | None, value: Any) -> bool:
    if isinstance(value, bool):
        return header == str(value).lower()
    if isinstance(value, int | float) and header is not None:
        try:
            return float(header) == value
        except ValueError:
            return False
    return isinstance(value, str) and header == value
