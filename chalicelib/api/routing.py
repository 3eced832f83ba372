"""Registers the handlers of the REST API: checks the caller, passes what a handler asks for, and encodes its answer."""

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Generic, TypeVar, cast, get_origin
from urllib.parse import unquote

from chalice.app import Blueprint, Request, Response
from pydantic import BaseModel, TypeAdapter
from pydantic.alias_generators import to_snake

from chalicelib import telemetry
from chalicelib.api import body
from chalicelib.api.credentials import bearer, caller_of
from chalicelib.api.errors import WARNING_HEADER, mapping_errors
from chalicelib.api.paging import CURSOR_HEADER, Page, Paging, check_size
from chalicelib.api.roles import needed as needed_roles
from chalicelib.domain import actors, api_keys, errors, quotas, roles
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.stores import current
from chalicelib.telemetry import about

#: Longest part of a path, decoded: no name and no id is longer, and DynamoDB takes no key above 1,024 bytes.
MAX_PATH_PART_BYTES = 1_000

Handler = Callable[..., Any]
logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Parts of a path that say what a line of the log is about, and what they are called there.
_LOGGED = {
    "namespace": "namespace",
    "sessionId": "session",
    "agentName": "agent",
    "agentVersion": "version",
    "deliveryId": "delivery",
}


@dataclasses.dataclass(frozen=True)
class Extras:
    """What the OpenAPI document says of an operation beside what follows from its handler; parts are OpenAPI's own."""

    parameters: Sequence[Mapping[str, Any]] = ()
    #: Schema of a body that is not JSON, and an example of one that is.
    body_schema: Mapping[str, Any] | None = None
    body_example: Mapping[str, Any] | None = None
    #: Headers of its success.
    headers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    #: What its answer says of the paths of other operations: the names in these, and where they are found.
    links: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: The security scheme of one that needs no API key.
    security: str | None = None


@dataclasses.dataclass(frozen=True)
class Warned(Generic[T]):
    """An answer, and what of the request has no effect; ``None`` when all has."""

    result: T
    warning: str | None


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
    #: How its listing is read page by page.
    pages: type[Paging]
    #: What the OpenAPI document says of it that does not follow from the rest.
    extras: "Extras"

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

    @functools.cached_property
    def is_of_a_model(self) -> bool:
        """Whether its body is JSON of a model, whose other keys are read over and warned of."""
        return "body" in self.wanted and self.signature.parameters["body"].annotation is not bytes

    @property
    def warns(self) -> bool:
        """Whether its answer may say what of the request has no effect."""
        return self.is_of_a_model or get_origin(self.signature.return_annotation) is Warned


#: All operations, in the order in which their modules were imported: what the OpenAPI document is made of.
ROUTES: list[Route] = []


