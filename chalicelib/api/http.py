"""The edge of the REST API: authentication, JSON in and out, and the one mapping of errors to HTTP statuses."""

import dataclasses
import functools
import inspect
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Blueprint, Chalice, Request, Response
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.alias_generators import to_snake

from chalicelib.api.paging import CURSOR_HEADER, Page, Paging, check_size
from chalicelib.aws.errors import is_transient
from chalicelib.domain import api_keys, errors
from chalicelib.store.items import Unprocessed
from chalicelib.stores import current
from chalicelib.telemetry import about
from chalicelib.wire.base import RouteException

#: Largest body of a request.
MAX_BODY_BYTES = 1_000_000

#: Longest part of a path, decoded: no name and no id is longer, and DynamoDB takes no key above 1,024 bytes.
MAX_PATH_PART_BYTES = 1_000

COOKIE = "authSessionToken"

JSON = ("application/json",)

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

logger = logging.getLogger(__name__)

Handler = Callable[..., Any]

#: Parts of a path that say what a line of the log is about, and what they are called there.
_LOGGED = {"namespace": "namespace", "sessionId": "session", "agentName": "agent"}


@dataclasses.dataclass(frozen=True, eq=False)
class Route:
    """One operation of the REST API, as it was registered."""

    method: str
    path: str
    handler: Handler
    authenticated: bool
    content_types: Sequence[str]
    raises: Sequence[type[errors.AtollError]]
    #: Status of its success.
    status: int
    documented: bool
    #: Whether its listing can be filtered by annotations.
    filtered: bool

    @functools.cached_property
    def wanted(self) -> frozenset[str]:
        """Names of what the handler asks for."""
        return frozenset(inspect.signature(self.handler).parameters)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The handler's signature, evaluated: that may load models which no other request needs."""
        return inspect.signature(self.handler, eval_str=True)

    @functools.cached_property
    def parse(self) -> Callable[..., Any] | None:
        """What reads its body; ``None`` when that is taken as it comes."""
        annotation = self.signature.parameters["body"].annotation
        return None if annotation is bytes else TypeAdapter(annotation).validate_json


#: All operations, in the order in which their modules were imported: what the OpenAPI document is made of.
ROUTES: list[Route] = []


def route(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    authenticated: bool = True,
    content_types: Sequence[str] = JSON,
    raises: Sequence[type[errors.AtollError]] = (),
    status: int = 200,
    documented: bool = True,
    filtered: bool = True,
    limited: bool = True,
) -> Callable[[Handler], Handler]:
    """Register a handler of the REST API.

    The handler gets the path's parameters in snake_case, and what else it names: ``body`` (the JSON body, validated
    as the model it is annotated with; ``bytes`` is the body as it came), ``request`` (Chalice's), ``caller`` (the
    `ApiKeyRecord`), ``paging`` (a listing's `Paging`). What it returns becomes the answer: a wire model, a `Page` of
    them, ``None`` for an empty 200, or a Chalice ``Response`` as it is.

    The OpenAPI document is made of all this; ``raises`` names errors that do not follow from what the handler asks
    for, ``status`` a success that is not 200. A handler that is not ``limited`` looks at the size of its body itself.
    """

    def register(handler: Handler) -> Handler:
        registered = Route(method, path, handler, authenticated, content_types, raises, status, documented, filtered)
        ROUTES.append(registered)
        wanted = registered.wanted

        def view(**path_parameters: str) -> Response:
            request: Request = blueprint.current_request
            arguments: dict[str, Any] = {to_snake(name): unquote(value) for name, value in path_parameters.items()}
            if authenticated:
                caller = api_keys.authenticate(current(), _token(request))
                if "namespace" in arguments:
                    api_keys.check_reach(caller, arguments["namespace"])
                _check_path_parts(arguments)
                if "caller" in wanted:
                    arguments["caller"] = caller
                if "paging" in wanted:
                    listing = [path, *path_parameters.values()]
                    arguments["paging"] = Paging.of(request, caller, current().clock, listing, filtered=filtered)
            if "request" in wanted:
                arguments["request"] = request
            raw = _bounded_body(request) if limited else b""
            if "body" in wanted:
                _check_content_type(request, content_types)
                parse = registered.parse
                arguments["body"] = (
                    parse(_checked_json(raw), strict=True, by_alias=True, by_name=False) if parse else raw
                )
            return answer(handler(**arguments))

        view.__name__ = handler.__name__
        # No content types: Chalice would refuse a GET for the Content-Type of the body that it does not have.
        blueprint.route(path, methods=[method], name=handler.__name__, content_types=[])(
            _telling_of(blueprint, _mapping_errors(view))
        )
        return handler

    return register


def answer(result: Any) -> Response:
    """Turn what a handler returned into an HTTP answer; raise `TooLarge` for one that a Lambda cannot give."""
    if isinstance(result, Response):
        return result
    if result is None:
        return Response(body="", status_code=200)
    headers: dict[str, str | list[str]] = {"Content-Type": "application/json"}
    if isinstance(result, Page):
        text = result.text
        if result.cursor is not None:
            headers[CURSOR_HEADER] = result.cursor
    else:
        text = cast(BaseModel, result).model_dump_json(by_alias=True, exclude_none=True)
        check_size(text)
    return Response(body=text, status_code=200, headers=headers)


def refusal(status: HTTPStatus | int, message: str, headers: Mapping[str, str | list[str]] | None = None) -> Response:
    """Answer with Coral's error body."""
    return Response(
        body=RouteException(message=message).to_wire(), status_code=int(status), headers={**(headers or {})}
    )


