"""The OpenAPI document, made of the registered routes and the pydantic models of what they take and answer.

pydantic writes the schemas, Powertools' models of OpenAPI 3.1 hold the document. It is built on the first
request for it: no other request waits for its imports.
"""

import functools
import inspect
import json
import re
from http import HTTPStatus
from typing import Any, NoReturn, get_args, get_origin

from aws_lambda_powertools.event_handler.openapi.models import OpenAPI
from chalice.app import Response
from pydantic import TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema

from chalicelib.api.credentials import COOKIE
from chalicelib.api.errors import LIMIT_HEADER, WARNING_HEADER, status_of
from chalicelib.api.paging import CURSOR_HEADER, MAX_LIMIT, LogPaging, Page, Paging
from chalicelib.api.routing import ROUTES, Route, Warned
from chalicelib.domain import errors
from chalicelib.version import VERSION
from chalicelib.wire.base import RouteException

Part = dict[str, Any]

_DESCRIPTION = """\
Coral's session API without a server. Where Coral Server and Atoll differ, `docs/compatibility.md` says so.

Listings answer a plain array of all entries, or 413 when that takes more than 5 MB. With `limit` or `cursor` they
answer pages of at most 1,000; the header `Next-Cursor` says where to go on.
"""

_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Set by POST /api/v1/auth/token."},
    "agentSecret": {"type": "http", "scheme": "bearer", "description": "An agent's secret."},
}

#: What each error status means here.
_ERRORS = {
    HTTPStatus.BAD_REQUEST: "The request cannot be honoured; the message names what is wrong.",
    HTTPStatus.UNAUTHORIZED: "There is no credential, or it is not valid.",
    HTTPStatus.FORBIDDEN: "The API key, or its role, does not reach this far.",
    HTTPStatus.NOT_FOUND: "There is no such namespace, session, agent, thread or delivery.",
    HTTPStatus.CONFLICT: "The request contradicts what is there.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The request or its answer exceeds a limit; the message names it.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is of a type that is not taken here.",
    HTTPStatus.TOO_MANY_REQUESTS: f"A limit is reached, which `{LIMIT_HEADER}` names: try again after `Retry-After`.",
    HTTPStatus.BAD_GATEWAY: "The server that was called for the request did not answer.",
    HTTPStatus.NOT_IMPLEMENTED: "This deployment does not offer it.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Atoll is busy, or something is still going on: try again after `Retry-After`.",
}