def route(
    blueprint: Blueprint,
    method: str,
    path: str,
    *,
    authenticated: bool = True,
    content_types: Sequence[str] = body.JSON,
    raises: Sequence[type[errors.AtollError]] = (),
    status: int = 200,
    documented: bool = True,
    filtered: bool = True,
    pages: type[Paging] = Paging,
    limited: bool = True,
    extras: Extras | None = None,
) -> Callable[[Handler], Handler]:
    """Register a handler of the REST API.

    The handler gets the path's parameters in snake_case, and what else it names: ``body`` (the JSON body, validated
    as the model it is annotated with; ``bytes`` is the body as it came), ``request`` (Chalice's), ``caller`` (the
    `ApiKeyRecord`), ``actor`` (the agent whose secret is the credential), ``paging`` (a listing's `Paging`). What it
    returns becomes the answer: a wire model, a `Page` of them, one that is `Warned`, ``None`` for an empty
    200, or a Chalice ``Response`` as it is. Of a model's body unknown keys are warned of, whatever the handler does.

    The OpenAPI document is made of all this; ``raises`` names errors that do not follow from what the handler asks
    for, ``status`` a success that is not 200, ``extras`` what else there is to say. A handler that is not ``limited``
    looks at the size of its body itself.
    """

    def register(handler: Handler) -> Handler:
        registered = Route(
            method,
            path,
            handler,
            authenticated,
            content_types,
            raises,
            status,
            documented,
            filtered,
            pages,
            extras or Extras(),
        )
        ROUTES.append(registered)
        wanted, needed = registered.wanted, needed_roles(f"{method} {path}")

        def view(**path_parameters: str) -> Response:
            request: Request = blueprint.current_request
            if not authenticated:
                return perform(request, None, path_parameters)
            changes = method != "GET"
            caller = caller_of(current(), request, for_change=changes)
            with audited(handler.__name__, caller) if changes else nullcontext():
                return perform(request, caller, path_parameters)

        def perform(request: Request, caller: ApiKeyRecord | None, path_parameters: Mapping[str, str]) -> Response:
            arguments: dict[str, Any] = {to_snake(name): unquote(value) for name, value in path_parameters.items()}
            if caller is not None:
                quotas.count_request(current(), quotas.of_key(caller))
                roles.check(caller, needed, f"{method} {path}")
                if "namespace" in arguments:
                    api_keys.check_reach(caller, arguments["namespace"])
                _check_path_parts(arguments)
                if "namespace" in arguments:
                    quotas.count_request(current(), quotas.of_namespace(current(), arguments["namespace"]))
                if "caller" in wanted:
                    arguments["caller"] = caller
                if "paging" in wanted:
                    listing = [path, *path_parameters.values(), *_asked(request, registered.extras)]
                    arguments["paging"] = pages.of(request, caller, current().clock, listing, filtered=filtered)
            if "request" in wanted:
                arguments["request"] = request
            if "actor" in wanted:  # before the body is looked at: who is not known learns nothing of it
                arguments["actor"] = actors.by_secret(current(), bearer(request))
            raw = body.bounded(request) if limited else b""
            if "body" in wanted:
                body.check_content_type(request, content_types)
                parse = registered.parse
                arguments["body"] = (
                    parse(body.checked_json(raw), strict=True, by_alias=True, by_name=False) if parse else raw
                )
            result = handler(**arguments)
            if registered.is_of_a_model:
                result = _warned_of_unknown_keys(result, raw, arguments["body"])
            return answer(result)

        view.__name__ = handler.__name__
        # No content types: Chalice would refuse a GET for the Content-Type of the body that it does not have.
        blueprint.route(path, methods=[method], name=handler.__name__, content_types=[])(
            _logging_ids(blueprint, mapping_errors(view))
        )
        return handler

    return register


def _warned_of_unknown_keys(result: Any, raw: bytes, model: BaseModel) -> Any:
    warning = body.warning_of(raw, model)
    if warning is None:
        return result
    if isinstance(result, Warned):
        return Warned(result.result, "; ".join(filter(None, [warning, result.warning])))
    return Warned(result, warning)


@contextmanager
def audited(action: str, caller: ApiKeyRecord) -> Iterator[None]:
    """Write a line of the audit log for what a key does, and whether it was done or why not."""
    outcome = "done"
    try:
        yield
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        by = {"key": api_keys.id_of(caller), "keyName": caller.name, "role": caller.role}
        telemetry.audit(action, by, outcome)


def answer(result: Any) -> Response:
    """Turn what a handler returned into an HTTP answer; raise `TooLarge` for one that a Lambda cannot return."""
    if isinstance(result, Response):
        return result
    if isinstance(result, Warned):
        response = answer(result.result)
        if result.warning is not None:
            logger.warning(result.warning)  # to be seen in the terminal of a local stack
        response.headers |= {} if result.warning is None else {WARNING_HEADER: result.warning}
        return response
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


def _logging_ids(blueprint: Blueprint, view: Handler) -> Handler:
    def wrapped(**arguments: str) -> Response:
        named = {name: unquote(arguments[key]) for key, name in _LOGGED.items() if key in arguments}
        with about(request=blueprint.current_request.context.get("requestId"), **named):
            return cast(Response, view(**arguments))

    wrapped.__name__ = view.__name__
    return wrapped


def _asked(request: Request, extras: Extras) -> list[str]:
    """Return what a request says of its own in its query: a cursor belongs to that too."""
    query: Mapping[str, str] = request.query_params or {}
    names = [parameter["name"] for parameter in extras.parameters if parameter["in"] == "query"]
    return [f"{name}={query[name]}" for name in names if name in query]


def _check_path_parts(parts: Mapping[str, str]) -> None:
    for name, value in parts.items():
        if not value:
            raise errors.NotFound(f"{name}: nothing has an empty name")
        if len(value.encode()) > MAX_PATH_PART_BYTES:
            raise errors.NotFound(f"{name}: nothing has a name of more than {MAX_PATH_PART_BYTES} bytes")