def add_error_shape(app: Chalice) -> None:
    """Give Coral's error body to what Chalice itself refuses (an unknown method)."""

    @app.middleware("http")
    def _shape(event: Any, get_response: Callable[[Any], Response]) -> Response:
        response = get_response(event)
        if response.status_code >= 400 and isinstance(response.body, dict) and "Message" in response.body:
            return refusal(response.status_code, response.body["Message"], response.headers)
        return response


def add_cors(app: Chalice) -> None:
    """Let the pages of configured origins call the API (`Settings.cors_origins`); call it when all routes are there.

    API Gateway's own answers to preflights know one origin only, so the app answers them.
    """

    @app.middleware("http")
    def _allow(event: Any, get_response: Callable[[Any], Response]) -> Response:
        response = get_response(event)
        if allowed := _allowed_origin(event):
            response.headers |= {
                "Access-Control-Allow-Origin": allowed,
                "Access-Control-Expose-Headers": f"{CURSOR_HEADER}, Retry-After",
                "Vary": "Origin",
            }
        return response

    for path, methods in list(app.routes.items()):
        app.route(path, methods=["OPTIONS"], name="preflight", content_types=[])(_preflight(app, list(methods)))


def _preflight(app: Chalice, methods: list[str]) -> Handler:
    def preflight(**_: str) -> Response:
        headers: dict[str, str | list[str]] = {"Allow": ", ".join([*methods, "OPTIONS"])}
        if app.current_request and _allowed_origin(app.current_request):
            headers |= {
                "Access-Control-Allow-Methods": ", ".join(methods),
                "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
                "Access-Control-Max-Age": "86400",
            }
        return Response(body="", status_code=204, headers=headers)

    return preflight


def _allowed_origin(request: Request) -> str | None:
    origins, origin = current().settings.cors_origin_list, str(request.headers.get("origin", ""))
    return "*" if "*" in origins else origin if origin in origins else None


def _mapping_errors(view: Handler) -> Handler:
    @functools.wraps(view)
    def wrapped(**arguments: str) -> Response:
        try:
            return cast(Response, view(**arguments))
        except errors.AtollError as error:
            return _refusal_of(error)
        except ValidationError as error:
            return refusal(HTTPStatus.BAD_REQUEST, describe(error))
        except (ClientError, BotoCoreError, Unprocessed) as error:
            if not is_transient(error):
                raise
            logger.warning("AWS is busy", extra={"error": type(error).__name__})
            return _refusal_of(errors.TryLater("Atoll is busy: try again shortly"))

    # Chalice calls a view with the names in its path, so the wrapper must not look like the view.
    del wrapped.__wrapped__
    return wrapped


def _telling_of(blueprint: Blueprint, view: Handler) -> Handler:
    def wrapped(**arguments: str) -> Response:
        named = {name: unquote(arguments[key]) for key, name in _LOGGED.items() if key in arguments}
        with about(request=blueprint.current_request.context.get("requestId"), **named):
            return cast(Response, view(**arguments))

    wrapped.__name__ = view.__name__
    return wrapped


def _refusal_of(error: errors.AtollError) -> Response:
    headers: dict[str, str | list[str]] = {}
    if isinstance(error, errors.TryLater):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.TooLarge) and error.next_cursor is not None:
        headers[CURSOR_HEADER] = error.next_cursor
    return refusal(status_of(type(error)), str(error), headers)


def status_of(error: type[errors.AtollError]) -> HTTPStatus:
    """Return the status of an error."""
    return HTTPStatus.UNSUPPORTED_MEDIA_TYPE if error is _WrongContentType else _STATUS[error]


def describe(error: ValidationError) -> str:
    """Name each wrong field of a body, its rule, and not its value (it may be a secret)."""
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()[:5])


def bearer(request: Request) -> str:
    """Return the bearer token of a request, or nothing."""
    scheme, _, token = str(request.headers.get("authorization", "")).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _token(request: Request) -> str:
    if token := bearer(request):
        return token
    for part in str(request.headers.get("cookie", "")).split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return unquote(value)
    return ""


def _check_path_parts(parts: Mapping[str, str]) -> None:
    for name, value in parts.items():
        if not value:
            raise errors.NotFound(f"{name}: nothing has an empty name")
        if len(value.encode()) > MAX_PATH_PART_BYTES:
            raise errors.NotFound(f"{name}: nothing has a name of more than {MAX_PATH_PART_BYTES} bytes")


class _WrongContentType(errors.AtollError):
    """The body is not of a type that the operation takes (HTTP 415)."""


def _check_content_type(request: Request, content_types: Sequence[str]) -> None:
    given = str(request.headers.get("content-type", content_types[0]))
    if given.partition(";")[0].strip().lower() not in content_types:
        raise _WrongContentType(f"the Content-Type is {given[:100]!r}: {' or '.join(content_types)} is taken")


def bytes_of(request: Request) -> bytes:
    """Return the body of a request as it came."""
    return cast(bytes, request.raw_body or b"")


def _bounded_body(request: Request) -> bytes:
    raw = bytes_of(request)
    if len(raw) > MAX_BODY_BYTES:
        raise errors.TooLarge(f"the body has {len(raw)} bytes: at most {MAX_BODY_BYTES} are taken")
    return raw


def _checked_json(raw: bytes) -> bytes:
    """Refuse what a lenient parser lets through: a key twice in one object, NaN, and what is nested too deep."""
    try:
        json.loads(raw, object_pairs_hook=_refuse_twice, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise errors.BadRequest(f"the body is not JSON: {error}") from error
    return raw


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the key {name[:80]!r} comes twice in one object")
        seen.add(name)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is out of range")
    return number
