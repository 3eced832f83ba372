"""From an HTTP request to the Chalice app and back, through Chalice's own local gateway."""

import base64
import dataclasses
import logging
from typing import Any

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import LocalChalice, LocalGateway, LocalGatewayException, RouteMatcher

from infra.local.api_gateway.answer import Answer
from infra.local.api_gateway.console_folder import ConsoleFolder
from infra.local.dynamodb import keys as api_keys_endpoint
from infra.local.waiting import Stopped

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Request:
    """One request: ``target`` is path and query as they were sent, names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes | None


class RestApi:
    """Answers requests, any number at the same time, each in a thread of its own."""

    def __init__(
        self, app: Chalice, keys: api_keys_endpoint.Endpoint | None, console: ConsoleFolder | None = None
    ) -> None:
        self._keys = keys
        self._console = console
        self._routes: dict[str, dict[str, Any]] = _threaded(app).routes
        self._matcher = RouteMatcher(list(app.routes))
        self._gateway = LocalGateway(app, Config.create(chalice_app=app, lambda_timeout=900, lambda_memory_size=512))

    def __call__(self, request: Request) -> Answer:
        """Return the answer; an error of the app's is logged and answered."""
        path, mark, query = request.target.partition("?")
        # Chalice's gateway leaves out what is behind a semicolon; API Gateway takes it as part of the name that it is.
        request = dataclasses.replace(request, target=f"{path.replace(';', '%3B')}{mark}{query}")
        try:
            return self._answer(request)
        except Stopped:
            return stopping()
        except Exception:
            log.exception("%s %s failed", request.method, self._route(request.target))
            return Answer.message(500, "Internal server error")

    def _answer(self, request: Request) -> Answer:
        if self._keys is not None and api_keys_endpoint.is_meant(request.headers):
            status, content = self._keys(request.headers, request.body or b"")
            return Answer(status, content, {"Content-Type": "application/x-amz-json-1.0"})
        if self._console is not None and (page := self._console.find(request.method, request.target)):
            return page
        # API Gateway answers both with 403 "Missing Authentication Token", which is of no use to a person.
        methods = self._routes.get(self._route(request.target))
        if methods is None:
            return Answer.message(404, f"There is nothing at {request.target.split('?')[0]}.")
        if request.method not in methods and request.method != "OPTIONS":
            return Answer.message(405, f"{request.method} is not allowed here.", {"Allow": ", ".join(methods)})
        try:
            found = self._gateway.handle_request(
                method=request.method, path=request.target, headers=request.headers, body=request.body
            )
        except LocalGatewayException as error:
            return Answer(error.CODE, error.body or b"", error.headers)
        return _of_lambda(found)

    def _route(self, target: str) -> str:
        """Return the route of a target: unlike an agent's path it has no secret in it; ``""`` where there is none."""
        try:
            return str(self._matcher.match_route(target).route)
        except ValueError:
            return ""


def stopping() -> Answer:
    """Return the answer to requests that still wait when the stack stops."""
    return Answer.message(503, "Atoll is stopping.", {"Retry-After": "1", "Connection": "close"})


def _of_lambda(found: dict[str, Any]) -> Answer:
    """Return the answer that a Lambda function's result stands for."""
    content = found.get("body") or b""
    if found.get("isBase64Encoded"):
        content = base64.b64decode(content)
    elif isinstance(content, str):
        content = content.encode()
    return Answer(found["statusCode"], content, {**found["headers"], **found["multiValueHeaders"]})


def _threaded(app: Chalice) -> Chalice:
    """Give each thread its own ``current_request``, as Chalice's own development server does."""
    if not isinstance(app, LocalChalice):
        app.__class__ = type("ThreadedChalice", (LocalChalice, app.__class__), {})
    return app