_PAGE_PARAMETERS = [
    {
        "name": "limit",
        "in": "query",
        "description": f"How many entries the page has at most; {MAX_LIMIT} unless it is said.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    },
    {
        "name": "cursor",
        "in": "query",
        "description": f"Where the page begins: the `{CURSOR_HEADER}` of the page before, from the same API key; "
        "with neither this nor `limit` the answer has all entries.",
        "schema": {"type": "string"},
    },
    {
        "name": LogPaging.parameter,
        "in": "query",
        "description": f"The `{CURSOR_HEADER}` of the page before; 0, the default, is the beginning.",
        "schema": {"type": "string"},
    },
    {
        "name": "annotations",
        "in": "query",
        "description": "Only entries that are annotated so, each as `key:value`; more than one must all be there.",
        "schema": {"type": "array", "items": {"type": "string", "pattern": ":"}},
    },
]


class _Schemas(GenerateJsonSchema):
    """Schemas of answers in which a default is required, since it is written out, and a null is not: it is left out."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "serialization" and field["type"] == "model-field":
            inner = field["schema"]
            written = inner["type"] == "default" and ("default_factory" in inner or inner.get("default") is not None)
            return written or super().field_is_required(field, total)
        return super().field_is_required(field, total)


@functools.cache
def document() -> OpenAPI:
    """Return the document, but for the server that it is asked of."""
    routes = [route for route in ROUTES if route.documented]
    bodies = {route: _body_type(route) for route in routes}
    answers = {route: _answer_type(route) for route in routes}
    inputs: list[Any] = [
        ((route, "body"), "validation", TypeAdapter(kind))
        for route, kind in bodies.items()
        if kind not in (None, bytes)
    ]
    inputs += [((route, "answer"), "serialization", TypeAdapter(kind)) for route, kind in answers.items() if kind]
    inputs.append(((None, "error"), "serialization", TypeAdapter(RouteException)))
    schemas, definitions = TypeAdapter.json_schemas(
        inputs, ref_template="#/components/schemas/{model}", schema_generator=_Schemas
    )
    by_place = {place: schema for (place, _), schema in schemas.items()}
    paths: dict[str, Part] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_place)
    return OpenAPI.model_validate(
        {
            "openapi": "3.1.0",
            "info": {"title": "Atoll", "version": VERSION, "description": _DESCRIPTION},
            "paths": paths,
            "components": {"schemas": definitions.get("$defs", {}), "securitySchemes": _SECURITY},
        }
    )


def text(server: str) -> str:
    """Return the document as JSON, for a server by the base of its URL."""
    whole = document().model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.dumps({**whole, "servers": [{"url": server}]}, ensure_ascii=False)


def _operation(route: Route, schemas: dict[Any, Part]) -> Part:
    summary, _, description = (inspect.getdoc(route.handler) or "").partition("\n\n")
    operation: Part = {
        "operationId": to_camel(route.handler.__name__),
        "summary": summary.rstrip("."),
        "tags": [_tag(route.path)],
        "parameters": _parameters(route),
        "responses": _responses(route, schemas),
    }
    if description:
        operation["description"] = description
    if route.authenticated:
        operation["security"] = [{"token": []}, {"cookie": []}]
    elif route.extras.security:
        operation["security"] = [{route.extras.security: []}]
    if "body" in route.wanted:
        operation["requestBody"] = {"required": True, "content": _contents(route, schemas)}
    return operation


def _contents(route: Route, schemas: dict[Any, Part]) -> dict[str, Part]:
    content: Part = {"schema": route.extras.body_schema or schemas.get((route, "body")) or {"type": "string"}}
    if route.extras.body_example:
        content["example"] = route.extras.body_example
    return dict.fromkeys(route.content_types, content)


def _parameters(route: Route) -> list[Part]:
    found: list[Part] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if "paging" in route.wanted:
        names = {"limit", route.pages.parameter, *(["annotations"] if route.filtered else [])}
        found += [part for part in _PAGE_PARAMETERS if part["name"] in names]
    if issubclass(route.pages, LogPaging):
        form = {"schema": {"type": "string", "pattern": f"^{route.pages.pattern}$"}}
        found = [part | form if part["name"] == LogPaging.parameter else part for part in found]
    return [*found, *map(dict, route.extras.parameters)]


def _responses(route: Route, schemas: dict[Any, Part]) -> dict[str, Part]:
    responses: dict[str, Part] = {}
    if route.signature.return_annotation is not NoReturn:
        success: Part = {"description": HTTPStatus(route.status).phrase}
        if schema := schemas.get((route, "answer")):
            success["content"] = {"application/json": {"schema": schema}}
        headers = dict(route.extras.headers)
        if "paging" in route.wanted:
            headers |= {
                CURSOR_HEADER: {
                    "description": "Where the next page begins; absent when this one ends the listing."
                    if route.pages is Paging
                    else "Where to go on: a log may grow.",
                    "schema": {"type": "string"},
                }
            }
        if route.warns:
            headers |= {
                WARNING_HEADER: {
                    "description": "What of the request has no effect; absent when all has.",
                    "schema": {"type": "string"},
                }
            }
        if headers:
            success["headers"] = headers
        if links := _links(route):
            success["links"] = links
        responses[str(route.status)] = success
    refusal = {"application/json": {"schema": schemas[(None, "error")]}}
    for status in sorted({status_of(error) for error in _errors(route)} | _of_body(route)):
        responses[str(int(status))] = {"description": _ERRORS[status], "content": refusal}
    return responses


def _links(route: Route) -> dict[str, Part]:
    """Name the operations of which this one's answer gives the last names in the path."""
    known = route.extras.links
    links = {}
    for other in ROUTES:
        names = re.findall(r"{(\w+)}", other.path)
        if other.documented and names and names == list(known):
            operation_id = to_camel(other.handler.__name__)
            links[operation_id] = {"operationId": operation_id, "parameters": dict(known)}
    return links


def _errors(route: Route) -> set[type[errors.AtollError]]:
    found: set[type[errors.AtollError]] = {errors.TryLater, *route.raises}
    if route.authenticated:
        found |= {errors.Unauthorized, errors.Forbidden, errors.TooManyRequests}
    if "{" in route.path:
        found.add(errors.NotFound)
    if "paging" in route.wanted:
        found |= {errors.BadRequest, errors.TooLarge}
    if "body" in route.wanted:
        found |= {errors.BadRequest, errors.TooLarge}
    return found


def _of_body(route: Route) -> set[HTTPStatus]:
    return {HTTPStatus.UNSUPPORTED_MEDIA_TYPE} if "body" in route.wanted else set()


def _body_type(route: Route) -> Any:
    return route.signature.parameters["body"].annotation if "body" in route.wanted else None


def _answer_type(route: Route) -> Any:
    kind = route.signature.return_annotation
    if get_origin(kind) is Warned:
        kind = get_args(kind)[0]
    if get_origin(kind) is Page:
        return list[get_args(kind)[0]]  # type: ignore[misc]
    return None if kind in (None, NoReturn, Response) else kind


def _tag(path: str) -> str:
    return path.removeprefix("/api/v1/").split("/")[0]
