"""Request bodies: bounded in size, of an accepted content type, and strict JSON."""

import codecs
import json
from collections.abc import Sequence
from typing import cast

from chalice.app import Request
from pydantic import BaseModel

from chalicelib.api.errors import WrongContentType
from chalicelib.domain import errors
from chalicelib.wire import strict_json, unknown_keys

#: Largest body of a request.
MAX_BODY_BYTES = 1_000_000

JSON = ("application/json",)


def check_content_type(request: Request, content_types: Sequence[str]) -> None:
    """Raise `WrongContentType` for a content type that is not accepted; a body without one is accepted."""
    content_type = str(request.headers.get("content-type", content_types[0]))
    if content_type.partition(";")[0].strip().lower() not in content_types:
        raise WrongContentType(f"the Content-Type is {content_type[:100]!r}: {' or '.join(content_types)} is taken")


def bytes_of(request: Request) -> bytes:
    """Return the body of a request as it came."""
    return cast(bytes, request.raw_body or b"")


def bounded(request: Request) -> bytes:
    """Return the body of a request; raise `TooLarge` for more than `MAX_BODY_BYTES`."""
    raw = bytes_of(request)
    if len(raw) > MAX_BODY_BYTES:
        raise errors.TooLarge(f"the body has {len(raw)} bytes: at most {MAX_BODY_BYTES} are taken")
    return raw


def warning_of(raw: bytes, model: BaseModel) -> str | None:
    """Return a sentence about the keys of a JSON body that its model has read over; ``None`` when there are none."""
    return unknown_keys.warning_of(json.loads(raw.removeprefix(codecs.BOM_UTF8)), model, by_name=False)


def checked_json(raw: bytes) -> bytes:
    """Return a JSON body without its byte order mark.

    Raises `BadRequest` for a key twice in one object, NaN, a number out of range, and for what is nested too deep.
    """
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        strict_json.loads(raw)
    except ValueError as error:
        raise errors.BadRequest(f"the body is not JSON: {error}") from error
    return raw
