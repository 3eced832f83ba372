"""The edge of the REST API: authentication, JSON in and out, and the one mapping of errors to HTTP statuses."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Blueprint, Chalice, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.alias_generators import to_snake

from chalicelib.deployment import current
from chalicelib.domain import api_keys, errors
from chalicelib.wire.base import RouteException

#: Largest body of a request.
MAX_BODY_BYTES = 1_000_000

COOKIE = "authSessionToken"

_STATUS: dict[type[errors.AtollError], HTTPStatus] = {
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NotConfigured: HTTPStatus.NOT_IMPLEMENTED,
    errors.TryLater: HTTPStatus.SERVICE_UNAVAILABLE,
}

logger = Logger(service="atoll")

Handler = Callable[..., Any]


def route(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    authenticated: bool = True,
    content_types: Sequence[str] = ("application/json",),
) -> Callable[[Handler], Handler]:
    """Register a handler of the REST API.

    The handler gets the path's parameters in snake_case, and what else it names: ``body`` (the JSON body, validated
    as the model it is annotated with; ``bytes`` is the body as it came), ``request`` (Chalice's), ``caller`` (the
    `ApiKeyRecord`). What it returns becomes the answer: a wire model or a list of them, ``None`` for an empty 200, or
    a Chalice ``Response`` as it is.
    """

    def register(handler: Handler) -> Handler:
        wanted = inspect.signature(handler).parameters
        body_type = wanted["body"].annotation if "body" in wanted else None
        parse = None if body_type in (None, bytes) else TypeAdapter(body_type).validate_json

        def view(**path_parameters: str) -> Response:
            request: Request = blueprint.current_request
            arguments: dict[str, Any] = {to_snake(name): unquote(value) for name, value in path_parameters.items()}
            if authenticated:
                caller = api_keys.authenticate(current(), _token(request))
                if "namespace" in arguments:
                    api_keys.check_reach(caller, arguments["namespace"])
                if "caller" in wanted:
                    arguments["caller"] = caller
            if "request" in wanted:
                arguments["request"] = request
            if "body" in wanted:
                raw = _bounded_body(request)
                arguments["body"] = parse(_checked_json(raw), strict=True) if parse else raw
            return answer(handler(**arguments))

        view.__name__ = handler.__name__
        blueprint.route(path, methods=[method], name=handler.__name__, content_types=list(content_types))(
            _mapping_errors(view)
        )
        return handler

    return register


def answer(result: Any) -> Response:
    """Turn what a handler returned into an HTTP answer."""
    if isinstance(result, Response):
        return result
    if result is None:
        return Response(body="", status_code=200)
    if isinstance(result, BaseModel):
        text = result.model_dump_json(by_alias=True, exclude_none=True)
    else:
        parts = (part.model_dump_json(by_alias=True, exclude_none=True) for part in result)
        text = f"[{','.join(parts)}]"
    return Response(body=text, status_code=200, headers={"Content-Type": "application/json"})


def refusal(status: HTTPStatus | int, message: str, headers: Mapping[str, str | list[str]] | None = None) -> Response:
    """Answer with Coral's error body."""
    return Response(
        body=RouteException(message=message).to_wire(), status_code=int(status), headers={**(headers or {})}
    )


def add_error_shape(app: Chalice) -> None:
    """Give Coral's error body to what Chalice itself refuses (an unknown method, a media type)."""

    @app.middleware("http")
    def _shape(event: Any, get_response: Callable[[Any], Response]) -> Response:
        response = get_response(event)
        if response.status_code >= 400 and isinstance(response.body, dict) and "Message" in response.body:
            return refusal(response.status_code, response.body["Message"], response.headers)
        return response


def _mapping_errors(view: Handler) -> Handler:
    @functools.wraps(view)
    def wrapped(**arguments: str) -> Response:
        try:
            return cast(Response, view(**arguments))
        except errors.AtollError as error:
            return _refusal_of(error)
        except ValidationError as error:
            return refusal(HTTPStatus.BAD_REQUEST, describe(error))
        except (ClientError, BotoCoreError) as error:
            if not _passes(error):
                raise
            logger.warning("AWS is busy", extra={"error": type(error).__name__})
            return _refusal_of(errors.TryLater("Atoll is busy: try again shortly"))

    # Chalice calls a view with the names in its path, so the wrapper must not look like the view.
    del wrapped.__wrapped__
    return wrapped


def _refusal_of(error: errors.AtollError) -> Response:
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, errors.TryLater) else None
    return refusal(_STATUS[type(error)], str(error), headers)


def describe(error: ValidationError) -> str:
    """Name each wrong field of a body, its rule, and not its value (it may be a secret)."""
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()[:5])


def _passes(error: ClientError | BotoCoreError) -> bool:
    """Tell whether an AWS error is a throttle or an outage that passes by itself."""
    if isinstance(error, BotoCoreError):
        return True
    metadata = error.response.get("ResponseMetadata", {})
    return (
        "Throttl" in error.response["Error"]["Code"]
        or metadata.get("HTTPStatusCode", 0) >= 500
        or (
            error.response["Error"]["Code"]
            in ("ProvisionedThroughputExceededException", "RequestLimitExceeded", "TransactionConflictException")
        )
    )


def _token(request: Request) -> str:
    scheme, _, token = str(request.headers.get("authorization", "")).partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    for part in str(request.headers.get("cookie", "")).split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return unquote(value)
    return ""


def _bounded_body(request: Request) -> bytes:
    raw = cast(bytes, request.raw_body or b"")
    if len(raw) > MAX_BODY_BYTES:
        raise errors.TooLarge(f"the body has {len(raw)} bytes: at most {MAX_BODY_BYTES} are taken")
    return raw


def _checked_json(raw: bytes) -> bytes:
    """Refuse what a lenient parser lets through: a key twice in one object, NaN, and what is nested too deep."""
    try:
        json.loads(raw, object_pairs_hook=_refuse_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise errors.BadRequest(f"the body is not JSON: {error}") from error
    return raw


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} comes twice in one object")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
